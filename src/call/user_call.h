/*
 * user_call.h
 *	  The door to user code: a worker looks up, converts the input of, and runs a
 *	  function of the role whose instances it runs, and does none of this
 *	  anywhere else.
 */
#ifndef DURABLE_USER_CALL_H
#define DURABLE_USER_CALL_H

#include "common/model.h"

#include "sched/patience.h"

typedef struct UserCall
{
	/* in */
	Oid			owner;			/* of the instance that this is for */
	Oid			(*resolve) (const char *name);	/* how the name is looked up */
	const char *name;
	Jsonb	   *input;			/* or NULL */
	const char *search_path;
	bool		read_only;		/* and roll back what it did */
	bool		check_only;		/* do not run it: find it, and see that it takes the input; needs read_only */
	int64		timeout;		/* ms; 0: none but statement_timeout */
	Jsonb	   *(*limit) (Oid owner, const Jsonb *result);	/* the failure of a result that is too large, or NULL */
	bool	   *expected;		/* if true after an error, the error is of no interest */
	/* out, zero before */
	Oid			function;		/* what was called, if it was found */
	char	   *signature;		/* of the function, if it was only checked; in the caller's memory context */
	Jsonb	   *result;			/* likewise, as the error */
	ErrorData  *error;			/* NULL: it returned, or the error was expected, or it was interrupted */
	bool		timed_out;		/* the error is that of our own timeout */
	bool		expired;		/* of that or of statement_timeout */
	bool		refused;		/* it wanted to write, and the server takes no writes for the time being */
	bool		wrote;			/* it took a transaction id of its own */
	Interruption interruption;	/* if not none, the call is undone and without result, and is to be made again alone */
} UserCall;

extern void user_call(UserCall *call);
/* ms after which a call with such a timeout is broken off; 0: never */
extern int64 user_call_timeout(int64 timeout);
/* oid of a function by its signature, or by its name under a search_path; cached */
extern Oid	resolve_signature(const char *signature);
extern Oid	resolve_name(const char *name);

#endif
