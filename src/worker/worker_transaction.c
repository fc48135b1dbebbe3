/*
 * worker_transaction.c
 *	  The transaction of a round: begins it, says when it is to end, ends it.
 *
 * It ends before anything else is run when its time is over, when a function was
 * interrupted (patience.h), or when too many subtransactions have written: an
 * activity is one, and past 64 of those snapshots of the whole server get slow.
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

#define MAX_WRITERS		60		/* subtransactions with a transaction id in a round */

Round		this_round;

static Oid	my_extension;
static MemoryContext round_context;
static TimestampTz round_end;	/* no activity is begun after this */
static bool stopped;			/* commit before anything else is run */
static int	writers;			/* activities that wrote so far */
static int	steps;				/* turns and activities so far */
static int	ninstances;		/* in it */
static bool lone;				/* it is that of something that runs alone, in a long place */

/* Get ready for rounds, once connected. */
void
round_init(void)
{
	StartTransactionCommand();
	my_extension = get_extension_oid("durable", true);
	CommitTransactionCommand();
	round_context = AllocSetContextCreate(TopMemoryContext, "durable round", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round_context);
}

/* The time of a round begins now. */
void
round_start_clock(void)
{
	round_end = GetCurrentTimestamp() + durable_batch_time * INT64CONST(1000);
}

/*
 * Whether a round must end before another turn or activity is begun.  Each
 * round does something, however long it took to load the instances.
 */
bool
round_full(void)
{
	if (!stopped && steps > 0 &&
		(writers >= MAX_WRITERS || GetCurrentTimestamp() >= round_end))
		stopped = true;
	return stopped;
}

/* Begin the transaction of a round with so many instances, or of something that runs alone. */
void
round_begin(int count, bool runs_alone)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* whatever the role's defaults; user code gets its read-only one */
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	MemoryContextSwitchTo(round_context);
	failure_log_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* DROP EXTENSION waits for the round, and the round never for some of its tables */
	extension_lock(my_extension, AccessShareLock);
	this_round.store = store_open_all();
	if (this_round.store == NULL)
	{
		/* the scheduler says what is wrong */
		database_changed(MyDatabaseId);
		proc_exit(0);
	}
	/* the role was dropped or may not connect any more: the scheduler says so */
	if (!role_still_welcome())
		proc_exit(0);
	this_round.owner = GetSessionUserId();
	this_round.now = GetCurrentTimestamp();
	stopped = false;
	writers = 0;
	steps = 0;
	round_start_clock();
	ninstances = count;
	lone = runs_alone;
	patience_begin(lone);
}

/* Whether the round is that of one instance. */
bool
round_alone(void)
{
	return ninstances == 1;
}

/* Whether it is that of something that has a long place, and as long as it needs. */
bool
round_lone(void)
{
	return lone;
}

/* A turn is run, or another thing that a round may end after. */
void
round_step(void)
{
	steps++;
}

/* Commit before anything else is run. */
void
round_stop(void)
{
	stopped = true;
}

/* Commit it. */
void
round_commit(void)
{
	patience_end();
	store_close(this_round.store);
	PopActiveSnapshot();
	stats_count(STATS_BATCHES, 1);
	CommitTransactionCommand();
	failure_log_commit();
	MemoryContextSwitchTo(round_context);
	MemoryContextReset(round_context);
	pgstat_report_stat(false);
}

/* Take note of a finished activity. */
void
round_ran(bool wrote)
{
	writers += wrote;
	steps++;
	/* SET CONSTRAINTS lasts until the end of the transaction */
	if (patience_constraints_set())
		stopped = true;
}

/* A round has failed: undo it. The error, until the next round, or round_clear. */
ErrorData *
round_failure(void)
{
	ErrorData  *error;

	MemoryContextSwitchTo(round_context);
	error = CopyErrorData();
	FlushErrorState();
	patience_end();
	AbortOutOfAnyTransaction();
	replay_reset();
	(void) crash_note_clear();
	MemoryContextSwitchTo(round_context);
	return error;
}

/* Forget what is left of a round that failed. */
void
round_clear(void)
{
	MemoryContextReset(round_context);
}

/*
 * What has gone wrong even in dealing with an error is reported; true if it
 * will pass, so that trying again makes sense.
 */
bool
round_report(void)
{
	bool		transient;

	EmitErrorReport();
	transient = sqlstate_is_passing(round_failure()->sqlerrcode);
	if (transient)
		process_wait(200);
	return transient;
}
