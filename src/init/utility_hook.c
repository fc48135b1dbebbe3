/*
 * utility_hook.c
 *	  DROP DATABASE, ALTER DATABASE … RENAME and SET TABLESPACE, and CREATE
 *	  DATABASE with a template fail while somebody is connected to the database.
 *	  The engine's processes leave it before such a command and come back after
 *	  it, if it is still there.
 *
 * Several sessions may keep the engine out of a database at once, as two copies
 * of it may be made; it comes back when the last of them is done or has ended.
 * Activities that run in it are undone and run again later.  A process that does
 * not end is an error after a while, and the engine comes back.  Only for those
 * who may do this to the database: others get their error as ever.
 *
 * ALTER EXTENSION durable UPDATE and DROP EXTENSION durable lock the tables one
 * after the other and would run into deadlocks with workers, which lock them in
 * the order of their work.  So the engine leaves the database for them, too,
 * until they commit, and they take the lock that each round of a worker shares,
 * which a prepared transaction keeps.  No command but these can ask for that lock, and these ask for
 * it only for those who may alter the extension: PostgreSQL takes its own locks
 * on an extension, a schema or a type before it looks at rights, so that anybody
 * could hold up all rounds if they shared one of those.  Functions that
 * it has made anew have lost what durable.grant_usage had granted; that is
 * granted again, not by the script, since PostgreSQL takes rights that a script
 * grants for the extension's own and pg_dump leaves them out.
 *
 * A prepared transaction has lost its hints, and ends in whatever session, also
 * after a restart.  So after COMMIT PREPARED, and after ROLLBACK PREPARED, which
 * gives back rows that workers passed over, the scheduler looks into the tables.
 * It does after COPY into one of them, too, which is how a dump is restored.
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

/* ns that the engine's processes have to leave a database */
#define LONGEST_WAIT	(10 * INT64CONST(1000000000))

static ProcessUtility_hook_type next_hook = NULL;

/* The value of an option of a statement as a string, NULL if it isn't given. */
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

/* The database to which a statement needs sole access, NULL if there is none. */
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

static Oid	paused = InvalidOid;	/* the database that this session keeps the engine out of */
static SubTransactionId paused_in;	/* which subtransaction began that */

/* Let the engine in again. */
static void
end_pause(void)
{
	if (OidIsValid(paused))
		database_resume(paused);
	paused = InvalidOid;
	paused_in = InvalidSubTransactionId;
}

/* The transaction ends, perhaps as the session does. */
static void
end_pause_at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		end_pause();
}

/* A subtransaction ends: what is rolled back keeps the engine out no longer. */
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

/*
 * Wait until the engine has left a database.  A worker whose code does not look
 * for interrupts may stay for ever; then this is an error, so that neither the
 * session waits nor the engine stays out for so long.
 */
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
		process_wait(20);
	}
}

/* Have the engine leave a database until the transaction ends, and wait until it has. */
static void
make_way(Oid db)
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
		/* one at a time: a transaction may do this to several */
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

/* Whether a statement updates it. */
static bool
updates_extension(Node *statement)
{
	return IsA(statement, AlterExtensionStmt) && strcmp(((AlterExtensionStmt *) statement)->extname, "durable") == 0;
}

/* The extension, if a statement updates or drops it and the user may do that; InvalidOid otherwise. */
static Oid
changed_extension(Node *statement)
{
	Oid			extension;

	if (!updates_extension(statement) && !drops_extension(statement))
		return InvalidOid;
	extension = get_extension_oid("durable", true);
	return OidIsValid(extension) && compat_extension_ownercheck(extension, GetUserId()) ? extension : InvalidOid;
}

/* Grant the users of the extension what they had and what is new. */
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

/* Whether a statement fills a table of the engine, as the restore of a dump does. */
static bool
fills_table(Node *statement)
{
	CopyStmt   *copy = (CopyStmt *) statement;

	return IsA(statement, CopyStmt) && copy->is_from && copy->relation != NULL && copy->relation->schemaname != NULL &&
		(strcmp(copy->relation->schemaname, DURABLE_INTERNAL_SCHEMA) == 0 || strcmp(copy->relation->schemaname, DURABLE_SCHEMA) == 0);
}

/*
 * Keep the engine out of this database until the transaction ends.  Rounds that
 * run are not waited for: an activity may sleep for days, and all roles would
 * wait behind this command.  The lock holds back those that come after PREPARE
 * TRANSACTION.
 */
static void
lock_out_rounds(Oid extension)
{
	/* an activity that does this cannot wait until its own worker has left */
	if (!process_is_engine())
		make_way(MyDatabaseId);
	extension_lock(extension, AccessExclusiveLock);
}

/* Utility hook. */
static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	const char *name = needed_database(pstmt->utilityStmt);
	Oid			db = name != NULL ? get_database_oid(name, true) : InvalidOid;
	Oid			extension = changed_extension(pstmt->utilityStmt);
	/* the statement may be gone when it is done */
	bool		prepared = ends_prepared(pstmt->utilityStmt);
	bool		updates = OidIsValid(extension) && updates_extension(pstmt->utilityStmt);

	if (fills_table(pstmt->utilityStmt))
		wakeup_look();
	if (IsA(pstmt->utilityStmt, RenameStmt) && ((RenameStmt *) pstmt->utilityStmt)->renameType == OBJECT_ROLE)
		wakeup_roles_changed(false);
	if (OidIsValid(extension))
		lock_out_rounds(extension);
	else if (OidIsValid(db) && db != MyDatabaseId && compat_database_ownercheck(db, GetUserId()))
		make_way(db);
	next_hook(pstmt, query, read_only, context, params, env, dest, qc);
	if (updates)
		grant_again();
	/* the database of such a transaction is that of the session */
	if (prepared)
		database_request_look(MyDatabaseId);
}

/* Install the hook. */
void
makeway_install(void)
{
	next_hook = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
}
