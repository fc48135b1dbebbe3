-- Activities that only compute are part of the turn that calls them; whatever else the code does, they are as others.
SET client_min_messages = warning;
CREATE ROLE regress_durable_computed LOGIN;
SELECT durable.grant_usage('regress_durable_computed');
CREATE SCHEMA computed AUTHORIZATION regress_durable_computed;
CREATE SCHEMA computed_other AUTHORIZATION regress_durable_computed;
SET search_path = computed, public;
SET ROLE regress_durable_computed;
CREATE FUNCTION double(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION inverse(n int) RETURNS int LANGUAGE sql AS 'SELECT 12 / n';
CREATE FUNCTION shout(x text DEFAULT NULL) RETURNS text LANGUAGE sql AS 'SELECT x || ''!''';
-- these may do more, or depend on more
CREATE FUNCTION of_settings(x text) RETURNS text LANGUAGE sql AS 'SELECT to_char(timestamptz ''2026-01-01 00:00:00+00'', x)';
CREATE FUNCTION of_chance(n int) RETURNS float8 LANGUAGE sql AS 'SELECT n * random()';
CREATE FUNCTION of_float(n int) RETURNS text LANGUAGE sql AS 'SELECT (n::float8 / 3)::text';
CREATE FUNCTION quoted(x text) RETURNS text LANGUAGE sql AS 'SELECT quote_ident(x)';
CREATE TABLE noted (n int);
CREATE FUNCTION note(n int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN INSERT INTO noted VALUES (n); RETURN true; END';
CREATE DOMAIN noted_number AS int CHECK (note(VALUE));
CREATE FUNCTION of_domain(n int) RETURNS int LANGUAGE sql AS 'SELECT (n::noted_number)::int';
CREATE FUNCTION in_plpgsql(n int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 2 * n; END';

-- Calls an activity three times.
CREATE FUNCTION thrice(name text, input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity(name, input);
    PERFORM durable.call_activity(name, input);
    RETURN durable.call_activity(name, input);
END $$;
-- The same, all together, and waited for in another order; one of them twice.
CREATE FUNCTION at_once(name text, input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity(name, input) FROM generate_series(1, 3));
BEGIN
    RETURN (durable.when_all(tasks[3], tasks[1], tasks[2], tasks[1]))[1];
END $$;
-- How many turns that takes once workers know the functions to be quick; some may not have been for a while.
CREATE PROCEDURE turns(name text, input jsonb, expected int, orchestrator text DEFAULT 'thrice', INOUT turns bigint DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
    input_of_all jsonb := jsonb_build_object('name', name, 'input', input);
    before bigint;
    id text;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        SELECT coalesce(sum(s.turns), 0) INTO before FROM durable.stats s;
        COMMIT;
        id := durable.start_new(orchestrator, input_of_all);
        COMMIT;
        PERFORM durable.wait_for_completion(id, '1 min');
        COMMIT;
        SELECT sum(s.turns) - before INTO turns FROM durable.stats s;
        EXIT WHEN turns = expected;
    END LOOP;
END $$;
CALL turns('double', '4', 1);
CALL turns('shout', '"oh"', 1);
CALL turns('shout', NULL, 1);
CALL turns('in_plpgsql', '4', 4);
CALL turns('of_settings', '"YYYY"', 4);
CALL turns('of_chance', '1', 4);
CALL turns('of_float', '1', 4);
CALL turns('quoted', '"x"', 4);
CALL turns('of_domain', '1', 4);
SELECT count(*) >= 3 AS noted FROM noted;
CALL turns('double', '4', 1, 'at_once');
CALL turns('in_plpgsql', '4', 2, 'at_once');

-- One that fails is run as others are.
CALL turns('inverse', '4', 1);
CREATE FUNCTION inverses() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    results jsonb := '[]';
BEGIN
    FOR n IN -1 .. 1 LOOP
        BEGIN
            results := results || durable.call_activity('inverse', to_jsonb(n));
        EXCEPTION WHEN division_by_zero THEN
            results := results || to_jsonb(SQLERRM);
        END;
    END LOOP;
    RETURN results || durable.call_activity('inverse', '0');
END $$;
SELECT durable.start_new('inverses', instance_id => 'computed-inverses');
SELECT runtime_status, failure - 'context' - 'stack' AS failure FROM durable.wait_for_completion('computed-inverses', '1 min');
SELECT sequence_number, event_type, task_id, name, input, result FROM durable.history WHERE instance_id = 'computed-inverses' ORDER BY sequence_number;
CREATE FUNCTION inverses_at_once() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity('inverse', to_jsonb(n)) FROM generate_series(-2, 2) n);
BEGIN
    PERFORM durable.when_all(tasks);
EXCEPTION WHEN division_by_zero THEN
    RETURN durable.await(tasks[1]) || durable.await(tasks[5]) || to_jsonb(SQLERRM);
END $$;
SELECT durable.start_new('inverses_at_once', instance_id => 'computed-at-once');
SELECT runtime_status, output, failure FROM durable.wait_for_completion('computed-at-once', '1 min');
SELECT event_type, task_id, input, result FROM durable.history WHERE instance_id = 'computed-at-once' AND event_type <> 'TaskFailed' ORDER BY task_id, sequence_number;

-- A rewind does that one again.
CREATE OR REPLACE FUNCTION inverse(n int) RETURNS int LANGUAGE sql AS 'SELECT 12 / CASE n WHEN 0 THEN 12 ELSE n END';
SELECT durable.rewind('computed-inverses', 'mended');
SELECT runtime_status, output FROM durable.wait_for_completion('computed-inverses', '1 min');

-- What has ended is not waited for, whatever else is new.
CREATE FUNCTION goes_on() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen durable.task := durable.schedule_activity('in_plpgsql', '1');
    other durable.task;
BEGIN
    PERFORM durable.when_all(seen);
    other := durable.schedule_activity('in_plpgsql', '2');
    PERFORM durable.when_all(seen);
    RETURN to_jsonb(durable.is_replaying());
END $$;
SELECT durable.start_new('goes_on', instance_id => 'computed-goes-on');
SELECT runtime_status, output AS replaying FROM durable.wait_for_completion('computed-goes-on', '1 min');

-- Between other tasks, and in their order; what the code has seen is the same in each replay.
CREATE FUNCTION amid() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen jsonb := '[]';
    timer durable.task;
    event durable.task;
    n int := 1;
BEGIN
    FOR i IN 1 .. 20 LOOP
        n := durable.call_activity('double', to_jsonb(n % 1000));
        seen := seen || to_jsonb(durable.now()) || to_jsonb(n) || to_jsonb(durable.new_guid());
    END LOOP;
    PERFORM durable.set_custom_status(seen);
    timer := durable.create_timer('1 ms'::interval);
    n := durable.call_activity('double', to_jsonb(n % 1000));
    PERFORM durable.await(timer);
    event := durable.subscribe_event('go');
    n := durable.call_activity('double', to_jsonb(n % 1000));
    PERFORM durable.await(durable.schedule_activity('double', to_jsonb(n % 1000)));
    PERFORM durable.cancel_task(event);
    n := durable.call_activity('double', to_jsonb(n % 1000));
    SELECT sum(r::int) INTO n FROM unnest(durable.when_all(VARIADIC ARRAY[durable.schedule_activity('double', '1'), durable.schedule_activity('double', '2')])) r;
    PERFORM durable.sleep('1 ms');
    RETURN jsonb_build_object('same', seen, 'n', n + durable.call_activity('double', '7')::int);
END $$;
SELECT durable.start_new('amid', instance_id => 'computed-amid');
SELECT runtime_status, output -> 'n' AS n, output -> 'same' = custom_status AS same, jsonb_array_length(custom_status) AS seen, failure
  FROM durable.wait_for_completion('computed-amid', '1 min');
SELECT count(*), count(DISTINCT sequence_number), max(sequence_number) FROM durable.history WHERE instance_id = 'computed-amid';

-- More than a turn has time for: it is put off, again and again, and nothing is lost, twice or seen differently.
CREATE FUNCTION many(calls int, fan_outs int, width int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen jsonb := '[]';
    n bigint := 1;
    total bigint := 0;
BEGIN
    FOR i IN 1 .. calls LOOP
        n := durable.call_activity('double', to_jsonb((n + i) % 1000));
        total := total + n;
        IF i % 1000 = 0 THEN
            seen := seen || to_jsonb(durable.now()) || to_jsonb(durable.new_guid());
            PERFORM durable.set_custom_status(seen);
        END IF;
    END LOOP;
    FOR i IN 1 .. fan_outs LOOP
        SELECT total + sum(r::int) INTO total
          FROM unnest(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('double', to_jsonb(i + j)) FROM generate_series(1, width) j))) r;
        seen := seen || to_jsonb(durable.now()) || to_jsonb(durable.new_guid());
        PERFORM durable.set_custom_status(seen);
    END LOOP;
    RETURN jsonb_build_object('seen', seen, 'total', total);
END $$;
SELECT durable.start_new('many', '[10000, 0, 0]', 'computed-many-1'), durable.start_new('many', '[0, 1, 10000]', 'computed-many-2'),
       durable.start_new('many', '[100, 200, 50]', 'computed-many-3'), durable.start_new('many', '[100, 10, 1000]', 'computed-many-4');
SELECT id, runtime_status, output -> 'total' AS total, output -> 'seen' = custom_status AS same, failure
  FROM generate_series(1, 4) id, durable.wait_for_completion('computed-many-' || id, '1 min');
SELECT instance_id, min(task_id), max(task_id), count(DISTINCT task_id), count(*) FILTER (WHERE event_type = 'TaskCompleted') AS completed
  FROM durable.history WHERE instance_id LIKE 'computed-many-%' GROUP BY instance_id ORDER BY instance_id;
-- the same in SQL
WITH RECURSIVE calls(i, n, total) AS (
    SELECT 0, 1::bigint, 0::bigint UNION ALL SELECT i + 1, (n + i + 1) % 1000 * 2, total + (n + i + 1) % 1000 * 2 FROM calls WHERE i < 10000)
SELECT total FROM calls WHERE i = 10000 UNION ALL
SELECT sum(2 * (1 + j)) FROM generate_series(1, 10000) j UNION ALL
SELECT (SELECT total FROM calls WHERE i = 100) + sum(2 * (i + j)) FROM generate_series(1, 200) i, generate_series(1, 50) j UNION ALL
SELECT (SELECT total FROM calls WHERE i = 100) + sum(2 * (i + j)) FROM generate_series(1, 10) i, generate_series(1, 1000) j;

-- A rewind of one that failed after all that.
CREATE FUNCTION many_and_inverse(calls int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    total bigint := 0;
BEGIN
    FOR i IN 1 .. calls LOOP
        total := total + durable.call_activity('double', to_jsonb(i))::int;
    END LOOP;
    RETURN jsonb_build_array(total, durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('inverse', to_jsonb(i)) FROM generate_series(-1000, 1000) i)));
END $$;
CREATE OR REPLACE FUNCTION inverse(n int) RETURNS int LANGUAGE sql AS 'SELECT 12 / n';
SELECT durable.start_new('many_and_inverse', '5000', 'computed-many-5');
SELECT runtime_status, output, failure ->> 'message' AS message FROM durable.wait_for_completion('computed-many-5', '1 min');
CREATE OR REPLACE FUNCTION inverse(n int) RETURNS int LANGUAGE sql AS 'SELECT CASE WHEN n <> 0 THEN 12 / n END';
SELECT durable.rewind('computed-many-5', 'mended');
SELECT runtime_status, output -> 0 AS total, jsonb_array_length(output -> 1) AS count,
       (SELECT array_agg(DISTINCT i::int) FROM jsonb_array_elements_text(output -> 1) i) AS inverses
  FROM durable.wait_for_completion('computed-many-5', '1 min');

-- The search_path and rights of the code are not those of its activities.
CREATE FUNCTION computed_other.double(n int) RETURNS int LANGUAGE sql AS 'SELECT 1000 * n';
CREATE FUNCTION elsewhere() RETURNS jsonb LANGUAGE plpgsql SET search_path = computed_other, computed AS $$
BEGIN
    RETURN durable.call_activity('double', '1') || durable.call_activity('double', '2');
END $$;
SELECT durable.start_new('elsewhere', instance_id => 'computed-elsewhere');
SELECT runtime_status, output FROM durable.wait_for_completion('computed-elsewhere', '1 min');

-- Nor do they go past quotas.
RESET ROLE;
SELECT durable.set_quota('regress_durable_computed', payload_size => 1000, history_length => 60);
SET ROLE regress_durable_computed;
CREATE FUNCTION large(n int) RETURNS text LANGUAGE sql AS 'SELECT repeat(''x'', n)';
CALL turns('large', '10', 1);
CREATE FUNCTION too_large() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('large', '2000'); END $$;
CREATE FUNCTION too_many() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        PERFORM durable.call_activity('double', to_jsonb(i));
    END LOOP;
    RETURN NULL;
END $$;
SELECT durable.start_new('too_large', instance_id => 'computed-too-large');
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, failure ->> 'message' AS message FROM durable.wait_for_completion('computed-too-large', '1 min');
SELECT durable.start_new('too_many', instance_id => 'computed-too-many');
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, failure ->> 'message' AS message FROM durable.wait_for_completion('computed-too-many', '1 min');
SELECT count(*) <= 62 AS within FROM durable.history WHERE instance_id = 'computed-too-many';
RESET ROLE;
SELECT durable.unset_quota('regress_durable_computed');
SET ROLE regress_durable_computed;

-- One that never ends leaves the others room, and is terminated.
CREATE FUNCTION endless(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        n := durable.call_activity('double', to_jsonb(n % 1000));
    END LOOP;
    PERFORM durable.continue_as_new(to_jsonb(n));
END $$;
CREATE FUNCTION loops() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        PERFORM durable.call_activity('double', '1');
    END LOOP;
END $$;
SELECT count(durable.start_new('endless', '1', 'computed-endless-' || i)) FROM generate_series(1, 4) i;
SELECT durable.start_new('loops', instance_id => 'computed-endless-5');
SELECT count(durable.start_new('thrice', '{"name": "double", "input": 1}', 'computed-thrice-' || i)) FROM generate_series(1, 50) i;
SELECT count(*) FROM generate_series(1, 50) i, durable.wait_for_completion('computed-thrice-' || i, '1 min') WHERE runtime_status = 'Completed';
CREATE PROCEDURE until_status(id text, expected text, deadline timestamptz DEFAULT clock_timestamp() + interval '1 min') LANGUAGE plpgsql AS $$
BEGIN
    WHILE clock_timestamp() < deadline AND (SELECT runtime_status::text <> expected FROM durable.get_status(id)) LOOP
        COMMIT;
    END LOOP;
    ASSERT (SELECT runtime_status::text = expected FROM durable.get_status(id));
END $$;
SELECT durable.suspend('computed-endless-5');
CALL until_status('computed-endless-5', 'Suspended');
SELECT durable.resume('computed-endless-5');
CALL until_status('computed-endless-5', 'Running');
SELECT count(durable.terminate('computed-endless-' || i, 'enough')) FROM generate_series(1, 5) i;
SELECT count(*) FROM generate_series(1, 5) i, durable.wait_for_completion('computed-endless-' || i, '1 min') WHERE runtime_status = 'Terminated';

RESET ROLE;
SELECT * FROM durable_internal.violations;
SELECT count(durable.purge_instance_history(instance_id)) > 0 AS purged FROM durable.instances WHERE owner = 'regress_durable_computed'::regrole;
DROP SCHEMA computed_other, computed CASCADE;
SELECT durable.revoke_usage('regress_durable_computed');
DROP ROLE regress_durable_computed;
