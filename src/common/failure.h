/*
 * failure.h
 *	  Errors as jsonb failures, and back.
 */
#ifndef DURABLE_FAILURE_H
#define DURABLE_FAILURE_H

#include "common/model.h"

/* an error as {"sqlstate","message","detail","hint","context"}; a part that the error lacks has no key */
extern Jsonb *failure_from_error(ErrorData *error);
/* a failure from its parts; each but sqlerrcode and message may be NULL */
extern Jsonb *failure_make(int sqlerrcode, const char *message, const char *detail, const char *hint);
/* a copy of the failure with the key set to a text */
extern Jsonb *failure_with_text(Jsonb *failure, const char *key, const char *value);
/* a copy of a text, cut to max_length bytes; "..." marks the cut */
extern char *text_clip(const char *text, int max_length);
/* a text member of the failure, palloc'd, or NULL */
extern char *failure_get(Jsonb *failure, const char *key);
extern int	failure_sqlstate(Jsonb *failure);
/* whether the error may have passed when the same is tried again */
extern bool sqlstate_is_passing(int sqlerrcode);
/* ereport(ERROR) with the failure's sqlstate, message, detail, hint and context */
_Noreturn extern void failure_throw(Jsonb *failure);

/* the failure of an activity that did not end within its timeout; detail may be NULL */
extern Jsonb *failure_timed_out(const char *activity, const char *detail);
/* a copy of the failure with the name, the task and the attempt of the activity */
extern Jsonb *failure_of_activity(Jsonb *failure, const char *activity, int task_id, int attempt);
/* failure_throw, unless the failure is NULL */
extern void failure_throw_any(Jsonb *failure);

#endif
