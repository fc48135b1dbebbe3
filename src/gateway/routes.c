/*
 * routes.c
 *	  The paths and methods of the API.
 *
 * A table has the method and path of each route, and the HTTP status for an
 * instance in the wrong state (OD002).  A route's begin function checks the request
 * and submits its statement.  When the statement ends, the route's end function
 * answers the request; after an error fail() does, which translates SQLSTATEs.
 * Fixed parts of a path are compared without regard to case, as in Durable
 * Functions; names and ids are case-sensitive.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answers.h"
#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "routes.h"
#include "server.h"
#include "waiters.h"

#define PAGE_DEFAULT	100
#define PAGE_MOST		1000
#define NO_DATABASE		"the database is not available"

typedef struct RouteText
{
	const char *method;
	const char *path;			/* below the base path; * is any segment */
	int			wrong_state;	/* HTTP status for OD002 */
	Query		query;
	void		(*begin) (Request *);
	void		(*end) (Request *, PGresult *);
} RouteText;

static const RouteText routes[ROUTE_COUNT];

const char *const route_names[ROUTE_COUNT] = {
	[ROUTE_NONE] = "none", [ROUTE_START] = "start", [ROUTE_STATUS] = "status", [ROUTE_LIST] = "list",
	[ROUTE_PURGE] = "purge", [ROUTE_PURGE_BY] = "purge_by", [ROUTE_RAISE_EVENT] = "raise_event",
	[ROUTE_TERMINATE] = "terminate", [ROUTE_SUSPEND] = "suspend", [ROUTE_RESUME] = "resume", [ROUTE_REWIND] = "rewind",
	[ROUTE_RESTART] = "restart", [ROUTE_HEALTHZ] = "healthz", [ROUTE_METRICS] = "metrics",
};

/* Answer a request whose statement did not succeed. */
static void
fail(Request *request, Outcome outcome, PGresult *result)
{
	const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
	const char *message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;

	sqlstate = sqlstate ? sqlstate : "";
	message = message ? message : "unknown error";
#define CLASS(c) (strncmp(sqlstate, c, 2) == 0)
	if (outcome == OUTCOME_AWAY)
		server_fail(request, 503, NO_DATABASE, NULL);
	else if (outcome == OUTCOME_LOST)
		server_fail(request, 503, "the connection to the database broke, the request may or may not have taken effect", NULL);
	else if (outcome == OUTCOME_UNUSABLE)
		server_fail(request, 503, "the database does not have the extension durable, or its role may not use it", message);
	else if (strcmp(sqlstate, "OD001") == 0)
		answer_error(request, 404, result);
	else if (strcmp(sqlstate, "OD002") == 0)
		answer_error(request, routes[request->route].wrong_state, result);
	else if (strcmp(sqlstate, "OD003") == 0)
		answer_error(request, 409, result);
	else if (strcmp(sqlstate, "42501") == 0)
		answer_error(request, 403, result);
	else if (strcmp(sqlstate, "53400") == 0)
		answer_error(request, 429, result);	/* a quota */
	else if (strcmp(sqlstate, "57014") == 0)
		server_fail(request, 503, "the database took too long", NULL);
	else if (CLASS("08") || CLASS("40") || CLASS("53") || CLASS("57") || strcmp(sqlstate, "25006") == 0 ||
			 strcmp(sqlstate, "55P03") == 0 || strcmp(sqlstate, "0A000") == 0)
	{
		/* the state of the server is for its administrator only */
		log_line("%s: SQLSTATE %s: %s", route_names[request->route], sqlstate, message);
		server_fail(request, 503, NO_DATABASE, NULL);
	}
	else if (CLASS("22") || CLASS("54") ||
			 (CLASS("42") && (request->route == ROUTE_START || request->route == ROUTE_RESTART)))
		answer_error(request, 400, result);
	else
	{
		log_line("%s: SQLSTATE %s: %s", route_names[request->route], sqlstate, message);
		server_fail(request, 500, "the database reported an error", NULL);
	}
#undef CLASS
}

static void
done(void *arg, Outcome outcome, PGresult *result)
{
	Request    *request = arg;

	request_keep(request, result);
	if (outcome == OUTCOME_OK)
		routes[request->route].end(request, result);
	else
		fail(request, outcome, result);
}

/* A statement whose result is kept with the request, whose answer may point into the result. */
static Statement *
statement_of(Request *request, Query query, void (*end) (void *, Outcome, PGresult *))
{
	Statement  *statement = statement_new(query, end, request);

	statement->keep_result = true;
	return statement;
}

/* A statement of the route's own query. */
static Statement *
statement_for(Request *request)
{
	return statement_of(request, routes[request->route].query, done);
}

static void
bad(Request *request, const char *message)
{
	server_fail(request, 400, message, NULL);
}

/* Read a boolean parameter, if it is given; if it is invalid, answer the request and return false. */
static bool
get_boolean(Request *request, const char *key, bool *value)
{
	const char *text = request_query(request, key);

	if (text == NULL || text[0] == '\0')
		return true;
	if (strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0)
		*value = true;
	else if (strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0)
		*value = false;
	else
	{
		bad(request, "showHistory, showHistoryOutput, showInput, returnInternalServerErrorOnFailure and "
			"restartWithNewInstanceId must be true or false");
		return false;
	}
	return true;
}

/* Read a parameter in seconds, as ms; -1 if it is not given; if it is invalid, answer the request and return -2. */
static int64_t
get_seconds(Request *request, const char *key)
{
	const char *text = request_query(request, key);
	char	   *end;
	double		seconds;

	if (text == NULL || text[0] == '\0')
		return -1;
	seconds = strtod(text, &end);
	if (*end != '\0' || strspn(text, "0123456789.") != strlen(text) || !(seconds >= 0 && seconds <= 1e9))
	{
		bad(request, "timeout and pollingInterval must be seconds");
		return -2;
	}
	return (int64_t) (seconds * 1000);
}

/* Read a time in ISO 8601 into *value, which the caller frees; NULL if it is not given.  If it is invalid, answer and return false. */
static bool
get_time(Request *request, const char *key, char **value)
{
	const char *text = request_query(request, key);
	size_t		length;

	*value = NULL;
	if (text == NULL || text[0] == '\0')
		return true;
	length = strlen(text);
	if (length < 10 || length > 40 || strspn(text, "0123456789") != 4 || text[4] != '-' || text[7] != '-' ||
		strspn(text, "0123456789-:.,+ TtZz") != length)
	{
		bad(request, "createdTimeFrom and createdTimeTo must be times as 2030-01-31T23:59:59Z");
		return false;
	}
	*value = xstrdup(text);
	/* a client that does not encode the + of +00:00 sends a space */
	for (size_t i = 16; i < length; i++)
		if (text[i] == ' ' && isdigit((unsigned char) text[i + 1]) && strchr(text, 'T') != NULL)
			(*value)[i] = '+';
	return true;
}

/* Read the runtimeStatus parameters as an array literal into *value; NULL if none is given.  If one is invalid, answer and return false. */
static bool
get_statuses(Request *request, char **value)
{
	static const char *const names[] = {"Pending", "Running", "Suspended", "ContinuedAsNew", "Completed", "Failed",
	"Terminated", "Canceled"};
	Buffer		array = {0};
	bool		any = false;

	*value = NULL;
	buffer_add(&array, "{");
	for (int i = 0; i < request->query_count; i++)
	{
		const char *rest = request->values[i];

		if (strcasecmp(request->keys[i], "runtimeStatus") != 0)
			continue;
		while (*rest != '\0')
		{
			size_t		length = strcspn(rest, ",");
			size_t		n = 0;

			while (n < 8 && (strlen(names[n]) != length || strncasecmp(names[n], rest, length) != 0))
				n++;
			if (length > 0 && n == 8)
			{
				buffer_free(&array);
				bad(request, "runtimeStatus must be a list of Pending, Running, Suspended, ContinuedAsNew, Completed, "
					"Failed and Terminated");
				return false;
			}
			any |= length > 0;
			/* Durable Functions has the status Canceled, durable does not */
			if (length > 0 && n < 7)
				buffer_printf(&array, "%s%s", array.length > 1 ? "," : "", names[n]);
			rest += length + (rest[length] == ',');
		}
	}
	buffer_add(&array, "}");
	if (any)
		*value = array.data;
	else
		buffer_free(&array);
	return true;
}

/* Move the body to *value, which PostgreSQL parses as JSON; NULL if it is empty.  If it has a NUL byte, answer and return false. */
static bool
get_body(Request *request, char **value)
{
	*value = NULL;
	if (request->body.length == 0)
		return true;
	if (memchr(request->body.data, '\0', request->body.length) != NULL)
	{
		bad(request, "the body contains a NUL byte");
		return false;
	}
	*value = request->body.data;
	request->body = (Buffer) {0};
	return true;
}

/*
 * Read onDuplicate as dedupe_statuses and on_duplicate of durable.start_new.  The default is that of Durable Functions: an
 * instance that has ended is replaced, a live one is an error.  If the value is invalid, answer and return false.
 */
static bool
get_duplicate(Request *request, const char **statuses, const char **action)
{
	const char *word = request_query(request, "onDuplicate");

	*statuses = "{Pending,Running,Suspended}";
	*action = "error";
	if (word == NULL || word[0] == '\0' || strcasecmp(word, "replace") == 0)
		return true;
	*statuses = "{Pending,Running,Suspended,ContinuedAsNew,Completed,Failed,Terminated}";
	if (strcasecmp(word, "ignore") == 0)
		*action = "ignore";
	else if (strcasecmp(word, "error") != 0)
	{
		bad(request, "onDuplicate must be replace, error or ignore");
		return false;
	}
	return true;
}

static void
begin_start(Request *request)
{
	const char *statuses;
	const char *action;
	const char *version = request_query(request, "version");
	int64_t		timeout = get_seconds(request, "timeout");
	int64_t		interval = timeout == -2 ? -2 : get_seconds(request, "pollingInterval");
	size_t		length = request->body.length;
	char	   *input;
	Statement  *statement;

	if (timeout == -2 || interval == -2)
		return;
	if (timeout >= 0 && interval > timeout)
	{
		bad(request, "timeout must not be shorter than pollingInterval");
		return;
	}
	if (!get_duplicate(request, &statuses, &action) || !get_body(request, &input))
		return;
	if (timeout > options.max_wait * 1000)
		timeout = options.max_wait * 1000;
	request->wait_until = timeout > 0 ? now_ms() + timeout : 0;
	if (interval >= 0)
	{
		Buffer		seconds = {0};

		buffer_printf(&seconds, "%lld", (long long) (interval + 999) / 1000);
		request->retry_after = seconds.data;
	}
	statement = statement_for(request);
	statement->parameters[0] = xstrdup(request->segments[1]);
	statement->parameters[1] = input;
	statement->parameters[2] = request->segment_count > 2 ? xstrdup(request->segments[2]) : NULL;
	statement->parameters[3] = version && version[0] ? xstrdup(version) : NULL;
	statement->parameters[4] = xstrdup(statuses);
	statement->parameters[5] = xstrdup(action);
	statement->input_length = length;
	pool_submit(statement);
}

static void wait_woken(Request *request, bool ended);

/* Wait for the end of the instance; false if the request's time is over. */
static bool
wait_more(Request *request)
{
	if (request->wait_until <= now_ms() || server_draining())
		return false;
	waiters_add(request, wait_woken);
	server_watch_hangup(request);
	return true;
}

/* waiters.c found that the instance had ended, and its status was read: answer. */
static void
wait_done(void *arg, Outcome outcome, PGresult *result)
{
	Request    *request = arg;
	const char *status = "";

	request_keep(request, result);
	if (outcome == OUTCOME_OK && PQntuples(result) > 0)
		status = PQgetvalue(result, 0, STATUS_STATUS);
	if (strcmp(status, "Completed") == 0)
	{
		answer_add_json(request, "", result, 0, STATUS_OUTPUT);
		server_answer(request, 200);
	}
	else if (strcmp(status, "Failed") == 0 || strcmp(status, "Terminated") == 0)
	{
		answer_add_status(request, result, 0);
		buffer_add(&request->reply, "}");
		server_answer(request, 200);
	}
	/* the pool has no connection yet, or another instance has got the id */
	else if ((outcome == OUTCOME_AWAY || outcome == OUTCOME_LOST || status[0] != '\0') && wait_more(request))
		;
	/* the start itself has succeeded */
	else
		answer_links(request, request->instance_id);
}

static void
wait_woken(Request *request, bool ended)
{
	Statement  *statement;

	if (!ended)
	{
		answer_links(request, request->instance_id);
		return;
	}
	statement = statement_of(request, QUERY_STATUS, wait_done);
	statement->parameters[0] = xstrdup(request->instance_id);
	statement->parameters[1] = xstrdup("true");
	pool_submit(statement);
}

static void
end_start(Request *request, PGresult *result)
{
	request->instance_id = xstrdup(PQgetvalue(result, 0, 0));
	if (!wait_more(request))
		answer_links(request, request->instance_id);
}

static void
begin_status(Request *request)
{
	bool		history = false;
	bool		history_output = false;
	bool		show_input = true;
	Statement  *statement;

	if (!get_boolean(request, "showHistory", &history) || !get_boolean(request, "showHistoryOutput", &history_output) ||
		!get_boolean(request, "showInput", &show_input) ||
		!get_boolean(request, "returnInternalServerErrorOnFailure", &request->error_on_failure))
		return;
	statement = statement_of(request, history ? QUERY_STATUS_HISTORY : QUERY_STATUS, done);
	statement->parameters[0] = xstrdup(request->segments[1]);
	statement->parameters[1] = xstrdup(show_input ? "true" : "false");
	if (history)
		statement->parameters[2] = xstrdup(history_output ? "true" : "false");
	pool_submit(statement);
}

static void
end_status(Request *request, PGresult *result)
{
	const char *status;

	if (PQntuples(result) == 0)
	{
		server_fail(request, 404, "there is no such instance", NULL);
		return;
	}
	status = PQgetvalue(result, 0, STATUS_STATUS);
	answer_add_status(request, result, 0);
	/* with history, which has one event at least */
	if (PQntuples(result) > 1)
		answer_add_history(request, result);
	buffer_add(&request->reply, "}");
	if (strcmp(status, "Failed") == 0 && request->error_on_failure)
		server_answer(request, 500);
	else if (strcmp(status, "Completed") == 0 || strcmp(status, "Failed") == 0 || strcmp(status, "Terminated") == 0)
		server_answer(request, 200);
	else
	{
		answer_location(request, PQgetvalue(result, 0, STATUS_ID));
		request_header(request, "Retry-After", "5");
		server_answer(request, 202);
	}
}

static void
begin_list(Request *request)
{
	const char *top = request_query(request, "top");
	const char *prefix = request_query(request, "instanceIdPrefix");
	const char *token = server_header(request, "x-ms-continuation-token");
	char	   *end = "";
	long		page = top && top[0] ? strtol(top, &end, 10) : PAGE_DEFAULT;
	bool		show_input = true;
	Buffer		size = {0};
	Statement  *statement;

	if (*end != '\0' || page < 0)
	{
		bad(request, "top must be a number");
		return;
	}
	if (token && !utf8_valid(token))
	{
		bad(request, "invalid continuation token");
		return;
	}
	page = page == 0 ? PAGE_DEFAULT : page > PAGE_MOST ? PAGE_MOST : page;
	statement = statement_for(request);
	if (!get_boolean(request, "showInput", &show_input) ||
		!get_statuses(request, &statement->parameters[0]) ||
		!get_time(request, "createdTimeFrom", &statement->parameters[1]) ||
		!get_time(request, "createdTimeTo", &statement->parameters[2]))
	{
		statement_free(statement);
		return;
	}
	buffer_printf(&size, "%ld", page);
	statement->parameters[3] = prefix ? xstrdup(prefix) : NULL;
	statement->parameters[4] = xstrdup(show_input ? "true" : "false");
	statement->parameters[5] = size.data;
	statement->parameters[6] = token && token[0] && strcmp(token, "null") != 0 ? xstrdup(token) : NULL;
	pool_submit(statement);
}

static void
end_list(Request *request, PGresult *result)
{
	int			rows = PQntuples(result);

	buffer_add(&request->reply, "[");
	for (int row = 0; row < rows; row++)
	{
		if (row > 0)
			buffer_add(&request->reply, ",");
		answer_add_status(request, result, row);
		buffer_add(&request->reply, "}");
	}
	buffer_add(&request->reply, "]");
	if (rows > 0 && !PQgetisnull(result, rows - 1, LIST_TOKEN))
		request_header(request, "x-ms-continuation-token", PQgetvalue(result, rows - 1, LIST_TOKEN));
	server_answer(request, 200);
}

static void
begin_purge_by(Request *request)
{
	Statement  *statement = statement_for(request);
	bool		valid = get_time(request, "createdTimeFrom", &statement->parameters[0]) &&
		get_time(request, "createdTimeTo", &statement->parameters[1]) &&
		get_statuses(request, &statement->parameters[2]);

	if (valid && statement->parameters[0] != NULL)
	{
		pool_submit(statement);
		return;
	}
	if (valid)
		bad(request, "createdTimeFrom is required");
	statement_free(statement);
}

static void
end_purge(Request *request, PGresult *result)
{
	if (strcmp(PQgetvalue(result, 0, 0), "0") == 0)
	{
		server_fail(request, 404, request->route == ROUTE_PURGE ? "there is no such instance" : "there is nothing to purge", NULL);
		return;
	}
	buffer_printf(&request->reply, "{\"instancesDeleted\":%s}", PQgetvalue(result, 0, 0));
	server_answer(request, 200);
}

static void
begin_event(Request *request)
{
	const char *type = server_header(request, "Content-Type");
	char	   *data;
	Statement  *statement;

	if (type == NULL || strncasecmp(type, "application/json", 16) != 0 || (type[16] != '\0' && strchr("; \t", type[16]) == NULL))
	{
		bad(request, "the Content-Type of an event must be application/json");
		return;
	}
	if (!get_body(request, &data))
		return;
	statement = statement_for(request);
	statement->parameters[0] = xstrdup(request->segments[1]);
	statement->parameters[1] = xstrdup(request->segments[3]);
	statement->parameters[2] = data;
	pool_submit(statement);
}

static void
begin_reason(Request *request)
{
	const char *reason = request_query(request, "reason");
	Statement  *statement = statement_for(request);

	statement->parameters[0] = xstrdup(request->segments[1]);
	/* {text} is the placeholder in the URLs of a payload */
	if (reason != NULL && reason[0] != '\0' && strcmp(reason, "{text}") != 0)
		statement->parameters[1] = xstrdup(reason);
	pool_submit(statement);
}

static void
end_accepted(Request *request, PGresult *result)
{
	server_answer(request, 202);
}

static void
begin_restart(Request *request)
{
	bool		new_id = true;
	Statement  *statement;

	if (!get_boolean(request, "restartWithNewInstanceId", &new_id))
		return;
	statement = statement_for(request);
	statement->parameters[0] = xstrdup(request->segments[1]);
	statement->parameters[1] = xstrdup(new_id ? "true" : "false");
	pool_submit(statement);
}

static void
end_restart(Request *request, PGresult *result)
{
	answer_links(request, PQgetvalue(result, 0, 0));
}

/* Submit a statement that has no parameter, or the id as its only one. */
static void
begin_plain(Request *request)
{
	Statement  *statement = statement_for(request);

	if (query_texts[statement->query].parameters > 0)
		statement->parameters[0] = xstrdup(request->segments[1]);
	if (request->route == ROUTE_HEALTHZ)
		pool_submit_watch(statement);
	else
		pool_submit(statement);
}

static void
end_health(Request *request, PGresult *result)
{
	if (PQntuples(result) == 0)
	{
		server_fail(request, 503, "the database does not have the extension durable", NULL);
		return;
	}
	buffer_add(&request->reply, "{\"status\":\"ok\"}");
	server_answer(request, 200);
}

static const RouteText routes[ROUTE_COUNT] = {
	[ROUTE_START] = {"POST", "orchestrators/*", 409, QUERY_START, begin_start, end_start},
	[ROUTE_STATUS] = {"GET", "instances/*", 500, QUERY_STATUS, begin_status, end_status},
	[ROUTE_LIST] = {"GET", "instances", 500, QUERY_LIST, begin_list, end_list},
	[ROUTE_PURGE] = {"DELETE", "instances/*", 412, QUERY_PURGE, begin_plain, end_purge},
	[ROUTE_PURGE_BY] = {"DELETE", "instances", 400, QUERY_PURGE_BY, begin_purge_by, end_purge},
	[ROUTE_RAISE_EVENT] = {"POST", "instances/*/raiseEvent/*", 410, QUERY_RAISE_EVENT, begin_event, end_accepted},
	[ROUTE_TERMINATE] = {"POST", "instances/*/terminate", 410, QUERY_TERMINATE, begin_reason, end_accepted},
	[ROUTE_SUSPEND] = {"POST", "instances/*/suspend", 410, QUERY_SUSPEND, begin_reason, end_accepted},
	[ROUTE_RESUME] = {"POST", "instances/*/resume", 410, QUERY_RESUME, begin_reason, end_accepted},
	[ROUTE_REWIND] = {"POST", "instances/*/rewind", 412, QUERY_REWIND, begin_reason, end_accepted},
	[ROUTE_RESTART] = {"POST", "instances/*/restart", 409, QUERY_RESTART, begin_restart, end_restart},
	[ROUTE_HEALTHZ] = {"GET", "healthz", 500, QUERY_HEALTH, begin_plain, end_health},
	[ROUTE_METRICS] = {"GET", "metrics", 500, QUERY_STATS, metrics_route, NULL},
};

/* Whether the segments from first on match a route's path. */
static bool
path_matches(const Request *request, const char *path, int first)
{
	int			i = first;

	while (*path != '\0')
	{
		size_t		length = strcspn(path, "/");

		if (i >= request->segment_count)
			return false;
		if (!(length == 1 && *path == '*') &&
			(strlen(request->segments[i]) != length || strncasecmp(request->segments[i], path, length) != 0))
			return false;
		i++;
		path += length + (path[length] == '/');
	}
	return i == request->segment_count;
}

/* The route for the request's path and a method.  If there is none, *allowed, if not NULL, gets the methods of the path. */
static Route
find_route(const Request *request, const char *method, Buffer *allowed)
{
	static const char *const base[] = {"runtime", "webhooks", "durabletask"};
	int			first = 0;

	while (first < 3 && first < request->segment_count && strcasecmp(request->segments[first], base[first]) == 0)
		first++;
	if (first != 3)
		first = 0;
	for (int i = 1; i < ROUTE_COUNT; i++)
	{
		bool		outside = i == ROUTE_HEALTHZ || i == ROUTE_METRICS;

		if ((first == 0 && !outside) ||
			(!path_matches(request, routes[i].path, first) &&
			 !(i == ROUTE_START && path_matches(request, "orchestrators/*/*", first))))
			continue;
		if (strcmp(method, routes[i].method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(routes[i].method, "GET") == 0))
			return i;
		if (allowed != NULL)
			buffer_printf(allowed, "%s%s", allowed->length ? ", " : "", routes[i].method);
	}
	return ROUTE_NONE;
}

bool
routes_open(const Request *request)
{
	return find_route(request, request->method, NULL) == ROUTE_HEALTHZ;
}

void
routes_dispatch(Request *request)
{
	Buffer		allowed = {0};

	request->route = find_route(request, request->method, &allowed);
	if (request->problem != NULL)
		bad(request, request->problem);
	else if (request->route != ROUTE_NONE)
	{
		/* remove the base path, which the begin functions do not expect */
		int			base = strcasecmp(request->segments[0], "runtime") == 0 ? 3 : 0;

		for (int i = 0; i < base; i++)
			free(request->segments[i]);
		memmove(request->segments, request->segments + base, (request->segment_count - base) * sizeof(char *));
		request->segment_count -= base;
		routes[request->route].begin(request);
	}
	else if (allowed.length > 0)
	{
		request_header(request, "Allow", allowed.data);
		server_fail(request, 405, "this path does not know this method", NULL);
	}
	else
		server_fail(request, 404, "there is no such path", NULL);
	buffer_free(&allowed);
}
