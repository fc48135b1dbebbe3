/*
 * callable.c
 *	  Functions that can be called with a jsonb input: found by name or
 *	  signature, and remembered.
 *
 * A *callable function* holds parameters, conversions and defaults.  Entries
 * live in CacheMemoryContext, hashed by Oid.  Invalidations mark them stale; a
 * stale one is freed when it is next looked up and not in use.  A nested call
 * of a function in use gets an entry of its own, below the caller's memory
 * context, because neither FmgrInfos nor parameter lists can be shared.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "call.h"
#include "callable.h"
#include "process.h"

/* bytes of the longest name or signature: an index entry has room for such a name beside the longest id and role, uncompressed */
#define MAX_NAME_LENGTH 1024

typedef struct CallableEntry
{
	Oid			oid;			/* hash key */
	CallableFunction *function;
} CallableEntry;

static HTAB *callables = NULL;

/* counts invalidations, to notice one that arrives while an entry is built */
static uint64 callable_invalidations = 0;

/*
 * Look-up and signatures
 */

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

/* Splits a qualified name into a list of String nodes; NIL for a bad one. */
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

/* A function's signature, whatever the session's settings; NULL if there is none. */
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

/* "schema.name(argument types)", whatever the search_path. */
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

/* A signature as messages show it: without the schema of PostgreSQL's own types. */
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

/* How messages call a function. */
static char *
function_title(Oid function)
{
	return readable(function_signature(function));
}

/* Errors out where a value of the type cannot come from or go to jsonb. */
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

/* Errors out unless function_call() can call this kind of function. */
static void
check_callable(Oid function)
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

/* The only routine of that name, or InvalidOid: to say that it's a procedure. */
static Oid
lookup_procedure(List *name)
{
	ObjectWithArgs *routine = makeNode(ObjectWithArgs);

	routine->objname = name;
	routine->args_unspecified = true;
	return LookupFuncWithArgs(OBJECT_ROUTINE, routine, true);
}

/*
 * The only function of that name in the search_path, or the one of that
 * signature, if it can be called.
 */
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
		/* without argument types, though it wants an array: an error where there are several */
		function = LookupFuncName(parts, -1, &unused, true);
		if (!OidIsValid(function))
			function = lookup_procedure(parts);
		if (!OidIsValid(function))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("function \"%s\" does not exist", name),
					 errhint("Qualify its name with the schema, or set search_path.")));
	}
	check_callable(function);
	return function;
}

/*
 * The function of a signature.  Compares the signatures of all functions of
 * the name instead of parsing the types, which may be gone as well.
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

/*
 * The cache of callable functions
 */

/* Marks what depends on a changed pg_proc, pg_type or pg_namespace row. */
static void
callable_syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	CallableEntry *entry;

	callable_invalidations++;
	hash_seq_init(&status, callables);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		CallableFunction *fn = entry->function;

		if (cacheid == PROCOID ? (hashvalue == 0 || hashvalue == fn->proc_hash) :
			cacheid == TYPEOID ? fn->user_types : true)
			fn->valid = false;
	}
}

/* A relation changed: perhaps a composite type that is used here. */
static void
callable_relcache_callback(Datum arg, Oid relid)
{
	callable_syscache_callback(arg, TYPEOID, 0);
}

/* Makes the hash and asks for invalidations, once in a backend. */
static void
callables_init(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(CallableEntry)};

	/* the cast is for PostgreSQL 19, where cacheid is of an enum type */
	SyscacheCallbackFunction callback = (SyscacheCallbackFunction) callable_syscache_callback;

	callables = hash_create("durable callable functions", 64, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterSyscacheCallback(PROCOID, callback, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, callback, (Datum) 0);
	CacheRegisterRelcacheCallback(callable_relcache_callback, (Datum) 0);
}

/* Sets up a function that asks for the type of its only or first argument. */
void
typed_function_init(FmgrInfo *flinfo, Oid function, Oid result_type, Oid argument_type)
{
	Expr	   *argument = (Expr *) makeNullConst(argument_type, -1, InvalidOid);
	FuncExpr   *call = makeFuncExpr(function, result_type, list_make1(argument),
									InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

	fmgr_info(function, flinfo);
	fmgr_info_set_expr((Node *) call, flinfo);
}

/* The external parameter of a number. */
static Param *
make_param(int number, Oid type)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(type);
	param->location = -1;
	return param;
}

/* Fills in all of a parameter but its default. */
void
parameter_init(CallableParameter *parameter, int number, const char *name, Oid type)
{
	Oid			base_type = getBaseType(type);
	Datum		null_value = (Datum) 0;
	bool		is_null = true;

	parameter->name = name && name[0] ? name : NULL;
	parameter->key = parameter->name ? parameter->name : psprintf("p%d", number);
	parameter->type = type;
	get_typlenbyval(type, &parameter->typlen, &parameter->typbyval);
	parameter->is_domain = base_type != type;
	parameter->is_array = type_is_array(base_type);
	parameter->is_composite = type_is_rowtype(base_type);

	parameter->row = ExecTypeFromTL(list_make1(makeTargetEntry((Expr *) make_param(number, type), 1,
															   pstrdup(parameter->key), false)));
	BlessTupleDesc(parameter->row);
	parameter->base = HeapTupleGetDatum(heap_form_tuple(parameter->row, &null_value, &is_null));
	typed_function_init(&parameter->populate, F_JSONB_POPULATE_RECORD, RECORDOID, RECORDOID);
}

/* Collects the input parameters of the function with their defaults. */
static void
init_parameters(CallableFunction *fn, HeapTuple tuple)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			nall = get_func_arg_info(tuple, &types, &names, &modes);
	bool		no_defaults;
	Datum		defaults = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargdefaults, &no_defaults);

	fn->parameters = palloc0(Max(proc->pronargs, 1) * sizeof(CallableParameter));
	for (int i = 0; i < nall; i++)
	{
		if (modes && (modes[i] == PROARGMODE_OUT || modes[i] == PROARGMODE_TABLE))
			continue;
		fn->nparameters++;
		parameter_init(&fn->parameters[fn->nparameters - 1], fn->nparameters,
					   names ? names[i] : NULL, types[i]);
		if (types[i] >= FirstGenbkiObjectId)
			fn->user_types = true;
	}
	Assert(fn->nparameters == proc->pronargs);

	if (!no_defaults)
	{
		List	   *values = castNode(List, stringToNode(TextDatumGetCString(defaults)));
		int			first = fn->nparameters - list_length(values);

		for (int i = first; i < fn->nparameters; i++)
			fn->parameters[i].default_value = list_nth(values, i - first);
	}
	if (fn->nparameters == 1)
	{
		Oid			type = getBaseType(fn->parameters[0].type);

		fn->takes_whole_input = type == JSONBOID || type == JSONOID;
	}
}

/* Builds the call expression, whose arguments are external parameters. */
static void
init_expression(CallableFunction *fn, bool is_variadic)
{
	List	   *arguments = NIL;
	Oid			input_collation = InvalidOid;

	fn->arguments = makeParamList(fn->nparameters);
	for (int i = 0; i < fn->nparameters; i++)
	{
		Param	   *param = make_param(i + 1, fn->parameters[i].type);

		if (OidIsValid(param->paramcollid))
			input_collation = DEFAULT_COLLATION_OID;
		arguments = lappend(arguments, param);
		fn->arguments->params[i].ptype = param->paramtype;
		fn->arguments->params[i].pflags = PARAM_FLAG_CONST;
	}
	fn->expression = makeFuncExpr(fn->oid, fn->result_type, arguments,
								  get_typcollation(fn->result_type), input_collation,
								  COERCE_EXPLICIT_CALL);
	fn->expression->funcvariadic = is_variadic;
}

/* Reads all about the function into a new context below parent. */
static CallableFunction *
callable_build(Oid function, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "durable callable function",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	uint64		invalidations = callable_invalidations;
	CallableFunction *fn = palloc0(sizeof(CallableFunction));
	HeapTuple	tuple;
	Form_pg_proc proc;

	check_callable(function);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);

	fn->oid = function;
	fn->context = context;
	fn->role = GetUserId();
	fn->transaction = compat_lxid();
	fn->proc_hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));
	fn->track_functions = pgstat_track_functions;
	fn->title = function_title(function);
	MemoryContextSetIdentifier(context, fn->title);
	fn->is_sql = proc->prolang == SQLlanguageId;
	fn->returns_set = proc->proretset;
	fn->result_type = proc->prorettype;
	fn->user_types = fn->result_type >= FirstGenbkiObjectId;
	init_parameters(fn, tuple);
	init_expression(fn, OidIsValid(proc->provariadic));
	typed_function_init(&fn->to_jsonb, F_TO_JSONB, JSONBOID, fn->result_type);
	ReleaseSysCache(tuple);

	fn->valid = invalidations == callable_invalidations;
	MemoryContextSwitchTo(old_context);
	return fn;
}

/* Forget what the planner made of the expression, and the state made of that. */
void
callable_forget_simplified(CallableFunction *fn)
{
	if (fn->simplified != NULL)
		FreeCachedExpression(fn->simplified);
	fn->simplified = NULL;
	if (fn->simplified_context != NULL)
		MemoryContextDelete(fn->simplified_context);
	fn->simplified_context = NULL;
	fn->state = NULL;
}

/*
 * The function's entry in the cache, current; or one in the current memory
 * context where that is in use.  An entry is for one role and one transaction:
 * what PostgreSQL prepares for a call, such as the constraints of a domain, keeps
 * the rights that the role had then, and the owner of a SECURITY DEFINER function.
 */
CallableFunction *
callable_get(Oid function)
{
	CallableEntry *entry;
	CallableFunction *fn;

	process_require_role(GetUserId());
	if (callables == NULL)
		callables_init();
	entry = hash_search(callables, &function, HASH_FIND, NULL);
	if (entry != NULL)
	{
		fn = entry->function;
		if (fn->in_use > 0)
			return callable_build(function, CurrentMemoryContext);
		if (fn->valid && fn->role == GetUserId() && fn->transaction == compat_lxid() &&
			fn->track_functions == pgstat_track_functions)
			return fn;
		hash_search(callables, &function, HASH_REMOVE, NULL);
		if (fn->plan != NULL)
			SPI_freeplan(fn->plan);
		callable_forget_simplified(fn);
		MemoryContextDelete(fn->context);
	}

	/* below the caller's context until all is well */
	fn = callable_build(function, CurrentMemoryContext);
	entry = hash_search(callables, &function, HASH_ENTER, NULL);
	entry->function = fn;
	fn->cached = true;
	MemoryContextSetParent(fn->context, CacheMemoryContext);
	return fn;
}
