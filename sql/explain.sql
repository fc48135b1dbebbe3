-- durable.explain and what it stands on: durable.tasks, durable.sub_orchestrations.
\set VERBOSITY terse
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
\pset tuples_only on
\pset format unaligned
-- What explain says, without times, bars and process ids.
CREATE FUNCTION explain_masked(id text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(line,
               '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d', '<time>', 'g'),
               '(\d+ days )?\d\d:\d\d:\d\d(\.\d+)?', '<interval>', 'g'),
               ' +\+\S+( s)? +\S+( s)? +\|[ =>]{30}\|$', '  <bar>'),
               'start    duration.*', '<bar>'),
               '[0-9a-f]{8}-[-0-9a-f]{27}', '<uuid>', 'g'),
               'process \d+', 'process <pid>', 'g')
      FROM durable.explain(id) line
$$;
CREATE FUNCTION explain_wait(id text, condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    met boolean;
BEGIN
    FOR i IN 1..1000 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXECUTE format('SELECT %s FROM durable.instances WHERE instance_id = $1', condition) INTO met USING id;
        EXIT WHEN met;
        PERFORM pg_sleep(0.01);
    END LOOP;
    IF met IS NOT TRUE THEN
        RAISE EXCEPTION '% has not come to %', id, condition;
    END IF;
END
$$;
CREATE FUNCTION explain_add(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION explain_divide(x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / x; END $$;
CREATE FUNCTION explain_blocked() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(20255)';
CREATE FUNCTION explain_child(x int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_activity('explain_add', jsonb_build_object('a', x, 'b', durable.call_activity('explain_divide', to_jsonb(x))));
END
$$;
CREATE FUNCTION explain_story(zero int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[];
BEGIN
    PERFORM durable.call_activity('explain_add', '[1, 2]');
    PERFORM durable.set_custom_status('{"step": 1}');
    PERFORM durable.start_sub_orchestrator('explain_child', '1', instance_id => 'explain-kid-1');
    PERFORM durable.start_sub_orchestrator('explain_child', '2', instance_id => 'explain-kid-2');
    PERFORM durable.call_sub_orchestrator('explain_child', '1', instance_id => 'explain-kid-3');
    BEGIN
        PERFORM durable.call_sub_orchestrator('explain_child', '0', instance_id => 'explain-kid-4');
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    BEGIN
        PERFORM durable.call_activity('explain_divide', '0', durable.retry_policy(2, '1 ms'));
    EXCEPTION WHEN division_by_zero THEN
        NULL;
    END;
    PERFORM durable.sleep('1 ms');
    PERFORM durable.wait_for_external_event('soon', '1 ms', 'null');
    PERFORM durable.send_event(durable.instance_id(), 'Self', '1');
    PERFORM durable.wait_for_external_event('self', '1 day');
    tasks := ARRAY[durable.create_timer(interval '30 days'), durable.subscribe_event('Approval')];
    PERFORM durable.when_any(VARIADIC tasks);
    PERFORM durable.cancel_task(tasks[1]);
    RETURN durable.call_activity('explain_divide', to_jsonb(zero));
END
$$;

-- Nothing to see.
SELECT durable.explain('explain-none');
SELECT durable.explain(NULL);
SELECT count(*) FROM durable.tasks('explain-none');

-- It waits for an event.
SELECT durable.start_new('explain_story', '0', 'explain-1', version => 'v1', tags => '{"for": "test"}');
SELECT explain_wait('explain-1', $$(SELECT count(*) = 2 AND bool_and(t.task_id > 12) FROM durable.tasks(instance_id) t WHERE t.end_time IS NULL)$$);
SELECT durable.raise_event('explain-1', 'Aproval', '1');
SELECT explain_wait('explain-1', $$(SELECT count(*) FROM durable.history h WHERE h.instance_id = 'explain-1' AND name = 'Aproval') = 1$$);
SELECT explain_masked('explain-1');
\pset format aligned
\pset tuples_only off
SELECT task_id, kind, name, state, attempt, end_time >= start_time AS ended, due_time > now() AS due, deliveries, child_instance_id, failure ->> 'sqlstate' AS failure
  FROM durable.tasks('explain-1');
SELECT task_id, awaited, instance_id, name, runtime_status, completed_time >= created_time AS ended FROM durable.sub_orchestrations WHERE parent_instance_id = 'explain-1' ORDER BY 1;
\pset tuples_only on
\pset format unaligned

-- Suspended, and then it fails.
SELECT durable.suspend('explain-1', 'to look at it');
SELECT explain_wait('explain-1', $$runtime_status = 'Suspended'$$);
SELECT line FROM explain_masked('explain-1') line WHERE line ~ '^(Status|Waits|Events)';
SELECT durable.resume('explain-1');
SELECT durable.raise_event('explain-1', 'APPROVAL');
SELECT runtime_status FROM durable.wait_for_completion('explain-1');
SELECT line FROM explain_masked('explain-1') WITH ORDINALITY l (line, n) WHERE line ~ '^(Status|Progress|Waits|Events)' OR n > (SELECT count(*) - 11 FROM durable.explain('explain-1'));

-- A thousand tasks: the first and the last, and those that failed.
CREATE FUNCTION explain_fan_out() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN cardinality(durable.when_all(VARIADIC ARRAY(
        SELECT durable.schedule_activity('explain_divide', to_jsonb(x % 400)) FROM generate_series(1, 1000) x)));
END
$$;
SELECT durable.start_new('explain_fan_out', instance_id => 'explain-fan');
SELECT runtime_status FROM durable.wait_for_completion('explain-fan', '30 s');
SELECT explain_masked('explain-fan');

-- Activities that run or are queued, and termination.
CREATE FUNCTION explain_queue() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN cardinality(durable.when_all(durable.schedule_activity('explain_blocked', timeout => '1 hour'), durable.create_timer(interval '1 day')));
END
$$;
SELECT pg_advisory_lock(20255);
SELECT durable.start_new('explain_queue', instance_id => 'explain-queue');
SELECT explain_wait('explain-queue', $$(SELECT count(*) = 1 FROM durable.workers w JOIN pg_stat_activity s USING (pid) WHERE w.instance_id = 'explain-queue' AND s.wait_event = 'advisory' AND w.place = 'long')$$);
SELECT explain_masked('explain-queue');
SELECT durable.terminate('explain-queue', 'no longer wanted');
SELECT pg_advisory_unlock(20255);
SELECT runtime_status FROM durable.wait_for_completion('explain-queue');
SELECT explain_masked('explain-queue');

-- The second attempt runs; the failure of the first is known.
CREATE SEQUENCE explain_attempts;
CREATE FUNCTION explain_second() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 / (nextval('explain_attempts') - 1);
    PERFORM pg_advisory_xact_lock(20255);
END
$$;
CREATE FUNCTION explain_twice() RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_activity('explain_second', retry => durable.retry_policy(2, '1 ms'), timeout => '1 hour') $$;
SELECT pg_advisory_lock(20255);
SELECT durable.start_new('explain_twice', instance_id => 'explain-twice');
SELECT explain_wait('explain-twice', $$(SELECT state = 'running' AND attempt = 2 FROM durable.activities a WHERE a.instance_id = 'explain-twice')$$);
SELECT attempt, next_attempt, last_error ->> 'sqlstate', timeout, deliveries FROM durable.activities WHERE instance_id = 'explain-twice';
SELECT pg_advisory_unlock(20255);
SELECT runtime_status FROM durable.wait_for_completion('explain-twice');
DROP FUNCTION explain_twice, explain_second;
DROP SEQUENCE explain_attempts;

-- Which of many are run, and by whom; what ended while the instance is suspended; a turn that takes long.
CREATE FUNCTION explain_many() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN cardinality(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('explain_blocked') FROM generate_series(1, 10))));
END
$$;
CREATE FUNCTION explain_turn() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(20255); END $$;
-- They run alone, as they wait for a lock; the last place is for another role.
ALTER SYSTEM SET durable.max_long_activities = 3;
SELECT pg_reload_conf();
SELECT pg_advisory_lock(20255);
SELECT durable.start_new('explain_many', instance_id => 'explain-many');
-- which of them run changes each second
SELECT explain_wait('explain-many', $$(SELECT string_agg(format('%s %s', n, state), ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM durable.tasks(instance_id) WHERE (state = 'running') = (pid IS NOT NULL) GROUP BY 1) s) = '2 running, 8 waiting for a place'$$);
SELECT explain_wait('explain-many', $$(SELECT count(*) FILTER (WHERE state = 'running') = 2 AND count(*) FILTER (WHERE state = 'waiting for a place' AND pid IS NULL) = 8 FROM durable.activities a WHERE a.instance_id = 'explain-many')$$);
SELECT explain_wait('explain-many', $$(SELECT count(*) = 2 AND bool_and(w.place = 'long' AND w.role = a.owner AND w.state = 'busy' AND w.instance_id = a.instance_id AND w.task_id = a.task_id
        AND pg_backend_pid() = ANY (w.blocked_by) AND w.since BETWEEN a.scheduled_time AND clock_timestamp())
   FROM durable.activities a LEFT JOIN durable.workers w USING (pid)
  WHERE a.instance_id = 'explain-many' AND a.pid IS NOT NULL)$$);
SELECT explain_wait('explain-many', $$(SELECT ready_alone > 0 AND waiting_alone > '0' AND start_obstacle IS NULL FROM durable.stats WHERE role = current_user::regrole)$$);
SELECT explain_wait('explain-many', $$(SELECT count(*) FILTER (WHERE line ~ 'waiting for a place .*\|[ .]+>\|$') = 8
        AND count(*) FILTER (WHERE line ~ ', waits for one of durable.max_long_activities \(3\) places: it runs alone, as it was interrupted or takes long$') = 8
        AND count(*) FILTER (WHERE line ~ ', run by process \d+ since [-+: 0-9]+, waiting for Lock: advisory, blocked by process \d+ \(') = 2
        AND count(*) FILTER (WHERE line ~ '^Long places in use, as far as you may see \(a role gets one while more are free than it has\): process \d+ \(instance explain-many, task \d+, since [^)]+\), process \d+ \(instance explain-many, task \d+, since [^)]+\)$') = 1
   FROM durable.explain('explain-many') line)$$);
SELECT durable.suspend('explain-many');
SELECT pg_advisory_unlock(20255);
SELECT explain_wait('explain-many', $$(SELECT bool_and(state = 'completed') FROM durable.tasks(instance_id))$$);
SELECT pg_advisory_lock(20255);
SELECT durable.start_new('explain_turn', instance_id => 'explain-turn');
SELECT explain_wait('explain-turn', $$(SELECT count(*) = 1 FROM durable.workers w JOIN pg_stat_activity s USING (pid) WHERE w.instance_id = 'explain-turn' AND s.wait_event = 'advisory' AND w.place = 'long')$$);
SET application_name = 'job), process 4711 (cron';
SELECT line FROM explain_masked('explain-turn') line WHERE line ~ '^(Run|Waits)';
RESET application_name;
SELECT pg_advisory_unlock(20255);
SELECT durable.resume('explain-many');
SELECT runtime_status, output FROM unnest('{explain-many,explain-turn}'::text[]) id, durable.wait_for_completion(id);
SELECT count(*) FROM durable.workers WHERE instance_id IN ('explain-many', 'explain-turn');

-- Pending, and continued as new.
SELECT durable.start_new('explain_add', '[1, 2]', 'explain-later', start_at => '2999-01-01 00:00Z');
SELECT explain_masked('explain-later');
CREATE FUNCTION explain_eternal(round int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_sub_orchestrator('explain_child', to_jsonb(round), instance_id => 'explain-round-' || round);
    IF round = 3 THEN
        PERFORM durable.wait_for_external_event('go');
    END IF;
    PERFORM durable.continue_as_new(to_jsonb(round + 1));
END
$$;
SELECT durable.start_new('explain_eternal', '1', 'explain-eternal');
SELECT explain_wait('explain-eternal', $$(SELECT count(*) FROM durable.tasks(instance_id) WHERE state = 'waiting') = 1$$);
SELECT explain_masked('explain-eternal');

-- What is due in ages, and what was ages ago.
CREATE FUNCTION explain_forever() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    past durable.task := durable.create_timer(timestamptz '2000-01-01');
BEGIN
    PERFORM durable.sleep_until('9999-12-31');
END
$$;
SELECT durable.start_new('explain_forever', instance_id => 'explain-forever');
SELECT explain_wait('explain-forever', $$(SELECT string_agg(state, ' ' ORDER BY task_id) = 'fired waiting' FROM durable.tasks(instance_id))$$);
SELECT task_id, due_time FROM durable.tasks('explain-forever');
SELECT explain_masked('explain-forever');

-- What was given up, and the event that another wait gets instead.
CREATE FUNCTION explain_waiting_child() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('never') $$;
CREATE FUNCTION explain_give_up() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY[durable.subscribe_event('X'), durable.schedule_activity('explain_blocked'),
                                  durable.schedule_activity('explain_divide', '0', durable.retry_policy(2, '1 day')),
                                  durable.schedule_sub_orchestrator('explain_waiting_child', instance_id => 'explain-given-up')];
BEGIN
    PERFORM durable.wait_for_external_event('go');
    PERFORM durable.cancel_task(t) FROM unnest(tasks) t;
    PERFORM durable.cancel_task(t)
       FROM unnest(ARRAY[durable.subscribe_event('x'), durable.schedule_activity('explain_add', '[1, 2]')]) t;
    PERFORM durable.wait_for_external_event('none', '1 ms', 'null');
    PERFORM durable.wait_for_external_event('Y');
    RETURN durable.wait_for_external_event('x', '1 day');
END
$$;
SELECT pg_advisory_lock(20255);
SELECT durable.start_new('explain_give_up', instance_id => 'explain-give-up');
SELECT explain_wait('explain-give-up', $$(SELECT string_agg(state, ' ' ORDER BY task_id) = 'waiting running pausing running waiting' FROM durable.tasks(instance_id))$$);
SELECT durable.raise_event('explain-give-up', 'X', '"the event"');
SELECT explain_wait('explain-give-up', $$(SELECT count(*) FROM durable.history h WHERE h.instance_id = 'explain-give-up' AND event_type = 'EventRaised') = 1$$);
SELECT state FROM durable.tasks('explain-give-up') WHERE task_id = 1;
SELECT durable.raise_event('explain-give-up', 'go');
SELECT explain_wait('explain-give-up', $$(SELECT count(*) > 0 FROM durable.tasks(instance_id) WHERE name = 'Y')$$);
SELECT explain_masked('explain-give-up');
SELECT durable.raise_event('explain-give-up', 'Y');
SELECT runtime_status, output FROM durable.wait_for_completion('explain-give-up');
SELECT pg_advisory_unlock(20255);
\pset format aligned
\pset tuples_only off
SELECT task_id, kind, name, state, attempt, end_time >= start_time AS ended FROM durable.tasks('explain-give-up');
SELECT event_type, task_id, name FROM durable.history WHERE instance_id = 'explain-give-up' AND event_type LIKE '%Canceled' ORDER BY sequence_number;
-- An activity that runs while it is given up is not tried again.
CREATE FUNCTION explain_blocked_failure() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    -- what waits for a lock may make room for others meanwhile
    WHILE NOT pg_try_advisory_xact_lock(20255) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 1 / 0;
END
$$;
CREATE FUNCTION explain_no_retry() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    activity durable.task := durable.schedule_activity('explain_blocked_failure', retry => durable.retry_policy(3, '1 ms'));
BEGIN
    PERFORM durable.wait_for_external_event('go');
    PERFORM durable.cancel_task(activity);
    RETURN durable.wait_for_external_event('end');
END
$$;
SELECT pg_advisory_lock(20255);
SELECT durable.start_new('explain_no_retry', instance_id => 'explain-no-retry');
SELECT explain_wait('explain-no-retry', $$(SELECT string_agg(state, ' ' ORDER BY task_id) = 'running waiting' FROM durable.tasks(instance_id))$$);
SELECT durable.raise_event('explain-no-retry', 'go');
SELECT explain_wait('explain-no-retry', $$(SELECT count(*) > 0 FROM durable.tasks(instance_id) WHERE state = 'canceled')$$);
SELECT pg_advisory_unlock(20255);
SELECT explain_wait('explain-no-retry', $$(SELECT count(*) > 0 FROM durable.tasks(instance_id) WHERE state = 'failed')$$);
SELECT event_type, task_id, attempt FROM durable.history WHERE instance_id = 'explain-no-retry' AND task_id = 1 ORDER BY sequence_number;
SELECT durable.raise_event('explain-no-retry', 'end');
SELECT runtime_status FROM durable.wait_for_completion('explain-no-retry');
-- Of an event and a timeout that have both come while it was suspended, the first counts.
CREATE FUNCTION explain_race() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('e', '1 day', '"late"') $$;
SELECT durable.start_new('explain_race', instance_id => id) FROM unnest('{explain-race-e,explain-race-t}'::text[]) id;
SELECT explain_wait(id, 'EXISTS (SELECT FROM durable.tasks(instance_id))')
  FROM unnest('{explain-race-e,explain-race-t}'::text[]) id;
SELECT durable.suspend(id) FROM unnest('{explain-race-e,explain-race-t}'::text[]) id;
SELECT explain_wait(id, $$runtime_status = 'Suspended'$$) FROM unnest('{explain-race-e,explain-race-t}'::text[]) id;
CREATE PROCEDURE explain_come(id text, event_type text) LANGUAGE plpgsql AS $$
BEGIN
    IF event_type = 'EventRaised' THEN
        PERFORM durable.raise_event(id, 'e', '"in time"');
    ELSE
        UPDATE durable_internal.timers t SET fire_at = now() FROM durable_internal.instances i WHERE i.instance_id = id AND i.key = t.key;
        -- so that the engine looks for timers now
        PERFORM durable.start_new('explain_add', '[1, 2]', start_at => now() + '1 ms');
    END IF;
    COMMIT;
    PERFORM explain_wait(id, format('EXISTS (SELECT FROM durable.history h WHERE h.instance_id = %L AND event_type = %L)', id, event_type));
END
$$;
CALL explain_come('explain-race-e', 'EventRaised');
CALL explain_come('explain-race-e', 'TimerFired');
CALL explain_come('explain-race-t', 'TimerFired');
CALL explain_come('explain-race-t', 'EventRaised');
SELECT id, task_id, state FROM unnest('{explain-race-e,explain-race-t}'::text[]) id, durable.tasks(id);
SELECT durable.resume(id) FROM unnest('{explain-race-e,explain-race-t}'::text[]) id;
SELECT output FROM unnest('{explain-race-e,explain-race-t}'::text[]) id, durable.wait_for_completion(id);
SELECT id, task_id, state FROM unnest('{explain-race-e,explain-race-t}'::text[]) id, durable.tasks(id);
-- A wait that timed out and that a rewind begins anew.
CREATE FUNCTION explain_late() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('e', '1 ms') $$;
SELECT durable.start_new('explain_late', instance_id => 'explain-late');
SELECT runtime_status FROM durable.wait_for_completion('explain-late');
SELECT task_id, state FROM durable.tasks('explain-late');
BEGIN;
SELECT durable.rewind('explain-late');
SELECT durable.raise_event('explain-late', 'e', '"came"');
COMMIT;
SELECT output FROM durable.wait_for_completion('explain-late');
SELECT task_id, state FROM durable.tasks('explain-late');
\pset tuples_only on
\pset format unaligned

-- Children of children, their states next to those of the parent.
CREATE FUNCTION explain_nested(depth int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE depth WHEN 0 THEN durable.call_activity('explain_add', '[1, 2]')
                      ELSE durable.call_sub_orchestrator('explain_nested', to_jsonb(depth - 1), instance_id => 'explain-depth-' || depth - 1) END;
END
$$;
SELECT durable.start_new('explain_nested', '3', 'explain-depth-3');
SELECT output FROM durable.wait_for_completion('explain-depth-3');
SELECT explain_masked('explain-depth-3');

-- A saga has dealt with the failure that it raises again, also one that is a sub-orchestration: rewind would not run that again.
CREATE FUNCTION explain_repair(id text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT l.line
      FROM durable.explain(id) WITH ORDINALITY l (line, n)
     WHERE n >= (SELECT max(n) FROM durable.explain(id) WITH ORDINALITY r (line, n) WHERE line ~ '^Repair')
$$;
CREATE FUNCTION explain_saga(reraise bool) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('explain_divide', '0');
    RETURN 1;
EXCEPTION WHEN division_by_zero THEN
    PERFORM durable.start_sub_orchestrator('explain_child', '0');
    PERFORM durable.call_activity('explain_add', '[1, 2]');
    IF reraise THEN
        RAISE;
    END IF;
    RAISE EXCEPTION 'given up';
END
$$;
CREATE FUNCTION explain_sagas(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN cardinality(durable.when_all(durable.schedule_sub_orchestrator('explain_saga', 'true', 'explain-saga-' || n),
                                        durable.schedule_activity('explain_divide', to_jsonb(n))));
END
$$;
SELECT durable.start_new('explain_saga', 'true', 'explain-saga');
SELECT durable.start_new('explain_saga', 'false', 'explain-saga-other');
SELECT durable.start_new('explain_sagas', to_jsonb(n), 'explain-sagas-' || n) FROM generate_series(0, 1) n;
SELECT id, runtime_status FROM unnest('{explain-saga,explain-saga-other,explain-sagas-0,explain-sagas-1}'::text[]) id, durable.wait_for_completion(id);
SELECT explain_wait(instance_id, $$runtime_status = 'Failed'$$) FROM durable.sub_orchestrations WHERE parent_instance_id = 'explain-saga';
SELECT explain_repair(id) FROM unnest('{explain-saga,explain-saga-other,explain-sagas-0,explain-sagas-1}'::text[]) id;
SELECT event_type, input FROM durable.history WHERE instance_id = 'explain-saga' AND event_type LIKE 'Execution%' ORDER BY sequence_number;
SELECT durable.rewind('explain-saga');
SELECT runtime_status, failure ->> 'message' FROM durable.wait_for_completion('explain-saga');
SELECT explain_repair('explain-saga');
-- What failed without having been dealt with, and what failed by itself.
SELECT durable.start_new('explain_divide', '0', 'explain-own');
SELECT runtime_status FROM durable.wait_for_completion('explain-own');
SELECT explain_repair(id) FROM unnest('{explain-1,explain-fan,explain-own}'::text[]) id;
-- Nobody is left to run it.
CREATE ROLE regress_explain_dropped LOGIN;
SELECT durable.grant_usage('regress_explain_dropped');
SET ROLE regress_explain_dropped;
SELECT durable.start_new('explain_waiting_child', instance_id => 'explain-dropped');
RESET ROLE;
SELECT explain_wait('explain-dropped', 'EXISTS (SELECT FROM durable.tasks(instance_id))');
DROP OWNED BY regress_explain_dropped;
DROP ROLE regress_explain_dropped;
SELECT explain_wait('explain-dropped', $$runtime_status = 'Failed'$$);
SELECT explain_repair('explain-dropped');

-- Each row is one line, in which no text of a user begins a line or moves the cursor; what it proposes can be run.
CREATE FUNCTION explain_odd() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT E'\r\x1B[2K\x0B\u0085\u2028\u2029\u202A\u202E\u2066\u2069\x7F'
$$;
CREATE FUNCTION explain_lines(id text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT line FROM durable.explain(id) line WHERE line ~ E'[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]' OR line LIKE 'Owner%evil%'
$$;
CREATE FUNCTION explain_odd_texts() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_sql(E'SELECT 1 /*\nOwner      evil\n' || explain_odd() || '*/');
    BEGIN
        PERFORM durable.call_sql(E'DO $x$ BEGIN RAISE EXCEPTION E''a\\nOwner      evil%'', explain_odd(); END $x$');
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
    PERFORM durable.send_event(durable.instance_id(), 'sent' || explain_odd());
    PERFORM durable.wait_for_external_event(E'a", since <time>: SELECT 1\nOwner      evil\\' || explain_odd());
    PERFORM durable.wait_for_external_event(E'a\nOwner      evil''' || explain_odd());
    RAISE EXCEPTION E'failed\nOwner      evil%', explain_odd() USING HINT = E'\nOwner      evil' || explain_odd(), DETAIL = explain_odd();
END
$$;
CREATE PROCEDURE explain_run(id text, which text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE (SELECT substring(line FROM which || '.*(SELECT durable.*\))$') FROM durable.explain(id) line WHERE line ~ which);
END
$$;
SELECT E'odd\u0085\u202E''s' AS odd \gset
SELECT durable.start_new('explain_odd_texts', instance_id => :'odd', version => E'v\n' || explain_odd(), tags => '{"a": "\u202e\u0085"}') = :'odd';
SELECT explain_wait(:'odd', $$(SELECT count(*) = 4 FROM durable.tasks(instance_id))$$);
SELECT explain_lines(:'odd');
SELECT line FROM explain_masked(:'odd') line WHERE line ~ '^(Instance|Waits|  4|Events)|[`|]-';
SELECT durable.suspend(:'odd', E'for\nOwner      evil' || explain_odd());
SELECT explain_wait(:'odd', $$runtime_status = 'Suspended'$$);
SELECT explain_lines(:'odd');
CALL explain_run(:'odd', '^Waits, since');
SELECT explain_wait(:'odd', $$runtime_status = 'Running'$$);
CALL explain_run(:'odd', '^  4 event');
SELECT explain_wait(:'odd', $$(SELECT count(*) = 5 FROM durable.tasks(instance_id))$$);
CALL explain_run(:'odd', '^  5 event');
SELECT runtime_status FROM durable.wait_for_completion(:'odd');
SELECT explain_lines(:'odd');
SELECT line FROM explain_masked(:'odd') WITH ORDINALITY l (line, n) WHERE n > (SELECT max(n) FROM durable.explain(:'odd') WITH ORDINALITY r (line, n) WHERE line ~ '[`|]-');
CALL explain_run(:'odd', '^Repair');
SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE name = 'explain_odd_texts' AND completed_time IS NULL;

-- It takes as long as the instance is long, whatever the planner expects: waits, events, children, statements.
CREATE FUNCTION explain_nothing() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION explain_long(waits int, names int, children int, statements int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.subscribe_event('wait' || i % names) FROM generate_series(1, waits) i;
    PERFORM durable.start_sub_orchestrator('explain_nothing') FROM generate_series(1, children) i;
    PERFORM durable.schedule_sql('SELECT 1') FROM generate_series(1, statements) i;
    PERFORM durable.wait_for_external_event('end');
    RETURN 1;
END
$$;
SELECT durable.start_new('explain_long', '[5000, 1, 0, 0]', 'explain-long-one');
SELECT durable.start_new('explain_long', '[5000, 5000, 0, 0]', 'explain-long-many');
SELECT durable.start_new('explain_long', '[1, 1, 1500, 1500]', 'explain-long-tasks');
SELECT count(durable.raise_event('explain-long-one', 'WAIT0')), count(durable.raise_event('explain-long-many', 'unasked' || i)) FROM generate_series(1, 3000) i;
SELECT explain_wait(id, format('(SELECT count(*) FILTER (WHERE event_type = ''EventRaised'') = %s AND count(*) FILTER (WHERE name = ''end'') = 1 FROM durable.history h WHERE h.instance_id = %L)', n, id))
  FROM (VALUES ('explain-long-one', 3000), ('explain-long-many', 3000), ('explain-long-tasks', 0)) v (id, n);
SELECT explain_wait('explain-long-tasks', $$NOT EXISTS (SELECT FROM durable.activities a WHERE a.instance_id = 'explain-long-tasks')$$);
SET statement_timeout = '20 s';
SELECT kind, state, count(*), min(task_id) FROM durable.tasks('explain-long-one') GROUP BY 1, 2 ORDER BY 4;
SELECT count(*) FROM durable.tasks('explain-long-many');
SELECT count(DISTINCT task_id) FROM durable.sub_orchestrations WHERE parent_instance_id = 'explain-long-tasks';
SELECT count(*) > 20 FROM durable.explain('explain-long-one');
SELECT line FROM durable.explain('explain-long-many') line WHERE line ~ '^Events';
SELECT count(*) > 20 FROM durable.explain('explain-long-tasks');
RESET statement_timeout;
-- Large payloads are cut before anything looks at them.
CREATE FUNCTION explain_large(input jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('never') $$;
SELECT durable.start_new('explain_large', jsonb_build_object('a', repeat('x ', 10000000)), 'explain-large');
SELECT explain_wait('explain-large', 'EXISTS (SELECT FROM durable.tasks(instance_id))');
-- nor does it read the history once for each of many pauses
CREATE FUNCTION explain_paused(n integer) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN to_jsonb(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('explain_divide', '0', durable.retry_policy(2, '1 day')) FROM generate_series(1, n))));
END
$$;
SELECT durable.start_new('explain_paused', '5000', 'explain-paused');
SELECT explain_wait('explain-paused', '(SELECT count(*) = 5000 FROM durable.timers t WHERE t.instance_id = ''explain-paused'')');
SET statement_timeout = '10 s';
SELECT count(*), min(attempt), max(attempt), bool_and(state = 'pausing' AND next_attempt > now() + '23 h' AND last_error ->> 'sqlstate' = '22012') FROM durable.activities WHERE instance_id = 'explain-paused';
SELECT count(*) > 20 FROM durable.explain('explain-paused');
RESET statement_timeout;
SELECT durable.terminate('explain-paused');
DROP FUNCTION explain_paused;
SET statement_timeout = '3 s';
SELECT length(line) FROM durable.explain('explain-large') line WHERE line LIKE 'Input%';
RESET statement_timeout;
SELECT durable.terminate(id) FROM unnest('{explain-long-one,explain-long-many,explain-long-tasks,explain-large}'::text[]) id;
SELECT runtime_status FROM durable.wait_for_completion('explain-long-tasks');
SELECT durable.purge_instance_history('explain-long-tasks') > 1000 AS purged;

-- What somebody else may see.
CREATE ROLE regress_explain LOGIN;
SELECT durable.grant_usage('regress_explain');
SET ROLE regress_explain;
SELECT durable.explain('explain-1');
SELECT count(*) FROM durable.tasks('explain-1');
SELECT count(*) FROM durable.sub_orchestrations;
RESET ROLE;
GRANT pg_monitor TO regress_explain;
SET ROLE regress_explain;
SELECT count(*) > 20 FROM durable.explain('explain-1');
RESET ROLE;
-- A role that cannot be served.
SET ROLE regress_explain;
SELECT durable.start_new('explain_add', '[1, 2]', 'explain-nologin', start_at => now() + '50 ms');
RESET ROLE;
ALTER ROLE regress_explain NOLOGIN;
SELECT pg_sleep(0.1);
SELECT explain_masked('explain-nologin');
ALTER ROLE regress_explain LOGIN;

-- All places are taken, by turns of a role whose name needs quotes.
CREATE ROLE "regress explain" LOGIN;
SELECT durable.grant_usage('"regress explain"');
ALTER SYSTEM SET durable.max_long_activities = 2;
SELECT pg_reload_conf();
SELECT pg_advisory_lock(20255);
SET ROLE "regress explain";
SELECT count(durable.start_new('explain_turn', instance_id => 'explain-busy-' || i)) FROM generate_series(1, 3) i;
RESET ROLE;
SELECT explain_wait('explain-busy-1', $$(SELECT count(*) = 2 FROM durable.instances i WHERE i.instance_id ^@ 'explain-busy-' AND durable.turn_state(i.instance_id) = 'waiting for a place')$$);
SELECT explain_wait('explain-busy-1', $$EXISTS (SELECT FROM durable.instances i, explain_masked(i.instance_id) l (line)
        WHERE i.instance_id ^@ 'explain-busy-' GROUP BY i.instance_id
       HAVING string_agg(line, ' ') ~ 'Waits for one of durable.max_long_activities \(2\) places: its turn runs alone, as it was interrupted or takes long Long places in use, as far as you may see \(a role gets one while more are free than it has\): process <pid> \(instance explain-busy-\d, since <time>\)$')$$);
ALTER SYSTEM RESET durable.max_long_activities;
SELECT pg_reload_conf();
SELECT pg_advisory_unlock(20255);
SELECT count(*) > 0, bool_and(s.runtime_status = 'Completed')
  FROM durable.instances i, durable.wait_for_completion(i.instance_id, '1 min') s
 WHERE i.instance_id LIKE 'explain-busy-%';
SELECT durable.revoke_usage('"regress explain"');

-- A session's own way to read string constants does not matter.
\c -
CREATE TABLE explain_before AS SELECT line FROM durable.explain('explain-1') line;
\c -
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SELECT line FROM durable.explain('explain-1') line EXCEPT TABLE explain_before;
SELECT severity, object FROM durable.check_orchestrator('explain_eternal(int)');
RESET standard_conforming_strings;
DROP TABLE explain_before;

SELECT durable.terminate(id) FROM unnest('{explain-later,explain-eternal,explain-nologin,explain-given-up,explain-forever}'::text[]) id;
SELECT runtime_status FROM unnest('{explain-later,explain-eternal}'::text[]) id, durable.wait_for_completion(id);
SELECT durable.revoke_usage('regress_explain');
