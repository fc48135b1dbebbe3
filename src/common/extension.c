/*
 * extension.c
 *	  Calls of SQL functions of the extension by the scheduler and by sessions of
 *	  administrators.
 *
 * The owner of a function can replace it and need not be a superuser: REASSIGN
 * OWNED gives extensions away.  So each call runs with the rights of the owner,
 * as REINDEX runs index expressions: the function cannot take another role, and
 * the settings are restored when the call ends.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "common/extension.h"
#include "common/model.h"

/* The owner of a function without parameters. */
static Oid
owner_of_function(const char *name)
{
	Oid			schema = get_namespace_oid(DURABLE_INTERNAL_SCHEMA, false);
	oidvector  *none = buildoidvector(NULL, 0);
	HeapTuple	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name), PointerGetDatum(none), ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "function %s.%s() does not exist", DURABLE_INTERNAL_SCHEMA, name);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Call a function of the extension.  A snapshot must be active. */
bool
extension_call(const char *name)
{
	char	   *query = psprintf("SELECT %s.%s()", DURABLE_INTERNAL_SCHEMA, name);
	int			level = NewGUCNestLevel();
	Oid			user;
	int			context;
	bool		isnull;
	bool		result;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner_of_function(name), context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
	if (SPI_execute(query, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call %s.%s", DURABLE_INTERNAL_SCHEMA, name);
	result = SPI_gettypeid(SPI_tuptable->tupdesc, 1) == BOOLOID &&
		DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	/* after an error the end of the transaction does this */
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(false, level);
	return result;
}

/* Take the lock that keeps workers and changes of the extension apart. */
void
extension_lock(Oid extension, LOCKMODE mode)
{
	/* PostgreSQL itself locks the extension without a column number, so this is another lock */
	LockDatabaseObject(ExtensionRelationId, extension, 1, mode);
}
