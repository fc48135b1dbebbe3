/*
 * function_call.h
 *	  Calling an SQL function with one jsonb input, as orchestrators and
 *	  activities are called.
 *
 * function_call and parameter_convert may run code of users.
 */
#ifndef DURABLE_FUNCTION_CALL_H
#define DURABLE_FUNCTION_CALL_H

#include "common/model.h"

#include "call/function_cache.h"

/* error unless the role may execute the function */
extern void function_check_execute(Oid function, Oid role);
/*
 * Call a function as the current user with an input (NULL: none given).  The
 * result is NULL for SQL null and void, rows are objects, sets are arrays; it is
 * in the current memory context.  check_only: raise the errors that come before
 * the function runs, such as a missing privilege or an input that does not fit, but
 * do not run the function.
 */
extern Jsonb *function_call(Oid function, Jsonb *input, bool check_only);
/* convert a value to a parameter's type; object: has the value as the member parameter->key, or NULL */
extern Datum parameter_convert(CallableParameter *parameter, JsonbValue *value, Jsonb *object,
							   bool *is_null);

#endif
