/*
 * statements.c
 *	  Every SQL statement of the gateway.
 *
 * All names and operators are qualified, since the search_path is the role's and
 * may contain schemas of other users; durable.start_new looks up orchestrators in
 * it.
 *
 * Times are converted to text in UTC, whatever the role's settings are.  Statuses
 * are read from the view durable.instances, which takes half the time of
 * durable.get_status.  A status with its history is one statement, so that both
 * are of one snapshot.
 *
 * History events have the form of Durable Functions: keys in Pascal case, and an
 * event that schedules something is merged into the event that ends it, which gets
 * FunctionName and ScheduledTime.  An event of an open task stays.  PostgreSQL
 * makes the text, since a history may be long and the gateway has one thread for
 * all clients.  The subquery that calls durable.history_size depends on no row, so
 * PostgreSQL runs it first: a history that is too large is an error before any
 * text is made.
 */
#include <stdlib.h>

#include "statements.h"

#define TIME(column) "pg_catalog.to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

/* Bounds of /metrics.  durable.function_stats cuts names at the same length, in bytes, and has the same name for all others. */
#define SERIES_NAMES	"100"
#define NAME_LENGTH		"127"	/* characters */
#define OTHER_NAMES		"'(others)'"

#define STATUS(show) \
	"name, instance_id, runtime_status::pg_catalog.text, CASE WHEN " show " THEN input END," \
	" custom_status, output, " TIME("created_time") ", " TIME("last_updated_time")

/*
 * How types of history events are converted: kind, what an end has in common with its beginning besides the task id, keys of
 * name, input and result, and OrchestrationStatus, if the event becomes an ExecutionCompleted.
 */
#define EVENT_TYPES \
	"('ExecutionStarted', 'plain', NULL, 'FunctionName', 'Input', NULL, NULL)," \
	" ('TaskScheduled', 'open', 'task', 'FunctionName', 'Input', NULL, NULL)," \
	" ('TaskCompleted', 'close', 'task', 'FunctionName', NULL, 'Result', NULL)," \
	" ('TaskFailed', 'close', 'task', 'FunctionName', NULL, NULL, NULL)," \
	" ('TaskRetried', 'plain', NULL, 'FunctionName', NULL, NULL, NULL)," \
	" ('SubOrchestrationInstanceCreated', 'open', 'child', 'FunctionName', 'Input', NULL, NULL)," \
	" ('SubOrchestrationInstanceCompleted', 'close', 'child', 'FunctionName', NULL, 'Result', NULL)," \
	" ('SubOrchestrationInstanceFailed', 'close', 'child', 'FunctionName', NULL, NULL, NULL)," \
	" ('TimerCreated', 'open', 'timer', NULL, 'FireAt', NULL, NULL)," \
	" ('TimerFired', 'close', 'timer', NULL, 'FireAt', NULL, NULL)," \
	" ('TimerCanceled', 'close', 'timer', NULL, 'FireAt', NULL, NULL)," \
	" ('EventRaised', 'plain', NULL, 'Name', NULL, 'Input', NULL)," \
	" ('EventSent', 'plain', NULL, 'Name', 'Input', NULL, NULL)," \
	" ('ContinueAsNew', 'plain', NULL, NULL, 'Input', 'Result', NULL)," \
	" ('ExecutionSuspended', 'plain', NULL, NULL, NULL, 'Reason', NULL)," \
	" ('ExecutionResumed', 'plain', NULL, NULL, NULL, 'Reason', NULL)," \
	" ('ExecutionRewound', 'plain', NULL, NULL, NULL, 'Reason', NULL)," \
	" ('ExecutionTerminated', 'plain', NULL, NULL, NULL, 'Reason', NULL)," \
	" ('ExecutionCompleted', 'plain', NULL, NULL, NULL, 'Result', 'Completed')," \
	" ('ExecutionFailed', 'plain', NULL, NULL, NULL, NULL, 'Failed')"

/* An event as JSON text; concat skips members that are NULL. */
#define EVENT \
	"pg_catalog.concat('{\"EventType\":\"', CASE WHEN status IS NULL THEN type ELSE 'ExecutionCompleted' END, '\"'," \
	" ',\"' OPERATOR(pg_catalog.||) name_key OPERATOR(pg_catalog.||) '\":' OPERATOR(pg_catalog.||) pg_catalog.to_json(coalesce(name, CASE WHEN paired THEN begin_name END))::pg_catalog.text," \
	" ',\"OrchestrationStatus\":\"' OPERATOR(pg_catalog.||) status OPERATOR(pg_catalog.||) '\"'," \
	" ',\"' OPERATOR(pg_catalog.||) input_key OPERATOR(pg_catalog.||) '\":' OPERATOR(pg_catalog.||) coalesce(input, CASE WHEN paired THEN begin_input END)::pg_catalog.text," \
	" ',\"' OPERATOR(pg_catalog.||) result_key OPERATOR(pg_catalog.||) '\":' OPERATOR(pg_catalog.||) result::pg_catalog.text," \
	" CASE WHEN failure IS NOT NULL AND status IS NOT NULL THEN ',\"Result\":' OPERATOR(pg_catalog.||) message" \
	" ELSE ',\"Reason\":' OPERATOR(pg_catalog.||) message OPERATOR(pg_catalog.||) ',\"Details\":' OPERATOR(pg_catalog.||) failure::pg_catalog.text END," \
	" ',\"ScheduledTime\":\"' OPERATOR(pg_catalog.||) CASE WHEN paired THEN " TIME("begin_time") " END OPERATOR(pg_catalog.||) '\"'," \
	" ',\"Timestamp\":\"', " TIME("event_time") ", '\"}')"

const QueryText query_texts[QUERY_COUNT] = {
	[QUERY_START] = {"start",
		"SELECT durable.start_new(name => $1, input => $2, instance_id => $3, version => $4,"
		" dedupe_statuses => $5::pg_catalog.text[]::durable.runtime_status[], on_duplicate => $6)", 6},
	/*
	 * Several starts; each parameter is an array.  A start that waits for a lock fails the batch, and does not hold it up.
	 * unnest with several arrays is syntax that always means PostgreSQL's own function.
	 */
	[QUERY_START_MANY] = {"start_many",
		"WITH s AS MATERIALIZED (SELECT pg_catalog.set_config('lock_timeout', '100ms', true))"
		" SELECT durable.start_new(name => u.name, input => u.input::pg_catalog.jsonb, instance_id => u.id, version => u.version,"
		" dedupe_statuses => u.statuses::durable.runtime_status[], on_duplicate => u.action)"
		" FROM s, unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[], $4::pg_catalog.text[], $5::pg_catalog.text[], $6::pg_catalog.text[])"
		" WITH ORDINALITY u (name, input, id, version, statuses, action, number) ORDER BY u.number", 6},
	[QUERY_STATUS] = {"status",
		"SELECT " STATUS("$2::pg_catalog.bool") " FROM durable.instances WHERE instance_id OPERATOR(pg_catalog.=) $1", 2},
	[QUERY_STATUS_HISTORY] = {"status_history",
		"WITH t (type, kind, family, name_key, input_key, result_key, status) AS (VALUES " EVENT_TYPES "),"
		" h AS (SELECT t.*, h.sequence_number AS seq, h.event_time, h.name, CASE WHEN $2::pg_catalog.bool THEN h.input END AS input,"
		" CASE WHEN $3::pg_catalog.bool OR t.result_key OPERATOR(pg_catalog.<>) 'Result' THEN h.result END AS result,"
		" h.failure, pg_catalog.to_json(coalesce(h.failure OPERATOR(pg_catalog.->>) 'message', ''))::pg_catalog.text AS message, h.task_id"
		" FROM durable.history h JOIN t ON t.type OPERATOR(pg_catalog.=) h.event_type WHERE h.instance_id OPERATOR(pg_catalog.=) $1"
		" AND (SELECT durable.history_size($1, $3::pg_catalog.bool, $2::pg_catalog.bool) IS NOT NULL)),"
		" e AS (SELECT h.*, h.kind OPERATOR(pg_catalog.=) 'open' AND pg_catalog.lead(h.kind) OVER w OPERATOR(pg_catalog.=) 'close' AS folded,"
		" h.kind OPERATOR(pg_catalog.=) 'close' AND pg_catalog.lag(h.kind) OVER w OPERATOR(pg_catalog.=) 'open' AS paired,"
		" pg_catalog.lag(h.name) OVER w AS begin_name, pg_catalog.lag(h.input) OVER w AS begin_input, pg_catalog.lag(h.event_time) OVER w AS begin_time"
		" FROM h WINDOW w AS (PARTITION BY h.family, h.task_id ORDER BY h.seq)),"
		" o AS (SELECT e.*, pg_catalog.row_number() OVER (ORDER BY seq) OPERATOR(pg_catalog./) 200 AS slice FROM e WHERE folded IS NOT TRUE)"
		" SELECT * FROM ("
		"SELECT " STATUS("$2::pg_catalog.bool") ", (-1)::pg_catalog.int8 AS seq FROM durable.instances WHERE instance_id OPERATOR(pg_catalog.=) $1"
		" UNION ALL "
		"SELECT pg_catalog.string_agg(" EVENT ", ',' ORDER BY seq), NULL, NULL, NULL, NULL, NULL, NULL, NULL, slice FROM o GROUP BY slice"
		") r ORDER BY seq", 3},
	[QUERY_LIST] = {"list",
		"SELECT " STATUS("true") ", continuation_token FROM durable.query_instances("
		"runtime_status => $1::pg_catalog.text[]::durable.runtime_status[], created_time_from => $2, created_time_to => $3,"
		" instance_id_prefix => $4, show_input => $5, page_size => $6, continuation_token => $7)", 7},
	[QUERY_PURGE] = {"purge",
		"SELECT durable.purge_instance_history($1)", 1},
	[QUERY_PURGE_BY] = {"purge_by",
		"SELECT durable.purge_instance_history_by($1, $2, $3::pg_catalog.text[]::durable.runtime_status[])", 3},
	[QUERY_RAISE_EVENT] = {"raise_event",
		"SELECT durable.raise_event($1, $2, $3)", 3},
	[QUERY_TERMINATE] = {"terminate",
		"SELECT durable.terminate($1, $2)", 2},
	[QUERY_SUSPEND] = {"suspend",
		"SELECT durable.suspend($1, $2)", 2},
	[QUERY_RESUME] = {"resume",
		"SELECT durable.resume($1, $2)", 2},
	[QUERY_REWIND] = {"rewind",
		"SELECT durable.rewind($1, $2)", 2},
	[QUERY_RESTART] = {"restart",
		"SELECT durable.restart($1, $2)", 2},
	[QUERY_HEALTH] = {"health",
		"SELECT extversion FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'durable'", 0},
	/* those of the given ids whose instances have ended or do not exist */
	[QUERY_ENDED] = {"ended",
		"SELECT u.id FROM pg_catalog.unnest($1::pg_catalog.text[]) u (id)"
		" LEFT JOIN LATERAL (SELECT i.runtime_status FROM durable.instances i WHERE i.instance_id OPERATOR(pg_catalog.=) u.id OFFSET 0) i ON true"
		" WHERE coalesce(i.runtime_status OPERATOR(pg_catalog.=) ANY ('{Completed,Failed,Terminated}'::durable.runtime_status[]), true)", 1},
	/* on the channels of all roles whose instances the gateway's role may manage */
	[QUERY_LISTEN] = {"listen",
		"DO $$ DECLARE channel pg_catalog.text;"
		" BEGIN UNLISTEN *;"
		" FOR channel IN SELECT DISTINCT durable.notify_channel(r.oid) FROM pg_catalog.pg_roles r"
		" WHERE pg_catalog.pg_has_role(r.oid, 'MEMBER') LIMIT 1000"
		" LOOP EXECUTE pg_catalog.format('LISTEN %I', channel); END LOOP; END $$", 0},
	[QUERY_NOTIFY] = {"notify",
		"SELECT coalesce(pg_catalog.current_setting('durable.notify', true), 'none')", 0},
	/*
	 * QUERY_COUNT_*: queries whose time grows with the number of instances.  metrics.c keeps their last results.
	 *
	 * Users choose the names of instances.  So the result has only the SERIES_NAMES most frequent names, cut to NAME_LENGTH, and
	 * OTHER_NAMES for all others.  The last GROUP BY makes series unique, also if a user chooses OTHER_NAMES.
	 */
	[QUERY_COUNT_INSTANCES] = {"count_instances",
		"WITH i AS (SELECT name, runtime_status, pg_catalog.count(*) FROM durable.instances GROUP BY name, runtime_status),"
		" c AS MATERIALIZED (SELECT pg_catalog.left(name, " NAME_LENGTH ") AS label, runtime_status, pg_catalog.sum(count) AS count FROM i GROUP BY 1, 2),"
		" n AS (SELECT label FROM c GROUP BY label ORDER BY pg_catalog.sum(count) DESC, label LIMIT " SERIES_NAMES "),"
		" s AS (SELECT coalesce(n.label, " OTHER_NAMES ") AS label, c.runtime_status, c.count FROM c LEFT JOIN n ON n.label OPERATOR(pg_catalog.=) c.label)"
		" SELECT 'durable_instances', 'name', label, 'status', runtime_status::pg_catalog.text, NULL, NULL, pg_catalog.sum(count)::pg_catalog.text"
		" FROM s GROUP BY label, runtime_status ORDER BY 3, 5", 0},
	[QUERY_COUNT_READY] = {"count_ready",
		"SELECT m.name, 'role', s.role::pg_catalog.text, NULL, NULL, NULL, NULL, m.value::pg_catalog.text"
		" FROM durable.stats s CROSS JOIN LATERAL (VALUES"
		" ('durable_ready_instances', ready_instances),"
		" ('durable_ready_activities', ready_activities)"
		") m (name, value) ORDER BY 1, 3", 0},
	/* infinite times, which a restored dump may contain, cannot be subtracted */
	[QUERY_COUNT_OPEN] = {"count_open",
		"SELECT 'durable_workers', 'state', state, NULL, NULL, NULL, NULL, pg_catalog.count(*)::pg_catalog.text FROM durable.workers GROUP BY state"
		" UNION ALL SELECT m.name, NULL, NULL, NULL, NULL, NULL, NULL, m.value::pg_catalog.text"
		" FROM (SELECT pg_catalog.count(*), coalesce(extract(epoch FROM pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.min(scheduled_time) FILTER (WHERE pg_catalog.isfinite(scheduled_time))), 0) FROM durable.activities) a (count, age),"
		" (SELECT pg_catalog.count(*), greatest(extract(epoch FROM pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.min(fire_at) FILTER (WHERE pg_catalog.isfinite(fire_at))), 0) FROM durable.timers) t (count, late)"
		" CROSS JOIN LATERAL (VALUES"
		" ('durable_activities_open', a.count),"
		" ('durable_activities_oldest_seconds', a.age),"
		" ('durable_timers', t.count),"
		" ('durable_timers_late_seconds', t.late)) m (name, value) ORDER BY 1, 3", 0},
	/*
	 * Reads shared memory only, and locks no table of the engine.  Each column of the views is a metric, whose rows must be
	 * consecutive.  The view durable.function_stats limits the number and the length of names that users choose.
	 */
	[QUERY_STATS] = {"stats",
		"SELECT m.name, 'role', s.role::pg_catalog.text, CASE WHEN m.status IS NOT NULL THEN 'status' END, m.status, NULL, NULL, m.value::pg_catalog.text"
		" FROM durable.stats s CROSS JOIN LATERAL (VALUES"
		" ('durable_running_instances', NULL, running_instances::pg_catalog.numeric),"
		" ('durable_waiting_seconds', NULL, pg_catalog.round(coalesce(extract(epoch FROM waiting), 0), 3)),"
		" ('durable_ready_alone', NULL, ready_alone),"
		" ('durable_waiting_alone_seconds', NULL, pg_catalog.round(coalesce(extract(epoch FROM waiting_alone), 0), 3)),"
		" ('durable_batches_total', NULL, batches),"
		" ('durable_rollbacks_total', NULL, rollbacks),"
		" ('durable_wakeups_total', NULL, wakeups),"
		" ('durable_turns_total', NULL, turns),"
		" ('durable_replays_total', NULL, replays),"
		" ('durable_history_reads_total', NULL, history_reads),"
		" ('durable_activities_total', NULL, activities),"
		" ('durable_queued_activities_total', NULL, queued_activities),"
		" ('durable_ended_total', 'Completed', completed),"
		" ('durable_ended_total', 'Failed', failed),"
		" ('durable_ended_total', 'Terminated', terminated),"
		" ('durable_timers_fired_total', NULL, timers),"
		" ('durable_timers_lateness_seconds_total', NULL, pg_catalog.round(total_lateness::pg_catalog.numeric OPERATOR(pg_catalog./) 1000, 6)),"
		" ('durable_timers_lateness_max_seconds', NULL, pg_catalog.round(coalesce(max_lateness, 0)::pg_catalog.numeric OPERATOR(pg_catalog./) 1000, 6))"
		") m (name, status, value)"
		" UNION ALL "
		"SELECT m.name, 'kind', f.kind, 'name', f.name, 'role', f.role::pg_catalog.text, m.value::pg_catalog.text"
		" FROM durable.function_stats f CROSS JOIN LATERAL (VALUES"
		" ('durable_function_calls_total', calls::pg_catalog.numeric),"
		" ('durable_function_failures_total', failures),"
		" ('durable_function_seconds_total', pg_catalog.round(total_time::pg_catalog.numeric OPERATOR(pg_catalog./) 1000, 6))"
		") m (name, value) ORDER BY 1, 3, 5, 7", 0},
};

Statement *
statement_new(Query query, void (*done) (void *, Outcome, PGresult *), void *arg)
{
	Statement  *statement = xcalloc(1, sizeof(Statement));

	statement->query = query;
	statement->done = done;
	statement->arg = arg;
	return statement;
}

void
statement_free(Statement *statement)
{
	for (int i = 0; i < MAX_PARAMETERS; i++)
		free(statement->parameters[i]);
	free(statement);
}

void
queue_push(Queue *queue, Statement *statement)
{
	statement->next = NULL;
	*(queue->first ? &queue->last->next : &queue->first) = statement;
	queue->last = statement;
	queue->count++;
}

Statement *
queue_pop(Queue *queue)
{
	Statement  *statement = queue->first;

	if (statement != NULL)
	{
		queue->first = statement->next;
		queue->count--;
	}
	return statement;
}
