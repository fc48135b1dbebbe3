/*
 * function_call.c
 *	  Calling an SQL function with one jsonb input.
 *
 * bind_input() converts the input to arguments.  call_scalar() or call_set() runs
 * the function through the executor, which handles STRICT, SECURITY DEFINER and
 * SET clauses, and converts the result to jsonb.  function_cache.c has everything
 * that does not depend on the input.
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

#include "call/function_cache.h"
#include "call/function_call.h"
#include "call/integer_lists.h"

/* the parameter whose value is converted, for errors */
typedef struct ConversionContext
{
	CallableFunction *function;
	int			parameter;
} ConversionContext;

/*
 * Binding the input to the parameters
 */

/* Error context callback: name the parameter and the function. */
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

	/* a container must be inserted with jsonb_set */
	path = CStringGetTextDatum(key);
	return DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(result),
											  PointerGetDatum(construct_array(&path, 1, TEXTOID, -1,
																			  false, TYPALIGN_INT)),
											  JsonbPGetDatum(JsonbValueToJsonb(value)),
											  BoolGetDatum(true)));
}

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

/* Set an argument to a value; object as in parameter_convert. */
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

/* The parameters of a function, for an error message. */
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

/* Raise the error that parameters have neither a value nor a default. */
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

/* Raise the error that the object has a key that no parameter has as its name. */
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

/* The member of an object for a parameter, or NULL. */
static JsonbValue *
find_key(CallableParameter *parameter, Jsonb *input)
{
	if (parameter->name == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(&input->root, parameter->name,
										strlen(parameter->name), NULL);
}

/* Bind the members of an object to parameters by name. */
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

/* Bind the elements of an array to parameters by position. */
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

/* Whether an object has members, and all are columns of a row type. */
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
 * Whether the input is the value of the only parameter itself, and not an object
 * or array that has the value as its member or element:
 *
 *	parameter of	input
 *	a row type		an object of columns, unless its only key is the parameter's name
 *	an array type	an array, unless its only element is an array
 *
 * So both [1,2] and [[1,2]] are the value {1,2} of an int[].
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

/* Bind the whole input to the only parameter. */
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

/* Evaluate the default of a parameter as the current user. */
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
 * Convert the input to arguments:
 *
 *	no parameter							the input is ignored
 *	one parameter of type json or jsonb		the whole input
 *	object									by name
 *	array									by position
 *	other scalar							for the only parameter
 *	none, or JSON null						null for the only parameter without a default
 *
 * The other parameters get their defaults, which check_only does not evaluate.
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

void
function_check_execute(Oid function, Oid role)
{
	AclResult	result = compat_proc_aclcheck(function, role, ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

/* False for a built-in function that PUBLIC may execute. */
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

/* Whether an expression calls a function for which is_foreign_function is true. */
static bool
calls_foreign_function(Node *node, void *context)
{
	if (node == NULL)
		return false;
	/* the CHECK of a domain may call any function */
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, is_foreign_function, context))
		return true;
	return expression_tree_walker(node, calls_foreign_function, context);
}

/*
 * The state of the call of an SQL function that the planner inlines; NULL if it
 * does not.  The state is valid
 *
 * - for one search_path;
 * - for an expression of built-in functions only, because changes of others would
 *	 not invalidate the state.
 *
 * An inlined call is not counted by track_functions, so none is inlined if the
 * setting is "all".
 */
static ExprState *
simplified_state(CallableFunction *fn)
{
	MemoryContext old_context;

	/* the planner would evaluate a call of an immutable function without parameters */
	if (!fn->cached || fn->nparameters == 0 || fn->track_functions == TRACK_FUNC_ALL)
		return NULL;
	if (fn->simplified != NULL && fn->simplified->is_valid &&
		strcmp(fn->simplified_path, namespace_search_path) == 0)
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
 * The call expression, ready to run.  The entry keeps the state, except that of an
 * SQL function that is not inlined: in PostgreSQL 15 to 17, such a state has plans
 * that a change of the search_path or role does not invalidate.
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

/* Error context callback: name the function, which the executor does not if it was inlined. */
static void
inlined_error_callback(void *arg)
{
	errcontext("SQL function %s", ((CallableFunction *) arg)->title);
}

/* Evaluate the call. */
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

/* Call a function that returns one value; NULL for null and void. */
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

/* The query for the rows of a set-returning function as a JSON array. */
static char *
set_query(CallableFunction *fn)
{
	StringInfoData query;

	/* an alias with this name means the row, because no column has the name */
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

/* Call a set-returning function: its rows as a JSON array. */
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

/* Call the function, or only check that it can be called with the input, which may run code of users, too. */
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
