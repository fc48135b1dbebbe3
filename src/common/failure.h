/*
 * failure.h
 *	  Errors as jsonb failures, and back.
 */
#ifndef DURABLE_FAILURE_H
#define DURABLE_FAILURE_H

#include "common/model.h"

/* an error as {"sqlstate","message","detail","hint","context"}; absent keys where the error has none */
extern Jsonb *failure_from_error(ErrorData *error);
/* the same from parts; any but sqlerrcode and message may be NULL */
extern Jsonb *failure_make(int sqlerrcode, const char *message, const char *detail, const char *hint);
/* a copy of the failure with the key set to a text */
extern Jsonb *failure_with_text(Jsonb *failure, const char *key, const char *value);
/* a copy of a text, cut to so many bytes, which "..." follows then */
extern char *text_clip(const char *text, int max_length);
/* a text member of the failure, palloc'd, or NULL */
extern char *failure_get(Jsonb *failure, const char *key);
extern int	failure_sqlstate(Jsonb *failure);
/* whether an error says nothing about what was done, so that trying the same again may help */
extern bool sqlstate_is_passing(int sqlerrcode);
/* ereport(ERROR) with the failure's sqlstate, message, detail, hint and context */
_Noreturn extern void failure_throw(Jsonb *failure);

/* that an activity did not end within its timeout; detail may be NULL */
extern Jsonb *failure_timed_out(const char *activity, const char *detail);
/* a copy of the failure that says of which activity it is */
extern Jsonb *failure_of_activity(Jsonb *failure, const char *activity, int task_id, int attempt);
/* the same, unless it is NULL */
extern void failure_throw_any(Jsonb *failure);

#endif
