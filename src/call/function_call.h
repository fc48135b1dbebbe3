/*
 * function_call.h
 *	  Finding an SQL function and calling it with one jsonb input, the way
 *	  orchestrators and activities are called.  All of this may run code of users.
 */
#ifndef DURABLE_FUNCTION_CALL_H
#define DURABLE_FUNCTION_CALL_H

#include "common/model.h"

/* the only function of that (qualified or not) name in the search_path, or an error */
extern Oid	function_lookup(const char *name);
/* "schema.name(argument types)", always qualified; palloc'd */
extern char *function_signature(Oid function);
/* the function of such a signature, or an error saying it's gone */
extern Oid	function_by_signature(const char *signature);
/* error unless role may execute the function; runs nothing */
extern void function_check_execute(Oid function, Oid role);
/*
 * Call it as the current user with an input (NULL: none given); the result lives in
 * the current memory context; NULL for SQL null or void.  check_only: error unless
 * the user may execute it and it can take the input, but do not run it.
 */
extern Jsonb *function_call(Oid function, Jsonb *input, bool check_only);

#endif
