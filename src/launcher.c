/*
 * launcher.c
 *	  Starts a scheduler in every database that has the extension.
 *
 * The launcher is connected to no database and so cannot see who has the
 * extension; it starts a scheduler in each database once, which looks and
 * leaves again where there is none.  It looks anew when a session created the
 * extension (hint_extension_changed), when a scheduler ended, and once a
 * minute for databases that have come or gone.  It ends the engine where a
 * changed durable.databases no longer wants it.
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
#include "process.h"
#include "settings.h"
#include "slot.h"
#include "stats.h"

#define LOOK_INTERVAL_MS	60000
#define RETRY_INTERVAL_MS	1000

/* a scheduler that this launcher has started */
typedef struct Started
{
	Oid			db;				/* InvalidOid: free */
	BackgroundWorkerHandle *handle;
} Started;

static Started started[DURABLE_DATABASES_LIMIT];

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

		if (form->datallowconn && !form->datistemplate && settings_want_database(NameStr(form->datname)))
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
	for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
	{
		pid_t		pid;

		if (started[i].db == InvalidOid ||
			GetBackgroundWorkerPid(started[i].handle, &pid) != BGWH_STOPPED)
			continue;
		if (database_state(started[i].db) == DATABASE_STARTING)
			database_forget(started[i].db);
		pfree(started[i].handle);
		started[i].db = InvalidOid;
	}
}

/* Tell the administrator, now and then, that a scheduler could not be started. */
static void
complain(Oid db)
{
	static TimestampTz complained = 0;
	MemoryContext context = CurrentMemoryContext;
	char	   *name;

	if (!TimestampDifferenceExceeds(complained, GetCurrentTimestamp(), LOOK_INTERVAL_MS))
		return;
	complained = GetCurrentTimestamp();
	StartTransactionCommand();
	name = get_database_name(db);
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("durable could not start the scheduler of database \"%s\"", name ? name : psprintf("%u", db)),
			 errhint("Increase max_worker_processes: durable needs one for the launcher, one for each database, and durable.max_workers.")));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Start the scheduler of a database; false when that must be tried again. */
static bool
start(Oid db)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorkerHandle *handle = NULL;
	bool		ok = database_set_starting(db) && scheduler_start(db, &handle);

	MemoryContextSwitchTo(old);
	if (ok)
	{
		for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
			if (started[i].db == InvalidOid)
			{
				started[i] = (Started) {.db = db, .handle = handle};
				return true;
			}
	}
	database_forget(db);
	complain(db);
	return false;
}

/* End the engine in a database that is not to have one any more. */
static void
stop(Oid db)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			count = slot_list(workers);

	for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
		if (started[i].db == db)
			TerminateBackgroundWorker(started[i].handle);
	stats_reset(db);
	blackbox_excuse(db);
	for (int i = 0; i < count; i++)
		if (workers[i].db == db && workers[i].pid != 0)
			kill(workers[i].pid, SIGTERM);
	database_forget(db);
}

/* Look at all databases; returns how long to sleep. */
static long
look(void)
{
	List	   *wanted = wanted_databases();
	Oid			known[DURABLE_DATABASES_LIMIT];
	int			nknown;
	ListCell   *cell;
	long		sleep = LOOK_INTERVAL_MS;

	reap();
	foreach(cell, wanted)
		if (database_state(lfirst_oid(cell)) == DATABASE_UNKNOWN &&
			(database_paused(lfirst_oid(cell)) || !start(lfirst_oid(cell))))
			sleep = RETRY_INTERVAL_MS;
	nknown = database_list(known);
	for (int i = 0; i < nknown; i++)
		if (!list_member_oid(wanted, known[i]))
			stop(known[i]);
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
	context = AllocSetContextCreate(TopMemoryContext, "durable launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		long		sleep;

		process_handle_interrupts();
		/* a scheduler that keeps failing is not restarted in a hurry */
		if (!TimestampDifferenceExceeds(looked, GetCurrentTimestamp(), 100))
		{
			process_wait(100);
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
