/*
 * worker_transaction.c
 *	  The transaction in which a worker advances a batch of instances, or runs
 *	  queued activities.
 *
 * It commits before another turn or activity begins when durable.batch_time is
 * over, when a function was interrupted (patience.h), or when MAX_WRITERS
 * activities have written.  Each activity is a subtransaction, and with more than
 * 64 of them that have a transaction id all snapshots of the server become slow.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "call/user_call.h"
#include "common/extension.h"
#include "common/failure.h"
#include "common/guc.h"
#include "engine/failure_log.h"
#include "engine/turn.h"
#include "sched/database_slots.h"
#include "sched/patience.h"
#include "sched/role_eligibility.h"
#include "shmem/crash_notes.h"
#include "shmem/stats.h"
#include "worker/bgworkers.h"
#include "worker/worker_transaction.h"

#define MAX_WRITERS		60		/* activities of a transaction that have written */

WorkerTransaction		worker_transaction;

static Oid	my_extension;
static MemoryContext transaction_context;
/* the current transaction */
static TimestampTz time_is_over;	/* no turn or activity begins after this */
static bool stopped;			/* nor if this is set */
static int	writers;			/* activities that have written */
static int	steps;				/* turns and activities so far */
static int	ninstances;
static bool in_long_place;

void
worker_transaction_init(void)
{
	StartTransactionCommand();
	my_extension = get_extension_oid("durable", true);
	CommitTransactionCommand();
	transaction_context = AllocSetContextCreate(TopMemoryContext, "durable worker transaction", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(transaction_context);
}

void
worker_transaction_start_clock(void)
{
	time_is_over = GetCurrentTimestamp() + durable_batch_time * INT64CONST(1000);
}

bool
worker_transaction_full(void)
{
	/* each transaction does a step, however long it took to load the instances */
	if (!stopped && steps > 0 &&
		(writers >= MAX_WRITERS || GetCurrentTimestamp() >= time_is_over))
		stopped = true;
	return stopped;
}

void
worker_transaction_begin(int count, bool long_place)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* the role may have other defaults */
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	MemoryContextSwitchTo(transaction_context);
	failure_log_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* DROP EXTENSION waits for this lock before it locks any table */
	extension_lock(my_extension, AccessShareLock);
	worker_transaction.store = store_open_all();
	if (worker_transaction.store == NULL)
	{
		/* the tables are not as expected: the scheduler logs why */
		database_changed(MyDatabaseId);
		proc_exit(0);
	}
	/* the role was dropped or may no longer connect: the scheduler logs that */
	if (!role_still_welcome())
		proc_exit(0);
	worker_transaction.owner = GetSessionUserId();
	worker_transaction.now = GetCurrentTimestamp();
	stopped = false;
	writers = 0;
	steps = 0;
	worker_transaction_start_clock();
	ninstances = count;
	in_long_place = long_place;
	patience_begin(long_place);
}

bool
worker_transaction_alone(void)
{
	return ninstances == 1;
}

bool
worker_transaction_in_long_place(void)
{
	return in_long_place;
}

void
worker_transaction_step(void)
{
	steps++;
}

void
worker_transaction_stop(void)
{
	stopped = true;
}

void
worker_transaction_commit(void)
{
	patience_end();
	store_close(worker_transaction.store);
	PopActiveSnapshot();
	stats_count(STATS_BATCHES, 1);
	CommitTransactionCommand();
	failure_log_commit();
	MemoryContextSwitchTo(transaction_context);
	MemoryContextReset(transaction_context);
	pgstat_report_stat(false);
}

void
worker_transaction_ran(bool wrote)
{
	writers += wrote;
	steps++;
	/* SET CONSTRAINTS would last for the other activities of the transaction */
	if (patience_constraints_set())
		stopped = true;
}

ErrorData *
worker_transaction_failure(void)
{
	ErrorData  *error;

	MemoryContextSwitchTo(transaction_context);
	error = CopyErrorData();
	FlushErrorState();
	patience_end();
	AbortOutOfAnyTransaction();
	replay_reset();
	(void) crash_note_clear();
	MemoryContextSwitchTo(transaction_context);
	return error;
}

void
worker_transaction_clear(void)
{
	MemoryContextReset(transaction_context);
}

bool
worker_transaction_report(void)
{
	bool		transient;

	EmitErrorReport();
	transient = sqlstate_is_passing(worker_transaction_failure()->sqlerrcode);
	if (transient)
		bgworker_wait(200);
	return transient;
}
