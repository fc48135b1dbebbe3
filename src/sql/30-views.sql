-- What clients can read.  The views read the internal tables with the rights
-- of the extension's owner; each shows only instances that the caller may see:
-- owners and members of owning roles theirs, roles with pg_monitor all.
--
-- security_barrier keeps a user's functions from seeing the others.  It does not
-- keep back conditions that PostgreSQL takes for leakproof: IS NULL, CASE, texts
-- compared.  PostgreSQL looks at these in any order, and in indexes, and a
-- subquery in a CASE, or EXPLAIN ANALYZE, tells the user that one was met.  So a
-- condition may reach the tables only if the column is the id or, of an instance,
-- created_time, for which there are indexes.  All other columns of a view come
-- from a subquery with OFFSET 0, into which PostgreSQL moves no condition, and
-- which needs the row of the instance, whose scan asks may_see.  A view without
-- ids to look up has the OFFSET 0 itself.

CREATE FUNCTION durable_internal.event_type(event smallint) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'durable_event_type';
COMMENT ON FUNCTION durable_internal.event_type(smallint) IS
'Public name of an event type as history.event stores it.';

CREATE FUNCTION durable_internal.workers()
RETURNS TABLE (slot integer, pid integer, role oid, state text, place text, claims integer, since timestamptz, running_key bigint, running_task integer)
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'durable_workers';
COMMENT ON FUNCTION durable_internal.workers() IS
'The engine''s workers in this database, and of which instance and task the code runs there now; task 0: the orchestrator''s turn. since: of that code, or else of the state.';

-- Stable, so that a query of a view that does not ask for the column does not call it.
CREATE FUNCTION durable_internal.blocked_by(pid integer) RETURNS integer[]
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_blocked_by';
COMMENT ON FUNCTION durable_internal.blocked_by(integer) IS
'pg_blocking_pids of a process that waits for a lock; NULL if it does not.';

CREATE FUNCTION durable_internal.lone_ranges()
RETURNS TABLE (key bigint, low integer, high integer)
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'durable_lone_ranges';
COMMENT ON FUNCTION durable_internal.lone_ranges() IS
'The activities of this database that are to run alone and wait for a long place: tasks low to high of an instance.';

-- Scalar subqueries, so that a query pays only for the columns and rows that it asks for.
-- status_record in src/store/runtime_status.c makes the same for who waits; tests compare the two.
CREATE VIEW durable.instances WITH (security_barrier) AS
SELECT i.instance_id, r.name, r.function, r.version, r.runtime_status, r.input, r.output, r.custom_status, i.created_time,
       r.last_updated_time, r.completed_time, r.scheduled_start_time, r.execution_id, r.parent_instance_id, r.tags, r.failure,
       r.owner, r.owner_name
  FROM durable_internal.instances i
 CROSS JOIN LATERAL (
       SELECT i.name,
              i.function,
              i.version,
              CASE i.state
                  WHEN 'S' THEN 'Suspended'
                  WHEN 'C' THEN 'Completed'
                  WHEN 'F' THEN 'Failed'
                  WHEN 'T' THEN 'Terminated'
                  ELSE CASE WHEN i.started_time IS NULL THEN 'Pending' ELSE 'Running' END
              END::durable.runtime_status AS runtime_status,
              (SELECT h.input FROM durable_internal.history h WHERE h.key = i.key AND h.seq = i.first_seq + 1) AS input,
              CASE WHEN i.state IN ('C', 'F', 'T') THEN
                  (SELECT CASE i.state WHEN 'F' THEN h.result -> 'message' ELSE h.result END
                     FROM durable_internal.history h WHERE h.key = i.key AND h.seq = i.turn_seq)
              END AS output,
              i.custom_status,
              i.last_updated_time,
              i.completed_time,
              i.scheduled_start_time,
              i.execution_id,
              (SELECT p.instance_id FROM durable_internal.instances p WHERE p.key = i.parent_key) AS parent_instance_id,
              coalesce(i.tags, '{}') AS tags,
              CASE WHEN i.state = 'F' THEN
                  (SELECT h.result FROM durable_internal.history h WHERE h.key = i.key AND h.seq = i.turn_seq)
              END AS failure,
              durable_internal.owner_role(i.owner) AS owner,
              i.owner::pg_catalog.text AS owner_name
       OFFSET 0) r
 WHERE durable_internal.may_see(i.owner);
COMMENT ON VIEW durable.instances IS
'All instances that you may see, in the columns of durable.orchestration_status up to owner, and owner_name. owner: NULL if there is no such role, as after a restore; only superusers and pg_monitor see those instances, which wait for CREATE ROLE or durable.reassign_owner. owner_name: the quoted name of the owner, also of one that does not exist; (dropped role N) of one that was dropped, with its former OID. Fast by instance_id, by created_time and by created_time range; the other columns are filtered row by row.';

-- A row that has an input and is not a beginning stands for the beginning too.
CREATE VIEW durable.history WITH (security_barrier) AS
SELECT i.instance_id,
       h.execution_id,
       e.seq - h.first_seq AS sequence_number,
       e.event_type,
       h.event_time,
       h.task_id,
       h.name,
       e.input,
       e.result,
       e.failure,
       e.attempt
  FROM durable_internal.instances i
 CROSS JOIN LATERAL (SELECT h.*, i.execution_id, i.first_seq FROM durable_internal.history h WHERE h.key = i.key OFFSET 0) h
 CROSS JOIN LATERAL (
       SELECT h.seq - 1 AS seq,
              'TaskScheduled' AS event_type,
              -- an activity that was called without an input
              NULLIF(h.input, 'null'::pg_catalog.jsonb) AS input,
              NULL::jsonb AS result,
              NULL::jsonb AS failure,
              NULL::integer AS attempt
        WHERE h.event IN (3, 4) AND h.input IS NOT NULL
       UNION ALL
       SELECT h.seq,
              durable_internal.event_type(h.event),
              CASE WHEN h.event NOT IN (3, 4) THEN h.input END,
              -- results of beginnings are options of the call; failures have a column of their own
              CASE WHEN h.event NOT IN (1, 2, 4, 5, 6, 8, 22) THEN h.result END,
              CASE WHEN h.event IN (4, 5, 8, 22) THEN h.result END,
              h.attempt
       ) e
 WHERE durable_internal.may_see(i.owner);
COMMENT ON VIEW durable.history IS
'What happened to the instances that you may see, one row an event, in the order of sequence_number within an instance and its execution_id. event_type: as in Durable Functions; event_time: when the engine took it in; task_id: which call of the orchestrator it belongs to, counted from 1 over all executions; name: of the function, the event or the child; input: of what was started, for a timer the time at which it fires, of ExecutionFailed the numbers of the tasks whose failure the orchestrator had dealt with (handled; whole: of all that had failed), of the timeouts that were fatal (expired) and of what a rewind has to set going again (halted; of timers: those that are none), of ExecutionRewound of those that begin anew (tasks); result: of what ended, data of an event, reason of a termination or suspension; failure: of what failed; attempt: counted from 1. TaskRetried: an attempt failed and another one follows, or the next attempt was put off, for the reason in failure, until that has passed; attempt is NULL if that was the first. TaskCanceled: the orchestrator gave up an activity, a sub-orchestration or a wait for an event, a wait also because it timed out; Durable Functions has no such event. OrchestratorStarted and OrchestratorCompleted are not kept. After continue_as_new the history is that of the current execution.';

-- What is known of the tasks of an instance is brought together by one look at its history, however many they are.
CREATE VIEW durable.activities WITH (security_barrier) AS
SELECT i.instance_id, r.*
  FROM durable_internal.instances i
 CROSS JOIN LATERAL (
       SELECT e.task_id,
              coalesce(max(e.queued_seq), max(e.seq) FILTER (WHERE e.event = 2)) AS seq,
              coalesce(max(e.queued_attempt), max(e.attempt) FILTER (WHERE e.event = 5) + 1, 1) AS attempt,
              max(e.deliveries) AS deliveries,
              max(e.fire_at) AS fire_at,
              max(e.seq) FILTER (WHERE e.event = 5) AS failed_seq
         FROM (SELECT h.task_id, h.seq, h.event, h.attempt, NULL::integer AS queued_seq, NULL::integer AS queued_attempt,
                      NULL::integer AS deliveries, NULL::timestamptz AS fire_at
                 FROM durable_internal.history h
                WHERE h.key = i.key AND h.event IN (2, 5)
               UNION ALL
               SELECT t.task_id, NULL, NULL, NULL, t.seq, t.attempt, t.deliveries, NULL FROM durable_internal.tasks t WHERE t.key = i.key
               UNION ALL
               SELECT t.task_id, NULL, NULL, NULL, NULL, NULL, NULL, t.fire_at
                 FROM durable_internal.timers t
                WHERE t.key = i.key AND t.task_id > 0) e
        GROUP BY e.task_id
       -- timers of sub-orchestrations and those that are tasks themselves are no activity's
       HAVING max(e.queued_seq) IS NOT NULL OR max(e.fire_at) IS NOT NULL AND bool_or(e.event = 2)) p
  LEFT JOIN durable_internal.workers() w ON w.running_key = i.key AND w.running_task = p.task_id
  LEFT JOIN (SELECT l.key, range_agg(int4range(l.low, l.high, '[]')) AS tasks FROM durable_internal.lone_ranges() l GROUP BY l.key) l ON l.key = i.key
 CROSS JOIN LATERAL (
       SELECT p.task_id,
              h.name,
              h.input,
              CASE WHEN p.deliveries IS NULL THEN 'pausing'
                   WHEN w.pid IS NOT NULL THEN 'running'
                   WHEN l.tasks @> p.task_id THEN 'waiting for a place'
                   ELSE 'queued' END AS state,
              p.attempt,
              h.event_time AS scheduled_time,
              CASE WHEN p.deliveries IS NULL THEN p.fire_at END AS next_attempt,
              (SELECT f.result FROM durable_internal.history f WHERE f.key = i.key AND f.seq = p.failed_seq) AS last_error,
              (h.result ->> 'timeout')::bigint * interval '1 ms' AS timeout,
              coalesce(p.deliveries, 0) AS deliveries,
              w.pid,
              durable_internal.owner_role(i.owner) AS owner
         FROM durable_internal.history h
        WHERE h.key = i.key AND h.seq = p.seq
       OFFSET 0) r
 WHERE durable_internal.may_see(i.owner)
   AND EXISTS (SELECT
                 FROM (SELECT t.key FROM durable_internal.tasks t UNION ALL SELECT t.key FROM durable_internal.timers t) k
                WHERE k.key = i.key);
COMMENT ON VIEW durable.activities IS
'Activities of live instances that are queued, running, or waiting for their next attempt. state: running (by process pid, see durable.workers), queued (for a worker), waiting for a place (it is to run alone, as it was interrupted or takes long, and there is no long place for it yet: see durable.max_long_activities), pausing (until next_attempt). attempt: number of the current or next attempt, from 1; scheduled_time: when the orchestrator called it; next_attempt: when the pause ends; last_error: failure of the last attempt, or why this one was put off, NULL: there was none; timeout: of each attempt, from when it begins to run, NULL: none; deliveries: how many workers have died while running it; pid: the process that runs it now, NULL: none. An activity that a worker runs right after the turn that called it is not seen here: see durable.workers. Fast by instance_id; the history of each instance that has such activities is read.';

CREATE VIEW durable.timers WITH (security_barrier) AS
SELECT i.instance_id, r.task_id, r.fire_at, r.owner
  FROM durable_internal.timers t
  JOIN durable_internal.instances i ON i.key = t.key
 CROSS JOIN LATERAL (SELECT CASE WHEN t.task_id > 0 THEN t.task_id END AS task_id,
                            t.fire_at,
                            durable_internal.owner_role(i.owner) AS owner
                     OFFSET 0) r
 WHERE durable_internal.may_see(i.owner);
COMMENT ON VIEW durable.timers IS
'Timers that have not fired. task_id: the call of the orchestrator that waits for it (sleep, a timeout, or the pause before another attempt), NULL: the start of an instance that has a start_at, or a turn that is run again because another transaction held the id of a sub-orchestration, or the like.';

CREATE VIEW durable.workers WITH (security_barrier) AS
SELECT w.slot,
       nullif(w.pid, 0) AS pid,
       w.role::pg_catalog.regrole AS role,
       w.state,
       w.place,
       w.claims,
       w.since,
       i.instance_id,
       nullif(w.running_task, 0) AS task_id,
       durable_internal.blocked_by(nullif(w.pid, 0)) AS blocked_by
  FROM durable_internal.workers() w
  LEFT JOIN durable_internal.instances i ON i.key = w.running_key
 WHERE durable_internal.may_see(w.role)
OFFSET 0;
COMMENT ON VIEW durable.workers IS
'The processes that run instances in this database. A process belongs to one role; idle ones are kept for the next work. pid: as in pg_stat_activity, NULL while it starts; role: whose instances it runs, and as whom; state: starting, busy or idle; place: batch (one of durable.max_workers), long (one of durable.max_long_activities), NULL: none, as it is idle; claims: how many instances it holds; instance_id, task_id: whose code it runs at this moment, a turn of the orchestrator if task_id is NULL and instance_id is not; since: when that code was called, or, if it runs none, since when it is in the state; blocked_by: while it waits for a lock the processes that hold the lock or come first (pg_blocking_pids; 0: a prepared transaction), else NULL. What else it waits for is wait_event in pg_stat_activity.';
