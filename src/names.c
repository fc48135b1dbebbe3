/*
 * names.c
 *	  Names of schemas that only superusers may give.
 *
 * Sessions of clients, the jobs of pg_cron, the gateway and the scheduler call
 * the extension by name, also after it was dropped or before it is made.  So
 * nobody else may make a schema of such a name, or rename one so: whatever is
 * in it would be run with the rights of those.  Every way to a schema passes
 * here, CREATE EXTENSION … SCHEMA included.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "durable.h"
#include "names.h"

/* Error if a schema that was made or changed has such a name; it is seen before the command is over. */
void
names_check_schema(Oid schema)
{
	Relation	rel = table_open(NamespaceRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		reserved = false;
	NameData	name;

	ScanKeyInit(&key, Anum_pg_namespace_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(rel, NamespaceOidIndexId, true, SnapshotSelf, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		name = ((Form_pg_namespace) GETSTRUCT(tuple))->nspname;
		reserved = strcmp(NameStr(name), DURABLE_SCHEMA) == 0 || strcmp(NameStr(name), DURABLE_INTERNAL_SCHEMA) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (reserved && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("the name of schema \"%s\" belongs to the extension durable", NameStr(name)),
				 errdetail("Only a superuser may give a schema this name."),
				 errhint("Choose another name.")));
}
