/*
 * call.c
 *	  Calling an SQL function with one jsonb input.
 *
 * Orchestrators and activities are called like this: bind_input() turns the
 * input into arguments, call_scalar() or call_set() runs the function through
 * the executor, which sees to strictness, SECURITY DEFINER and SET clauses,
 * and the result becomes jsonb.  All that can be known of a function without
 * an input is in its CallableFunction (callable.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "call.h"
#include "callable.h"

/* what an error during a conversion is about */
typedef struct ConversionContext
{
	CallableFunction *function;
	int			parameter;
} ConversionContext;

/*
 * Binding the input to the parameters
 */

/* Says in errors which parameter of which function they are about. */
static void
conversion_error_callback(void *arg)
{
	ConversionContext *conversion = arg;
	CallableFunction *fn = conversion->function;
	const char *name = fn->parameters[conversion->parameter].name;

	if (name != NULL)
		errcontext("parameter \"%s\" of function %s", name, fn->title);
	else
		errcontext("parameter $%d of function %s", conversion->parameter + 1, fn->title);
}

/* {key: value}; the value may be a scalar, an array or an object. */
static Jsonb *
make_object(const char *key, JsonbValue *value)
{
	JsonbPair	pair = {0};
	JsonbValue	object = {0};
	Jsonb	   *result;
	Datum		path;

	pair.key.type = jbvString;
	pair.key.val.string.val = unconstify(char *, key);
	pair.key.val.string.len = strlen(key);
	if (value->type == jbvBinary)
		pair.value.type = jbvNull;
	else
		pair.value = *value;
	object.type = jbvObject;
	object.val.object.nPairs = 1;
	object.val.object.pairs = &pair;
	result = JsonbValueToJsonb(&object);
	if (value->type != jbvBinary)
		return result;

	/* a container does not go into an object as it is */
	path = CStringGetTextDatum(key);
	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(result),
											  PointerGetDatum(construct_array(&path, 1, TEXTOID, -1,
																			  false, TYPALIGN_INT)),
											  JsonbPGetDatum(JsonbValueToJsonb(value)),
											  BoolGetDatum(true)));
}

/*
 * Converts a value to the parameter's type.  object is where the value is
 * under the parameter's key, or NULL.
 */
Datum
parameter_convert(CallableParameter *parameter, JsonbValue *value, Jsonb *object, bool *is_null)
{
	HeapTupleData tuple;

	*is_null = value->type == jbvNull;
	if (*is_null && !parameter->is_domain)
		return (Datum) 0;
	if (parameter->type == TEXTOID && value->type == jbvString)
		return PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
														value->val.string.len));
	if ((value->type == jbvNumeric || value->type == jbvBinary) && integers_round(parameter->type, value))
		object = NULL;

	if (object == NULL)
		object = make_object(parameter->key, value);
	tuple.t_data = DatumGetHeapTupleHeader(FunctionCall2(&parameter->populate, parameter->base,
														 JsonbPGetDatum(object)));
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	return heap_getattr(&tuple, 1, parameter->row, is_null);
}

/* Makes a value the argument; object as above. */
static void
bind_value(CallableFunction *fn, int number, JsonbValue *value, Jsonb *object)
{
	ParamExternData *argument = &fn->arguments->params[number];
	ConversionContext conversion = {fn, number};
	ErrorContextCallback callback = {
		.callback = conversion_error_callback, .arg = &conversion, .previous = error_context_stack
	};

	error_context_stack = &callback;
	argument->value = parameter_convert(&fn->parameters[number], value, object,
										&argument->isnull);
	error_context_stack = callback.previous;
}

/* The function's parameters, for an error message. */
static char *
list_parameters(CallableFunction *fn)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < fn->nparameters; i++)
	{
		CallableParameter *parameter = &fn->parameters[i];

		appendStringInfo(&list, "%s%s%s%s%s", i > 0 ? ", " : "",
						 parameter->name ? quote_identifier(parameter->name) : "",
						 parameter->name ? " " : "", format_type_be(parameter->type),
						 parameter->default_value ? " (optional)" : "");
	}
	return list.data;
}

/* Errors out: these parameters have neither a value nor a default. */
static void
report_missing(CallableFunction *fn, const bool *given)
{
	StringInfoData list;
	int			count = 0;
	bool		unnamed = false;

	initStringInfo(&list);
	for (int i = 0; i < fn->nparameters; i++)
	{
		CallableParameter *parameter = &fn->parameters[i];

		if (given[i] || parameter->default_value)
			continue;
		if (count++ > 0)
			appendStringInfoString(&list, ", ");
		if (parameter->name)
			appendStringInfo(&list, "\"%s\"", parameter->name);
		else
			appendStringInfo(&list, "$%d", i + 1);
		unnamed |= parameter->name == NULL;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg_plural("input of function %s lacks parameter %s",
						   "input of function %s lacks parameters %s",
						   count, fn->title, list.data),
			 errdetail("Its parameters are: %s.", list_parameters(fn)),
			 unnamed ?
			 errhint("A parameter without a name is bound by its position in a JSON array.") :
			 errhint("Give a JSON object with a key for each parameter, or a JSON array with the values in order.")));
}

/* Errors out: the object has a key that is no parameter's name. */
static void
report_unknown_key(CallableFunction *fn, Jsonb *input)
{
	JsonbIterator *iterator = JsonbIteratorInit(&input->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool		known = false;

		if (token != WJB_KEY)
			continue;
		for (int i = 0; i < fn->nparameters && !known; i++)
			known = fn->parameters[i].name &&
				strlen(fn->parameters[i].name) == value.val.string.len &&
				memcmp(fn->parameters[i].name, value.val.string.val, value.val.string.len) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("function %s has no parameter \"%s\"", fn->title,
							pnstrdup(value.val.string.val, value.val.string.len)),
					 errdetail("Its parameters are: %s.", list_parameters(fn))));
	}
}

/* The value of the parameter's key in an object, or NULL. */
static JsonbValue *
find_key(CallableParameter *parameter, Jsonb *input)
{
	if (parameter->name == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(&input->root, parameter->name,
										strlen(parameter->name), NULL);
}

/* Binds an object's members to the parameters of their names. */
static void
bind_object(CallableFunction *fn, Jsonb *input, bool *given)
{
	int			count = 0;

	for (int i = 0; i < fn->nparameters; i++)
	{
		JsonbValue *value = find_key(&fn->parameters[i], input);

		if (value == NULL)
			continue;
		bind_value(fn, i, value, input);
		given[i] = true;
		count++;
	}
	if (count < JB_ROOT_COUNT(input))
		report_unknown_key(fn, input);
}

/* Binds an array's elements to the parameters in order. */
static void
bind_array(CallableFunction *fn, Jsonb *input, bool *given)
{
	int			count = JB_ROOT_COUNT(input);

	if (count > fn->nparameters)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg_plural("input of function %s has %d elements, but the function has %d parameter",
							   "input of function %s has %d elements, but the function has %d parameters",
							   fn->nparameters, fn->title, count, fn->nparameters),
				 errdetail("Its parameters are: %s.", list_parameters(fn))));
	for (int i = 0; i < count; i++)
	{
		bind_value(fn, i, getIthJsonbValueFromContainer(&input->root, i), NULL);
		given[i] = true;
	}
}

/* Whether an object has members, and all of them are columns of the row type. */
static bool
has_columns_only(Jsonb *object, Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(getBaseType(type), -1);
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *name = NameStr(column->attname);

		if (!column->attisdropped &&
			getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL) != NULL)
			count++;
	}
	ReleaseTupleDesc(desc);
	return count > 0 && count == JB_ROOT_COUNT(object);
}

/*
 * Whether the input is the only parameter's value itself: an object of columns
 * that does not just wrap it by name, for a composite type; an array that does
 * not just wrap an array, for an array type.  So both [1,2] and [[1,2]] are an
 * int[].
 */
static bool
is_bare_value(CallableFunction *fn, Jsonb *input)
{
	CallableParameter *only = &fn->parameters[0];
	JsonbValue *value;

	if (fn->nparameters != 1)
		return false;
	if (JB_ROOT_IS_OBJECT(input))
		return only->is_composite &&
			(JB_ROOT_COUNT(input) != 1 || find_key(only, input) == NULL) &&
			has_columns_only(input, only->type);
	if (!only->is_array || JB_ROOT_COUNT(input) != 1)
		return only->is_array;
	value = getIthJsonbValueFromContainer(&input->root, 0);
	return value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data);
}

/* Makes the whole input the value of the only parameter. */
static void
bind_whole_input(CallableFunction *fn, Jsonb *input)
{
	ParamExternData *argument = &fn->arguments->params[0];
	JsonbValue	value;

	if (fn->parameters[0].type == JSONBOID)
	{
		argument->value = JsonbPGetDatum(input);
		argument->isnull = false;
	}
	else if (fn->parameters[0].type == JSONOID)
	{
		argument->value = CStringGetTextDatum(JsonbToCString(NULL, &input->root, VARSIZE(input)));
		argument->isnull = false;
	}
	else
	{
		JsonbToJsonbValue(input, &value);
		if (JB_ROOT_IS_SCALAR(input))
			JsonbExtractScalar(&input->root, &value);
		bind_value(fn, 0, &value, NULL);
	}
}

/* Evaluates the parameter's default, now and as the current user. */
static void
bind_default(CallableFunction *fn, int number)
{
	CallableParameter *parameter = &fn->parameters[number];
	ParamExternData *argument = &fn->arguments->params[number];
	EState	   *estate;
	ExprState  *state;

	if (IsA(parameter->default_value, Const))
	{
		argument->value = ((Const *) parameter->default_value)->constvalue;
		argument->isnull = ((Const *) parameter->default_value)->constisnull;
		return;
	}
	estate = CreateExecutorState();
	state = ExecPrepareExpr(parameter->default_value, estate);
	argument->value = ExecEvalExprSwitchContext(state, GetPerTupleExprContext(estate),
												&argument->isnull);
	if (!argument->isnull)
		argument->value = datumCopy(argument->value, parameter->typbyval, parameter->typlen);
	FreeExecutorState(estate);
}

/*
 * Turns the input into arguments:
 *
 *	no parameters: ignored; an only json or jsonb one: the input whole
 *	object: by name; array: by position; scalar: for an only parameter
 *	none, or JSON null: no arguments, or a null for an only parameter
 *
 * then defaults for the rest, which are not evaluated if it is but a check.
 */
static void
bind_input(CallableFunction *fn, Jsonb *input, bool check_only)
{
	bool		given[FUNC_MAX_ARGS] = {false};
	JsonbValue	scalar = {.type = jbvNull};

	if (fn->nparameters == 0)
		return;
	if (input != NULL && JB_ROOT_IS_SCALAR(input))
		JsonbExtractScalar(&input->root, &scalar);

	if (input != NULL &&
		(fn->takes_whole_input || (!JB_ROOT_IS_SCALAR(input) && is_bare_value(fn, input))))
	{
		bind_whole_input(fn, input);
		given[0] = true;
	}
	else if (input != NULL && JB_ROOT_IS_OBJECT(input))
		bind_object(fn, input, given);
	else if (input != NULL && !JB_ROOT_IS_SCALAR(input))
		bind_array(fn, input, given);
	else if (fn->nparameters == 1 &&
			 (scalar.type != jbvNull || !fn->parameters[0].default_value))
	{
		bind_value(fn, 0, &scalar, NULL);
		given[0] = true;
	}
	else if (scalar.type != jbvNull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s has %d parameters, but the input is a single value",
						fn->title, fn->nparameters),
				 errdetail("Its parameters are: %s.", list_parameters(fn)),
				 errhint("Give a JSON object with a key for each parameter, or a JSON array with the values in order.")));

	for (int i = 0; i < fn->nparameters; i++)
	{
		if (given[i])
			continue;
		if (fn->parameters[i].default_value == NULL)
			report_missing(fn, given);
		if (!check_only)
			bind_default(fn, i);
	}
}

/*
 * The call
 */

/* Errors out unless the role may execute the function. */
void
function_check_execute(Oid function, Oid role)
{
	AclResult	result = compat_proc_aclcheck(function, role, ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

/* Whether a function is anything but a built-in one that everybody may execute. */
static bool
is_foreign_function(Oid function, void *context)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		result = true;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_proc) GETSTRUCT(tuple))->prolang != INTERNALlanguageId ||
			!heap_attisnull(tuple, Anum_pg_proc_proacl, NULL);
		ReleaseSysCache(tuple);
	}
	return result;
}

/* Whether an expression calls such a function anywhere. */
static bool
calls_foreign_function(Node *node, void *context)
{
	if (node == NULL)
		return false;
	/* the conditions of a domain may call anything */
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, is_foreign_function, context))
		return true;
	return expression_tree_walker(node, calls_foreign_function, context);
}

/*
 * The state of a call of a function in SQL that the planner inlines; NULL if
 * it does not.  Like a plan it holds for one search_path and one role.  Only
 * an expression of built-in functions is kept: what others depend on would
 * have to be watched too.  An inlined call is not counted by track_functions.
 */
static ExprState *
simplified_state(CallableFunction *fn)
{
	MemoryContext old_context;

	/* one without parameters might be evaluated for good, if it claims to be immutable */
	if (!fn->cached || fn->nparameters == 0 || fn->track_functions == TRACK_FUNC_ALL)
		return NULL;
	if (fn->simplified != NULL && fn->simplified->is_valid && strcmp(fn->simplified_path, namespace_search_path) == 0)
		return fn->state;

	callable_forget_simplified(fn);
	fn->simplified_context = AllocSetContextCreate(fn->context, "durable inlined function",
												   ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(fn->simplified_context);
	fn->simplified_path = pstrdup(namespace_search_path);
	fn->simplified = GetCachedExpression((Node *) fn->expression);
	if (!calls_foreign_function(fn->simplified->expr, NULL))
		fn->state = ExecInitExpr((Expr *) fn->simplified->expr, NULL);
	MemoryContextSwitchTo(old_context);
	return fn->state;
}

/*
 * The call expression, ready to run.  Kept in the entry, except for functions
 * in SQL that are not inlined: in PostgreSQL 15 to 17 their plans go stale with
 * a change of the search_path or role in the same transaction, and are not kept
 * for longer.
 */
static ExprState *
callable_state(CallableFunction *fn)
{
	MemoryContext old_context;
	ExprState  *state;

	if (fn->is_sql)
	{
		state = simplified_state(fn);
		return state != NULL ? state : ExecInitExpr((Expr *) fn->expression, NULL);
	}
	if (fn->state == NULL)
	{
		old_context = MemoryContextSwitchTo(fn->context);
		fn->state = ExecInitExpr((Expr *) fn->expression, NULL);
		MemoryContextSwitchTo(old_context);
	}
	return fn->state;
}

/* Says in errors in which function they occurred, which the executor cannot say of one that was inlined. */
static void
inlined_error_callback(void *arg)
{
	errcontext("SQL function %s", ((CallableFunction *) arg)->title);
}

/* Evaluates the call. */
static Datum
evaluate(CallableFunction *fn, bool *is_null)
{
	ExprContext *econtext = makeNode(ExprContext);
	ExprState  *state = callable_state(fn);
	ErrorContextCallback callback = {
		.callback = inlined_error_callback, .arg = fn, .previous = error_context_stack
	};
	Datum		value;

	econtext->ecxt_per_query_memory = CurrentMemoryContext;
	econtext->ecxt_per_tuple_memory = CurrentMemoryContext;
	econtext->ecxt_param_list_info = fn->arguments;
	if (fn->is_sql && state == fn->state)
		error_context_stack = &callback;
	value = ExecEvalExpr(state, econtext, is_null);
	error_context_stack = callback.previous;
	return value;
}

/* Calls a function that returns one value; NULL for null and void. */
static Jsonb *
call_scalar(CallableFunction *fn)
{
	bool		is_null;
	Datum		value = evaluate(fn, &is_null);

	if (is_null || fn->result_type == VOIDOID)
		return NULL;
	if (fn->result_type == JSONBOID)
		return DatumGetJsonbP(value);
	return DatumGetJsonbP(FunctionCall1(&fn->to_jsonb, value));
}

/* The query that makes an array of a set-returning function's rows. */
static char *
set_query(CallableFunction *fn)
{
	StringInfoData query;

	/* the odd alias is no column's name, so that it stands for the row */
	initStringInfo(&query);
	appendStringInfo(&query,
					 "SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(\"durable row\")), '[]'::pg_catalog.jsonb) FROM %s(",
					 quote_qualified_identifier(get_namespace_name(get_func_namespace(fn->oid)),
												get_func_name(fn->oid)));
	for (int i = 0; i < fn->nparameters; i++)
		appendStringInfo(&query, "%s%s$%d", i > 0 ? ", " : "",
						 fn->expression->funcvariadic && i == fn->nparameters - 1 ? "VARIADIC " : "",
						 i + 1);
	appendStringInfoString(&query, ") AS \"durable row\"");
	return query.data;
}

/* Calls a set-returning function: its rows as a JSON array. */
static Jsonb *
call_set(CallableFunction *fn)
{
	MemoryContext call_context = CurrentMemoryContext;
	SPIPlanPtr	plan = fn->plan;
	Jsonb	   *result;
	Datum		value;
	bool		is_null;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (plan == NULL)
	{
		Oid			types[FUNC_MAX_ARGS];

		for (int i = 0; i < fn->nparameters; i++)
			types[i] = fn->parameters[i].type;
		plan = SPI_prepare(set_query(fn), fn->nparameters, types);
		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (fn->cached)
		{
			SPI_keepplan(plan);
			fn->plan = plan;
		}
	}
	if (SPI_execute_plan_with_paramlist(plan, fn->arguments, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "unexpected result of function %s", fn->title);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	MemoryContextSwitchTo(call_context);
	result = DatumGetJsonbPCopy(value);
	SPI_finish();
	return result;
}

/*
 * Calls the function as the current user, in the caller's transaction.  The
 * result is NULL for SQL null and void; rows become objects, sets arrays.  With
 * check_only it errors out where a call with this input would before it ran;
 * converting the input may run code of users then, too.
 */
Jsonb *
function_call(Oid function, Jsonb *input, bool check_only)
{
	MemoryContext call_context = AllocSetContextCreate(CurrentMemoryContext, "durable call",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(call_context);
	CallableFunction *fn;
	Jsonb	   *result = NULL;

	fn = callable_get(function);
	function_check_execute(function, GetUserId());
	fn->in_use++;
	PG_TRY();
	{
		bind_input(fn, input, check_only);
		if (!check_only)
			result = fn->returns_set ? call_set(fn) : call_scalar(fn);
	}
	PG_FINALLY();
	{
		fn->in_use--;
	}
	PG_END_TRY();

	MemoryContextSwitchTo(old_context);
	if (result != NULL)
		result = DatumGetJsonbPCopy(JsonbPGetDatum(result));
	MemoryContextDelete(call_context);
	return result;
}
