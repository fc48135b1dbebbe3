/*
 * sql_activity.c
 *	  durable.run_sql, the activity behind durable.call_sql: runs an SQL statement
 *	  with parameters from a JSON array, and returns its rows as jsonb.
 *
 * The statement is analyzed twice: first to infer the types of its parameters,
 * as PREPARE does, then by SPI with the values.  Values are converted like
 * arguments of functions (function_call.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"

#include "call/function_cache.h"
#include "call/function_call.h"
#include "common/arguments.h"
#include "common/call_context.h"

/* the name of a column, from the statement or generated */
typedef struct ColumnName
{
	char		name[NAMEDATALEN];
	bool		taken;			/* a column of the result has it */
} ColumnName;

PG_FUNCTION_INFO_V1(durable_run_sql);

/* Error context callback: the position of an error is in the statement, not in the caller's query. */
static void
statement_error_callback(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/* Error context callback: name the parameter that is converted. */
static void
parameter_error_callback(void *arg)
{
	errcontext("parameter $%d of the SQL statement", *(int *) arg);
}

/* The types of the parameters; an error unless the text is one statement. */
static Oid *
parameter_types(const char *statement, int *count)
{
	ErrorContextCallback callback = {error_context_stack, statement_error_callback,
	unconstify(char *, statement)};
	List	   *parsed;
	Oid		   *types = NULL;

	*count = 0;
	error_context_stack = &callback;
	parsed = pg_parse_query(statement);
	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("durable.run_sql runs exactly one SQL statement"),
				 parsed == NIL ? errdetail("There is none.") :
				 errdetail("There are %d.", list_length(parsed)),
				 parsed == NIL ? 0 :
				 errhint("Write a function for more, and call it as an activity.")));
	(void) parse_analyze_varparams(linitial_node(RawStmt, parsed), statement, &types, count, NULL);
	for (int i = 0; i < *count; i++)
		if (types[i] == InvalidOid || types[i] == UNKNOWNOID)
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("could not determine data type of parameter $%d", i + 1),
					 errhint("Use it in the statement, with a cast: $%d::type.", i + 1)));
	error_context_stack = callback.previous;
	return types;
}

/* Convert the elements of the array to the types; nulls is in the format of SPI. */
static Datum *
parameter_values(Jsonb *parameters, int count, const Oid *types, char *nulls)
{
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));
	int			given = parameters != NULL ? JB_ROOT_COUNT(parameters) : 0;
	int			number;
	ErrorContextCallback callback = {error_context_stack, parameter_error_callback, &number};

	if (parameters != NULL && (!JB_ROOT_IS_ARRAY(parameters) || JB_ROOT_IS_SCALAR(parameters)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters of an SQL statement must be a JSON array")));
	if (given != count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wrong number of parameters for the SQL statement"),
				 errdetail("It uses %d, and %d were given.", count, given),
				 errhint("The first element of the array is $1.")));
	error_context_stack = &callback;
	for (int i = 0; i < count; i++)
	{
		CallableParameter parameter = {0};
		bool		is_null;

		number = i + 1;
		parameter_init(&parameter, number, NULL, types[i]);
		values[i] = parameter_convert(&parameter,
									  getIthJsonbValueFromContainer(&parameters->root, i), NULL,
									  &is_null);
		nulls[i] = is_null ? 'n' : ' ';
	}
	error_context_stack = callback.previous;
	return values;
}

/* Run the statement; the caller has connected to SPI. */
static void
execute(const char *statement, int count, Oid *types, Datum *values, const char *nulls)
{
	int			code = SPI_execute_with_args(statement, count, types, values, nulls, false, 0);

	if (code >= 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 code == SPI_ERROR_TRANSACTION ?
			 errmsg("durable.run_sql cannot run transaction commands") :
			 code == SPI_ERROR_COPY ?
			 errmsg("durable.run_sql cannot COPY from or to the client") :
			 errmsg("durable.run_sql cannot run this statement: %s",
					SPI_result_code_string(code))));
}

/*
 * A copy of a row type with different names for all columns, because a JSON object
 * has each key once: the second column "a" is "a_1", as in deparsed queries.
 */
static TupleDesc
distinct_columns(TupleDesc original)
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(ColumnName)};
	HTAB	   *names = hash_create("durable column names", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	TupleDesc	desc = CreateTupleDescCopy(original);
	ColumnName *entry;
	bool		found;

	for (int i = 0; i < desc->natts; i++)
	{
		entry = hash_search(names, NameStr(TupleDescAttr(desc, i)->attname), HASH_ENTER, NULL);
		entry->taken = false;
	}
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *column = NameStr(TupleDescAttr(desc, i)->attname);
		char		name[NAMEDATALEN];

		entry = hash_search(names, column, HASH_FIND, NULL);
		found = entry->taken;
		entry->taken = true;
		strlcpy(name, column, NAMEDATALEN);
		for (int number = 1; found; number++)
		{
			char	   *suffix = psprintf("_%d", number);
			int			room = NAMEDATALEN - 1 - strlen(suffix);

			snprintf(name, NAMEDATALEN, "%.*s%s", pg_mbcliplen(column, strlen(column), room),
					 column, suffix);
			entry = hash_search(names, name, HASH_ENTER, &found);
			if (!found)
				entry->taken = true;
		}
		strlcpy(column, name, NAMEDATALEN);
	}
	hash_destroy(names);
	desc->tdtypeid = RECORDOID;
	desc->tdtypmod = -1;
	return BlessTupleDesc(desc);
}

/* The rows of the statement as a record[]. */
static Datum
rows_array(const SPITupleTable *table)
{
	TupleDesc	desc;
	Datum	   *rows;
	int			count = table ? table->numvals : 0;

	if (count == 0)
		return PointerGetDatum(construct_empty_array(RECORDOID));
	desc = distinct_columns(table->tupdesc);
	rows = palloc_extended(count * sizeof(Datum), MCXT_ALLOC_HUGE);
	for (int i = 0; i < count; i++)
		rows[i] = heap_copy_tuple_as_datum(table->vals[i], desc);
	return PointerGetDatum(construct_array(rows, count, RECORDOID, -1, false, TYPALIGN_DOUBLE));
}

/* {"row_count", "rows"} as jsonb. */
static Datum
make_result(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(2);
	Datum		values[2] = {Int64GetDatum((int64) SPI_processed), rows_array(SPI_tuptable)};
	bool		nulls[2] = {false, false};
	FmgrInfo	to_jsonb;

	TupleDescInitEntry(desc, 1, "row_count", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "rows", RECORDARRAYOID, -1, 0);
	compat_tuple_desc_finish(desc);
	BlessTupleDesc(desc);
	typed_function_init(&to_jsonb, F_TO_JSONB, JSONBOID, RECORDOID);
	return FunctionCall1(&to_jsonb, HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/* run_sql(statement, parameters) */
Datum
durable_run_sql(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *statement;
	Oid		   *types;
	Datum	   *values;
	char	   *nulls;
	int			count;
	Datum		result;

	orchestrator_forbid("durable.run_sql");
	require_argument(fcinfo, 0, "statement", "durable.run_sql");
	statement = text_to_cstring(PG_GETARG_TEXT_PP(0));
	types = parameter_types(statement, &count);
	nulls = palloc(Max(count, 1));
	values = parameter_values(PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), count, types, nulls);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute(statement, count, types, values, nulls);
	MemoryContextSwitchTo(context);
	result = make_result();
	SPI_finish();
	PG_RETURN_DATUM(result);
}
