/*
 * metrics.c
 *	  /metrics in the text format of Prometheus: what the gateway counts
 *	  itself, what the engine counts (durable.stats, durable.function_stats),
 *	  and what there is in the database.
 *
 * The engine's counters are in shared memory and read for every scrape. To
 * count the instances costs the database time that grows with their number,
 * so that is done at most every --metrics-interval and by one scrape at a
 * time; others get the last counts, and so does one that finds all
 * connections busy. Both cover what the gateway's role may
 * see: with pg_monitor that is all. When the database is away the gateway's
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
static Buffer stats_text;
static Buffer counts_text;
static int64_t counts_read = 0;	/* when they were asked for; 0: never */
static bool counting = false;	/* somebody waits for them */

/* The metrics of QUERY_COUNTS and QUERY_STATS. */
static const struct
{
	const char *name;
	const char *type;
	const char *help;
}			database_metrics[] = {
	{"durable_instances", "gauge", "Instances by name and status."},
	{"durable_activities_open", "gauge", "Activities that are queued, running or between attempts."},
	{"durable_activities_oldest_seconds", "gauge", "Age of the oldest of them."},
	{"durable_timers", "gauge", "Timers that have not fired."},
	{"durable_timers_late_seconds", "gauge", "How long the first of them has been due."},
	{"durable_workers", "gauge", "Workers of the engine by state."},
	{"durable_ready_instances", "gauge", "Instances that wait for a worker."},
	{"durable_running_instances", "gauge", "Instances that workers hold."},
	{"durable_ready_activities", "gauge", "Queued activities that no worker has taken."},
	{"durable_waiting_seconds", "gauge", "How long work has found no idle worker."},
	{"durable_batches_total", "counter", "Transactions of workers, each one commit."},
	{"durable_rollbacks_total", "counter", "Batches that failed and were tried again in smaller ones."},
	{"durable_wakeups_total", "counter", "Times an idle worker was woken."},
	{"durable_turns_total", "counter", "Calls of orchestrators."},
	{"durable_replays_total", "counter", "Turns after the first of an instance."},
	{"durable_history_reads_total", "counter", "Histories that were not in a worker's cache."},
	{"durable_activities_total", "counter", "Calls of activities."},
	{"durable_queued_activities_total", "counter", "Those that went through the queue."},
	{"durable_ended_total", "counter", "Instances that ended, by status."},
	{"durable_timers_fired_total", "counter", "Timers that came due."},
	{"durable_timers_lateness_seconds_total", "counter", "How late they were taken in, in all."},
	{"durable_timers_lateness_max_seconds", "gauge", "The latest of them."},
	{"durable_function_calls_total", "counter", "Turns of an orchestrator, attempts of an activity."},
	{"durable_function_failures_total", "counter", "Those that ended with an error."},
	{"durable_function_seconds_total", "counter", "Time in them."},
};

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
	if (pool_up())
	{
		buffer_append(&request->reply, stats_text.data, stats_text.length);
		buffer_append(&request->reply, counts_text.data, counts_text.length);
	}
	server_answer(request, 200);
}

/* Keep a result of QUERY_COUNTS or QUERY_STATS as text; nothing if the statement has failed. */
static void
take(Buffer *text, Outcome outcome, PGresult *result)
{
	const char *before = "";

	text->length = 0;
	for (int row = 0; outcome == OUTCOME_OK && row < PQntuples(result); row++)
	{
		const char *name = PQgetvalue(result, row, METRIC_NAME);
		const char *separator = "{";

		for (size_t i = 0; strcmp(name, before) != 0 && i < sizeof(database_metrics) / sizeof(database_metrics[0]); i++)
			if (strcmp(name, database_metrics[i].name) == 0)
				add_type(text, name, database_metrics[i].type, database_metrics[i].help);
		before = name;
		buffer_add(text, name);
		for (int label = METRIC_LABEL; label < METRIC_VALUE; label += 2)
		{
			if (PQgetisnull(result, row, label))
				continue;
			buffer_add(text, separator);
			add_label(text, PQgetvalue(result, row, label), PQgetvalue(result, row, label + 1));
			separator = ",";
		}
		buffer_printf(text, "%s %s\n", *separator == ',' ? "}" : "", PQgetvalue(result, row, METRIC_VALUE));
	}
}

static void
counts_done(void *arg, Outcome outcome, PGresult *result)
{
	counting = false;
	take(&counts_text, outcome, result);
	if (arg != NULL)
		answer(arg);
}

static void
stats_done(void *arg, Outcome outcome, PGresult *result)
{
	int64_t		now = now_ms();

	take(&stats_text, outcome, result);
	if (!pool_up() || counting || (counts_read != 0 && now - counts_read < options.metrics_interval * 1000))
	{
		answer(arg);
		return;
	}
	counting = true;
	counts_read = now;
	if (pool_busy() < pool_connected())
		pool_submit(statement_new(QUERY_COUNTS, counts_done, arg));
	else
	{
		/* the next scrape has them */
		pool_submit(statement_new(QUERY_COUNTS, counts_done, NULL));
		answer(arg);
	}
}

void
metrics_route(Request *request)
{
	pool_submit_watch(statement_new(QUERY_STATS, stats_done, request));
}

void
metrics_close(void)
{
	buffer_free(&stats_text);
	buffer_free(&counts_text);
}
