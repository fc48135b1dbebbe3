/*
 * makeway.c
 *	  DROP DATABASE, ALTER DATABASE … RENAME and SET TABLESPACE, and CREATE
 *	  DATABASE with a template fail while somebody is connected to the database.
 *	  The engine's processes leave it before such a command and come back after
 *	  it, if it is still there.
 *
 * Activities that run in it are undone and run again later.  Only for those
 * who may do this to the database: others get their error as ever.
 */
#include "postgres.h"

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "database.h"
#include "makeway.h"
#include "process.h"

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

/* Have the engine leave a database and wait until it has. */
static void
make_way(Oid db)
{
	while (!database_pause(db))
	{
		CHECK_FOR_INTERRUPTS();
		process_wait(20);
	}
}

/* Utility hook. */
static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	const char *name = needed_database(pstmt->utilityStmt);
	Oid			db = name != NULL ? get_database_oid(name, true) : InvalidOid;

	if (!OidIsValid(db) || db == MyDatabaseId || !compat_database_ownercheck(db, GetUserId()))
	{
		next_hook(pstmt, query, read_only, context, params, env, dest, qc);
		return;
	}
	PG_TRY();
	{
		make_way(db);
		next_hook(pstmt, query, read_only, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		database_resume(db);
	}
	PG_END_TRY();
}

/* Install the hook. */
void
makeway_install(void)
{
	next_hook = ProcessUtility_hook ? ProcessUtility_hook : standard_ProcessUtility;
	ProcessUtility_hook = process_utility;
}
