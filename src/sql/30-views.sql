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
'All instances that you may see. The owner, members of the owning role and members of pg_monitor may see an instance. Queries by instance_id, and by created_time and ranges of it, use indexes. The other columns are filtered row by row.
Instances whose owner does not exist are seen by superusers and members of pg_monitor only. They wait for CREATE ROLE or durable.reassign_owner.';
COMMENT ON COLUMN durable.instances.instance_id IS 'The id of the instance.';
COMMENT ON COLUMN durable.instances.name IS 'The orchestrator, as given to durable.start_new.';
COMMENT ON COLUMN durable.instances.function IS
'The function that the name was resolved to, with schema and argument types.';
COMMENT ON COLUMN durable.instances.version IS
'The version given to durable.start_new or durable.continue_as_new. NULL: none.';
COMMENT ON COLUMN durable.instances.runtime_status IS 'The status.';
COMMENT ON COLUMN durable.instances.input IS 'The input of the current execution.';
COMMENT ON COLUMN durable.instances.output IS
'Of a completed instance its result, of a failed one the message of the failure, of a terminated one the reason. NULL while the instance is live.';
COMMENT ON COLUMN durable.instances.custom_status IS 'What durable.set_custom_status has set.';
COMMENT ON COLUMN durable.instances.created_time IS 'When the instance was started.';
COMMENT ON COLUMN durable.instances.last_updated_time IS 'When the engine last changed the instance.';
COMMENT ON COLUMN durable.instances.completed_time IS 'When the instance ended. NULL: it is live.';
COMMENT ON COLUMN durable.instances.scheduled_start_time IS 'The start_at of durable.start_new. NULL: none.';
COMMENT ON COLUMN durable.instances.execution_id IS
'The id of the current execution. durable.continue_as_new changes the id.';
COMMENT ON COLUMN durable.instances.parent_instance_id IS
'The instance that started this one as a sub-orchestration. NULL: none.';
COMMENT ON COLUMN durable.instances.tags IS 'The tags, a JSON object. Empty: none.';
COMMENT ON COLUMN durable.instances.failure IS
'Of a failed instance an object, see the type durable.orchestration_status. NULL for other instances.';
COMMENT ON COLUMN durable.instances.owner IS
'The role that owns the instance. NULL if there is no such role, as after a restore.';
COMMENT ON COLUMN durable.instances.owner_name IS
'The quoted name of the owner, also of an owner that does not exist. (dropped role N): the role was dropped, and N is its former OID.';

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
'What happened to the instances that you may see, one row for each event, in the order of sequence_number within an instance. After durable.continue_as_new the history is that of the current execution. Queries by instance_id use an index.
The names of the events are those of Durable Functions. OrchestratorStarted and OrchestratorCompleted are not kept. TaskRetried, TaskCanceled, TimerCanceled, EventSubscribed and CustomStatusSet are additions.
TaskRetried: an attempt failed and another one follows; or the next attempt was put off, for the reason in failure, until that has passed. The attempt is NULL if the first one was put off.
TaskCanceled: the orchestrator gave up an activity, a sub-orchestration or a wait for an event. A wait is also given up when it times out.';
COMMENT ON COLUMN durable.history.instance_id IS 'The id of the instance.';
COMMENT ON COLUMN durable.history.execution_id IS 'The id of the current execution.';
COMMENT ON COLUMN durable.history.sequence_number IS 'The place of the event in the execution, from 1.';
COMMENT ON COLUMN durable.history.event_type IS 'What happened, as Durable Functions calls it.';
COMMENT ON COLUMN durable.history.event_time IS 'When the engine took the event in.';
COMMENT ON COLUMN durable.history.task_id IS
'Which call of the orchestrator the event belongs to, counted from 1 over all executions. NULL: none.';
COMMENT ON COLUMN durable.history.name IS 'Of the function, the event or the child.';
COMMENT ON COLUMN durable.history.input IS
'Of what was started; for a timer the time at which the timer fires. Of ExecutionFailed the numbers of tasks: those whose failure the orchestrator had handled (handled; whole: all that had failed), the timeouts that were fatal (expired), and what a rewind has to set going again (halted; timers among these: those that are no timeouts). Of ExecutionRewound the numbers of the tasks that begin anew (tasks).';
COMMENT ON COLUMN durable.history.result IS
'Of what completed; the data of an event; the reason of a termination or suspension.';
COMMENT ON COLUMN durable.history.failure IS 'Of what failed, an object as in the type durable.orchestration_status.';
COMMENT ON COLUMN durable.history.attempt IS 'The attempt of the activity or sub-orchestration, from 1.';

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
'The activities of live instances that are queued, running, or waiting for a place or for their next attempt. An activity that a worker runs right after the turn that called the activity is not shown here, but in durable.workers. Queries by instance_id are fast; the history of each instance with such activities is read.';
COMMENT ON COLUMN durable.activities.instance_id IS 'The id of the instance.';
COMMENT ON COLUMN durable.activities.task_id IS 'The number of the call within the instance.';
COMMENT ON COLUMN durable.activities.name IS 'The function, as given to durable.call_activity.';
COMMENT ON COLUMN durable.activities.input IS 'The input of the activity.';
COMMENT ON COLUMN durable.activities.state IS
'running: by the process in pid. queued: for a worker. waiting for a place: the activity is to run alone, as it was interrupted or takes long, and there is no long place for it yet, see the setting durable.max_long_activities. pausing: until next_attempt.';
COMMENT ON COLUMN durable.activities.attempt IS 'The number of the current or the next attempt, from 1.';
COMMENT ON COLUMN durable.activities.scheduled_time IS 'When the orchestrator called the activity.';
COMMENT ON COLUMN durable.activities.next_attempt IS
'When the pause before the next attempt ends. NULL: the activity does not pause.';
COMMENT ON COLUMN durable.activities.last_error IS
'The failure of the last attempt, or why this attempt was put off. NULL: there was none.';
COMMENT ON COLUMN durable.activities.timeout IS 'Of each attempt, from when the attempt begins to run. NULL: none.';
COMMENT ON COLUMN durable.activities.deliveries IS 'How many workers have died while they ran the activity.';
COMMENT ON COLUMN durable.activities.pid IS
'The process that runs the activity now, as in pg_stat_activity. NULL: none.';
COMMENT ON COLUMN durable.activities.owner IS 'The role that owns the instance.';

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
'Timers that have not fired, of the instances that you may see.';
COMMENT ON COLUMN durable.timers.instance_id IS 'The id of the instance.';
COMMENT ON COLUMN durable.timers.task_id IS
'The call of the orchestrator that waits for the timer: a sleep, a timeout, or the pause before another attempt. NULL: the start of an instance that has a start_at, or a turn that runs again later because something stood in its way, such as another transaction that held the id of a sub-orchestration.';
COMMENT ON COLUMN durable.timers.fire_at IS 'When the timer is due.';
COMMENT ON COLUMN durable.timers.owner IS 'The role that owns the instance.';

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
'The processes that run instances in this database. A process belongs to one role. Idle processes are kept for the next work of the role. What else a process waits for is wait_event in pg_stat_activity.';
COMMENT ON COLUMN durable.workers.slot IS 'The number of the process among the engine''s workers of the server.';
COMMENT ON COLUMN durable.workers.pid IS 'The process, as in pg_stat_activity. NULL while the process starts.';
COMMENT ON COLUMN durable.workers.role IS 'Whose instances the process runs, and as whom.';
COMMENT ON COLUMN durable.workers.state IS 'starting, busy or idle.';
COMMENT ON COLUMN durable.workers.place IS
'batch: one of durable.max_workers. long: one of durable.max_long_activities. NULL: none, as the process is idle.';
COMMENT ON COLUMN durable.workers.claims IS 'How many instances the process holds.';
COMMENT ON COLUMN durable.workers.since IS
'When the code that runs now was called. If none runs, since when the process has been in the state.';
COMMENT ON COLUMN durable.workers.instance_id IS 'The instance whose code runs at this moment. NULL: none.';
COMMENT ON COLUMN durable.workers.task_id IS
'The activity that runs. NULL beside an instance_id: a turn of the orchestrator.';
COMMENT ON COLUMN durable.workers.blocked_by IS
'While the process waits for a lock, the processes that hold the lock or come first, as pg_blocking_pids shows them (0: a prepared transaction). Otherwise NULL.';
