/*
 * worker_transaction.h
 *	  The transaction in which a worker does a part of its work, a round.
 *
 *	worker_transaction_begin ... worker_transaction_commit		what it does, worker_transaction_full() in between
 *	worker_transaction_failure ... worker_transaction_clear		instead, in PG_CATCH
 */
#ifndef DURABLE_WORKER_TRANSACTION_H
#define DURABLE_WORKER_TRANSACTION_H

#include "common/model.h"

#include "engine/instance.h"

#define MAX_BATCH_INSTANCES		1000	/* the largest durable.batch_size */
#define MAX_BATCH_ACTIVITIES	16		/* of the queue taken at a time, and of one step */

extern Round worker_transaction;

extern void worker_transaction_init(void);
extern void worker_transaction_begin(int count, bool runs_alone);
extern void worker_transaction_start_clock(void);
extern bool worker_transaction_alone(void);
extern bool worker_transaction_lone(void);
extern bool worker_transaction_full(void);
extern void worker_transaction_stop(void);
extern void worker_transaction_step(void);
extern void worker_transaction_ran(bool wrote);
extern void worker_transaction_commit(void);

extern ErrorData *worker_transaction_failure(void);
/* in place of worker_transaction_failure where there is nothing else to be done with the error than to log it */
extern bool worker_transaction_report(void);
extern void worker_transaction_clear(void);

#endif
