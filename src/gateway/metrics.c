/*
 * metrics.c
 *	  /metrics in the text format of Prometheus: counters of the gateway, counters
 *	  of the engine (durable.stats, durable.function_stats), and numbers of rows.
 *
 * The engine's counters are in shared memory.  One statement reads them for all
 * scrapes that wait at the same time.  A scrape waits SCRAPE_TIMEOUT at most; then
 * it is answered without them, with durable_up 0.
 *
 * Rows are counted in the background, since that may take long, on a connection
 * of its own, which is made for the first scrape.  A scrape starts a count if the
 * last one ended longer ago than --metrics-interval, and than COUNTS_SHARE times
 * its duration.  A scrape gets the last successful counts with their age.  Until
 * the first count has ended, a scrape waits for it, within SCRAPE_TIMEOUT.
 *
 * All values cover what the gateway's role may see; with pg_monitor it sees all.
 */
#include <stdlib.h>
#include <string.h>

#include "database.h"
#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "server.h"
#include "waiters.h"

static uint64_t counts[ROUTE_COUNT][600];
static uint64_t durations[ROUTE_COUNT];
static uint64_t totals[ROUTE_COUNT];

#define SCRAPE_TIMEOUT	500		/* ms */
#define COUNTS_SHARE	10

/* A query that counts rows, and its last result. */
typedef struct Count
{
	Query		query;
	const char *name;
	Buffer		text;			/* the last successful result */
	int64_t		read_at;		/* when the query of that began; 0: there is none */
	int64_t		begun_at;		/* when the last query began; 0: never */
	int64_t		again_at;		/* the next one may begin then; 0: the first one has not ended */
} Count;

static Count kept[] = {
	{QUERY_COUNT_READY, "ready"},
	{QUERY_COUNT_OPEN, "open"},
	{QUERY_COUNT_INSTANCES, "instances"},
};

#define COUNTS ((int) (sizeof(kept) / sizeof(kept[0])))

static Request *scrapes = NULL; /* they wait, until wait_until */
static bool reading = false;	/* QUERY_STATS runs */
static bool up = false;			/* it succeeded last, with stats_text */
static Buffer stats_text;
static Database counter;		/* the connection that counts */
static bool counter_started = false;
static int	next_count = COUNTS;	/* index of the next one to begin; COUNTS: none */

/* The metrics of QUERY_COUNT_* and QUERY_STATS. */
static const struct
{
	const char *name;
	const char *type;
	const char *help;
}			database_metrics[] = {
	{"durable_instances", "gauge", "Instances by status and name, those of rare names under (others)."},
	{"durable_activities_open", "gauge", "Activities that are queued, running or between attempts."},
	{"durable_activities_oldest_seconds", "gauge", "Age of the oldest of them."},
	{"durable_timers", "gauge", "Timers that have not fired."},
	{"durable_timers_late_seconds", "gauge", "How long the first of them has been due."},
	{"durable_workers", "gauge", "Workers of the engine by state."},
	{"durable_ready_instances", "gauge", "Instances that have something to do and wait for a worker."},
	{"durable_running_instances", "gauge", "Instances that workers hold."},
	{"durable_ready_activities", "gauge", "Queued activities that no worker has taken."},
	{"durable_waiting_seconds", "gauge", "How long some work has waited: for a worker, for a place to run alone, for a lock, or for the function of another instance."},
	{"durable_ready_alone", "gauge", "How many of the ready instances and activities wait for a place to run alone."},
	{"durable_waiting_alone_seconds", "gauge", "For how long none of these has got one."},
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

/* Append a label; backslashes, quotes and line ends of its value are escaped. */
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

/* Append the numbers of rows, with their age. */
static void
add_counts(Buffer *text, int64_t now)
{
	add_type(text, "durable_counts_age_seconds", "gauge", "Age of what was counted in the background.");
	for (int i = 0; i < COUNTS; i++)
		if (kept[i].read_at != 0)
			buffer_printf(text, "durable_counts_age_seconds{counts=\"%s\"} %.3f\n", kept[i].name, (now - kept[i].read_at) / 1000.0);
	for (int i = 0; i < COUNTS; i++)
		buffer_append(text, kept[i].text.data, kept[i].text.length);
}

static void
answer(Request *request, bool known)
{
	request->content_type = "text/plain; version=0.0.4; charset=utf-8";
	add_own(&request->reply);
	add_gauge(&request->reply, "durable_up", "Whether the database has told the engine's counters in time.", known);
	if (known)
		buffer_append(&request->reply, stats_text.data, stats_text.length);
	add_counts(&request->reply, now_ms());
	server_answer(request, 200);
}

/* Whether some count has not ended yet for the first time. */
static bool
first_counts(void)
{
	for (int i = 0; i < COUNTS; i++)
		if (kept[i].again_at == 0)
			return true;
	return false;
}

/* Answer the scrapes that have everything, or whose time is over. */
static void
answer_all(int64_t now)
{
	bool		complete = !reading && (!up || !first_counts());
	Request   **link = &scrapes;

	while (*link != NULL)
	{
		Request    *scrape = *link;

		if (!complete && now < scrape->wait_until)
		{
			link = &scrape->wait_next;
			continue;
		}
		*link = scrape->wait_next;
		answer(scrape, !reading && up);
	}
}

/* Convert a result to the text format. */
static void
take(Buffer *text, PGresult *result)
{
	const char *before = "";

	text->length = 0;
	for (int row = 0; row < PQntuples(result); row++)
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

/* A count has ended.  The connection's idle callback then begins the next one. */
static void
count_done(void *arg, Outcome outcome, PGresult *result)
{
	Count	   *count = arg;
	int64_t		now = now_ms();
	int64_t		pause = (now - count->begun_at) * COUNTS_SHARE;

	if (outcome == OUTCOME_OK)
	{
		take(&count->text, result);
		count->read_at = count->begun_at;
	}
	if (pause < options.metrics_interval * 1000)
		pause = options.metrics_interval * 1000;
	count->again_at = now + pause;
	answer_all(now);
}

/* Begin the next count that is due, if the connection is idle. */
static void
counter_idle(Database *db)
{
	int64_t		now = now_ms();

	while (db->state == DATABASE_IDLE && next_count < COUNTS)
	{
		Count	   *count = &kept[next_count++];

		if (now < count->again_at)
			continue;
		count->begun_at = now;
		database_run(db, statement_new(count->query, count_done, count));
	}
}

/* There is no connection: scrapes do not wait for a first count. */
static void
counter_down(Database *db)
{
	for (int i = 0; i < COUNTS; i++)
		if (kept[i].again_at == 0)
			kept[i].again_at = 1;
	answer_all(now_ms());
}

static void
stats_done(void *arg, Outcome outcome, PGresult *result)
{
	reading = false;
	up = outcome == OUTCOME_OK;
	if (up)
		take(&stats_text, result);
	answer_all(now_ms());
}

void
metrics_route(Request *request)
{
	request->wait_until = now_ms() + SCRAPE_TIMEOUT;
	request->wait_next = scrapes;
	scrapes = request;
	if (next_count == COUNTS)
		next_count = 0;
	if (!counter_started)
	{
		counter_started = true;
		counter.idle = counter_idle;
		counter.down = counter_down;
		database_start(&counter);
	}
	else
		counter_idle(&counter);
	if (reading)
		return;
	reading = true;
	pool_submit_watch(statement_new(QUERY_STATS, stats_done, NULL));
}

int64_t
metrics_next(void)
{
	int64_t		next = counter_started ? database_next(&counter) : INT64_MAX;

	for (Request *scrape = scrapes; scrape != NULL; scrape = scrape->wait_next)
		next = earlier(next, scrape->wait_until);
	return next;
}

void
metrics_tick(int64_t now)
{
	if (counter_started)
		database_tick(&counter, now);
	answer_all(now);
}

void
metrics_close(void)
{
	if (counter_started)
		database_close(&counter);
	answer_all(INT64_MAX);
	buffer_free(&stats_text);
	for (int i = 0; i < COUNTS; i++)
		buffer_free(&kept[i].text);
}
