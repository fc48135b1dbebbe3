/*
 * function_lookup.h
 *	  Finding functions by name or signature.
 *
 * function_lookup is a start of user code (process_require_role); nothing else
 * here runs code of users.
 */
#ifndef DURABLE_FUNCTION_LOOKUP_H
#define DURABLE_FUNCTION_LOOKUP_H

#include "common/model.h"

/* the function of a signature, or the only function of a name in the search_path; an error unless function_call can call it */
extern Oid	function_lookup(const char *name);
/* "schema.name(argument types)", always qualified; palloc'd */
extern char *function_signature(Oid function);
/* the function of such a signature, or an error that it does not exist */
extern Oid	function_by_signature(const char *signature);
/* the signature as messages show it */
extern char *function_title(Oid function);
/* error unless function_call can call this kind of function */
extern void function_check_callable(Oid function);

#endif
