/*
 * launcher.c
 *	  Starts a scheduler in every database that has the extension and work.
 *
 * The launcher is connected to no database, so it cannot see where the extension
 * exists.  It starts a scheduler once in each database; the scheduler leaves if
 * the extension is missing or nothing is due.  The database's slot
 * (database_slots.h) says when the next scheduler comes.  The launcher ends the
 * engine in a database that durable.databases no longer names.
 *
 * Schedulers may take the processes that max_worker_processes leaves beside the
 * launchers and durable.max_workers, but at least one.  Databases that a session
 * has woken, or for which a timer is due, are served first, by the time since
 * which they wait.  For each database that gets no process, the launcher asks one
 * scheduler to leave: the one that has been idle longest, or else the one that has
 * run longest, after a minimum time.
 *
 * Other extensions may take processes, too.  The launcher notices that when it
 * cannot start one; then an idle worker ends.  While a worker waits for a process,
 * no scheduler is started, and one more scheduler is asked to leave.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/call_context.h"
#include "common/guc.h"
#include "common/log_text.h"
#include "sched/database_slots.h"
#include "sched/places.h"
#include "shmem/stats.h"
#include "worker/bgworkers.h"

#define LOOK_INTERVAL_MS	60000
/* pause after each look, so that many wake-ups at once cause one look; and the longest sleep while a database waits for a process */
#define LOOK_PAUSE			(USECS_PER_SEC / 200)
#define CROWDED_PAUSE_MS	20
/* minimum time of an idle, and of a busy, scheduler before it is asked to leave; a start costs a fraction of it */
#define IDLE_TIME			(USECS_PER_SEC / 20)
#define BUSY_TIME			(10 * USECS_PER_SEC)
/* a scheduler that got no process for a worker still waits if its last attempt is no older; it makes two attempts in this time */
#define LACK_TIME			(USECS_PER_SEC / 10)
/* a database that waits longer for a process is logged */
#define LONG_WAIT			(5 * USECS_PER_SEC)

/* a scheduler that this launcher has started */
typedef struct StartedScheduler
{
	Oid			db;				/* InvalidOid: free */
	BackgroundWorkerHandle *handle;
} StartedScheduler;

static StartedScheduler *started;	/* durable_max_databases entries */

/* The databases that durable.databases names and that accept connections. */
static List *
wanted_databases(void)
{
	List	   *dbs = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	bgworker_begin();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		/* the limit is invalid after an interrupted DROP DATABASE: nobody can connect */
		if (form->datallowconn && !form->datistemplate && form->datconnlimit != DATCONNLIMIT_INVALID_DB &&
			guc_want_database(NameStr(form->datname)))
			dbs = lappend_oid(dbs, form->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	bgworker_commit();
	return dbs;
}

/* Forget schedulers that have ended, also those that ended before they ran. */
static void
forget_ended_schedulers(void)
{
	for (int i = 0; i < durable_max_databases; i++)
	{
		pid_t		pid;

		if (started[i].db == InvalidOid ||
			GetBackgroundWorkerPid(started[i].handle, &pid) != BGWH_STOPPED)
			continue;
		pfree(started[i].handle);
		started[i].db = InvalidOid;
		places_process_ended();
	}
}

/* Whether a scheduler that this launcher started in the database has not ended. */
static bool
is_started(Oid db)
{
	for (int i = 0; i < durable_max_databases; i++)
		if (started[i].db == db)
			return true;
	return false;
}

/* The name of a database for the log. */
static char *
database_name(Oid db)
{
	char	   *name;

	bgworker_begin();
	name = get_database_name(db);
	name = name ? log_text(name, LOG_NAME, true) : psprintf("%u", db);
	bgworker_commit();
	return name;
}

/* Log, at intervals, that a database has no scheduler for lack of a process. */
static void
complain_process(Oid db)
{
	static TimestampTz last = 0;

	if (log_again(&last, LOOK_INTERVAL_MS))
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("durable could not start the scheduler of database %s: no process is free", database_name(db)),
				 errhint("Increase max_worker_processes, or decrease durable.max_workers or durable.max_long_activities: durable needs one process for the launcher, one for each database that has something to do, and as many as both settings say.")));
}

/* Log, at intervals, that a database has no slot. */
static void
complain_slot(Oid db)
{
	static TimestampTz last = 0;

	if (log_again(&last, LOOK_INTERVAL_MS))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("durable does not serve database %s: there are more databases than durable.max_databases (%d)",
						database_name(db), durable_max_databases),
				 errhint("Increase durable.max_databases and restart the server, or name the databases to be served in durable.databases.")));
}

/* Start the scheduler of a database; false if there is no process. */
static bool
start_scheduler(Oid db)
{
	StartedScheduler *entry = started;

	while (entry < started + durable_max_databases && entry->db != InvalidOid)
		entry++;
	if (entry == started + durable_max_databases)
		return false;
	if (!bgworker_start(db, NULL, &entry->handle))
	{
		/* ends an idle worker of any database */
		(void) places_make_room();
		return false;
	}
	entry->db = db;
	database_put_off(db);
	return true;
}

/* End the engine in a database.  A scheduler that is just being started finds no slot and ends. */
static void
end_engine(Oid db)
{
	StringInfoData pids;

	initStringInfo(&pids);
	(void) database_left(db, &pids);
	stats_reset(db);
	database_forget(db);
}

/* When to start the scheduler of a database; DT_NOEND: not before a change that wakes the launcher. */
static TimestampTz
start_at(const DatabaseInfo *info)
{
	TimestampTz due_at = info->due_at;

	/* a scheduler that has left may not have ended yet: two could not be told apart */
	if (info->scheduler_pid != 0 || info->pauses > 0 || is_started(info->db))
		return DT_NOEND;
	/* without wake-ups no session reports its work; the clock may have been set back */
	if (info->state == DATABASE_AWAY && (!durable_wakeups || info->since > GetCurrentTimestamp()))
		due_at = 0;
	return Max(due_at, info->retry_at);
}

/* Order in which databases get a scheduler: first, by time, those with known work, then those never looked at. */
static int
compare_due(const void *a, const void *b)
{
	const DatabaseInfo *x = *(DatabaseInfo *const *) a;
	const DatabaseInfo *y = *(DatabaseInfo *const *) b;
	bool		x_unknown = x->state == DATABASE_UNKNOWN && !x->woken;
	bool		y_unknown = y->state == DATABASE_UNKNOWN && !y->woken;

	if (x_unknown != y_unknown)
		return x_unknown ? 1 : -1;
	return (x->due_at > y->due_at) - (x->due_at < y->due_at);
}

/* Whether the scheduler of x is asked to leave rather than that of y. */
static bool
leaves_first(const DatabaseInfo *x, const DatabaseInfo *y)
{
	if ((x->idle_since != 0) != (y->idle_since != 0))
		return x->idle_since != 0;
	return x->idle_since != 0 ? x->idle_since < y->idle_since : x->since < y->since;
}

/* Whether a scheduler waits for a process for a worker, while another scheduler has a process. */
static bool
worker_waits(const DatabaseInfo *infos, int count, TimestampTz now)
{
	int			running = 0;
	bool		lacking = false;

	for (int i = 0; i < count; i++)
	{
		running += infos[i].scheduler_pid != 0;
		lacking |= llabs(now - infos[i].lacked_at) < LACK_TIME;
	}
	return lacking && running > 1;
}

/*
 * Ask schedulers to leave until the wanted number of them is leaving, as far as
 * they have run for their minimum time.  It is short for a scheduler that is idle
 * or, with lacking, that waits for a process for a worker itself.
 */
static void
ask_to_leave(DatabaseInfo *infos, int count, int wanted, bool lacking)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < count; i++)
		wanted -= infos[i].leaving;
	for (; wanted > 0; wanted--)
	{
		DatabaseInfo *first = NULL;

		for (int i = 0; i < count; i++)
		{
			DatabaseInfo *info = &infos[i];
			bool		useless = info->idle_since != 0 || (lacking && llabs(now - info->lacked_at) < LACK_TIME);

			if (info->scheduler_pid != 0 && !info->leaving && now - info->since >= (useless ? IDLE_TIME : BUSY_TIME) &&
				(first == NULL || leaves_first(info, first)))
				first = info;
		}
		if (first == NULL)
			return;
		database_ask_to_leave(first->db);
		first->leaving = true;
	}
}

/* How many schedulers may be started.  A scheduler that has left its database has a process until it ends. */
static int
free_places(const DatabaseInfo *infos, int count)
{
	int			places = Max(max_worker_processes - LAUNCHERS - durable_max_workers, 1);

	for (int i = 0; i < durable_max_databases; i++)
		places -= started[i].db != InvalidOid;
	/* started by an earlier launcher */
	for (int i = 0; i < count; i++)
		places -= infos[i].scheduler_pid != 0 && !is_started(infos[i].db);
	return places;
}

/* Start schedulers in databases that are due; returns how many databases get no process. */
static int
start_due(DatabaseInfo **due, int ndue, int free)
{
	TimestampTz long_ago = GetCurrentTimestamp() - LONG_WAIT;
	int			waiting = 0;

	qsort(due, ndue, sizeof(DatabaseInfo *), compare_due);
	for (int i = 0; i < ndue; i++)
	{
		if (free > 0 && start_scheduler(due[i]->db))
		{
			free--;
			continue;
		}
		/* databases without known work are logged only if a start failed: there may be many of them */
		if (due[i]->due_at <= long_ago && (free > 0 || due[i]->woken || due[i]->state == DATABASE_AWAY))
			complain_process(due[i]->db);
		free = 0;
		waiting++;
	}
	return waiting;
}

/* Look at all databases; returns how long to sleep. */
static long
look_at_databases(void)
{
	List	   *wanted = wanted_databases();
	DatabaseInfo *infos;
	DatabaseInfo **due;
	int			count;
	int			ndue = 0;
	int			waiting;
	bool		lacking;
	TimestampTz now;
	TimestampTz next;
	ListCell   *cell;

	forget_ended_schedulers();
	foreach(cell, wanted)
		if (!database_add(lfirst_oid(cell)))
			complain_slot(lfirst_oid(cell));
	count = database_list(&infos);
	due = palloc((count + 1) * sizeof(DatabaseInfo *));
	now = GetCurrentTimestamp();
	next = now + LOOK_INTERVAL_MS * INT64CONST(1000);
	for (int i = 0; i < count; i++)
	{
		TimestampTz at = start_at(&infos[i]);

		if (!list_member_oid(wanted, infos[i].db))
			end_engine(infos[i].db);
		else if (at <= now)
			due[ndue++] = &infos[i];
		else
			next = Min(next, at);
	}
	/* a worker gets the next free process */
	lacking = worker_waits(infos, count, now);
	waiting = lacking + start_due(due, ndue, lacking ? 0 : free_places(infos, count));
	ask_to_leave(infos, count, waiting, lacking);
	return waiting > 0 ? CROWDED_PAUSE_MS : TimestampDifferenceMilliseconds(now, next) + 1;
}

/* Warn at the launcher's start if max_worker_processes does not allow for durable.max_workers. */
static void
warn_of_few_processes(void)
{
	int			workers = Max(max_worker_processes - LAUNCHERS - SCHEDULERS, 1);

	if (workers < durable_max_workers)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("max_worker_processes (%d) leaves durable fewer processes for workers (%d) than durable.max_workers (%d)",
						max_worker_processes, workers, durable_max_workers),
				 errdetail("Launchers have %d processes, and %d are left to schedulers.", LAUNCHERS, SCHEDULERS),
				 errhint("Set max_worker_processes to %d or more, and restart the server: one for each of durable.max_workers and durable.max_long_activities, and what else the server runs; or decrease these settings.",
						 LAUNCHERS + SCHEDULERS + durable_max_workers + durable_max_long_activities)));
}

/* Main function of the launcher. */
void
durable_launcher_main(Datum arg)
{
	MemoryContext context;

	bgworker_init(PROCESS_LAUNCHER);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("durable launcher");
	launcher_attach();
	warn_of_few_processes();
	started = MemoryContextAllocZero(TopMemoryContext, durable_max_databases * sizeof(StartedScheduler));
	context = AllocSetContextCreate(TopMemoryContext, "durable launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		long		sleep;

		bgworker_handle_interrupts();
		sleep = look_at_databases();
		pgstat_report_activity(STATE_IDLE, NULL);
		MemoryContextReset(context);
		pg_usleep(LOOK_PAUSE);
		bgworker_wait(sleep);
	}
}
