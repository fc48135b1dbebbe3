/*
 * function_cache.c
 *	  What a process remembers of a function that it calls with a jsonb input.
 *
 * A CallableFunction has the parameters, their conversions and defaults.  Entries
 * are in CacheMemoryContext, hashed by Oid.  An invalidation of a catalog marks
 * entries as not valid; such an entry is freed at the next look-up, unless it is
 * in use.  A nested call of a function in use gets a separate entry in the caller's
 * memory context, because calls can share neither FmgrInfos nor parameter lists.
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

#include "call/function_cache.h"
#include "call/function_lookup.h"
#include "common/call_context.h"

typedef struct CallableEntry
{
	Oid			oid;			/* hash key */
	CallableFunction *function;
} CallableEntry;

static HTAB *callables = NULL;

/* number of invalidations, to notice one that arrives while an entry is built */
static uint64 callable_invalidations = 0;

/* Syscache callback: mark the entries that depend on a changed row of pg_proc, pg_type or pg_namespace. */
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

/* Relcache callback: the relation may be a composite type of an entry. */
static void
callable_relcache_callback(Datum arg, Oid relid)
{
	callable_syscache_callback(arg, TYPEOID, 0);
}

/* Make the hash table and register the callbacks, once in a process. */
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

void
typed_function_init(FmgrInfo *flinfo, Oid function, Oid result_type, Oid argument_type)
{
	Expr	   *argument = (Expr *) makeNullConst(argument_type, -1, InvalidOid);
	FuncExpr   *call = makeFuncExpr(function, result_type, list_make1(argument),
									InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);

	fmgr_info(function, flinfo);
	fmgr_info_set_expr((Node *) call, flinfo);
}

/* An external parameter. */
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

/* Fill in a parameter, except its default. */
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

/* Fill in the input parameters of a function with their defaults. */
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

/* Build the call expression, whose arguments are external parameters. */
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

/* Make an entry in a new memory context below parent. */
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

	function_check_callable(function);
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

/* Forget the inlined expression and its state. */
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
 * A valid entry of a function: that of the cache, or a new one in the current
 * memory context if that is in use.  An entry is for one role and one
 * transaction: what PostgreSQL prepares for a call, such as the constraints of a
 * domain, keeps the rights that the role had then.
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

	/* in the caller's context until no error can leak it */
	fn = callable_build(function, CurrentMemoryContext);
	entry = hash_search(callables, &function, HASH_ENTER, NULL);
	entry->function = fn;
	fn->cached = true;
	MemoryContextSetParent(fn->context, CacheMemoryContext);
	return fn;
}
