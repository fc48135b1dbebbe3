/*
 * call.h
 *	  Calling an SQL function with one jsonb input, the way orchestrators and
 *	  activities are called; errors as jsonb failures and back.
 */
#ifndef DURABLE_CALL_H
#define DURABLE_CALL_H

#include "durable.h"

/* the only function of that (qualified or not) name in the search_path, or an error */
extern Oid	function_lookup(const char *name);
/* "schema.name(argument types)", always qualified; palloc'd */
extern char *function_signature(Oid function);
/* the function of such a signature, or an error saying it's gone */
extern Oid	function_by_signature(const char *signature);
/* error unless role may execute the function and it can take this input (NULL: none given) */
extern void function_check(Oid function, Oid role, Jsonb *input);
/* call it as the current user; the result lives in the current memory context; NULL for SQL null or void */
extern Jsonb *function_call(Oid function, Jsonb *input);
/* the same, but only if it computes its result from its input and does nothing else; false: it may */
extern bool function_compute(Oid function, Jsonb *input, Jsonb **result);

/* an error as {"sqlstate","message","detail","hint","context"}; absent keys where the error has none */
extern Jsonb *failure_from_error(ErrorData *error);
/* the same from parts; any but sqlerrcode and message may be NULL */
extern Jsonb *failure_make(int sqlerrcode, const char *message, const char *detail, const char *hint);
/* a copy of the failure with the key set to a text or int value */
extern Jsonb *failure_with_text(Jsonb *failure, const char *key, const char *value);
extern Jsonb *failure_with_int(Jsonb *failure, const char *key, int value);
/* a text member of the failure, palloc'd, or NULL */
extern char *failure_get(Jsonb *failure, const char *key);
extern int	failure_sqlstate(Jsonb *failure);
/* whether an error says nothing about what was done, so that trying the same again may help */
extern bool sqlstate_is_passing(int sqlerrcode);
/* ereport(ERROR) with the failure's sqlstate, message, detail, hint and context */
_Noreturn extern void failure_throw(Jsonb *failure);

#endif
