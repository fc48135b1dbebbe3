/*
 * scheduler.c
 *	  The scheduler of a database: finds work and starts workers for it.
 *
 * There is one scheduler in each database that has work.  It runs as the
 * bootstrap superuser and never runs user code.  Each turn of its loop
 *	1. counts what dead workers were running (crash_accounting.c),
 *	2. scans the tables for work and due timers, where that is due
 *	   (recovery_scan.c),
 *	3. starts workers for roles that wait for one (places.h),
 *	4. cares for instances whose owner does not exist (owner_adoption.c),
 *	5. logs what has waited for long (stall_log.c).
 * An error ends the process, and the launcher starts another one.
 *
 * Whoever has news for the scheduler stores it in shared memory
 * (database_slots.h) and sets the scheduler's latch.  The latch alone would not
 * be enough, since PostgreSQL resets it when the process waits for a lock or for
 * a standby.  The scheduler sleeps until the next time at which something is due
 * that nobody reports: a timer, the end of a pause, the next scan.
 *
 * The scheduler leaves the database when nothing was due for LINGER and no worker
 * is left, or when the launcher asks it to.  database_slots.h says when the next
 * one comes.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "common/call_context.h"
#include "common/guc.h"
#include "common/log_text.h"
#include "engine/failure_log.h"
#include "sched/database_slots.h"
#include "sched/places.h"
#include "sched/ready_queue.h"
#include "sched/role_eligibility.h"
#include "sched/worker_slots.h"
#include "shmem/crash_notes.h"
#include "shmem/stats.h"
#include "store/table_check.h"
#include "worker/bgworkers.h"
#include "worker/crash_accounting.h"
#include "worker/owner_adoption.h"
#include "worker/recovery_scan.h"
#include "worker/stall_log.h"

#define NEEDS			64		/* workers that are started at a time */
#define BLOCKED_PAUSE	(10 * USECS_PER_SEC)	/* for a role as which no worker can run */
#define NO_PROCESS_PAUSE	(USECS_PER_SEC / 20)
#define COMPLAINT_PAUSE_MS	60000
#define SOON_MS			10		/* sleep when a part of the work is left */
/* the scheduler is idle only if no timer is due within this time */
#define IDLE_TIME		USECS_PER_SEC
/* 200 times what a start takes, so that the starts take half a percent of a core at most */
#define LINGER			(10 * USECS_PER_SEC)

/* a worker that this scheduler has started; started[i].handle is NULL where there is none */
typedef struct StartedWorker
{
	BackgroundWorkerHandle *handle;
	int			slot;
	uint32		generation;
} StartedWorker;

static StartedWorker started[DURABLE_WORKERS_LIMIT];
static Oid	my_database;
/* what scheduler_exit reports: the state of the database, and when the next scheduler comes for a timer (0: none) */
static DatabaseState left_as = DATABASE_UNKNOWN;
static TimestampTz come_back = 0;

/* Give up the database's slot.  Work that is in the ready lists is found by the next scheduler's scan. */
static void
scheduler_exit(int code, Datum arg)
{
	bool		some;

	scheduler_detach(my_database, left_as, come_back, owner_adoption_missing());
	/* first the work, since worker_slots_forget_wanted would reserve slots for it again */
	some = ready_forget(my_database);
	worker_slots_forget_wanted(my_database);
	if (some)
		database_request_scan(my_database);
	if (left_as != DATABASE_AWAY)
		failure_log_forget(my_database);
}

/* Free the slots of workers that have ended, also of those that ended before they ran. */
static void
forget_ended_workers(void)
{
	bool		ended = false;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		pid_t		pid;

		if (started[i].handle == NULL ||
			GetBackgroundWorkerPid(started[i].handle, &pid) != BGWH_STOPPED)
			continue;
		worker_slot_unreserve(started[i].slot, started[i].generation);
		pfree(started[i].handle);
		started[i].handle = NULL;
		ended = true;
	}
	if (!ended)
		return;
	/* other schedulers, and the launcher, may wait for a process */
	places_process_ended();
	database_launcher_look();
}

/*
 * Leave the database if the extension does not exist there, or if its tables are
 * not as expected.  The launcher starts another scheduler when that may have
 * changed.
 */
static void
check_extension(void)
{
	bool		exists;
	bool		fits;
	StringInfoData pids;

	bgworker_begin();
	exists = OidIsValid(get_extension_oid("durable", true));
	fits = exists && tables_fit(LOG);
	if (!exists)
		stall_log_dropped();
	bgworker_commit();
	if (fits)
		return;
	if (!exists)
		stats_reset(my_database);
	initStringInfo(&pids);
	(void) database_end_workers(my_database, &pids);
	left_as = exists ? DATABASE_UNFIT : DATABASE_ABSENT;
	proc_exit(0);
}

/* Why no worker can run as a role now; NULL if one can.  *gone: whether the role was dropped. */
static char *
look_for_obstacle(Oid role, char **database, bool *gone)
{
	char	   *obstacle;

	bgworker_begin();
	*gone = !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
	*database = log_database(my_database);
	obstacle = role_obstacle(role);
	bgworker_commit();
	return obstacle;
}

/*
 * The server has no process for a worker.  An idle worker of any database ends,
 * or else the launcher asks another scheduler to leave, and the log says so.
 */
static void
lack_process(const WantedProcess *wanted)
{
	static TimestampTz complained = 0;
	bool		room = places_make_room();

	if (!room)
		database_lack_process(my_database);
	places_back_off(my_database, wanted->role, GetCurrentTimestamp() + NO_PROCESS_PAUSE, true);
	if (room || !log_again(&complained, COMPLAINT_PAUSE_MS))
		return;
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("durable could not start a worker"),
			 errdetail("Work waits for another process to end; there are 20 attempts a second."),
			 errhint("Increase max_worker_processes, or decrease durable.max_workers or durable.max_long_activities.")));
}

/* Start a worker in the slot that is reserved for it. */
static void
start_worker(const WantedProcess *wanted)
{
	WorkerExtra extra = {.role = wanted->role, .slot = wanted->slot};
	StartedWorker *entry = started;

	while (entry < started + DURABLE_WORKERS_LIMIT && entry->handle != NULL)
		entry++;
	if (entry < started + DURABLE_WORKERS_LIMIT && bgworker_start(my_database, &extra, &entry->handle))
	{
		entry->slot = wanted->slot;
		entry->generation = wanted->generation;
		return;
	}
	worker_slot_unreserve(wanted->slot, wanted->generation);
	lack_process(wanted);
}

/* Start a worker for a role, unless no process can run as the role. */
static void
serve_role(const WantedProcess *wanted)
{
	char	   *database;
	bool		gone;
	char	   *obstacle = look_for_obstacle(wanted->role, &database, &gone);

	if (!gone && obstacle == NULL)
	{
		start_worker(wanted);
		return;
	}
	worker_slot_unreserve(wanted->slot, wanted->generation);
	if (gone)
	{
		/* owner_adoption.c fails the instances of the role */
		ready_drop(my_database, wanted->role);
		owner_adoption_request();
		return;
	}
	places_back_off(my_database, wanted->role, GetCurrentTimestamp() + BLOCKED_PAUSE, false);
	ereport(LOG,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("durable cannot run instances in database %s: %s",
					database, log_text(obstacle, LOG_MESSAGE, false)),
			 errdetail("They wait; the next attempt is in 10 seconds.")));
}

/*
 * Give free places to roles that wait for one, and start workers where no idle
 * one exists.  Returns true if there are more of them; places_look_at says when
 * a pause of a role ends.
 */
static bool
start_workers(void)
{
	WantedProcess wanted[NEEDS];
	int			count;
	bool		soon = places_look(my_database, wanted, NEEDS, &count);

	for (int i = 0; i < count; i++)
		serve_role(&wanted[i]);
	return soon;
}

/* Milliseconds until the next thing is due that nobody reports.  0 in a time means that there is none. */
static long
time_to_sleep(TimestampTz stalled)
{
	TimestampTz next = earlier_time(earlier_time(recovery_scan_wake_at(), stalled),
									earlier_time(places_look_at(my_database), crash_accounting_retry_at()));
	TimestampTz now = GetCurrentTimestamp();

	return next <= now ? 0 : Min((next - now) / 1000 + 1, PG_INT32_MAX);
}

/* Do once what is due; returns how many milliseconds to sleep. */
static long
do_due_work(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz stalled;
	DatabaseNews news = database_collect(my_database);
	int64		instances;
	bool		all;
	bool		soon;

	/* first, since workers end if the extension is not there */
	if (news.changed)
		check_extension();
	if (news.roles)
		owner_adoption_request();
	forget_ended_workers();
	crash_accounting_run();
	if (recovery_scan_poll(now))
	{
		check_extension();
		owner_adoption_request();
	}
	soon = recovery_scan_run(&news, now);
	soon |= start_workers();
	soon |= owner_adoption_work();
	instances = recovery_scan_instances(&all);
	stall_log_running(instances, all);
	stalled = stall_log_look(my_database);
	return soon ? SOON_MS : time_to_sleep(stalled);
}

/* Whether this database has a worker; busy: one that is not idle. */
static bool
has_workers(bool busy)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			count = worker_slot_list(workers);

	for (int i = 0; i < count; i++)
		if (workers[i].db == my_database && !(busy && workers[i].state == WORKER_IDLE))
			return true;
	return false;
}

/* Whether the database has no work, no busy worker, and no timer that is due within IDLE_TIME. */
static bool
is_idle(long sleep)
{
	TimestampTz next_timer = recovery_scan_next_timer();
	QueueInfo  *queues;
	int			count;

	if (sleep <= SOON_MS || !recovery_scan_settled() || crash_accounting_retry_at() != 0 ||
		(next_timer != 0 && next_timer <= GetCurrentTimestamp() + IDLE_TIME) || has_workers(true) ||
		!durable_wakeups || !owner_adoption_settled() || failure_log_pending(my_database) || crash_note_pending(my_database))
		return false;
	count = queue_list(my_database, &queues);
	for (int i = 0; i < count; i++)
		if (queues[i].instances > 0 || queues[i].activities > 0)
			return false;
	return true;
}

/*
 * Nothing is due: leave the database, or return how many milliseconds to sleep.
 * The scheduler stays while idle workers are left, which would find new work
 * faster than a new scheduler would, and while it remembers orphans, which the
 * next scheduler would have to find again.  If the launcher asks it to leave, the
 * workers go on with the work that they hold, and the next scheduler comes as
 * soon as it gets a process, or for the next timer if this one was idle.
 */
static long
leave_or_rest(long sleep)
{
	bool		idle = is_idle(sleep);
	bool		finished = idle && !has_workers(false) && !recovery_scan_has_orphans();
	bool		asked;
	bool		may_sleep;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz idle_since = database_rest(my_database, idle, &asked, &may_sleep);

	if (asked || (finished && now - idle_since >= LINGER))
	{
		left_as = DATABASE_AWAY;
		come_back = idle ? recovery_scan_next_timer() : now;
		proc_exit(0);
	}
	if (!may_sleep)
		return 0;
	return finished ? Min(sleep, (idle_since + LINGER - now) / 1000 + 1) : sleep;
}

/* Main function of a scheduler. */
void
durable_scheduler_main(Datum arg)
{
	MemoryContext context;

	my_database = DatumGetObjectId(arg);
	bgworker_init(PROCESS_SCHEDULER);
	if (!scheduler_attach(my_database))
		proc_exit(0);
	on_shmem_exit(scheduler_exit, (Datum) 0);
	bgworker_connect(my_database, InvalidOid);
	pgstat_report_appname("durable scheduler");
	/* a lock for which the scheduler waits holds up all work of the database */
	SetConfigOption("log_lock_waits", "on", PGC_SUSET, PGC_S_OVERRIDE);
	check_extension();
	context = AllocSetContextCreate(TopMemoryContext, "durable scheduler", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		long		sleep;

		bgworker_handle_interrupts();
		pgstat_report_activity(STATE_RUNNING, "looking for work");
		sleep = leave_or_rest(do_due_work());
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
		if (sleep > 0)
			bgworker_wait(sleep);
	}
}
