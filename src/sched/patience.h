/*
 * patience.h
 *	  How long user code may make others wait.
 *
 * In a batch place code runs *with patience*: the call is interrupted when it
 * has waited for a lock, or has run, for longer than others should wait, and
 * before it does something that a rollback does not undo.  Its savepoint is
 * rolled back, and it runs again *alone*, in a long place (places.h), for as
 * long as it takes.
 *
 * All functions are called by the worker itself.
 */
#ifndef DURABLE_PATIENCE_H
#define DURABLE_PATIENCE_H

#include "common/model.h"

/* why a call was interrupted */
typedef enum Interruption
{
	INTERRUPTION_NONE,
	INTERRUPTION_TIME,			/* the call has run for durable.batch_time */
	INTERRUPTION_LOCK,			/* the call waited for a lock */
	INTERRUPTION_OUTSIDE,		/* the call was about to do something that a rollback does not undo, or its function must run alone */
	INTERRUPTION_PLACE			/* the call runs alone and waited for a lock while others wait for its place */
} Interruption;

/* called once in a worker, after it has connected */
extern void patience_install(void);
/* a transaction of a worker begins, which runs a call alone or not; patience_end: it ends or is rolled back */
extern void patience_begin(bool alone);
extern void patience_end(void);

/*
 * A call of user code begins and ends, within its savepoint.  has_limit: it
 * has a timeout of its own; may_write: it may have effects.  patience_call_end
 * returns why the call was interrupted.
 */
extern void patience_call_begin(bool has_limit, bool may_write);
extern Interruption patience_call_end(void);
/* the call is of this function; throws if the function must run alone and the call does not */
extern void patience_check(Oid function);
/* whether the last call ran alone and was rolled back because it waited for a lock while others wait */
extern bool patience_gave_way(void);
/* whether the last call did something that a rollback does not undo */
extern bool patience_outside(void);
/* whether the last call ran SET CONSTRAINTS, which lasts until the end of the transaction */
extern bool patience_constraints_set(void);

#endif
