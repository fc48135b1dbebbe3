/*
 * user_call.h
 *	  The one place where a worker runs code of users: it looks a function up,
 *	  converts its input, and runs it, as the role whose instances the worker runs.
 */
#ifndef DURABLE_USER_CALL_H
#define DURABLE_USER_CALL_H

#include "common/model.h"

#include "sched/patience.h"

typedef struct UserCall
{
	/* in */
	Oid			owner;			/* of the instance; the role of this session */
	Oid			(*resolve) (const char *name);	/* how the name is looked up */
	const char *name;
	Jsonb	   *input;			/* or NULL */
	const char *search_path;
	bool		read_only;		/* refuse writes, and roll the call back */
	bool		check_only;		/* only find the function and check that it takes the input; needs read_only */
	int64		timeout;		/* ms; 0: only statement_timeout */
	Jsonb	   *(*limit) (Oid owner, const Jsonb *result);	/* the failure of a result that is too large, or NULL */
	bool	   *expected;		/* if true after an error, the error is dropped */
	/* out, zero before; the pointers are into the caller's memory context */
	Oid			function;		/* the function, if it was found */
	char	   *signature;		/* of the function, after check_only */
	Jsonb	   *result;
	ErrorData  *error;			/* NULL: the function returned, was interrupted, or the error was expected */
	bool		timed_out;		/* the error is that of the field timeout */
	bool		expired;		/* the error is that of the field timeout or of statement_timeout */
	bool		refused;		/* it tried to write, and the server or database is read-only for now */
	bool		wrote;			/* its subtransaction got a transaction id */
	Interruption interruption;	/* if set, the call is undone without a result, and must be repeated alone */
} UserCall;

/* run the call in a subtransaction; raises no error of the function */
extern void user_call(UserCall *call);
/* ms after which a call with this timeout is canceled; 0: never */
extern int64 user_call_timeout(int64 timeout);
/* for UserCall.resolve: function_by_signature and function_lookup (under the current search_path), cached */
extern Oid	resolve_signature(const char *signature);
extern Oid	resolve_name(const char *name);

#endif
