/*
 * function_lookup.c
 *	  Finding functions by name or signature, and refusing those that cannot be
 *	  called with a jsonb input.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "call/function_lookup.h"
#include "common/call_context.h"

/* bytes of the longest name or signature; an uncompressed index entry has room for it and the longest id and role */
#define MAX_NAME_LENGTH 1024

/* The first parenthesis outside double quotes, or NULL. */
static const char *
find_argument_list(const char *name)
{
	bool		quoted = false;

	for (; *name; name++)
	{
		if (*name == '"')
			quoted = !quoted;
		else if (*name == '(' && !quoted)
			return name;
	}
	return NULL;
}

/* Split a qualified name into a list of String nodes; NIL if the syntax is wrong. */
static List *
split_name(const char *name)
{
	List	   *parts;
	List	   *result = NIL;
	ListCell   *cell;

	if (!SplitIdentifierString(pstrdup(name), '.', &parts))
		return NIL;
	foreach(cell, parts)
		result = lappend(result, makeString(lfirst(cell)));
	return result;
}

/* The signature of a function, independent of settings; NULL if the function does not exist. */
static char *
format_signature(Oid function)
{
	bool		quote_all = quote_all_identifiers;
	char	   *signature;

	quote_all_identifiers = false;
	PG_TRY();
	{
		signature = format_procedure_extended(function,
											  FORMAT_PROC_INVALID_AS_NULL |
											  FORMAT_PROC_FORCE_QUALIFY);
	}
	PG_FINALLY();
	{
		quote_all_identifiers = quote_all;
	}
	PG_END_TRY();
	return signature;
}

char *
function_signature(Oid function)
{
	char	   *signature = format_signature(function);

	if (signature == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	return signature;
}

/* A signature without the schema of built-in types. */
static char *
readable(const char *signature)
{
	static const char schema[] = "pg_catalog.";
	const char *rest = find_argument_list(signature);
	StringInfoData text;

	if (rest == NULL)
		return pstrdup(signature);
	initStringInfo(&text);
	appendBinaryStringInfo(&text, signature, rest - signature);
	for (; *rest; rest++)
	{
		appendStringInfoChar(&text, *rest);
		if ((*rest == '(' || *rest == ',') && strncmp(rest + 1, schema, strlen(schema)) == 0)
			rest += strlen(schema);
	}
	return text.data;
}

char *
function_title(Oid function)
{
	return readable(function_signature(function));
}

/* Error if a value of this type cannot be converted from or to jsonb. */
static void
check_pseudo_type(Oid function, Oid type, bool is_result)
{
	if (get_typtype(type) != TYPTYPE_PSEUDO)
		return;
	if (is_result && (type == VOIDOID || type == RECORDOID))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("function %s cannot be called with an input of type jsonb",
					function_title(function)),
			 type == TRIGGEROID || type == EVENT_TRIGGEROID ?
			 errdetail("It is a trigger function.") :
			 IsPolymorphicType(type) || type == ANYOID ?
			 errdetail("It is polymorphic: the actual type of its argument of type %s is not known.",
					   format_type_be(type)) :
			 is_result ?
			 errdetail("Its result is of the pseudo-type %s.", format_type_be(type)) :
			 errdetail("It has an argument of the pseudo-type %s.", format_type_be(type)),
			 errhint("Write a function around it, with ordinary types.")));
}

void
function_check_callable(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a function", function_title(function)),
				 proc->prokind == PROKIND_PROCEDURE ? errdetail("It is a procedure.") :
				 proc->prokind == PROKIND_AGGREGATE ? errdetail("It is an aggregate function.") :
				 errdetail("It is a window function."),
				 errhint("Write a function around it.")));
	for (int i = 0; i < proc->pronargs; i++)
		check_pseudo_type(function, proc->proargtypes.values[i], false);
	check_pseudo_type(function, proc->prorettype, true);
	if (proc->proretset && proc->prorettype == RECORDOID &&
		heap_attisnull(tuple, Anum_pg_proc_proallargtypes, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the columns of function %s are not known", function_title(function)),
				 errhint("Declare it with RETURNS TABLE (...) or OUT parameters.")));
	ReleaseSysCache(tuple);
}

/* The only routine of a name, or InvalidOid.  A procedure found here gets the error of function_check_callable. */
static Oid
lookup_procedure(List *name)
{
	ObjectWithArgs *routine = makeNode(ObjectWithArgs);

	routine->objname = name;
	routine->args_unspecified = true;
	return LookupFuncWithArgs(OBJECT_ROUTINE, routine, true);
}

Oid
function_lookup(const char *name)
{
	Oid			function;
	Oid			unused = InvalidOid;

	process_require_role(GetUserId());
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("function name must not be null")));
	if (strlen(name) > MAX_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("function name is too long"),
				 errdetail("It has %zu bytes, and at most %d are allowed.",
						   strlen(name), MAX_NAME_LENGTH)));
	if (find_argument_list(name) != NULL)
		function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	else
	{
		List	   *parts = split_name(name);

		if (parts == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("invalid function name: \"%s\"", name)));
		/* -1: the argument types are not known; an error if several functions have the name */
		function = LookupFuncName(parts, -1, &unused, true);
		if (!OidIsValid(function))
			function = lookup_procedure(parts);
		if (!OidIsValid(function))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("function \"%s\" does not exist", name),
					 errhint("Qualify its name with the schema, or set search_path.")));
	}
	function_check_callable(function);
	return function;
}

/*
 * The function of a signature.  Compares the signatures of all functions of
 * that name, because the types in a signature cannot be parsed if one was dropped.
 */
Oid
function_by_signature(const char *signature)
{
	const char *arguments = find_argument_list(signature);
	List	   *parts = NIL;
	Oid			result = InvalidOid;

	if (arguments != NULL)
		parts = split_name(pnstrdup(signature, arguments - signature));
	if (list_length(parts) == 2)
	{
		Oid			schema = get_namespace_oid(strVal(linitial(parts)), true);
		CatCList   *candidates = SearchSysCacheList1(PROCNAMEARGSNSP,
													 CStringGetDatum(strVal(lsecond(parts))));

		for (int i = 0; i < candidates->n_members && !OidIsValid(result); i++)
		{
			Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&candidates->members[i]->tuple);
			char	   *found;

			if (!OidIsValid(schema) || proc->pronamespace != schema)
				continue;
			found = format_signature(proc->oid);
			if (found != NULL && strcmp(found, signature) == 0)
				result = proc->oid;
		}
		ReleaseSysCacheList(candidates);
	}
	if (!OidIsValid(result))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s does not exist", readable(signature)),
				 errhint("It was dropped or renamed since the instance was started; create it again.")));
	return result;
}
