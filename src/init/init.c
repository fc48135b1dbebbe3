/*
 * init.c
 *	  The library's entry point, the object access hook, and SQL functions about
 *	  the databases of the engine.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "engine/failure_log.h"
#include "engine/quota.h"
#include "init/utility_hook.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "sched/ready_lists.h"
#include "shmem/completion_waiters.h"
#include "shmem/crash_notes.h"
#include "shmem/function_durations.h"
#include "shmem/shmem.h"
#include "shmem/stats.h"
#include "worker/bgworkers.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

PG_FUNCTION_INFO_V1(durable_extension_changed);
PG_FUNCTION_INFO_V1(durable_databases_known);
PG_FUNCTION_INFO_V1(durable_database_wanted);

static object_access_hook_type previous_object_access_hook = NULL;

/*
 * Error if a user who is no superuser gives a schema the name of one of the
 * extension's schemas.  Clients, jobs of pg_cron, the gateway and the scheduler
 * call the extension's functions by name.  Where the extension does not exist,
 * they would run the functions of that user's schema with their own rights.
 * Called for each command that creates or alters a schema, CREATE EXTENSION ...
 * SCHEMA included.
 */
static void
check_schema_name(Oid schema)
{
	Relation	rel = table_open(NamespaceRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_namespace_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, NamespaceOidIndexId, true, SnapshotSelf, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		const char *name = NameStr(((Form_pg_namespace) GETSTRUCT(tuple))->nspname);

		if ((strcmp(name, DURABLE_SCHEMA) == 0 || strcmp(name, DURABLE_INTERNAL_SCHEMA) == 0) && !superuser())
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("the name of schema \"%s\" belongs to the extension durable", name),
					 errdetail("Only a superuser may give a schema this name."),
					 errhint("Choose another name.")));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Report changes of the extension, of roles and of databases to the engine at commit; check the names of schemas. */
static void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (previous_object_access_hook)
		previous_object_access_hook(access, classId, objectId, subId, arg);
	if ((access == OAT_DROP || access == OAT_POST_ALTER) && classId == ExtensionRelationId &&
		objectId == get_extension_oid("durable", true))
		wakeup_extension_changed();
	/* utility_hook.c sees ALTER ROLE ... RENAME; here that would be each ALTER ROLE, which any user may execute for a password */
	if (classId == AuthIdRelationId && (access == OAT_POST_CREATE || access == OAT_DROP))
		wakeup_roles_changed(access == OAT_DROP);
	if (classId == DatabaseRelationId && (access == OAT_POST_CREATE || access == OAT_POST_ALTER))
		wakeup_databases_changed();
	if (classId == NamespaceRelationId && (access == OAT_POST_CREATE || access == OAT_POST_ALTER))
		check_schema_name(objectId);
}

/* Entry point: defines settings always, but starts the engine only from shared_preload_libraries. */
void
_PG_init(void)
{
	guc_define();
	if (!process_shared_preload_libraries_in_progress)
		return;
	crash_notes_register();
	completion_waiters_register();
	function_durations_register();
	stats_register();
	failure_log_register();
	ready_lists_register();
	database_slots_register();
	quota_register();
	utility_hook_install();
	/* nothing may run in the servers that pg_upgrade starts */
	if (!IsBinaryUpgrade)
		launcher_register();
	previous_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}

/* durable_internal.extension_changed(): called by the install script */
Datum
durable_extension_changed(PG_FUNCTION_ARGS)
{
	if (!shmem_available())
		ereport(WARNING,
				(errmsg("durable is not in shared_preload_libraries: nothing will run"),
				 errhint("Add 'durable' to shared_preload_libraries in postgresql.conf and restart the server.")));
	wakeup_extension_changed();
	PG_RETURN_VOID();
}

/* durable_internal.databases(): the databases that the launcher knows */
Datum
durable_databases_known(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		[DATABASE_UNKNOWN] = "waiting", [DATABASE_ABSENT] = "absent", [DATABASE_UNFIT] = "unfit", [DATABASE_AWAY] = "idle"
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DatabaseInfo *infos = NULL;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	count = shmem_available() ? database_list(&infos) : 0;
	for (int i = 0; i < count; i++)
	{
		const DatabaseInfo *info = &infos[i];
		TimestampTz now = GetCurrentTimestamp();
		bool		served = info->scheduler_pid != 0;
		bool		waits = info->state == DATABASE_AWAY && info->due_at <= now;
		TimestampTz next = Max(info->due_at, info->retry_at);
		const char *state = served ? "served" : waits ? "waiting" : states[info->state];
		Datum		values[7];
		bool		nulls[7] = {false};

		values[0] = ObjectIdGetDatum(info->db);
		/* after a first failure a scheduler is started at once */
		if (!served && info->state == DATABASE_UNKNOWN && info->failures > 0 && info->retry_at > now)
			state = "failing";
		values[1] = CStringGetTextDatum(state);
		values[2] = TimestampTzGetDatum(waits && info->due_at > 0 ? info->due_at : info->since);
		values[3] = Int32GetDatum(info->scheduler_pid);
		nulls[3] = info->scheduler_pid == 0;
		values[4] = Int32GetDatum(info->pauses);
		values[5] = Int32GetDatum(info->failures);
		values[6] = TimestampTzGetDatum(next);
		nulls[6] = served || next <= now || next == DT_NOEND;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* durable_internal.database_wanted(name): whether durable.databases lets the engine in */
Datum
durable_database_wanted(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(guc_want_database(NameStr(*PG_GETARG_NAME(0))));
}
