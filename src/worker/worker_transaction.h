/*
 * worker_transaction.h
 *	  The transaction in which a worker does a part of its work, a round.
 *
 *	round_begin ... round_commit		what it does, round_full() in between
 *	round_failure ... round_clear		instead, in PG_CATCH
 */
#ifndef DURABLE_WORKER_TRANSACTION_H
#define DURABLE_WORKER_TRANSACTION_H

#include "common/model.h"

#include "engine/instance.h"

#define ROUND_INSTANCES		1000	/* the largest durable.batch_size */
#define ROUND_ACTIVITIES	16		/* of the queue taken at a time, and of one step */

extern WorkerTransaction this_transaction;

extern void round_init(void);
extern void round_begin(int count, bool runs_alone);
extern void round_start_clock(void);
extern bool round_alone(void);
extern bool round_lone(void);
extern bool round_full(void);
extern void round_stop(void);
extern void round_step(void);
extern void round_ran(bool wrote);
extern void round_commit(void);

extern ErrorData *round_failure(void);
/* in place of round_failure where there is nothing else to be done with the error than to log it */
extern bool round_report(void);
extern void round_clear(void);

#endif
