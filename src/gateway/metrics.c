/*
 * metrics.c
 *	  /metrics in the text format of Prometheus: what the gateway counts
 *	  itself, and what the database does.
 *
 * The counts of the database cost it time that grows with the number of
 * instances, so they are read at most every --metrics-interval; scrapes in
 * between get the last ones. They cover what the gateway's role may see: with
 * pg_monitor that is all instances. When the database is away the gateway's
 * own counters are still served, with durable_gateway_database_up 0.
 */
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "server.h"
#include "waiters.h"

static uint64_t counts[ROUTE_COUNT][600];
static uint64_t durations[ROUTE_COUNT];
static uint64_t totals[ROUTE_COUNT];
static Buffer database_text;
static int64_t database_read = 0;	/* when; 0: never */

void
metrics_count(Route route, int status, int64_t ms)
{
	if (status >= 0 && status < 600)
		counts[route][status]++;
	durations[route] += ms;
	totals[route]++;
}

static void
add_type(Buffer *text, const char *name, const char *type, const char *help)
{
	buffer_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
add_gauge(Buffer *text, const char *name, const char *help, long value)
{
	add_type(text, name, "gauge", help);
	buffer_printf(text, "%s %ld\n", name, value);
}

/* A label's value: \, " and line ends are escaped. */
static void
add_label(Buffer *text, const char *name, const char *value)
{
	buffer_printf(text, "%s=\"", name);
	for (; *value != '\0'; value++)
	{
		if (*value == '\n')
			buffer_add(text, "\\n");
		else
		{
			if (*value == '"' || *value == '\\')
				buffer_add(text, "\\");
			buffer_append(text, value, 1);
		}
	}
	buffer_add(text, "\"");
}

static void
add_own(Buffer *text)
{
	add_type(text, "durable_gateway_requests_total", "counter", "Requests answered.");
	for (int route = 0; route < ROUTE_COUNT; route++)
		for (int status = 0; status < 600; status++)
			if (counts[route][status] > 0)
				buffer_printf(text, "durable_gateway_requests_total{route=\"%s\",code=\"%d\"} %llu\n", route_names[route],
							  status, (unsigned long long) counts[route][status]);
	add_type(text, "durable_gateway_request_seconds", "summary", "Time from request line to answer.");
	for (int route = 0; route < ROUTE_COUNT; route++)
		if (totals[route] > 0)
			buffer_printf(text, "durable_gateway_request_seconds_sum{route=\"%s\"} %.3f\n"
						  "durable_gateway_request_seconds_count{route=\"%s\"} %llu\n",
						  route_names[route], durations[route] / 1000.0, route_names[route], (unsigned long long) totals[route]);
	add_gauge(text, "durable_gateway_connections", "Clients connected.", server_connections());
	add_gauge(text, "durable_gateway_waiting", "Requests that wait for the end of an instance.", waiters_count());
	add_gauge(text, "durable_gateway_listening", "Whether the connection for notifications is up.", waiters_listening());
	add_gauge(text, "durable_gateway_database_up", "Whether there is a connection to the database.", pool_up());
	add_gauge(text, "durable_gateway_database_connections", "Database connections that are up.", pool_connected());
	add_gauge(text, "durable_gateway_database_busy", "Database connections that run a statement.", pool_busy());
	add_gauge(text, "durable_gateway_database_queued", "Statements that wait for a connection.", pool_queued());
	add_type(text, "durable_gateway_statements_total", "counter", "Statements of requests.");
	buffer_printf(text, "durable_gateway_statements_total %llu\n", (unsigned long long) pool_statements());
}

static void
answer(Request *request)
{
	request->content_type = "text/plain; version=0.0.4; charset=utf-8";
	add_own(&request->reply);
	if (database_text.length > 0)
		buffer_append(&request->reply, database_text.data, database_text.length);
	server_answer(request, 200);
}

/* What the columns of QUERY_METRICS mean: metric, label, its value, status, number. */
static void
take_counts(PGresult *result)
{
	const char *before = "";

	database_text.length = 0;
	for (int row = 0; row < PQntuples(result); row++)
	{
		const char *name = PQgetvalue(result, row, 0);

		if (strcmp(name, before) != 0)
			add_type(&database_text, name, "gauge", "See README.md.");
		before = name;
		buffer_add(&database_text, name);
		if (!PQgetisnull(result, row, 1))
		{
			buffer_add(&database_text, "{");
			add_label(&database_text, PQgetvalue(result, row, 1), PQgetvalue(result, row, 2));
			if (!PQgetisnull(result, row, 3))
			{
				buffer_add(&database_text, ",");
				add_label(&database_text, "status", PQgetvalue(result, row, 3));
			}
			buffer_add(&database_text, "}");
		}
		buffer_printf(&database_text, " %s\n", PQgetvalue(result, row, 4));
	}
	database_read = now_ms();
}

static void
metrics_done(void *arg, Outcome outcome, PGresult *result)
{
	if (outcome == OUTCOME_OK)
		take_counts(result);
	else
		database_text.length = 0;
	answer(arg);
}

void
metrics_route(Request *request)
{
	if (database_read != 0 && now_ms() - database_read < options.metrics_interval * 1000)
		answer(request);
	else
		pool_submit(statement_new(QUERY_METRICS, metrics_done, request));
}

void
metrics_close(void)
{
	buffer_free(&database_text);
}
