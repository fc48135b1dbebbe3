/*
 * worker_transaction.h
 *	  The transaction in which a worker advances a batch of instances, or runs
 *	  queued activities.
 *
 *	worker_transaction_begin
 *		work, as long as worker_transaction_full() is false
 *	worker_transaction_commit
 *
 * Where that throws an error, PG_CATCH calls worker_transaction_failure, and
 * worker_transaction_clear once it has dealt with the error.
 */
#ifndef DURABLE_WORKER_TRANSACTION_H
#define DURABLE_WORKER_TRANSACTION_H

#include "common/model.h"

#include "engine/instance.h"

#define MAX_BATCH_INSTANCES		1000	/* the largest durable.batch_size */
#define MAX_BATCH_ACTIVITIES	16	/* queued activities that are taken at a time, or activities of a step */

extern WorkerTransaction worker_transaction;

/* once, when the worker is connected */
extern void worker_transaction_init(void);
/* count: instances in it; in_long_place: it has one turn or activity, which may take as long as it needs */
extern void worker_transaction_begin(int count, bool in_long_place);
/* durable.batch_time begins now, not at worker_transaction_begin */
extern void worker_transaction_start_clock(void);
/* whether it has one instance */
extern bool worker_transaction_alone(void);
extern bool worker_transaction_in_long_place(void);
/* whether it must commit before another turn or activity begins */
extern bool worker_transaction_full(void);
/* make it full */
extern void worker_transaction_stop(void);
/* a turn was run, or a child was started */
extern void worker_transaction_step(void);
/* an activity was run */
extern void worker_transaction_ran(bool wrote);
extern void worker_transaction_commit(void);

/* abort; the error is valid until worker_transaction_clear or the next begin */
extern ErrorData *worker_transaction_failure(void);
/* abort and log the error; true if it is one that passes, after a short sleep */
extern bool worker_transaction_report(void);
extern void worker_transaction_clear(void);

#endif
