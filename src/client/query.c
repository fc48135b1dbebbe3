/*
 * query.c
 *	  durable.query_instances and durable.count_instances.
 *
 * search.c finds the ids of a page.  Then the view durable.instances returns their
 * rows, with the same snapshot and the privileges of the caller.
 *
 * A continuation token has a checksum, the created_time and the id of the page's
 * last row, in hexadecimal digits.  So it is safe in a URL, and any session can
 * use it.  With an id prefix the pages are in the order of ids, and the token has
 * TIME_BY_ID instead of the created_time.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "common/arguments.h"
#include "common/call_context.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "search/search.h"

#define PAGE_SIZE_LIMIT 100000
/* the most characters of payloads in a page; a quarter of durable.max_payload if that is more */
#define PAGE_TEXT		(16 * INT64CONST(1024) * 1024)
#define TOKEN_HEAD		(sizeof(pg_crc32c) + sizeof(TimestampTz))

#define PAGE_QUERY \
	"SELECT s.* FROM pg_catalog.unnest($1) WITH ORDINALITY AS u (id, n) CROSS JOIN LATERAL (" \
	"SELECT i.instance_id, i.name, i.function, i.version, i.runtime_status," \
	" CASE WHEN $2 THEN i.input END, i.output, i.custom_status, i.created_time," \
	" i.last_updated_time, i.completed_time, i.scheduled_start_time, i.execution_id," \
	" i.parent_instance_id, i.tags, i.failure, i.owner, NULL::pg_catalog.jsonb," \
	" CASE WHEN u.n OPERATOR(pg_catalog.=) pg_catalog.cardinality($1) THEN $3 END" \
	" FROM durable.instances i WHERE i.instance_id OPERATOR(pg_catalog.=) u.id OFFSET 0) s" \
	" ORDER BY u.n"

PG_FUNCTION_INFO_V1(durable_query_instances);
PG_FUNCTION_INFO_V1(durable_count_instances);

/* The filter in the first eight arguments of both functions. */
static void
filter_arguments(FunctionCallInfo fcinfo, Filter *filter)
{
	memset(filter, 0, sizeof(Filter));
	filter->statuses = PG_ARGISNULL(0) ? ~0 : status_set(PG_GETARG_ARRAYTYPE_P(0), "runtime_status");
	filter->has_from = !PG_ARGISNULL(1);
	if (filter->has_from)
		filter->from = PG_GETARG_TIMESTAMPTZ(1);
	filter->has_to = !PG_ARGISNULL(2);
	if (filter->has_to)
		filter->to = PG_GETARG_TIMESTAMPTZ(2);
	filter->name = text_argument(fcinfo, 3);
	filter->prefix = text_argument(fcinfo, 4);
	if (filter->prefix != NULL && filter->prefix[0] == '\0')
		filter->prefix = NULL;
	if (!PG_ARGISNULL(5))
	{
		filter->tags = PG_GETARG_JSONB_P(5);
		if (!JB_ROOT_IS_OBJECT(filter->tags))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tags must be a JSON object")));
		if (JB_ROOT_COUNT(filter->tags) == 0)
			filter->tags = NULL;
	}
	filter->parent = text_argument(fcinfo, 6);
	filter->ids = PG_ARGISNULL(7) ? NULL : PG_GETARG_ARRAYTYPE_P(7);
}

/* The checksum of the bytes that follow it. */
static pg_crc32c
token_checksum(const char *bytes, Size length)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, bytes + sizeof(crc), length - sizeof(crc));
	FIN_CRC32C(crc);
	return crc;
}

/* The token for the last row of a page. */
static text *
token_encode(const Found *place)
{
	Size		id_length = VARSIZE_ANY_EXHDR(place->instance_id);
	Size		length = TOKEN_HEAD + id_length;
	char	   *bytes = palloc(length);
	text	   *token = palloc(VARHDRSZ + 2 * length);
	pg_crc32c	crc;

	memcpy(bytes + sizeof(crc), &place->created_time, sizeof(TimestampTz));
	memcpy(bytes + TOKEN_HEAD, VARDATA_ANY(place->instance_id), id_length);
	crc = token_checksum(bytes, length);
	memcpy(bytes, &crc, sizeof(crc));
	SET_VARSIZE(token, VARHDRSZ + 2 * length);
	(void) hex_encode(bytes, length, VARDATA(token));
	return token;
}

/* The row of a token; an error if the token is invalid, or of pages in the other order. */
static void
token_decode(const char *token, bool by_id, Found *place)
{
	Size		digits = strlen(token);
	Size		length = digits / 2;
	char	   *bytes = palloc(length + 1);
	pg_crc32c	crc;

	if (digits % 2 != 0 || length <= TOKEN_HEAD || strspn(token, "0123456789abcdef") != digits)
		length = 0;
	else
	{
		(void) hex_decode(token, digits, bytes);
		memcpy(&crc, bytes, sizeof(crc));
		if (!EQ_CRC32C(crc, token_checksum(bytes, length)) ||
			!pg_verifymbstr(bytes + TOKEN_HEAD, length - TOKEN_HEAD, true))
			length = 0;
	}
	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid continuation token"),
				 errhint("Use the continuation_token of the last row of the page before, unchanged.")));
	memcpy(&place->created_time, bytes + sizeof(crc), sizeof(TimestampTz));
	place->instance_id = cstring_to_text_with_len(bytes + TOKEN_HEAD, length - TOKEN_HEAD);
	if ((place->created_time == TIME_BY_ID) != by_id)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("continuation token is of a page %s instance_id_prefix",
						by_id ? "without" : "with"),
				 errhint("Pass the instance_id_prefix of the page before, or none if that page had none.")));
}

/* The ids of a page as an array. */
static Datum
id_array(Found *rows, int count)
{
	Datum	   *ids = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		ids[i] = PointerGetDatum(rows[i].instance_id);
	return PointerGetDatum(construct_array(ids, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Characters of the payloads in a row. */
static int64
payload_size(HeapTuple row, TupleDesc columns)
{
	int64		size = 0;

	for (int i = 1; i <= columns->natts; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(row, columns, i, &isnull);
		Jsonb	   *json;

		if (isnull || TupleDescAttr(columns, i - 1)->atttypid != JSONBOID)
			continue;
		json = DatumGetJsonbP(value);
		size += jsonb_text_size(json);
		if ((Pointer) json != DatumGetPointer(value))
			pfree(json);
	}
	return size;
}

/* How many of the instances found fit into a page, at least one, so that the text fits into the memory of a client. */
static int
fitting(const Found *rows, int count)
{
	int64		limit = Max(PAGE_TEXT, (int64) durable_max_payload * 1024 / 4);
	int64		size = 0;
	int			next = 0;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		text	   *id = DatumGetTextPP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		while (next < count - 1 && (VARSIZE_ANY_EXHDR(id) != VARSIZE_ANY_EXHDR(rows[next].instance_id) ||
									memcmp(VARDATA_ANY(id), VARDATA_ANY(rows[next].instance_id), VARSIZE_ANY_EXHDR(id)) != 0))
			next++;
		size += payload_size(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		if (next > 0 && size > limit)
			return next;
	}
	return count;
}

/* Add the rows of these ids to the result. */
static void
return_page(ReturnSetInfo *result, Found *rows, int count, bool show_input, text *token)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTARRAYOID, BOOLOID, TEXTOID};
	Datum		values[] = {id_array(rows, count), BoolGetDatum(show_input), PointerGetDatum(token)};
	char		nulls[] = {' ', ' ', token == NULL ? 'n' : ' '};
	int			fits;

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare_cursor(PAGE_QUERY, lengthof(types), types,
												  CURSOR_OPT_GENERIC_PLAN);

		if (prepared == NULL)
			elog(ERROR, "could not prepare query_instances: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(prepared);
		plan = prepared;
	}
	/* read-only, so that SPI uses the active snapshot, which is that of the search */
	if (SPI_execute_plan(plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a page of instances");
	fits = fitting(rows, count);
	if (fits < count)
	{
		SPI_finish();
		return_page(result, rows, fits, show_input, token_encode(&rows[fits - 1]));
		return;
	}
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
}

/*
 * durable.query_instances(runtime_status, created_time_from, created_time_to, name,
 * instance_id_prefix, tags, parent_instance_id, instance_ids, show_input, page_size,
 * continuation_token)
 */
Datum
durable_query_instances(PG_FUNCTION_ARGS)
{
	Filter		filter;
	Search	   *search;
	Found		place;
	Found	   *rows;
	text	   *token = NULL;
	char	   *continuation;
	int			page_size;
	int			count;
	bool		more;

	orchestrator_forbid("durable.query_instances");
	filter_arguments(fcinfo, &filter);
	require_argument(fcinfo, 8, "show_input", "durable.query_instances");
	require_argument(fcinfo, 9, "page_size", "durable.query_instances");
	page_size = PG_GETARG_INT32(9);
	if (page_size < 1 || page_size > PAGE_SIZE_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page_size must be between 1 and %d", PAGE_SIZE_LIMIT)));
	continuation = text_argument(fcinfo, 10);
	if (continuation != NULL)
		token_decode(continuation, filter.prefix != NULL, &place);

	InitMaterializedSRF(fcinfo, 0);
	search = search_begin(&filter);
	count = search_page(search, continuation != NULL ? &place : NULL, page_size, &rows, &more);
	search_end(search);
	if (more)
		token = token_encode(&rows[count - 1]);
	if (count > 0)
		return_page((ReturnSetInfo *) fcinfo->resultinfo, rows, count, PG_GETARG_BOOL(8), token);
	PG_RETURN_NULL();
}

/*
 * durable.count_instances(runtime_status, created_time_from, created_time_to, name,
 * instance_id_prefix, tags, parent_instance_id, instance_ids)
 */
Datum
durable_count_instances(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Filter		filter;
	Search	   *search;
	int64		counts[STATUS_TERMINATED + 1];

	orchestrator_forbid("durable.count_instances");
	filter_arguments(fcinfo, &filter);
	InitMaterializedSRF(fcinfo, 0);
	search = search_begin(&filter);
	search_count(search, counts);
	search_end(search);
	for (RuntimeStatus status = 0; status <= STATUS_TERMINATED; status++)
	{
		Oid			type = TupleDescAttr(result->setDesc, 0)->atttypid;
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if (counts[status] == 0)
			continue;
		values[0] = DirectFunctionCall2(enum_in, CStringGetDatum(status_name(status)),
										ObjectIdGetDatum(type));
		values[1] = Int64GetDatum(counts[status]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}
