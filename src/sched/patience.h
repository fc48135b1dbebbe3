/*
 * patience.h
 *	  How long user code may keep others waiting.
 *
 * In a batch place code runs with patience: it is interrupted when it has
 * waited for a lock, or has run, for longer than others should wait, and
 * before it does what no rollback takes back.  Its savepoint is rolled back, and
 * it runs again alone, in a long place, for as long as it takes.
 */
#ifndef DURABLE_PATIENCE_H
#define DURABLE_PATIENCE_H

#include "common/model.h"

/* why a call was interrupted */
typedef enum Interruption
{
	INTERRUPTION_NONE,
	INTERRUPTION_TIME,			/* it has run for durable.batch_time */
	INTERRUPTION_LOCK,			/* it waited for a lock */
	INTERRUPTION_OUTSIDE,		/* it was about to do what no rollback takes back, or is to begin alone */
	INTERRUPTION_PLACE			/* alone, it waited for a lock while others wait for its place */
} Interruption;

/* in a worker, once it is connected */
extern void patience_install(void);
/* a round begins, of something that runs alone or not; it ends, or is undone */
extern void patience_begin(bool alone);
extern void patience_end(void);

/* around a call of user code, within its savepoint, with or without a timeout of its own; why it was interrupted */
extern void patience_call_begin(bool has_limit, bool may_write);
extern Interruption patience_call_end(void);
/* the function that the call is of; throws if it is to begin alone and does not run so */
extern void patience_check(Oid function);
/* whether the last call, alone, was rolled back for others, as it waited for a lock */
extern bool patience_gave_way(void);
/* whether the last call did something that no rollback takes back */
extern bool patience_outside(void);
/* whether it has set when constraints are checked, which lasts until the end of the transaction */
extern bool patience_constraints_set(void);

#endif
