/*
 * http_payload.c
 *	  The URLs at which the HTTP gateway manages an instance, in the shapes of
 *	  Durable Functions' HTTP API.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

#include "client/client.h"
#include "common/arguments.h"
#include "common/call_context.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "common/links.h"
#include "store/instance_rows.h"
#include "store/runtime_status.h"

PG_FUNCTION_INFO_V1(durable_create_http_management_payload);
PG_FUNCTION_INFO_V1(durable_create_check_status_response);

/*
 * Append a path segment: the bytes of its UTF-8 text, as %XX unless RFC 3986 calls
 * them unreserved.  The dots of "." and "..", which clients resolve, are %2E.
 */
static void
append_segment(StringInfo url, const char *segment)
{
	char	   *bytes = pg_server_to_any(segment, strlen(segment), PG_UTF8);
	bool		dots = strcmp(bytes, ".") == 0 || strcmp(bytes, "..") == 0;

	for (char *p = bytes; *p != '\0'; p++)
	{
		unsigned char c = *p;

		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			strchr("-_~", c) != NULL || (c == '.' && !dots))
			appendStringInfoChar(url, c);
		else
			appendStringInfo(url, "%%%02X", c);
	}
}

/* The URL of an instance. */
static char *
instance_url(const char *instance_id)
{
	StringInfoData url;

	initStringInfo(&url);
	appendStringInfoString(&url, durable_http_base_url);
	while (url.len > 0 && url.data[url.len - 1] == '/')
		url.data[--url.len] = '\0';
	appendStringInfoString(&url, "/instances/");
	append_segment(&url, instance_id);
	return url.data;
}

/* Append the management payload as JSON. */
static void
append_payload(StringInfo json, const char *instance_id)
{
	char	   *url = instance_url(instance_id);

	appendStringInfoString(json, "{\"id\": ");
	escape_json(json, instance_id);
	for (int i = 0; i < lengthof(links); i++)
	{
		appendStringInfo(json, ", \"%s\": ", links[i].name);
		escape_json(json, psprintf("%s%s", url, links[i].suffix));
	}
	appendStringInfoChar(json, '}');
}

/* The id in the first argument; OD001 unless the caller may see the instance. */
static char *
id_argument(FunctionCallInfo fcinfo, const char *function)
{
	char	   *instance_id;
	InstanceRow row;
	Store	   *store;

	orchestrator_forbid(function);
	require_argument(fcinfo, 0, "instance_id", function);
	instance_id = text_argument(fcinfo, 0);
	store = client_open();
	if (!instance_find(store, instance_id, &row) || !status_may_see(&row))
		client_no_instance(instance_id);
	store_close(store);
	PopActiveSnapshot();
	return instance_id;
}

/* durable.create_http_management_payload(instance_id) */
Datum
durable_create_http_management_payload(PG_FUNCTION_ARGS)
{
	StringInfoData json;

	initStringInfo(&json);
	append_payload(&json, id_argument(fcinfo, "durable.create_http_management_payload"));
	PG_RETURN_JSONB_P(jsonb_parse(json.data));
}

/* durable.create_check_status_response(instance_id) */
Datum
durable_create_check_status_response(PG_FUNCTION_ARGS)
{
	char	   *instance_id = id_argument(fcinfo, "durable.create_check_status_response");
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"statusCode\": 202, \"headers\": {"
						   "\"Content-Type\": \"application/json\", \"Retry-After\": \"10\", \"Location\": ");
	escape_json(&json, instance_url(instance_id));
	appendStringInfoString(&json, "}, \"body\": ");
	append_payload(&json, instance_id);
	appendStringInfoChar(&json, '}');
	PG_RETURN_JSONB_P(jsonb_parse(json.data));
}
