/*
 * role_eligibility.c
 *	  Why no worker can run as a role in this database.
 *
 * PostgreSQL checks these conditions when a process connects.  The scheduler
 * checks them first, so that the log has the reason and no process is started
 * for nothing; so does durable.explain.  A worker checks them again when a
 * role or a database has changed: if an administrator takes LOGIN from a role,
 * its work must stop, and if SUPERUSER is taken from it, a process that has
 * connected as a superuser must end.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "common/call_context.h"
#include "common/compat.h"
#include "common/guc.h"
#include "sched/database_slots.h"
#include "sched/role_eligibility.h"
#include "shmem/shmem.h"

PG_FUNCTION_INFO_V1(durable_role_obstacle);
PG_FUNCTION_INFO_V1(durable_scheduler_obstacle);

static bool unchanged = false;	/* no role or database has changed since role_still_welcome last checked */

/* What keeps PostgreSQL from letting the role in; NULL: nothing. */
static char *
role_refused(Form_pg_authid role)
{
	if (!role->rolcanlogin)
		return psprintf("role \"%s\" is not permitted to log in", NameStr(role->rolname));
	if (compat_database_aclcheck(MyDatabaseId, role->oid, ACL_CONNECT) != ACLCHECK_OK)
		return psprintf("role \"%s\" lacks the CONNECT privilege", NameStr(role->rolname));
	return NULL;
}

/* A connection limit that was lowered below the number of sessions.  Workers do not count. */
static char *
limit_exceeded(Form_pg_authid role, Form_pg_database database)
{
	if (role->rolsuper)
		return NULL;
	if (role->rolconnlimit >= 0 && CountUserBackends(role->oid) > role->rolconnlimit)
		return psprintf("role \"%s\" has more sessions than its connection limit of %d", NameStr(role->rolname), role->rolconnlimit);
	if (database->datconnlimit >= 0 && CountDBConnections(MyDatabaseId) > database->datconnlimit)
		return psprintf("the database has more sessions than its connection limit of %d", database->datconnlimit);
	return NULL;
}

/* Why no worker can start as a role now; NULL: nothing. */
char *
role_obstacle(Oid role)
{
	HeapTuple	role_tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	HeapTuple	database_tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	char	   *obstacle = NULL;

	if (!HeapTupleIsValid(role_tuple))
		obstacle = psprintf("the role with OID %u does not exist", role);
	else if (HeapTupleIsValid(database_tuple))
	{
		Form_pg_authid role_form = (Form_pg_authid) GETSTRUCT(role_tuple);
		Form_pg_database database_form = (Form_pg_database) GETSTRUCT(database_tuple);

		obstacle = role_refused(role_form);
		if (obstacle == NULL && !database_form->datallowconn)
			obstacle = pstrdup("the database does not accept connections");
		if (obstacle == NULL)
			obstacle = limit_exceeded(role_form, database_form);
	}
	if (HeapTupleIsValid(database_tuple))
		ReleaseSysCache(database_tuple);
	if (HeapTupleIsValid(role_tuple))
		ReleaseSysCache(role_tuple);
	return obstacle;
}

/* Syscache callback: a role, a membership or a database has changed. */
static void
note_change(Datum arg, int cacheid, uint32 hashvalue)
{
	unchanged = false;
}

/* Whether a process could start now as this worker did, with the same rights. */
bool
role_still_welcome(void)
{
	static bool registered = false;
	static bool superuser_at_start;
	HeapTuple	tuple;
	bool		welcome;

	if (unchanged)
		return true;
	if (!registered)
	{
		/* in PostgreSQL 19 cacheid has an enum type */
		SyscacheCallbackFunction callback = (SyscacheCallbackFunction) note_change;

		CacheRegisterSyscacheCallback(AUTHOID, callback, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, callback, (Datum) 0);
		CacheRegisterSyscacheCallback(DATABASEOID, callback, (Datum) 0);
		superuser_at_start = strcmp(GetConfigOption("is_superuser", false, false), "on") == 0;
		registered = true;
	}
	unchanged = true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetSessionUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	welcome = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper == superuser_at_start &&
		role_refused((Form_pg_authid) GETSTRUCT(tuple)) == NULL;
	ReleaseSysCache(tuple);
	return welcome;
}

/* Why a database lacks its scheduler; NULL: it has one, or needs none. */
static const char *
scheduler_obstacle(const DatabaseInfo *info)
{
	TimestampTz now = GetCurrentTimestamp();

	if (info->scheduler_pid != 0)
		return NULL;
	if (info->pauses > 0)
		return "a session keeps the engine out of the database";
	if (info->state == DATABASE_UNFIT)
		return "the tables of the extension are not as they should be; see the server's log";
	if (info->failures > 0 && info->retry_at > now)
		return "the scheduler of the database has ended soon after its start; see the server's log";
	return info->due_at <= now ? "the database waits for its scheduler; if this lasts, no process is free: see max_worker_processes" : NULL;
}

/* Why this database lacks its scheduler. */
static const char *
obstacle_here(void)
{
	DatabaseInfo *infos;
	int			count = shmem_available() ? database_list(&infos) : 0;

	for (int i = 0; i < count; i++)
		if (infos[i].db == MyDatabaseId)
			return scheduler_obstacle(&infos[i]);
	return "the engine is kept out of the database; see durable.databases";
}

static Datum
text_or_null(FunctionCallInfo fcinfo, const char *text)
{
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* durable_internal.scheduler_obstacle() */
Datum
durable_scheduler_obstacle(PG_FUNCTION_ARGS)
{
	return text_or_null(fcinfo, obstacle_here());
}

/* durable.role_obstacle(role) */
Datum
durable_role_obstacle(PG_FUNCTION_ARGS)
{
	const char *obstacle;

	orchestrator_forbid("durable.role_obstacle");
	if (!guc_want_database(get_database_name(MyDatabaseId)))
		obstacle = "the setting durable.databases does not name this database";
	else
		obstacle = role_obstacle(PG_GETARG_OID(0));
	return text_or_null(fcinfo, obstacle != NULL ? obstacle : obstacle_here());
}
