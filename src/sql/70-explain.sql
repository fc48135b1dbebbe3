-- The story of one instance, for people.

-- Fire-and-forget children do not say which task started them, as nobody
-- awaits them; they were made in the order of their events, at the same time.
CREATE VIEW durable.sub_orchestrations WITH (security_barrier) AS
SELECT p.instance_id AS parent_instance_id,
       c.task_id,
       c.awaited,
       c.instance_id,
       c.name,
       CASE c.state
           WHEN 'S' THEN 'Suspended'
           WHEN 'C' THEN 'Completed'
           WHEN 'F' THEN 'Failed'
           WHEN 'T' THEN 'Terminated'
           ELSE CASE WHEN c.started_time IS NULL THEN 'Pending' ELSE 'Running' END
       END::durable.runtime_status AS runtime_status,
       c.created_time,
       c.completed_time,
       durable_internal.owner_role(c.owner) AS owner
  FROM durable_internal.instances p
 CROSS JOIN LATERAL (
       SELECT n.*, coalesce(n.parent_task, n.detached_task) AS task_id
         FROM (-- the one child and the one event of the same number belong together
               SELECT m.*, max(m.event_task) OVER (PARTITION BY m.awaited, m.created_time, m.name, m.number) AS detached_task
                 FROM (SELECT e.*,
                              row_number() OVER (PARTITION BY e.awaited, e.created_time, e.name, e.event_task IS NULL ORDER BY e.place) AS number
                         FROM (SELECT c.parent_task <> 0 AS awaited, nullif(c.parent_task, 0) AS parent_task, NULL::integer AS event_task,
                                      c.key AS place, c.instance_id, c.name, c.state, c.started_time, c.created_time, c.completed_time, c.owner
                                 FROM durable_internal.instances c
                                WHERE c.parent_key = p.key
                               UNION ALL
                               SELECT false, NULL, h.task_id, h.seq, NULL, h.name, NULL, NULL, h.event_time, NULL, NULL
                                 FROM durable_internal.history h
                                WHERE h.key = p.key AND h.event = 6 AND h.result ? 'detached'
                                  AND NOT EXISTS (SELECT
                                                    FROM durable_internal.history f
                                                   WHERE f.key = h.key AND f.seq = h.seq + 1 AND f.event = 8)) e) m) n
        WHERE n.event_task IS NULL
       ) c
 WHERE durable_internal.may_see(p.owner);
COMMENT ON VIEW durable.sub_orchestrations IS
'Which instance has started which: the sub-orchestrations of the instances that you may see. A call with a retry policy has a row for each attempt. Queries by parent_instance_id use an index.';
COMMENT ON COLUMN durable.sub_orchestrations.parent_instance_id IS 'The instance that started the other one.';
COMMENT ON COLUMN durable.sub_orchestrations.task_id IS
'The call in the parent''s current execution. NULL: the call was made in an earlier execution.';
COMMENT ON COLUMN durable.sub_orchestrations.awaited IS
'false: the child was started with durable.start_sub_orchestrator.';
COMMENT ON COLUMN durable.sub_orchestrations.instance_id IS 'The child.';
COMMENT ON COLUMN durable.sub_orchestrations.name IS 'The orchestrator of the child, as given in the call.';
COMMENT ON COLUMN durable.sub_orchestrations.runtime_status IS 'The status of the child.';
COMMENT ON COLUMN durable.sub_orchestrations.created_time IS 'When the child was started.';
COMMENT ON COLUMN durable.sub_orchestrations.completed_time IS 'When the child ended. NULL: it is live.';
COMMENT ON COLUMN durable.sub_orchestrations.owner IS 'The role that owns the child.';

CREATE FUNCTION durable.tasks(instance_id text)
RETURNS TABLE (
    task_id integer,
    kind text,
    name text,
    state text,
    attempt integer,
    start_time timestamptz,
    end_time timestamptz,
    due_time timestamptz,
    deliveries integer,
    pid integer,
    child_instance_id text,
    failure jsonb
)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
SELECT durable.require_client('durable.tasks');
-- Everything that is known about a task is brought together by window functions, never by joins: the planner takes an
-- instance for a short one and would join by nested loops, which take a day for a long one.
WITH seen AS (
    -- events, those that begin and that end a task marked by kind and state
    SELECT h.task_id, h.sequence_number, h.event_type, h.event_time, h.name, h.attempt, h.failure, k.kind, k.state,
           CASE WHEN h.event_type = 'TimerCreated' THEN h.input END AS input,
           lag(h.event_time) OVER (ORDER BY h.sequence_number) AS time_before,
           max(h.sequence_number) FILTER (WHERE h.event_type = 'ExecutionRewound') OVER () AS rewound,
           NULL::boolean AS awaited,
           NULL::integer AS deliveries,
           NULL::integer AS pid
      FROM durable.history h
      LEFT JOIN (VALUES ('TaskScheduled', 'activity', NULL),
                        ('SubOrchestrationInstanceCreated', 'sub-orchestration', NULL),
                        ('TimerCreated', 'timer', NULL),
                        ('EventSubscribed', 'event', NULL),
                        ('EventSent', 'send', NULL),
                        ('TaskCompleted', NULL, 'completed'),
                        ('TaskFailed', NULL, 'failed'),
                        ('SubOrchestrationInstanceCompleted', NULL, 'completed'),
                        ('SubOrchestrationInstanceFailed', NULL, 'failed'),
                        ('TimerFired', NULL, 'fired'),
                        ('TimerCanceled', NULL, 'canceled'),
                        ('TaskCanceled', NULL, 'canceled')) k (event_type, kind, state) USING (event_type)
     WHERE h.instance_id = tasks.instance_id
    UNION ALL
    -- the last child of a task in this execution
    (SELECT DISTINCT ON (c.task_id)
            c.task_id, NULL, 'child ' || lower(c.runtime_status::text), c.completed_time, c.instance_id, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, c.awaited, NULL, NULL
       FROM durable.sub_orchestrations c
      WHERE c.parent_instance_id = tasks.instance_id
        AND c.created_time >= (SELECT min(h.event_time) FROM durable.history h WHERE h.instance_id = tasks.instance_id)
      ORDER BY c.task_id, c.created_time DESC)
    UNION ALL
    SELECT t.task_id, NULL, 'timer', t.fire_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
      FROM durable.timers t
     WHERE t.instance_id = tasks.instance_id
    UNION ALL
    SELECT a.task_id, NULL, 'activity', NULL, a.state, a.attempt, NULL, NULL, NULL, NULL, NULL, NULL, NULL, a.deliveries, a.pid
      FROM durable.activities a
     WHERE a.instance_id = tasks.instance_id
), known AS (
    SELECT s.*,
           -- its last end
           last_value(state) OVER done AS done,
           CASE WHEN last_value(state) OVER done IS NOT NULL THEN last_value(sequence_number) OVER done END AS done_number,
           CASE WHEN last_value(state) OVER done IS NOT NULL THEN last_value(event_time) OVER done END AS done_time,
           CASE WHEN last_value(state) OVER done IS NOT NULL THEN last_value(attempt) OVER done END AS done_attempt,
           CASE WHEN last_value(state) OVER done IS NOT NULL THEN last_value(failure) OVER done END AS done_failure,
           CASE last_value(event_type) OVER retried WHEN 'TaskRetried' THEN coalesce(last_value(attempt) OVER retried, 0) + 1 END AS retry_attempt,
           CASE last_value(event_type) OVER retried WHEN 'TaskRetried' THEN last_value(failure) OVER retried END AS retry_failure,
           -- a rewind gives waits back to the code, which then gives them up again or not
           max(event_time) FILTER (WHERE event_type = 'TaskCanceled' AND sequence_number > coalesce(rewound, 0)) OVER task AS given_up,
           max(substr(event_type, 7)) FILTER (WHERE event_type LIKE 'child %') OVER task AS child_state,
           max(name) FILTER (WHERE event_type LIKE 'child %') OVER task AS child_id,
           max(event_time) FILTER (WHERE event_type LIKE 'child %') OVER task AS child_time,
           bool_and(awaited) OVER task AS child_awaited,
           max(event_time) FILTER (WHERE event_type = 'timer') OVER task AS fire_at,
           max(attempt) FILTER (WHERE event_type = 'activity') OVER task AS queued_attempt,
           max(deliveries) OVER task AS queued_deliveries,
           max(pid) OVER task AS queued_pid,
           max(name) FILTER (WHERE event_type = 'activity') OVER task AS queued_state
      FROM seen s
    WINDOW task AS (PARTITION BY task_id),
           done AS (PARTITION BY task_id ORDER BY state IS NOT NULL, sequence_number
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING),
           retried AS (PARTITION BY task_id ORDER BY event_type = 'TaskRetried', sequence_number
                       ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), numbered AS (
    -- waits for a name are served in their order, but for those that were given up
    SELECT k.*,
           CASE WHEN event_type = 'EventRaised' OR kind = 'event' AND given_up IS NULL
                THEN row_number() OVER (PARTITION BY lower(name), event_type, given_up IS NULL ORDER BY task_id, sequence_number)
           END AS number
      FROM known k
), served AS (
    SELECT n.*,
           max(sequence_number) FILTER (WHERE event_type = 'EventRaised') OVER pair AS event_number,
           max(event_time) FILTER (WHERE event_type = 'EventRaised') OVER pair AS raised_time,
           -- a wait and its timeout are asked for together
           lead(task_id) OVER asked = task_id + 1 AND lead(kind) OVER asked = 'timer' AND lead(name) OVER asked = name
               AND lead(done) OVER asked = 'fired' AND lead(fire_at) OVER asked IS NULL AS expired,
           lead(done_number) OVER asked AS expired_number,
           lead(done_time) OVER asked AS expired_time
      FROM numbered n
    WINDOW pair AS (PARTITION BY lower(name), number),
           asked AS (PARTITION BY kind IS NULL ORDER BY task_id)
), wait AS (
    -- of an event and a timeout that came before it was run again, the first counts
    SELECT s.*,
           kind = 'event' AND expired AND (event_number IS NULL OR expired_number < event_number) AS late
      FROM served s
     WHERE kind IS NOT NULL
), task AS (
    SELECT w.*,
           -- what was rewound may be going on again
           CASE WHEN done_number < rewound
                     AND (fire_at IS NOT NULL OR queued_state IS NOT NULL OR child_state IN ('pending', 'running', 'suspended')) THEN NULL
                WHEN kind = 'send' THEN 'sent'
                WHEN kind = 'event' THEN CASE WHEN late THEN 'timed out'
                                              WHEN event_number IS NOT NULL THEN 'received'
                                              WHEN given_up IS NOT NULL THEN 'canceled' END
                WHEN done IS NOT NULL THEN done
                -- nobody awaits it
                WHEN NOT child_awaited THEN child_state
           END AS outcome,
           -- both events of an activity that its worker ran between two turns are written at its end
           CASE WHEN kind = 'activity' AND done_time = event_time AND done_number = sequence_number + 1
                THEN coalesce(time_before, event_time) ELSE event_time END AS start_time,
           CASE kind WHEN 'send' THEN event_time
                     WHEN 'event' THEN CASE WHEN late THEN expired_time
                                            WHEN event_number IS NOT NULL THEN greatest(event_time, raised_time)
                                            ELSE given_up END
                     ELSE coalesce(done_time, child_time) END AS end_time,
           coalesce(fire_at, CASE WHEN kind = 'timer' THEN (input #>> '{}')::timestamptz END) AS due_time
      FROM wait w
)
SELECT t.task_id,
       t.kind,
       t.name,
       CASE WHEN t.outcome IS NOT NULL THEN t.outcome
            WHEN i.runtime_status IN ('Completed', 'Failed', 'Terminated') THEN 'abandoned'
            WHEN t.kind IN ('timer', 'event') THEN 'waiting'
            WHEN t.fire_at IS NOT NULL THEN 'pausing'
            ELSE coalesce(t.queued_state, t.child_state, 'ended')
       END,
       CASE WHEN t.kind IN ('activity', 'sub-orchestration')
            THEN coalesce(CASE WHEN t.outcome IS NOT NULL THEN t.done_attempt END, t.queued_attempt,
                          -- whether the next one had begun is not known
                          CASE WHEN t.outcome = 'canceled' THEN t.retry_attempt - 1 ELSE t.retry_attempt END, 1) END,
       t.start_time,
       CASE WHEN t.outcome IS NOT NULL THEN t.end_time END,
       t.due_time,
       nullif(t.queued_deliveries, 0),
       t.queued_pid,
       t.child_id,
       CASE WHEN t.outcome = 'failed' THEN t.done_failure WHEN t.outcome IS NULL THEN t.retry_failure END
  FROM task t
 CROSS JOIN durable.instances i
 WHERE i.instance_id = tasks.instance_id
 ORDER BY t.task_id
$$;
COMMENT ON FUNCTION durable.tasks(text) IS
'Returns the tasks that an instance has asked for in its current execution, in the order of its code. No rows if there is no such instance or you may not see the instance. durable.explain shows the same with bars.
instance_id: which instance.
task_id: the number of the task, from 1.
kind: activity, sub-orchestration, timer, event (a wait for an event) or send.
name: of the function or the event; of a send the other instance.
state: see below.
attempt: the current or the last attempt, from 1.
start_time: when the code asked for the task.
end_time: when the task ended. NULL: it has not ended.
due_time: when the timer, or the pause before the next attempt, ends.
deliveries: how many workers have died while they ran the task. NULL: none.
pid: the process that runs the activity now.
child_instance_id: the instance that runs the sub-orchestration.
failure: of the last attempt.
States of activities: queued (for a worker), waiting for a place (the activity is to run alone, see durable.activities), running (by the process in pid), ended (the orchestrator has not taken the result in yet), pausing (until the next attempt), completed, failed. A sub-orchestration has its status. Timers and waits for events are waiting, fired, received or timed out; a send is sent. Any task may be canceled: the code gave the task up with durable.cancel_task before its end, and an activity that had begun or a sub-orchestration goes on (see pid and child_instance_id). Any task may be abandoned: the instance ended without it.
Which event went to which wait follows from the order of the history: waits for a name are served in their order, except those that were given up. Where the next wait got the event of such a wait, its end_time may be that of the event and not that of the cancellation.
Errors:
OD009: the caller is an orchestrator.
Durable Functions has no such function.';

CREATE FUNCTION durable.role_obstacle(role regrole DEFAULT pg_catalog.quote_ident(current_user)::regrole) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_role_obstacle';
COMMENT ON FUNCTION durable.role_obstacle(regrole) IS
'Returns why the engine cannot run instances of a role in this database now, as a sentence. NULL if it can. The instances wait, and the scheduler looks again every 10 seconds.
role: whose instances. Yours unless given.
Obstacles are: the role is not permitted to log in or to connect to the database, the database accepts no connections, the setting durable.databases does not name the database, a connection limit was lowered below the number of sessions, or something is due in the database and its scheduler does not run, with the reason. An expired password is no obstacle, as workers do not use it.
Errors:
OD009: the caller is an orchestrator.
Durable Functions has no such function.';

CREATE FUNCTION durable.turn_state(instance_id text) RETURNS text
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_turn_state';
COMMENT ON FUNCTION durable.turn_state(text) IS
'Returns what the next turn of an instance waits for, as the engine''s lists in shared memory have it. A turn is one run of the orchestrator''s code until it waits.
instance_id: which instance.
queued: for a worker of the owner.
waiting for a place: the turn is to run alone, as it was interrupted or takes long, and there is no long place for it yet, see the setting durable.max_long_activities.
held: a worker has taken the instance.
NULL: the instance has nothing to do; or the lists have no room for it; or another transaction has locked its row; or there is no such instance, or you may not see the instance; or instance_id is NULL.
Errors:
OD009: the caller is an orchestrator.
Durable Functions has no such function.';

CREATE FUNCTION durable.explain(instance_id text) RETURNS SETOF text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    bar_width CONSTANT integer := 30;
    most_instances CONSTANT integer := 20;
    most_waits CONSTANT integer := 10;
    widest CONSTANT integer := 200;     -- of a text of a user; cut before anything else looks at the text
    -- what may end a line, move the cursor or turn the direction of writing; src/shmem/failure_log.c has the same for the log
    control CONSTANT text := CASE WHEN getdatabaseencoding() = 'UTF8' THEN '[\u0001-\u001F\u007F-\u009F\u061C\u200B-\u200F\u2028-\u202E\u2066-\u2069\uFEFF]'
                                  WHEN getdatabaseencoding() ~ '^(LATIN|ISO)' THEN '[\u0001-\u001F\u007F-\u009F]'
                                  ELSE '[\u0001-\u001F\u007F]' END;
    -- what could pass for the text around it: a text of a user that has such a character stands in double quotes
    odd CONSTANT text := '[",;:()]';
    -- all that is returned, with control characters: they are escaped where the lines leave the function, and nowhere else
    lines text[] := '{}';
    id text;            -- the id as a string constant
    now CONSTANT timestamptz := clock_timestamp();
    root record;
    live boolean;
    since timestamptz;
    reason text;
    task record;
    -- instances whose tasks are to be listed, where their lines go, and what is drawn before them
    ids text[] := ARRAY[explain.instance_id];
    branches text[] := '{""}';
    margins text[] := '{""}';
    next integer := 1;
    branch text;
    margin text;
    below text;
    -- lines of the tree; those without a state are remarks
    places text[] := '{}';
    labels text[] := '{}';
    states text[] := '{}';
    froms timestamptz[] := '{}';
    tos timestamptz[] := '{}';
    waits text[] := '{}';
    open integer := 0;
    aside timestamptz;
    obstacle text;
    line text;
    runs jsonb;         -- what processes run of it now, by the number of the task, 0: a turn
    expiries jsonb;     -- and when that times out
    kinds text[];       -- states of its activities
    pids integer[];     -- of processes that run these
    turn text;
    lacks text;         -- why no process comes
    -- what a rewind would do
    marks record;
    undone record;
    handled text[] := '{}';
BEGIN
    PERFORM durable.require_client('durable.explain');
    IF explain.instance_id IS NULL THEN
        RAISE EXCEPTION 'parameter "instance_id" of durable.explain must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT i.*,
           coalesce((SELECT min(h.event_time) FROM durable.history h WHERE h.instance_id = i.instance_id),
                    i.created_time) AS began
      INTO root
      FROM durable.instances i
     WHERE i.instance_id = explain.instance_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'instance "%" does not exist', explain.instance_id USING ERRCODE = 'OD001';
    END IF;
    -- the escapes that are put in at the end are right in a constant that has an E or a backslash, and so an E
    id := concat(CASE WHEN root.instance_id ~ control AND strpos(root.instance_id, '\') = 0 THEN 'E' END, quote_literal(root.instance_id));
    live := root.completed_time IS NULL OR root.runtime_status IN ('Pending', 'Running', 'Suspended');
    obstacle := CASE
        WHEN root.owner IS NOT NULL THEN durable.role_obstacle(root.owner)
        WHEN root.owner_name LIKE '(%' THEN 'the role was dropped before the instance was restored here, so the instance is to fail'
        ELSE format('the role does not exist; create the role, or call durable.reassign_owner(%s%L, ...) as a superuser',
                    CASE WHEN root.owner_name ~ control AND strpos(root.owner_name, '\') = 0 THEN 'E' END, root.owner_name) END;
    SELECT h.event_time, h.result #>> '{}'
      INTO since, reason
      FROM durable.history h
     WHERE h.instance_id = explain.instance_id
       AND h.event_type = ANY (CASE root.runtime_status
               WHEN 'Suspended' THEN '{ExecutionSuspended}'::text[]
               WHEN 'Terminated' THEN '{ExecutionTerminated}'
               WHEN 'Running' THEN '{ExecutionResumed,ExecutionRewound}'
               ELSE '{}' END)
     ORDER BY h.sequence_number DESC
     LIMIT 1;
    since := coalesce(since, root.completed_time, root.began);

    -- What it is.
    lines := ARRAY(
    SELECT format('%-10s %s', v.name, regexp_replace(left(v.value, widest), '\s+', ' ', 'g')
                                      || CASE WHEN length(left(v.value, widest + 1)) > widest THEN ' ...' ELSE '' END)
      FROM (VALUES ('Instance', root.instance_id),
                   ('Function', replace(root.function, 'pg_catalog.', '') || coalesce(', version ' || root.version, '')),
                   ('Owner', root.owner_name),
                   ('Status', concat(root.runtime_status, ' since ', date_trunc('second', since),
                                     CASE WHEN live THEN ', for ' || date_trunc('second', greatest(now - since, '0'))
                                          ELSE ', after ' || date_trunc('milliseconds', since - root.began) END,
                                     ': ' || reason)),
                   ('Created', date_trunc('second', root.created_time)::text),
                   -- continue_as_new begins a history of its own
                   ('Execution', CASE WHEN root.began > root.created_time
                                      THEN concat(root.execution_id, ', continued as new at ', date_trunc('second', root.began)) END),
                   ('Parent', root.parent_instance_id),
                   ('Tags', nullif(root.tags, '{}')::text),
                   ('Input', root.input::text),
                   ('Custom', root.custom_status::text),
                   ('Output', CASE root.runtime_status WHEN 'Completed' THEN root.output::text END)) v (name, value)
     WHERE v.value IS NOT NULL);

    -- Its tasks and those of its sub-orchestrations, the middle of long lists summed up.
    WHILE next <= cardinality(ids) LOOP
        branch := branches[next];
        margin := margins[next];
        FOR task IN
            WITH listed AS MATERIALIZED (
                SELECT t.*,
                       count(*) OVER () <= room * 3
                       OR row_number() OVER (ORDER BY task_id) <= room
                       OR row_number() OVER (ORDER BY task_id DESC) <= room
                       -- what went wrong and what is going on
                       OR state = 'failed' AND row_number() OVER (PARTITION BY state ORDER BY task_id) <= 5
                       OR end_time IS NULL AND row_number() OVER (PARTITION BY end_time IS NULL ORDER BY task_id) <= 5 AS shown
                  FROM durable.tasks(ids[next]) t,
                       (SELECT CASE branch WHEN '' THEN 10 ELSE 4 END AS room) r
            ), told AS MATERIALIZED (
                -- the inputs of the few that are shown
                SELECT h.task_id, left(h.input ->> CASE h.event_type WHEN 'EventSent' THEN 'name' ELSE 'statement' END, widest) AS input
                  FROM durable.history h
                 WHERE h.instance_id = ids[next] AND h.event_type IN ('TaskScheduled', 'EventSent')
                   AND h.task_id = ANY (ARRAY(SELECT l.task_id FROM listed l WHERE l.shown AND (l.name = 'durable.run_sql' OR l.kind = 'send')))
            )
            SELECT min(task_id) AS task_id, max(task_id) AS last_id, count(*) AS count, min(kind) AS kind, min(name) AS name,
                   min(input) AS input,
                   min(start_time) AS start_time, CASE WHEN bool_and(end_time IS NOT NULL) THEN max(end_time) END AS end_time,
                   min(state) AS state, min(attempt) AS attempt, min(due_time) AS due_time, min(deliveries) AS deliveries,
                   min(child_instance_id) AS child_id, min(pid) AS pid,
                   min(CASE WHEN shown THEN concat(failure ->> 'sqlstate', ': ', left(failure ->> 'message', widest)) END)
                       FILTER (WHERE failure IS NOT NULL) AS failure,
                   (SELECT string_agg(n || ' ' || s, ', ' ORDER BY n DESC, s)
                      FROM (SELECT count(*) AS n, s FROM unnest(array_agg(state)) s GROUP BY s) c) AS summary,
                   max(min(task_id)) OVER () = min(task_id) AS last
              FROM (SELECT l.*, o.input,
                           CASE WHEN shown THEN l.task_id ELSE -count(*) FILTER (WHERE shown) OVER (ORDER BY l.task_id) END AS line
                      FROM listed l
                      LEFT JOIN told o ON o.task_id = l.task_id AND l.shown) t
             GROUP BY line
             ORDER BY min(task_id)
        LOOP
            line := branch || '/' || lpad(task.task_id::text, 10, '0');
            below := margin || CASE WHEN task.last THEN '   ' ELSE '|  ' END;
            places := places || line;
            froms := froms || task.start_time;
            tos := tos || task.end_time;
            IF task.count > 1 THEN
                labels := labels || format('%s|  ... %s tasks', margin, task.count);
                states := states || task.summary;
                CONTINUE;
            END IF;
            labels := labels || left(
                concat(margin, CASE WHEN task.last THEN '`- ' ELSE '|- ' END, task.task_id, ' ',
                    CASE WHEN task.kind = 'timer' THEN 'timer'
                         WHEN task.kind = 'event' THEN format('event "%s"', replace(task.name, '"', '""'))
                         WHEN task.kind = 'send' THEN format('event "%s" to %s', replace(task.input, '"', '""'), task.name)
                         WHEN task.name = 'durable.run_sql' THEN 'SQL ' || regexp_replace(task.input, '\s+', ' ', 'g')
                         ELSE task.name || coalesce(' -> ' || task.child_id, '') END), 70);
            states := states || concat(task.state,
                CASE WHEN task.state = 'canceled' THEN ', still ' || coalesce(
                    (SELECT lower(i.runtime_status::text)
                       FROM durable.instances i
                      WHERE i.instance_id = task.child_id AND i.runtime_status IN ('Pending', 'Running', 'Suspended')),
                    CASE WHEN task.pid IS NOT NULL THEN 'running' END) END,
                ', attempt ' || nullif(task.attempt, 1), ', workers died: ' || task.deliveries);
            IF task.failure IS NOT NULL THEN
                places := places || (line || '!');
                labels := labels || concat(below, '   ', left(regexp_replace(task.failure, '\s+', ' ', 'g'), 150));
                states := states || NULL::text;
                froms := froms || NULL::timestamptz;
                tos := tos || NULL::timestamptz;
            END IF;
            IF task.child_id IS NOT NULL AND cardinality(ids) < most_instances AND NOT task.child_id = ANY (ids) THEN
                ids := ids || task.child_id;
                branches := branches || line;
                margins := margins || below;
            END IF;
        END LOOP;
        next := next + 1;
    END LOOP;
    IF cardinality(places) > 0 THEN
        SELECT concat(sum(n), CASE WHEN sum(n) = 1 THEN ' task: ' ELSE ' tasks: ' END, string_agg(n || ' ' || s, ', ' ORDER BY n DESC, s))
          INTO line
          FROM (SELECT count(*) AS n, t.state AS s FROM durable.tasks(root.instance_id) t GROUP BY 2) c;
        lines := lines || ARRAY[format('%-10s %s', 'Progress', line), ''] || ARRAY(
        SELECT CASE WHEN state IS NULL THEN label
                    ELSE format('%s  %s  %10s  %10s  |%s|', rpad(label, label_width), rpad(state, state_width), start, duration, bar) END
          FROM (SELECT *, max(length(label)) FILTER (WHERE state IS NOT NULL) OVER () AS label_width,
                       max(length(state)) OVER () AS state_width
                  FROM (SELECT '' AS place, 'Task' AS label, 'state' AS state, 'start' AS start, 'duration' AS duration,
                               rpad('', bar_width, ' ') AS bar
                         UNION ALL
                        SELECT place, label, state,
                               '+' || CASE WHEN begins < 60 THEN round(begins, 3) || ' s'
                                           ELSE date_trunc('second', froms - root.began)::text END,
                               CASE WHEN ends - begins < 60 THEN round(ends - begins, 3) || ' s'
                                    ELSE date_trunc('second', until - froms)::text END,
                               rpad(overlay(rpad(repeat(' ', bar_from) || repeat(CASE WHEN state IN ('queued', 'waiting for a place') THEN '.' ELSE '=' END, bar_to - bar_from), bar_width)
                                            PLACING CASE WHEN tos IS NULL THEN '>' ELSE '=' END FROM bar_to), bar_width)
                          FROM unnest(places, labels, states, froms, tos) l (place, label, state, froms, tos)
                         CROSS JOIN LATERAL (SELECT coalesce(root.completed_time, now) AS horizon) h
                         CROSS JOIN LATERAL (SELECT greatest(coalesce(tos, CASE WHEN live THEN now ELSE horizon END), froms) AS until) u
                         CROSS JOIN LATERAL (SELECT extract(epoch FROM froms - root.began) AS begins,
                                                    extract(epoch FROM until - root.began) AS ends,
                                                    greatest(extract(epoch FROM horizon - root.began), 0.001) AS span) e
                         CROSS JOIN LATERAL (SELECT least(floor(begins / span * bar_width), bar_width - 1)::integer AS bar_from) f
                         CROSS JOIN LATERAL (SELECT greatest(least(ceil(ends / span * bar_width), bar_width), bar_from + 1)::integer AS bar_to) t
                       ) l) l
         ORDER BY place COLLATE "C");
    END IF;
    IF cardinality(ids) > 1 AND cardinality(ids) = most_instances THEN
        lines := array_append(lines, 'Further sub-orchestrations are not expanded: durable.explain their ids.');
    END IF;

    -- What it waits for, or why it failed.
    IF root.runtime_status = 'Suspended' THEN
        lines := array_append(lines, '');
        lines := array_append(lines, format('Waits, since %s, for: SELECT durable.resume(%s)', date_trunc('second', since), id));
    ELSIF root.runtime_status = 'Pending' AND root.scheduled_start_time > now THEN
        lines := array_append(lines, '');
        lines := array_append(lines, format('Waits for its start at %s, in %s', date_trunc('second', root.scheduled_start_time),
                           date_trunc('second', root.scheduled_start_time - now)));
    ELSIF live THEN
        -- what runs, and in whose way that is
        SELECT jsonb_object_agg(coalesce(w.task_id, 0), concat('process ', w.pid, ' since ', date_trunc('second', w.since),
                   ', waiting for ' || s.wait_event_type || ': ' || s.wait_event,
                   (SELECT ', blocked by ' || string_agg(CASE WHEN b.pid = 0 THEN 'a prepared transaction'
                                                              ELSE concat('process ', b.pid, ' (' || nullif(concat_ws(', ', quote_ident(nullif(left(o.application_name, 60), '')),
                                                                  o.state, 'since ' || date_trunc('second', o.state_change)), '') || ')') END, ', ' ORDER BY b.n)
                      FROM unnest(w.blocked_by[:most_waits]) WITH ORDINALITY b (pid, n)
                      LEFT JOIN pg_stat_activity o USING (pid))))
          INTO runs
          FROM durable.workers w
          LEFT JOIN pg_stat_activity s USING (pid)
         WHERE w.instance_id = root.instance_id;
        turn := durable.turn_state(root.instance_id);
        SELECT array_agg(DISTINCT a.state), array_agg(a.pid) FILTER (WHERE a.pid IS NOT NULL),
               jsonb_object_agg(a.task_id, format('; it times out at %s, after %s', date_trunc('second', w.since + a.timeout), a.timeout))
                   FILTER (WHERE a.timeout IS NOT NULL AND w.task_id = a.task_id)
          INTO kinds, pids, expiries
          FROM durable.activities a
          LEFT JOIN durable.workers w USING (pid)
         WHERE a.instance_id = root.instance_id;
        FOR task IN
            SELECT t.*, count(*) OVER () AS open
              FROM durable.tasks(root.instance_id) t
             WHERE t.end_time IS NULL
               -- a fire-and-forget child is awaited by nobody
               AND coalesce(t.child_instance_id NOT IN (SELECT c.instance_id FROM durable.sub_orchestrations c
                                                         WHERE c.parent_instance_id = root.instance_id AND NOT c.awaited), true)
             ORDER BY t.task_id
             LIMIT most_waits
        LOOP
            open := task.open;
            waits := waits || concat('  ', task.task_id, ' ',
                CASE task.kind WHEN 'timer' THEN 'timer' WHEN 'event' THEN format('event "%s"', replace(task.name, '"', '""'))
                     ELSE concat(task.kind, ' ', left(task.name, 60), ' -> ' ||
                         CASE WHEN task.child_instance_id ~ odd THEN quote_ident(task.child_instance_id) ELSE task.child_instance_id END) END,
                ', since ', date_trunc('second', task.start_time), ', for ', date_trunc('second', greatest(now - task.start_time, '0')),
                CASE WHEN task.kind = 'event' THEN format(': SELECT durable.raise_event(%s, %s%L)', id,
                         CASE WHEN task.name ~ control AND strpos(task.name, '\') = 0 THEN 'E' END, task.name)
                     WHEN task.state = 'pausing' THEN format(', attempt %s begins at %s', task.attempt, date_trunc('second', task.due_time))
                     WHEN task.due_time <= now THEN ', due'
                     WHEN task.due_time IS NOT NULL THEN concat(', until ', date_trunc('second', task.due_time),
                         CASE WHEN isfinite(task.due_time) THEN ', in ' || date_trunc('second', task.due_time - now) END)
                     WHEN task.state = 'running' AND runs ? task.task_id::text
                     THEN concat(', run by ', runs ->> task.task_id::text, expiries ->> task.task_id::text)
                     WHEN task.state = 'waiting for a place'
                     THEN format(', waits for one of durable.max_long_activities (%s) places: it runs alone, as it was interrupted or takes long',
                                 current_setting('durable.max_long_activities', true))
                     WHEN task.state = 'queued'
                     THEN format(', queued: waits for one of durable.max_workers (%s) places', current_setting('durable.max_workers', true))
                     ELSE ', ' || task.state END);
        END LOOP;
        lines := array_append(lines, '');
        -- what is not queued but belongs to its turn
        SELECT concat('Runs ', coalesce('task ' || w.task_id || ', ' || CASE WHEN left(s.query, 60) ~ odd THEN quote_ident(left(s.query, 60)) ELSE left(s.query, 60) END, 'a turn of its orchestrator'), ': ',
                      runs ->> coalesce(w.task_id, 0)::text)
          INTO line
          FROM durable.workers w
          LEFT JOIN pg_stat_activity s USING (pid)
         WHERE w.instance_id = root.instance_id AND runs ? coalesce(w.task_id, 0)::text
           AND w.pid <> ALL (coalesce(pids, '{}'));
        IF FOUND THEN
            lines := array_append(lines, line);
        END IF;
        -- a turn that was put aside
        SELECT t.fire_at
          INTO aside
          FROM durable.timers t
         WHERE t.instance_id = root.instance_id AND t.task_id IS NULL AND t.fire_at IS DISTINCT FROM root.scheduled_start_time;
        IF open = 0 AND line IS NOT NULL THEN
            NULL;
        ELSIF aside IS NOT NULL THEN
            lines := array_append(lines, format('Waits for its turn to be run again at %s: another transaction held the id of a sub-orchestration, or something else that passes stood in its way; the server''s log says what',
                               date_trunc('second', aside)));
        ELSIF open = 0 THEN
            -- nothing is asked for: it is being run, or cannot be
            lines := array_append(lines,
                CASE WHEN turn = 'waiting for a place' AND obstacle IS NULL
                     THEN format('Waits for one of durable.max_long_activities (%s) places: its turn runs alone, as it was interrupted or takes long',
                                 current_setting('durable.max_long_activities', true))
                     WHEN turn = 'queued' AND obstacle IS NULL
                     THEN format('Waits for one of durable.max_workers (%s) places', current_setting('durable.max_workers', true))
                     WHEN turn = 'held' THEN format('Waits for its turn in a worker of %s, which has taken it', root.owner_name)
                     ELSE format('Waits for a worker of %s', root.owner_name) END);
        ELSE
            lines := array_append(lines, 'Waits for') || waits;
            IF open > cardinality(waits) THEN
                lines := array_append(lines, format('  ... and %s more', open - cardinality(waits)));
            END IF;
            IF turn = 'waiting for a place' THEN
                lines := array_append(lines, format('Its next turn waits for one of durable.max_long_activities (%s) places: it runs alone, as it was interrupted or takes long',
                                                    current_setting('durable.max_long_activities', true)));
            END IF;
        END IF;
        -- what the places are taken by
        lines := lines || ARRAY(
        SELECT concat(kind.told, ' places in use, as far as you may see', kind.rule, ': ',
                      string_agg(format('process %s (%s)', w.pid, concat_ws(', ', 'instance ' || CASE WHEN w.instance_id ~ odd THEN quote_ident(w.instance_id) ELSE w.instance_id END, 'task ' || w.task_id,
                                                                           'since ' || date_trunc('second', w.since))), ', ' ORDER BY w.since, w.pid)
                          FILTER (WHERE w.n <= most_waits),
                      CASE WHEN count(*) > most_waits THEN format(' and %s more', count(*) - most_waits) END)
          FROM (VALUES ('batch', 'Batch', 'queued', ''), ('long', 'Long', 'waiting for a place', ' (a role gets one while more are free than it has)')) kind (place, told, state, rule)
          JOIN (SELECT w.*, row_number() OVER (PARTITION BY w.place ORDER BY w.since, w.pid) AS n FROM durable.workers w) w USING (place)
         WHERE turn = kind.state AND open = 0
            OR kind.state = 'waiting for a place' AND turn = kind.state
            OR kind.state = ANY (kinds)
         GROUP BY kind.place, kind.told, kind.rule
         ORDER BY kind.place);
    END IF;
    IF live THEN
        IF obstacle IS NOT NULL THEN
            lines := array_append(lines, format('No worker can run for %s: %s', root.owner_name, obstacle));
        ELSIF root.runtime_status <> 'Suspended' AND turn IN ('queued', 'waiting for a place') THEN
            SELECT s.start_obstacle INTO lacks FROM durable.stats s WHERE s.role = root.owner;
            IF lacks IS NOT NULL THEN
                lines := array_append(lines, format('No further process of %s is started for the moment: %s', root.owner_name, lacks));
            ELSIF NOT EXISTS (SELECT FROM durable.workers w WHERE w.role = root.owner) THEN
                lines := array_append(lines, format('No process of %s runs: it gets the next place that comes free, before roles that have one', root.owner_name));
            END IF;
        END IF;
        SELECT string_agg(format('"%s" (%s)', replace(name, '"', '""'), n), ', ' ORDER BY place) FILTER (WHERE place <= most_waits)
                   || CASE WHEN count(*) > most_waits THEN format(' and %s more', count(*) - most_waits) ELSE '' END
          INTO line
          FROM (SELECT name, sum(n) AS n, row_number() OVER (ORDER BY name) AS place
                  FROM (SELECT lower(h.name) AS name, 1 AS n
                          FROM durable.history h
                         WHERE h.instance_id = root.instance_id AND h.event_type = 'EventRaised'
                         UNION ALL
                        SELECT lower(t.name), -1
                          FROM durable.tasks(root.instance_id) t
                         WHERE t.kind = 'event' AND t.state = 'received') e
                 GROUP BY name
                HAVING sum(n) > 0) e;
        IF line IS NOT NULL THEN
            lines := array_append(lines, 'Events that it has not asked for yet: ' || line);
        END IF;
    END IF;
    IF root.runtime_status = 'Failed' THEN
        -- It runs again what failed and was not dealt with, and rewinds the sub-orchestrations among that. One of which it
        -- runs nothing again fails as before; where nothing was dealt with either, the code may be another one now.
        ids := ARRAY[root.instance_id];
        next := 1;
        WHILE next <= least(cardinality(ids), most_instances) LOOP
            SELECT string_to_array(h.input ->> 'handled', ',')::integer[] AS tasks, h.input ->> 'expired' IS NOT NULL AS expired
              INTO marks
              FROM durable.history h
             WHERE h.instance_id = ids[next] AND h.event_type = 'ExecutionFailed'
             ORDER BY h.sequence_number DESC
             LIMIT 1;
            SELECT count(*) AS tasks, array_agg(c.instance_id) FILTER (WHERE c.instance_id IS NOT NULL) AS children
              INTO undone
              FROM durable.tasks(ids[next]) t
              LEFT JOIN durable.instances c ON c.instance_id = t.child_instance_id AND c.runtime_status = 'Failed'
             -- the failure of a fire-and-forget child is not its parent's
             WHERE t.state = 'failed' AND t.failure IS NOT NULL AND t.task_id <> ALL (coalesce(marks.tasks, '{}'));
            IF undone.tasks = 0 AND marks.tasks IS NOT NULL AND NOT marks.expired THEN
                handled := handled || format('task %s%s', array_to_string(marks.tasks, ', '), ' of ' || nullif(ids[next], root.instance_id));
            END IF;
            ids := ids || undone.children;
            next := next + 1;
        END LOOP;
        lines := array_append(lines, '') || ARRAY(
        SELECT concat(CASE WHEN number = 1 THEN label ELSE '' END, repeat(' ', 11 - CASE WHEN number = 1 THEN length(label) ELSE 0 END), part)
          FROM (VALUES (1, 'Failure', concat(root.failure ->> 'sqlstate', ': ', root.failure ->> 'message')),
                       (2, 'Detail', root.failure ->> 'detail'),
                       (3, 'Hint', root.failure ->> 'hint'),
                       (4, 'In', nullif(concat_ws(', ', 'activity ' || (root.failure ->> 'activity'),
                                                  'task ' || (root.failure ->> 'task_id'),
                                                  'attempt ' || (root.failure ->> 'attempts'),
                                                  'instance ' || nullif(root.failure ->> 'instance_id', root.instance_id)), '')),
                       (5, 'Context', root.failure ->> 'context'),
                       (6, 'Repair', CASE WHEN NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = root.owner)
                                          THEN 'Its owner does not exist: another role has to start it anew, or to get it with durable.reassign_owner.'
                                          WHEN handled = '{}' THEN format('SELECT durable.rewind(%s)', id)
                                          ELSE format(E'SELECT durable.restart(%s)\nIts code has dealt with the failure of %s, which durable.rewind does not run again:\nit would fail as before, unless something else was mended, such as the code.',
                                                      id, left(array_to_string(handled, ', '), 200)) END)) v (place, label, value),
               regexp_split_to_table(left(v.value, 2000), '\n') WITH ORDINALITY p (part, number)
         WHERE v.value IS NOT NULL
         ORDER BY place, number);
    END IF;

    -- The only way out: whatever the texts hold, each row is one line.
    RETURN QUERY
    SELECT CASE WHEN l.line ~ control THEN
               (SELECT string_agg(CASE WHEN c = E'\n' THEN '\n'
                                       WHEN c ~ control THEN regexp_replace(upper(encode(convert_to(c, getdatabaseencoding()), 'hex')), '(..)', '\\x\1', 'g')
                                       ELSE c END, '' ORDER BY n)
                  FROM unnest(string_to_array(l.line, NULL)) WITH ORDINALITY s (c, n))
                ELSE l.line END
      FROM unnest(lines) WITH ORDINALITY l (line, number)
     ORDER BY l.number;
END
$$;
COMMENT ON FUNCTION durable.explain(text) IS
'Tells the story of one instance, for reading, one line in each row. It shows who and what the instance is, its tasks and those of its sub-orchestrations, what it waits for now and since when, or its failure and how to repair it.
instance_id: which instance.
Each task has its state, its attempt, its start (when the code asked for it, counted from the beginning of the execution), its duration, and a bar on the time line of the instance, with dots while the task is queued. A task that runs has since when, what it waits for, who blocks it, and when it times out. A task that waits for a place has which kind of place, and what runs in those places.
Of long lists the first and the last tasks are shown, and some of those that failed or are open. At most 20 instances are expanded. Use psql -At, or \t \a, for the bare text.
Texts are cut. Names of events and sessions, and ids with punctuation, stand in double quotes. Control characters and line ends in texts are escaped, as \n and \xC2\x85 (bytes in the database''s encoding). The statements that the function proposes can be run as they are.
What the orchestrator awaits is not stored. Listed is what the code has asked for and has not got, so after durable.when_any the losers too.
Errors:
OD001: there is no such instance, or you may not see the instance.
OD009: the caller is an orchestrator.
22004: instance_id is NULL.
Durable Functions has no such function.';
