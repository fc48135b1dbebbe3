/*
 * function_checker.c
 *	  The parts of durable.check_orchestrator that SQL cannot do: resolving a
 *	  search_path other than the current one, and running plpgsql_check under it.
 *
 * plpgsql_check makes PostgreSQL parse and plan the statements of a function.
 * This runs code that the statements name: functions that are declared IMMUTABLE
 * or STABLE, and the CHECK of a domain for each literal of its type, which may call
 * a built-in function that writes files.  The author of a function is unknown,
 * because its owner may have changed.  So plpgsql_check runs only where this code
 * has exactly the rights of the owner: in a session that the owner has logged in
 * to, if the owner is not a superuser.  Resolving a search_path runs no code of
 * users.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "call/function_call.h"
#include "common/jsonb_util.h"

/* further schemas of a search_path are ignored */
#define MAX_SCHEMAS 1000

PG_FUNCTION_INFO_V1(durable_path_schemas);
PG_FUNCTION_INFO_V1(durable_may_check);
PG_FUNCTION_INFO_V1(durable_call_checker);

/* durable_internal.path_schemas(search_path) */
Datum
durable_path_schemas(PG_FUNCTION_ARGS)
{
	char	   *search_path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			level = NewGUCNestLevel();
	Oid			schemas[MAX_SCHEMAS];
	Datum		names[MAX_SCHEMAS];
	int			found;
	int			count = 0;

	(void) set_config_option("search_path", search_path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	found = Min(fetch_search_path_array(schemas, MAX_SCHEMAS), MAX_SCHEMAS);
	for (int i = 0; i < found; i++)
	{
		char	   *name = get_namespace_name(schemas[i]);

		if (name != NULL)
			names[count++] = DirectFunctionCall1(namein, CStringGetDatum(name));
	}
	AtEOXact_GUC(false, level);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, count, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

/*
 * Whether plpgsql_check may run for a function of this owner in this session.
 * After SET ROLE or SET SESSION AUTHORIZATION it may not, because code could
 * switch back to the role that has logged in.
 */
static bool
may_check(Oid owner)
{
	return owner == GetUserId() && owner == GetSessionUserId() && owner == GetAuthenticatedUserId() &&
		!superuser_arg(owner);
}

/* The owner of a function. */
static Oid
checked_function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* durable_internal.may_check(function) */
Datum
durable_may_check(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(may_check(checked_function_owner(PG_GETARG_OID(0))));
}

/* {key: value} */
static Jsonb *
outcome(const char *key, Jsonb *value)
{
	return jsonb_from_members(1, &key, &value);
}

/* Call a function under a search_path in a subtransaction that is rolled back; *result is its result.  Returns its error, or NULL. */
static ErrorData *
call_undone(Oid callee, Jsonb *input, const char *search_path, Jsonb **result)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		XactReadOnly = true;
		(void) set_config_option("search_path", search_path, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		*result = function_call(callee, input, false);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* durable_internal.call_checker(callee, function, search_path) */
Datum
durable_call_checker(PG_FUNCTION_ARGS)
{
	Oid			function = PG_GETARG_OID(1);
	char	   *input = psprintf("[\"%u\"]", function);
	Jsonb	   *rows = NULL;
	ErrorData  *error;

	if (!may_check(checked_function_owner(function)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("plpgsql_check may not look at function %s in this session", get_func_name(function))));
	error = call_undone(PG_GETARG_OID(0), jsonb_parse(input),
						text_to_cstring(PG_GETARG_TEXT_PP(2)), &rows);
	if (error == NULL)
		PG_RETURN_JSONB_P(outcome("rows", rows));
	/* a cancel request, a timeout or a shutdown is not an error of the function */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	PG_RETURN_JSONB_P(outcome("error", jsonb_from_text(error->message)));
}
