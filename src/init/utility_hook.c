/*
 * utility_hook.c
 *	  Keeps the engine out of a database while a command needs the database, or
 *	  the extension's tables, for itself.
 *
 * DROP DATABASE, ALTER DATABASE ... RENAME and SET TABLESPACE, and CREATE DATABASE
 * with a template fail while anybody is connected to the database.  Before such a
 * command the engine's processes leave the database, and the transaction's end
 * lets them in again.  Running activities are rolled back and run again later.
 *	- Several sessions may keep the engine out at once, as two copies of a template
 *	  may be made; it comes back when the last of them is done.
 *	- If a process does not end within LONGEST_WAIT, the command fails.
 *	- Only for users who may execute the command; others get PostgreSQL's error.
 *
 * ALTER EXTENSION durable UPDATE and DROP EXTENSION durable lock the tables one
 * after the other, which would cause deadlocks with workers.  So these commands
 * keep the engine out of the database as well, and take the lock that each
 * transaction of a worker shares (extension_lock); a prepared transaction keeps
 * that lock.  No other command can take it, and only users who may alter the
 * extension get it.  PostgreSQL's own locks on an extension, a schema or a type
 * would not do: any user can wait for those, and workers would wait behind.
 *
 * An update may replace functions, which then lack the rights that
 * durable.grant_usage granted.  The hook grants them again after the command.  The
 * update script cannot, since PostgreSQL takes rights that a script grants for
 * rights of the extension, which pg_dump leaves out.
 *
 * COMMIT PREPARED and ROLLBACK PREPARED may end a transaction in a session that
 * has none of its announcements; a rollback unlocks rows that workers passed over.
 * A restore fills the tables with COPY.  After each of these the scheduler scans
 * the tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"

#include "common/call_context.h"
#include "common/compat.h"
#include "common/extension.h"
#include "common/model.h"
#include "init/utility_hook.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "shmem/function_durations.h"
#include "worker/bgworkers.h"

/* time that the engine's processes get to leave a database, ns */
#define LONGEST_WAIT	(10 * INT64CONST(1000000000))

static ProcessUtility_hook_type next_hook = NULL;

/* The value of a statement's option as a string; NULL if it is not given. */
static const char *
option_value(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* The database that a statement needs for itself; NULL if there is none. */
static const char *
needed_database(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) statement)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			if (option_value(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
				return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		case T_CreatedbStmt:
			return option_value(((CreatedbStmt *) statement)->options, "template");
		default:
			return NULL;
	}
}

static Oid	paused = InvalidOid;	/* the database from which this session keeps the engine out */
static SubTransactionId paused_in;	/* since this subtransaction */

/* Let the engine in again. */
static void
end_pause(void)
{
	if (OidIsValid(paused))
		database_resume(paused);
	paused = InvalidOid;
	paused_in = InvalidSubTransactionId;
}

static void
end_pause_at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		end_pause();
}

static void
end_pause_at_rollback(SubXactEvent event, SubTransactionId subxact, SubTransactionId parent, void *arg)
{
	if (paused_in != subxact)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		end_pause();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		paused_in = parent;
}

/* Wait until the engine has left a database.  Code that does not look for interrupts may keep a worker there: error. */
static void
wait_until_left(Oid db)
{
	instr_time	start;
	StringInfoData pids;

	INSTR_TIME_SET_CURRENT(start);
	initStringInfo(&pids);
	while (!database_left(db, &pids))
	{
		if (duration_since_ns(start) > LONGEST_WAIT)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("durable could not end its processes in database \"%s\"", get_database_name(db)),
					 pids.len > 0 ? errdetail("Processes that do not end: %s.", pids.data) : 0,
					 errhint("They run code that does not look for interrupts. Try again when that code has ended.")));
		CHECK_FOR_INTERRUPTS();
		bgworker_wait(20);
	}
}

/* Keep the engine out of a database until the transaction ends, and wait until its processes have left. */
static void
keep_engine_out(Oid db)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(end_pause_at_end, NULL);
		RegisterSubXactCallback(end_pause_at_rollback, NULL);
	}
	registered = true;
	if (paused != db)
	{
		if (!database_pause(db))
			return;
		/* the engine may return to the database of the transaction's last command */
		end_pause();
		paused = db;
		paused_in = GetCurrentSubTransactionId();
	}
	wait_until_left(db);
}

/* Whether a statement drops the extension. */
static bool
drops_extension(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) statement)->objects)
		if (strcmp(strVal(lfirst(cell)), "durable") == 0)
			return true;
	return false;
}

/* Whether a statement updates the extension. */
static bool
updates_extension(Node *statement)
{
	return IsA(statement, AlterExtensionStmt) && strcmp(((AlterExtensionStmt *) statement)->extname, "durable") == 0;
}

/* The extension, if a statement updates or drops it and the user may do that; else InvalidOid. */
static Oid
changed_extension(Node *statement)
{
	Oid			extension;

	if (!updates_extension(statement) && !drops_extension(statement))
		return InvalidOid;
	extension = get_extension_oid("durable", true);
	return OidIsValid(extension) && compat_extension_ownercheck(extension, GetUserId()) ? extension : InvalidOid;
}

/* Grant all rights again that durable.grant_usage granted. */
static void
grant_again(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) extension_call("grant_again");
	PopActiveSnapshot();
}

/* Whether a statement ends a prepared transaction. */
static bool
ends_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		(((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED ||
		 ((TransactionStmt *) statement)->kind == TRANS_STMT_ROLLBACK_PREPARED);
}

/* Whether a statement is a COPY into a table of the extension, as in the restore of a dump. */
static bool
fills_table(Node *statement)
{
	CopyStmt   *copy = (CopyStmt *) statement;

	return IsA(statement, CopyStmt) && copy->is_from && copy->relation != NULL && copy->relation->schemaname != NULL &&
		(strcmp(copy->relation->schemaname, DURABLE_INTERNAL_SCHEMA) == 0 || strcmp(copy->relation->schemaname, DURABLE_SCHEMA) == 0);
}

/*
 * Keep the engine out of this database until the transaction ends.  The workers
 * are ended rather than waited for, since an activity may run for days.  The lock
 * stops new transactions of workers after PREPARE TRANSACTION, which lets the
 * engine in again.
 */
static void
lock_out_workers(Oid extension)
{
	/* an activity cannot wait until its own worker has left */
	if (!process_is_engine())
		keep_engine_out(MyDatabaseId);
	extension_lock(extension, AccessExclusiveLock);
}

static void
utility_hook(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	const char *name = needed_database(pstmt->utilityStmt);
	Oid			db = name != NULL ? get_database_oid(name, true) : InvalidOid;
	Oid			extension = changed_extension(pstmt->utilityStmt);
	/* the statement's memory may be freed when it is done */
	bool		prepared = ends_prepared(pstmt->utilityStmt);
	bool		updates = OidIsValid(extension) && updates_extension(pstmt->utilityStmt);

	if (fills_table(pstmt->utilityStmt))
		wakeup_look();
	if (IsA(pstmt->utilityStmt, RenameStmt) && ((RenameStmt *) pstmt->utilityStmt)->renameType == OBJECT_ROLE)
		wakeup_roles_changed(false);
	if (OidIsValid(extension))
		lock_out_workers(extension);
	else if (OidIsValid(db) && db != MyDatabaseId && compat_database_ownercheck(db, GetUserId()))
		keep_engine_out(db);
	next_hook(pstmt, query, read_only, context, params, env, dest, qc);
	if (updates)
		grant_again();
	/* only a session of the same database can end a prepared transaction */
	if (prepared)
		database_request_look(MyDatabaseId);
}

void
utility_hook_install(void)
{
	next_hook = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = utility_hook;
}
