/*
 * stall_log.c
 *	  The scheduler logs that the engine runs in its database, and which work has
 *	  waited for STALL: for a lock, for a worker, for a long place, or for a
 *	  function that keeps other instances of its worker waiting.
 *
 * The scheduler reads the queues and worker slots in shared memory, not the
 * engine's tables, which may be locked.  After a line about a role's work it logs
 * no other one about that role for REPEAT.  If the scheduler itself waits for a
 * lock, PostgreSQL logs that: see durable_scheduler_main.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "common/log_text.h"
#include "engine/failure_log.h"
#include "sched/database_slots.h"
#include "sched/ready_lists.h"
#include "sched/ready_queue.h"
#include "sched/worker_slots.h"
#include "worker/stall_log.h"

#define STALL			(10 * USECS_PER_SEC)
#define REPEAT			(300 * USECS_PER_SEC)

/* when a role's wait was logged; an entry that is older than REPEAT is free */
typedef struct LoggedStall
{
	Oid			role;
	TimestampTz at;
} LoggedStall;

static LoggedStall logged_stalls[READY_QUEUES];
static bool running = false;	/* stall_log_running was called */

/* Whether a role's wait may be logged now; if so, the time is noted. */
static bool
may_log(Oid role, TimestampTz now)
{
	LoggedStall *free_entry = NULL;

	for (int i = 0; i < READY_QUEUES; i++)
	{
		bool		recent = logged_stalls[i].at <= now && now - logged_stalls[i].at < REPEAT;

		if (recent && logged_stalls[i].role == role)
			return false;
		if (!recent)
			free_entry = &logged_stalls[i];
	}
	if (free_entry == NULL)
		return false;
	*free_entry = (LoggedStall) {.role = role, .at = now};
	return true;
}

/* The lock for which a process waits, as text. */
static char *
lock_text(pid_t pid)
{
	BlockedProcsData *data = GetBlockerStatusData(pid);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < data->nlocks; i++)
	{
		const LockInstanceData *lock = &data->locks[i];
		char	   *name;

		if (lock->pid != pid || lock->waitLockMode == NoLock)
			continue;
		appendStringInfo(&text, "%s on ", GetLockmodeName(lock->locktag.locktag_lockmethodid, lock->waitLockMode));
		DescribeLockTag(&text, &lock->locktag);
		name = lock->locktag.locktag_type == LOCKTAG_RELATION && lock->locktag.locktag_field1 == MyDatabaseId ?
			get_rel_name(lock->locktag.locktag_field2) : NULL;
		if (name != NULL)
			appendStringInfo(&text, " (%s)", log_text(name, LOG_NAME, true));
		return text.data;
	}
	return pstrdup("a lock");
}

/* The processes that block a process, as text. */
static char *
blockers_text(pid_t pid)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	const int32 *pids = (const int32 *) ARR_DATA_PTR(array);
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < count && i < 10; i++)
		appendStringInfo(&text, "%s%d", i > 0 ? ", " : "", pids[i]);
	/* 0 is a prepared transaction */
	return count > 0 ? text.data : pstrdup("none any more");
}

/* How much work a role has, as text. */
static char *
work_text(const QueueInfo *info)
{
	return psprintf("Instances that wait for a worker: %d, that workers hold: %d; queued activities: %d.",
					info->instances, info->claimed, info->activities);
}

static int
seconds(TimestampTz now, TimestampTz since)
{
	return (int) ((now - since) / USECS_PER_SEC);
}

static void
log_lock_wait(const QueueInfo *info, TimestampTz now)
{
	ereport(LOG,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("work of role %s in database %s has waited for a lock for %d s",
					log_role(info->role), log_database(MyDatabaseId), seconds(now, info->for_lock.since)),
			 errdetail("Worker %d waits for %s; processes that hold it or come first: %s. %s",
					   (int) info->for_lock.pid, lock_text(info->for_lock.pid), blockers_text(info->for_lock.pid), work_text(info)),
			 errhint("See durable.workers for what the worker runs, and pg_stat_activity for what the others do.")));
}

static void
log_worker_wait(const QueueInfo *info, TimestampTz now)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];

	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("work of role %s in database %s has waited for a worker for %d s",
					log_role(info->role), log_database(MyDatabaseId), seconds(now, info->for_batch.since)),
			 errdetail("The role has %d workers of %d in the server, where durable.max_workers is %d. %s",
					   info->workers, worker_slot_list(workers), durable_max_workers, work_text(info)),
			 errhint("Increase durable.max_workers and max_worker_processes, or see in durable.workers what keeps the workers.")));
}

static void
log_long_place_wait(const QueueInfo *info, TimestampTz now)
{
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("work of role %s in database %s has waited for a long place for %d s",
					log_role(info->role), log_database(MyDatabaseId), seconds(now, info->for_long.since)),
			 errdetail("durable.max_long_activities is %d. %s", durable_max_long_activities, work_text(info)),
			 errhint("Increase durable.max_long_activities and max_worker_processes, or see in durable.workers what runs in the places.")));
}

static void
log_function_wait(const QueueInfo *info, TimestampTz now)
{
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("work of role %s in database %s has waited for a function for %d s",
					log_role(info->role), log_database(MyDatabaseId), seconds(now, info->for_function.since)),
			 errdetail("Worker %d runs it. %s", (int) info->for_function.pid, work_text(info)),
			 errhint("See durable.workers for what the worker runs.")));
}

/* Log one wait of a role: for a lock, if there is one, as it may cause the others. */
static void
log_stall(const QueueInfo *info, TimestampTz now)
{
	TimestampTz stalled = now - STALL;

	if (info->for_lock.since != 0 && info->for_lock.since <= stalled)
		log_lock_wait(info, now);
	else if (info->for_function.since != 0 && info->for_function.since <= stalled)
		log_function_wait(info, now);
	else if (info->for_batch.since != 0 && info->for_batch.since <= stalled)
		log_worker_wait(info, now);
	else
		log_long_place_wait(info, now);
}

/* Log what has waited for STALL.  Returns when the next wait will be that long; 0: nothing waits. */
static TimestampTz
look_for_stalls(Oid db)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = 0;
	QueueInfo  *infos;
	int			count = queue_list(db, &infos);

	for (int i = 0; i < count; i++)
	{
		TimestampTz since = queue_waiting_since(&infos[i]);

		/* the scheduler has logged why it starts no worker for the role */
		if (since == 0 || (infos[i].pausing && infos[i].workers == 0))
			continue;
		if (now - since < STALL)
			next = next == 0 ? since + STALL : Min(next, since + STALL);
		else if (may_log(infos[i].role, now))
			log_stall(&infos[i], now);
	}
	return next;
}

TimestampTz
stall_log_look(Oid db)
{
	static TimestampTz last = 0;
	static TimestampTz next = 0;
	MemoryContext context = CurrentMemoryContext;
	TimestampTz now = GetCurrentTimestamp();

	/* once a second at most; the clock may have been set back */
	if (last <= now && now - last < USECS_PER_SEC)
		return next;
	last = now;
	StartTransactionCommand();
	failure_log_sum_up(db);
	next = look_for_stalls(db);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return next;
}

void
stall_log_running(int64 instances, bool all)
{
	MemoryContext context = CurrentMemoryContext;

	if (running)
		return;
	running = true;
	if (database_note(MyDatabaseId, NOTE_ANNOUNCED, true))
		return;
	StartTransactionCommand();
	ereport(LOG,
			(errmsg("durable %s runs in database %s", DURABLE_VERSION, log_database(MyDatabaseId)),
			 errdetail("Instances that have something to do: %s%lld.", all ? "" : "more than ", (long long) instances)));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

void
stall_log_dropped(void)
{
	if (database_note(MyDatabaseId, NOTE_ANNOUNCED, false))
		ereport(LOG,
				(errmsg("durable stops in database %s: the extension was dropped", log_database(MyDatabaseId))));
}
