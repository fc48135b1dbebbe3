-- Tasks: schedule, await, when_all, when_any, cancel_task, timers.
CREATE TABLE tasks_ran (what text);
CREATE FUNCTION tasks_echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION tasks_double(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION tasks_note(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO tasks_ran VALUES (what)';
CREATE FUNCTION tasks_rows(n int) RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT i, repeat(''x'', i) FROM generate_series(1, n) i';
CREATE FUNCTION tasks_fail(state text, message text DEFAULT 'failed on purpose') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tasks_ran VALUES ('rolled back');
    RAISE EXCEPTION '%', message USING ERRCODE = state, DETAIL = 'a detail', HINT = 'a hint';
END
$$;
-- Waits for others: an activity that ends when told.
CREATE FUNCTION tasks_until(condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done boolean;
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXECUTE 'SELECT ' || condition INTO done;
        IF done THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'not in time: %', condition;
END
$$;
CREATE PROCEDURE tasks_wait(condition text) LANGUAGE plpgsql AS $$
DECLARE
    done boolean;
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXECUTE 'SELECT ' || condition INTO done;
        IF done THEN
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'not in time: %', condition;
END
$$;
CREATE FUNCTION tasks_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

-- Results in the order of the arguments, of every kind.
CREATE FUNCTION tasks_all() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    a durable.task := durable.schedule_activity('tasks_double', '[21]');
    b durable.task := durable.create_timer(interval '10 ms');
    c durable.task := durable.schedule_activity('tasks_rows', '2');
    d durable.task := durable.schedule_activity('tasks_note', '"all"');
    e durable.task := durable.schedule_sql('SELECT $1::int + 1 AS n', '[1]');
    f durable.task := durable.schedule_activity('tasks_echo');
    results jsonb[] := durable.when_all(f, e, d, c, b, a);
BEGIN
    -- again, and one by one
    IF results IS DISTINCT FROM durable.when_all(VARIADIC ARRAY[f, e, d, c, b, a]) OR durable.await(a) <> '42' OR durable.await(a) <> '42' THEN
        RAISE 'not the same';
    END IF;
    RETURN jsonb_build_object('results', to_jsonb(results), 'none', to_jsonb(durable.when_all(VARIADIC '{}'::durable.task[])));
END
$$;
CREATE FUNCTION tasks_fan_out(n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(r::int)
      FROM unnest(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('tasks_double', to_jsonb(i)) FROM generate_series(1, n) i))) r
$$;
-- The first failure in the order of the arguments, once all have ended.
CREATE FUNCTION tasks_failures() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    good durable.task := durable.schedule_activity('tasks_until', '"EXISTS (SELECT FROM tasks_ran WHERE what = ''failures'')"');
    second durable.task := durable.schedule_activity('tasks_fail', '["22012", "second"]');
    first durable.task := durable.schedule_activity('tasks_fail', '["23505", "first"]');
    detail text;
    hint text;
    result jsonb := '{}';
BEGIN
    PERFORM durable.schedule_activity('tasks_note', '"failures"');
    BEGIN
        PERFORM durable.when_all(good, first, second);
    EXCEPTION WHEN unique_violation THEN
        GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        result := jsonb_build_object('message', SQLERRM, 'detail', detail, 'hint', hint);
    END;
    BEGIN
        PERFORM durable.await(second);
    EXCEPTION WHEN division_by_zero THEN
        result := result || '{"second": true}';
    END;
    RETURN result;
END
$$;
CREATE FUNCTION tasks_unhandled() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_activity('tasks_fail', '["XX123"]');
END
$$;
-- The first to end wins, on each replay again, though the other has ended meanwhile.
CREATE FUNCTION tasks_any() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    slow durable.task := durable.schedule_activity('tasks_until', '"EXISTS (SELECT FROM tasks_ran WHERE what = ''any'')"');
    quick durable.task := durable.schedule_activity('tasks_echo', '"quick"');
    winners durable.task[] := '{}';
BEGIN
    winners := winners || durable.when_any(slow, quick);
    PERFORM durable.call_activity('tasks_note', '"any"');
    PERFORM durable.await(slow);
    winners := winners || durable.when_any(slow, quick);
    winners := winners || durable.when_any(slow);
    RETURN jsonb_build_array(winners = ARRAY[quick, quick, slow], durable.await(winners[1]));
END
$$;
-- A failed task is an end as well.
CREATE FUNCTION tasks_any_failed() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    bad durable.task := durable.schedule_activity('tasks_fail', '["22012"]');
    first durable.task := durable.when_any(durable.create_timer(interval '1 year'), bad);
BEGIN
    RETURN to_jsonb(first = bad);
END
$$;
-- What is canceled does not run, does not end, cannot be awaited.
CREATE FUNCTION tasks_cancel() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    timer durable.task := durable.create_timer(interval '1 hour');
    activity durable.task := durable.schedule_activity('tasks_note', '"canceled at once"');
    event durable.task := durable.subscribe_event('e');
    other durable.task := durable.subscribe_event('e');
    done durable.task := durable.schedule_activity('tasks_echo', '1');
    unknown durable.task := ROW(99);
    results text[];
BEGIN
    PERFORM durable.cancel_task(activity);
    PERFORM durable.cancel_task(event);
    PERFORM durable.await(done);
    PERFORM durable.cancel_task(timer);
    -- too late, and without effect
    PERFORM durable.cancel_task(done);
    results := ARRAY[
        tasks_try(format('SELECT durable.await(%L)', timer)), tasks_try(format('SELECT durable.await(%L)', event)),
        tasks_try(format('SELECT durable.when_any(%L::durable.task, %L)', activity, done)), tasks_try(format('SELECT durable.await(%L)', unknown)),
        tasks_try(format('SELECT durable.await(%L)', done)), durable.await(other) #>> '{}'];
    RETURN to_jsonb(results);
END
$$;
-- Open ends do not hold it; nothing of them is left.
CREATE FUNCTION tasks_open() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.create_timer(interval '1000 years'), durable.create_timer('9999-12-31'::timestamptz), durable.subscribe_event('e'), durable.schedule_sub_orchestrator('tasks_open_child');
    PERFORM durable.sleep('1 ms');
    RETURN 'done';
END
$$;
CREATE FUNCTION tasks_open_child() RETURNS text LANGUAGE sql AS $$SELECT durable.wait_for_external_event('never')::text$$;
-- Timers: order of the clock, not of creation; in the past; sleep.
CREATE FUNCTION tasks_timers() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := durable.now();
    late durable.task := durable.create_timer(interval '60 ms');
    soon durable.task := durable.create_timer(start + interval '30 ms');
    past durable.task := durable.create_timer(timestamptz '2000-01-01');
    negative durable.task := durable.create_timer(interval '-1 day');
    winners durable.task[];
BEGIN
    PERFORM durable.when_all(past, negative);
    winners := ARRAY[durable.when_any(late, soon)];
    PERFORM durable.sleep('20 ms');
    PERFORM durable.sleep_until('2000-01-01');
    PERFORM durable.sleep_until(durable.now() + interval '5 ms');
    PERFORM durable.sleep('0');
    PERFORM durable.sleep('-1 s');
    RETURN jsonb_build_array(winners[1] = soon, durable.await(late), durable.now() >= start + interval '60 ms', durable.now() < start + interval '1 min');
END
$$;
-- Arrays of tasks, without VARIADIC.
CREATE FUNCTION tasks_arrays(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity('tasks_double', to_jsonb(x)) FROM generate_series(1, n) x ORDER BY x);
BEGIN
    RETURN jsonb_build_array((SELECT sum(result::int) FROM unnest(durable.when_all(tasks)) result), durable.when_any(tasks) = ANY (tasks),
                             durable.when_all('{}'::durable.task[]), durable.when_all(tasks[1]), durable.when_all(VARIADIC tasks[1:2]));
END
$$;
-- What is refused.
CREATE FUNCTION tasks_refused() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    done durable.task := durable.schedule_activity('tasks_echo', '1');
BEGIN
    RETURN (SELECT to_jsonb(array_agg(statement || ' => ' || tasks_try('SELECT ' || statement) ORDER BY n))
              FROM unnest(ARRAY['durable.await(NULL)', 'durable.when_any()', 'durable.when_any(NULL::durable.task)',
                                'durable.when_any(VARIADIC ''{}''::durable.task[])', 'durable.when_all(VARIADIC NULL::durable.task[])',
                                'durable.cancel_task(NULL)', 'durable.schedule_activity(NULL)', 'durable.call_sql(NULL)',
                                'durable.create_timer(NULL::interval)', 'durable.create_timer(NULL::timestamptz)', 'durable.subscribe_event(NULL)',
                                'durable.sleep(NULL)', 'durable.await(ROW(NULL)::durable.task)', 'durable.await(ROW(0)::durable.task)',
                                'durable.await(ROW(-5)::durable.task)', 'durable.when_all(NULL::durable.task[])', 'durable.when_any(''{}''::durable.task[])',
                                'durable.when_all(''{1}''::int[])', 'durable.when_any(ARRAY[ROW(1)::durable.task, NULL])', 'durable.when_any(''{1}''::text[])']) WITH ORDINALITY s (statement, n)
             WHERE statement <> 'durable.when_any()');
END
$$;

SELECT durable.start_new(f, input, f) FROM (VALUES
    ('tasks_all', NULL::jsonb), ('tasks_fan_out', '300'), ('tasks_failures', NULL), ('tasks_unhandled', NULL), ('tasks_any', NULL),
    ('tasks_any_failed', NULL), ('tasks_cancel', NULL), ('tasks_open', NULL), ('tasks_timers', NULL), ('tasks_arrays', '300'), ('tasks_refused', NULL)) v (f, input);
SELECT durable.raise_event('tasks_cancel', 'E', '"the event"');
SELECT id, s.runtime_status, jsonb_pretty(s.output) AS output
  FROM unnest('{tasks_all,tasks_fan_out,tasks_failures,tasks_any,tasks_any_failed,tasks_cancel,tasks_open,tasks_timers,tasks_arrays,tasks_refused}'::text[]) id,
       durable.wait_for_completion(id, '1 min') s;
SELECT runtime_status, output, jsonb_pretty(failure - 'context') AS failure FROM durable.wait_for_completion('tasks_unhandled', '1 min');
SELECT what, count(*) FROM tasks_ran GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM durable.timers WHERE instance_id LIKE 'tasks\_%';
SELECT count(*) FROM durable.activities WHERE instance_id LIKE 'tasks\_%';
SELECT event_type, task_id, name, input, result FROM durable.history WHERE instance_id = 'tasks_cancel' AND event_type NOT LIKE 'Timer%' ORDER BY task_id, sequence_number;
SELECT event_type, task_id FROM durable.history WHERE instance_id = 'tasks_cancel' AND event_type LIKE 'Timer%' ORDER BY sequence_number;

-- A child that nobody awaits lives on; the parent's termination would reach it.
SELECT instance_id AS child FROM durable.instances WHERE parent_instance_id = 'tasks_open' \gset
SELECT (durable.get_status(:'child')).runtime_status IN ('Pending', 'Running') AS live;
SELECT durable.raise_event(:'child', 'never', '7');
SELECT runtime_status, output FROM durable.wait_for_completion(:'child', '1 min');

-- Outside orchestrators.
SELECT statement, tasks_try('SELECT ' || statement) FROM unnest(ARRAY['durable.schedule_activity(''f'')', 'durable.await(ROW(1)::durable.task)',
    'durable.when_all(ROW(1)::durable.task)', 'durable.create_timer(''1 s''::interval)', 'durable.sleep(''1 s'')', 'durable.call_sql(''SELECT 1'')',
    'durable.now()', 'durable.task_id()', 'durable.attempt()', 'durable.instance_id()', 'durable.send_event(''x'', ''e'')']) statement;

-- What ends as soon as it is asked for, or is named twice, is not waited for (again). Other workers than the one that remembers
-- the orchestrator take in the ends.
CREATE FUNCTION tasks_nap(s float) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(s); RETURN 1; END $$;
CREATE FUNCTION tasks_child(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION tasks_early(child text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN to_jsonb(durable.when_all(durable.schedule_activity('tasks_nap', '0.1'), durable.schedule_activity('tasks_nap', '0.2'),
                                     durable.schedule_sub_orchestrator(child, '{"wrong": 1}')));
END
$$;
CREATE FUNCTION tasks_twice() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    a durable.task := durable.schedule_activity('tasks_nap', '0.1');
    b durable.task := durable.schedule_activity('tasks_nap', '0.2');
BEGIN
    RETURN to_jsonb(durable.when_all(a, b, a));
END
$$;
SELECT count(durable.start_new('tasks_early', '"tasks_child"', 'tasks_early_' || i)) FROM generate_series(1, 4) i;
SELECT count(durable.start_new('tasks_early', '"tasks_none"', 'tasks_none_' || i)) FROM generate_series(1, 4) i;
SELECT count(durable.start_new('tasks_twice', instance_id => 'tasks_twice_' || i)) FROM generate_series(1, 4) i;
SELECT s.runtime_status, s.output, s.failure ->> 'sqlstate' AS sqlstate, count(*)
  FROM unnest('{early,none,twice}'::text[]) kind, generate_series(1, 4) i, durable.wait_for_completion('tasks_' || kind || '_' || i, '1 min') s
 GROUP BY kind, 1, 2, 3 ORDER BY kind;

-- Activities that take long and wait for one of which nothing is known yet do not keep it from running.
CREATE FUNCTION tasks_fresh() RETURNS void LANGUAGE sql AS 'INSERT INTO tasks_ran VALUES (''fresh'')';
CREATE FUNCTION tasks_first() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    condition jsonb := '"EXISTS (SELECT FROM tasks_ran WHERE what = ''fresh'')"';
BEGIN
    RETURN cardinality(durable.when_all(durable.schedule_activity('tasks_until', condition), durable.schedule_activity('tasks_until', condition),
                                        durable.schedule_activity('tasks_fresh')));
END
$$;
SELECT durable.start_new('tasks_first', instance_id => 'tasks_first');
SELECT runtime_status, output FROM durable.wait_for_completion('tasks_first', '1 min');

SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'tasks\_%';
DROP FUNCTION tasks_echo, tasks_double, tasks_note, tasks_rows, tasks_fail, tasks_until, tasks_try, tasks_all, tasks_fan_out, tasks_failures, tasks_unhandled, tasks_any, tasks_any_failed, tasks_cancel, tasks_open, tasks_open_child, tasks_timers, tasks_arrays, tasks_refused, tasks_nap, tasks_child, tasks_early, tasks_twice, tasks_fresh, tasks_first;
DROP PROCEDURE tasks_wait;
DROP TABLE tasks_ran;
