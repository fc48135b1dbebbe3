/*
 * launcher.c
 *	  Starts a scheduler in every database that has the extension.
 *
 * The launcher is connected to no database and so cannot see who has the
 * extension; it starts a scheduler in each database once, which looks and
 * leaves again where there is none, or nothing to do.  It starts another in a
 * database that has something to do (database_due_since), whose owners or
 * extension may have changed, or from which the last one has been away for
 * LONGEST_AWAY.  It ends the engine where a changed durable.databases no longer
 * wants it.
 *
 * No more schedulers run at once than there are places (database_places).
 * Databases that have something to do come first, in the order in which it
 * came; when databases find no place, one scheduler is asked to leave for each:
 * that of the database that has been idle for longest, or else the one that has
 * run for longest, if it has had its time.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "blackbox.h"
#include "database.h"
#include "failurelog.h"
#include "places.h"
#include "process.h"
#include "settings.h"
#include "slot.h"
#include "stats.h"

#define LOOK_INTERVAL_MS	60000
#define RETRY_INTERVAL_MS	1000
/* the launcher rests so long between two looks, and so long when a process could not be started or a database waits for one */
#define LOOK_PAUSE_MS		5
#define CROWDED_PAUSE_MS	50
/* a database that a scheduler has left is looked at after this, should something be due of which nobody has told */
#define LONGEST_AWAY		(3600 * USECS_PER_SEC)
/* how long a scheduler runs at least, idle or not, before it is asked to make way: some times what its start costs */
#define IDLE_TIME			(USECS_PER_SEC / 20)
#define BUSY_TIME			(10 * USECS_PER_SEC)
/* a database that waits for a place for longer is complained of */
#define LONG_WAIT			(5 * USECS_PER_SEC)

/* a scheduler that this launcher has started */
typedef struct Started
{
	Oid			db;				/* InvalidOid: free */
	BackgroundWorkerHandle *handle;
} Started;

/* a database that might get a scheduler now */
typedef struct Candidate
{
	const DatabaseInfo *info;
	bool		due;			/* it has something to do; of others nobody knows */
	TimestampTz since;			/* and waits since then */
} Candidate;

static Started *started;		/* as many as there are slots */
static bool crowded = false;	/* the last look has found no process for some database */

/* The databases in which there may be an engine. */
static List *
wanted_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *dbs = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		/* nobody can connect to one whose DROP was interrupted */
		if (form->datallowconn && !form->datistemplate && form->datconnlimit != DATCONNLIMIT_INVALID_DB &&
			settings_want_database(NameStr(form->datname)))
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			dbs = lappend_oid(dbs, form->oid);
			MemoryContextSwitchTo(old);
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return dbs;
}

/* Forget schedulers that have ended, also those that ended before they ran. */
static void
reap(void)
{
	for (int i = 0; i < durable_max_databases; i++)
	{
		pid_t		pid;

		if (started[i].db == InvalidOid ||
			GetBackgroundWorkerPid(started[i].handle, &pid) != BGWH_STOPPED)
			continue;
		database_ended(started[i].db);
		pfree(started[i].handle);
		started[i].db = InvalidOid;
	}
}

/* Whether this launcher has started a scheduler in a database that has not ended. */
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
	MemoryContext context = CurrentMemoryContext;
	char	   *name;

	StartTransactionCommand();
	name = get_database_name(db);
	name = MemoryContextStrdup(context, name ? log_text(name, LOG_NAME, true) : psprintf("%u", db));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return name;
}

/* Whether a complaint of a kind may go to the log again. */
static bool
may_complain(TimestampTz *last)
{
	TimestampTz now = GetCurrentTimestamp();

	if (*last <= now && !TimestampDifferenceExceeds(*last, now, LOOK_INTERVAL_MS))
		return false;
	*last = now;
	return true;
}

/* Tell the administrator, now and then, that a database has no scheduler for lack of a process. */
static void
complain_process(Oid db)
{
	static TimestampTz last = 0;

	if (may_complain(&last))
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("durable could not start the scheduler of database %s: no process is free", database_name(db)),
				 errhint("Increase max_worker_processes: durable needs one for the launcher, one for each database that has something to do, and durable.max_workers.")));
}

/* The same of one that has no slot. */
static void
complain_slot(Oid db)
{
	static TimestampTz last = 0;

	if (may_complain(&last))
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("durable does not serve database %s: there are more databases than durable.max_databases (%d)",
						database_name(db), durable_max_databases),
				 errhint("Increase durable.max_databases and restart the server, or name the databases to be served in durable.databases.")));
}

/* Start the scheduler of a database; false when there is no process. */
static bool
start(const DatabaseInfo *info)
{
	MemoryContext old;
	BackgroundWorkerHandle *handle = NULL;
	Started    *entry = NULL;
	bool		ok;

	for (int i = 0; i < durable_max_databases && entry == NULL; i++)
		if (started[i].db == InvalidOid)
			entry = &started[i];
	/* who keeps the engine out now looks whether it is being started */
	if (!database_set_starting(info->db))
		return true;
	old = MemoryContextSwitchTo(TopMemoryContext);
	ok = entry != NULL && scheduler_start(info->db, &handle);
	MemoryContextSwitchTo(old);
	if (ok)
		*entry = (Started) {.db = info->db, .handle = handle};
	else
	{
		database_not_started(info);
		database_lack_process();
		/* an idle worker of whatever database leaves for it */
		(void) places_make_room();
		complain_process(info->db);
	}
	return ok;
}

/* End the engine in a database that is not to have one any more. */
static void
stop(const DatabaseInfo *info)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			count = slot_list(workers);

	for (int i = 0; i < durable_max_databases; i++)
		if (started[i].db == info->db)
			TerminateBackgroundWorker(started[i].handle);
	/* one that an earlier launcher has started */
	if (info->scheduler_pid != 0)
		kill(info->scheduler_pid, SIGTERM);
	stats_reset(info->db);
	blackbox_excuse(info->db);
	for (int i = 0; i < count; i++)
		if (workers[i].db == info->db && workers[i].pid != 0)
			kill(workers[i].pid, SIGTERM);
	database_forget(info->db);
}

/* What is known of a database, NULL if nothing is. */
static const DatabaseInfo *
find(const DatabaseInfo *infos, int count, Oid db)
{
	for (int i = 0; i < count; i++)
		if (infos[i].db == db)
			return &infos[i];
	return NULL;
}

/* Milliseconds until a time, no more than so many. */
static long
until(TimestampTz time, long most)
{
	return Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), time) + 1, most);
}

/* When the scheduler of a database that is away is to come at the latest. */
static TimestampTz
away_until(const DatabaseInfo *info)
{
	TimestampTz longest = info->since + LONGEST_AWAY;

	/* at once; the clock may have been set back, and without wake-ups nobody tells of anything */
	if (info->roles || !durable_wakeups || info->since > GetCurrentTimestamp())
		return 0;
	return info->wake_at != 0 ? Min(info->wake_at, longest) : longest;
}

/*
 * Whether a database without a scheduler is to get one now; *sleep is lowered to
 * when it is to be asked again if not.
 */
static bool
is_candidate(const DatabaseInfo *info, Candidate *candidate, long *sleep)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due_since = database_due_since(info);

	if (info->state == DATABASE_ABSENT)
		return false;
	if (info->pauses > 0)
	{
		*sleep = Min(*sleep, RETRY_INTERVAL_MS);
		return false;
	}
	if (info->retry_at > now)
	{
		*sleep = until(info->retry_at, *sleep);
		return false;
	}
	if (info->state == DATABASE_AWAY && due_since == 0 && away_until(info) > now)
	{
		*sleep = until(away_until(info), *sleep);
		return false;
	}
	*candidate = (Candidate)
	{
		.info = info, .due = due_since != 0, .since = due_since != 0 ? due_since : info->since
	};
	return true;
}

/* Those that have something to do first, then by the time for which they have waited. */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->due != y->due)
		return x->due ? -1 : 1;
	return (x->since > y->since) - (x->since < y->since);
}

/* Whether the scheduler of x is to make way rather than that of y. */
static bool
leaves_first(const DatabaseInfo *x, const DatabaseInfo *y)
{
	if ((x->idle_since != 0) != (y->idle_since != 0))
		return x->idle_since != 0;
	return x->idle_since != 0 ? x->idle_since < y->idle_since : x->since < y->since;
}

/* Have so many schedulers make way, as far as they have had their time. */
static void
ask_to_leave(DatabaseInfo *infos, int count, int wanted)
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

			if (info->state == DATABASE_RUNNING && !info->leaving &&
				now - info->since >= (info->idle_since != 0 ? IDLE_TIME : BUSY_TIME) &&
				(first == NULL || leaves_first(info, first)))
				first = info;
		}
		if (first == NULL)
			return;
		database_ask_to_leave(first->db);
		first->leaving = true;
	}
}

/* How many schedulers take a process: one that has left its database does until it has ended. */
static int
processes(const DatabaseInfo *infos, int count)
{
	int			result = 0;

	for (int i = 0; i < durable_max_databases; i++)
		result += started[i].db != InvalidOid;
	for (int i = 0; i < count; i++)
		result += infos[i].scheduler_pid != 0 && !is_started(infos[i].db);
	return result;
}

/* Give places to the candidates; returns how long to sleep. */
static long
give_places(Candidate *candidates, int ncandidates, DatabaseInfo *infos, int count, long sleep)
{
	int			free = database_places() - processes(infos, count);
	int			waiting = 0;

	qsort(candidates, ncandidates, sizeof(Candidate), compare_candidates);
	for (int i = 0; i < ncandidates; i++)
	{
		const Candidate *candidate = &candidates[i];

		if (free > 0 && start(candidate->info))
			free--;
		else
		{
			free = Min(free, 0);
			waiting++;
			if (candidate->due && GetCurrentTimestamp() - candidate->since >= LONG_WAIT)
				complain_process(candidate->info->db);
		}
	}
	/* there may be fewer places than there were */
	waiting += Max(-free, 0);
	crowded = waiting > 0;
	if (!crowded)
		return sleep;
	ask_to_leave(infos, count, waiting);
	return Min(sleep, CROWDED_PAUSE_MS);
}

/* Look at all databases; returns how long to sleep. */
static long
look(void)
{
	List	   *wanted = wanted_databases();
	Candidate  *candidates = palloc((list_length(wanted) + 1) * sizeof(Candidate));
	int			ncandidates = 0;
	DatabaseInfo *infos;
	int			count;
	ListCell   *cell;
	long		sleep = LOOK_INTERVAL_MS;

	reap();
	foreach(cell, wanted)
		if (!database_add(lfirst_oid(cell)))
			complain_slot(lfirst_oid(cell));
	count = database_list(&infos);
	foreach(cell, wanted)
	{
		const DatabaseInfo *info = find(infos, count, lfirst_oid(cell));

		/* one that has left and not ended yet would be taken for the next one when it ends; the launcher is told when it does */
		if (info != NULL && info->state != DATABASE_STARTING && info->state != DATABASE_RUNNING &&
			!is_started(info->db) && is_candidate(info, &candidates[ncandidates], &sleep))
			ncandidates++;
	}
	sleep = give_places(candidates, ncandidates, infos, count, sleep);
	for (int i = 0; i < count; i++)
		if (!list_member_oid(wanted, infos[i].db))
			stop(&infos[i]);
	return sleep;
}

/* Main function of the launcher. */
void
durable_launcher_main(Datum arg)
{
	MemoryContext context;
	TimestampTz looked = 0;

	process_init(PROCESS_LAUNCHER);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("durable launcher");
	launcher_attach();
	started = MemoryContextAllocZero(TopMemoryContext, durable_max_databases * sizeof(Started));
	context = AllocSetContextCreate(TopMemoryContext, "durable launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		long		sleep;
		int			pause;

		process_handle_interrupts();
		/* many wake-ups at once are one look, and what cannot be started is not tried in a hurry */
		pause = crowded ? CROWDED_PAUSE_MS : LOOK_PAUSE_MS;
		if (!TimestampDifferenceExceeds(looked, GetCurrentTimestamp(), pause))
		{
			process_wait(pause);
			/* this wait may have taken the wake-up of a reload */
			process_handle_interrupts();
		}
		looked = GetCurrentTimestamp();
		sleep = look();
		pgstat_report_activity(STATE_IDLE, NULL);
		MemoryContextReset(context);
		process_wait(sleep);
	}
}
