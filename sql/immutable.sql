-- Activities that are IMMUTABLE functions are activities as any other: what they return, in which order, and how they fail.
SET client_min_messages = warning;
CREATE ROLE regress_durable_immutable LOGIN;
SELECT durable.grant_usage('regress_durable_immutable');
CREATE SCHEMA immutable AUTHORIZATION regress_durable_immutable;
CREATE SCHEMA immutable_other AUTHORIZATION regress_durable_immutable;
SET search_path = immutable, public;
SET ROLE regress_durable_immutable;
CREATE FUNCTION double(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION inverse(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 12 / n';
CREATE FUNCTION shout(x text DEFAULT NULL) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT x || ''!''';
CREATE FUNCTION in_plpgsql(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 2 * n; END';
-- this one writes, as the condition of a domain does
CREATE TABLE noted (n int);
CREATE FUNCTION note(n int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN INSERT INTO noted VALUES (n); RETURN true; END';
CREATE DOMAIN noted_number AS int CHECK (note(VALUE));
CREATE FUNCTION of_domain(n int) RETURNS int LANGUAGE sql AS 'SELECT (n::noted_number)::int';

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
SELECT count(durable.start_new(orchestrator, jsonb_build_object('name', activity, 'input', 4), 'immutable-' || orchestrator || '-' || activity))
  FROM unnest('{thrice,at_once}'::text[]) orchestrator, unnest('{double,shout,in_plpgsql,of_domain}'::text[]) activity;
SELECT orchestrator, activity, runtime_status, output, failure
  FROM unnest('{thrice,at_once}'::text[]) orchestrator, unnest('{double,shout,in_plpgsql,of_domain}'::text[]) activity,
       durable.wait_for_completion('immutable-' || orchestrator || '-' || activity, '1 min');
SELECT count(*) FROM noted;
SELECT durable.start_new('thrice', '{"name": "shout", "input": null}', 'immutable-thrice');
SELECT runtime_status, output, failure FROM durable.wait_for_completion('immutable-thrice', '1 min');

-- The orchestrator runs anew after each, as its statistics tell.
CREATE PROCEDURE turns(activity text, INOUT turns bigint DEFAULT 0, deadline timestamptz DEFAULT clock_timestamp() + interval '1 min') LANGUAGE plpgsql AS $$
DECLARE
    before bigint := (SELECT s.calls FROM durable.function_stats s WHERE s.role = current_user::regrole AND s.name = 'thrice');
    id text := durable.start_new('thrice', jsonb_build_object('name', activity, 'input', 4));
BEGIN
    COMMIT;
    PERFORM durable.wait_for_completion(id, '1 min');
    WHILE turns < 4 AND clock_timestamp() < deadline LOOP
        COMMIT;
        SELECT s.calls - before INTO turns FROM durable.function_stats s WHERE s.role = current_user::regrole AND s.name = 'thrice';
    END LOOP;
END $$;
CALL turns('double');
CALL turns('in_plpgsql');

-- One fails, among others.
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
SELECT durable.start_new('inverses', instance_id => 'immutable-inverses');
SELECT runtime_status, failure - 'context' - 'stack' AS failure FROM durable.wait_for_completion('immutable-inverses', '1 min');
SELECT sequence_number, event_type, task_id, name, input, result FROM durable.history WHERE instance_id = 'immutable-inverses' ORDER BY sequence_number;
CREATE FUNCTION inverses_at_once() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity('inverse', to_jsonb(n)) FROM generate_series(-2, 2) n);
BEGIN
    PERFORM durable.when_all(tasks);
EXCEPTION WHEN division_by_zero THEN
    RETURN durable.await(tasks[1]) || durable.await(tasks[5]) || to_jsonb(SQLERRM);
END $$;
SELECT durable.start_new('inverses_at_once', instance_id => 'immutable-at-once');
SELECT runtime_status, output, failure FROM durable.wait_for_completion('immutable-at-once', '1 min');
SELECT event_type, task_id, input, result FROM durable.history WHERE instance_id = 'immutable-at-once' AND event_type <> 'TaskFailed' ORDER BY task_id, sequence_number;

-- A rewind does that one again.
CREATE OR REPLACE FUNCTION inverse(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 12 / CASE n WHEN 0 THEN 12 ELSE n END';
SELECT durable.rewind('immutable-inverses', 'mended');
SELECT runtime_status, output FROM durable.wait_for_completion('immutable-inverses', '1 min');

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
SELECT durable.start_new('goes_on', instance_id => 'immutable-goes-on');
SELECT runtime_status, output AS replaying FROM durable.wait_for_completion('immutable-goes-on', '1 min');

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
SELECT durable.start_new('amid', instance_id => 'immutable-amid');
SELECT runtime_status, output -> 'n' AS n, output -> 'same' = custom_status AS same, jsonb_array_length(custom_status) AS seen, failure
  FROM durable.wait_for_completion('immutable-amid', '1 min');
SELECT count(*), count(DISTINCT sequence_number), max(sequence_number) FROM durable.history WHERE instance_id = 'immutable-amid';

-- Many, in sequence and together: nothing is lost, done twice or seen differently in a replay.
CREATE FUNCTION many(calls int, fan_outs int, width int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen jsonb := '[]';
    n bigint := 1;
    total bigint := 0;
BEGIN
    FOR i IN 1 .. calls LOOP
        n := durable.call_activity('double', to_jsonb((n + i) % 1000));
        total := total + n;
        IF i % 100 = 0 THEN
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
SELECT durable.start_new('many', '[1000, 0, 0]', 'immutable-many-1'), durable.start_new('many', '[0, 1, 10000]', 'immutable-many-2'),
       durable.start_new('many', '[100, 200, 50]', 'immutable-many-3'), durable.start_new('many', '[100, 10, 1000]', 'immutable-many-4');
SELECT id, runtime_status, output -> 'total' AS total, output -> 'seen' = custom_status AS same, failure
  FROM generate_series(1, 4) id, durable.wait_for_completion('immutable-many-' || id, '1 min');
SELECT instance_id, min(task_id), max(task_id), count(DISTINCT task_id), count(*) FILTER (WHERE event_type = 'TaskCompleted') AS completed
  FROM durable.history WHERE instance_id LIKE 'immutable-many-%' GROUP BY instance_id ORDER BY instance_id;
-- the same in SQL
WITH RECURSIVE calls(i, n, total) AS (
    SELECT 0, 1::bigint, 0::bigint UNION ALL SELECT i + 1, (n + i + 1) % 1000 * 2, total + (n + i + 1) % 1000 * 2 FROM calls WHERE i < 1000)
SELECT total FROM calls WHERE i = 1000 UNION ALL
SELECT sum(2 * (1 + j)) FROM generate_series(1, 10000) j UNION ALL
SELECT (SELECT total FROM calls WHERE i = 100) + sum(2 * (i + j)) FROM generate_series(1, 200) i, generate_series(1, 50) j UNION ALL
SELECT (SELECT total FROM calls WHERE i = 100) + sum(2 * (i + j)) FROM generate_series(1, 10) i, generate_series(1, 1000) j;

-- A rewind of one that failed after many.
CREATE FUNCTION many_and_inverse(calls int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    total bigint := 0;
BEGIN
    FOR i IN 1 .. calls LOOP
        total := total + durable.call_activity('double', to_jsonb(i))::int;
    END LOOP;
    RETURN jsonb_build_array(total, durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('inverse', to_jsonb(i)) FROM generate_series(-1000, 1000) i)));
END $$;
CREATE OR REPLACE FUNCTION inverse(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 12 / n';
SELECT durable.start_new('many_and_inverse', '500', 'immutable-many-5');
SELECT runtime_status, output, failure ->> 'message' AS message FROM durable.wait_for_completion('immutable-many-5', '1 min');
CREATE OR REPLACE FUNCTION inverse(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT CASE WHEN n <> 0 THEN 12 / n END';
SELECT durable.rewind('immutable-many-5', 'mended');
SELECT runtime_status, output -> 0 AS total, jsonb_array_length(output -> 1) AS count,
       (SELECT array_agg(DISTINCT i::int) FROM jsonb_array_elements_text(output -> 1) i) AS inverses
  FROM durable.wait_for_completion('immutable-many-5', '1 min');

-- The search_path and rights of the code are not those of its activities.
CREATE FUNCTION immutable_other.double(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1000 * n';
CREATE FUNCTION elsewhere() RETURNS jsonb LANGUAGE plpgsql SET search_path = immutable_other, immutable AS $$
BEGIN
    RETURN durable.call_activity('double', '1') || durable.call_activity('double', '2');
END $$;
SELECT durable.start_new('elsewhere', instance_id => 'immutable-elsewhere');
SELECT runtime_status, output FROM durable.wait_for_completion('immutable-elsewhere', '1 min');

-- They do not go past quotas.
RESET ROLE;
SELECT durable.set_quota('regress_durable_immutable', payload_size => 1000, history_length => 60);
SET ROLE regress_durable_immutable;
CREATE FUNCTION large(n int) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT repeat(''x'', n)';
CREATE FUNCTION too_large() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('large', '2000'); END $$;
CREATE FUNCTION too_many() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        PERFORM durable.call_activity('double', to_jsonb(i));
    END LOOP;
    RETURN NULL;
END $$;
SELECT durable.start_new('too_large', instance_id => 'immutable-too-large');
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, failure ->> 'message' AS message FROM durable.wait_for_completion('immutable-too-large', '1 min');
SELECT durable.start_new('too_many', instance_id => 'immutable-too-many');
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, failure ->> 'message' AS message FROM durable.wait_for_completion('immutable-too-many', '1 min');
SELECT count(*) <= 62 AS within FROM durable.history WHERE instance_id = 'immutable-too-many';
RESET ROLE;
SELECT durable.unset_quota('regress_durable_immutable');
SET ROLE regress_durable_immutable;

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
SELECT count(durable.start_new('endless', '1', 'immutable-endless-' || i)) FROM generate_series(1, 4) i;
SELECT durable.start_new('loops', instance_id => 'immutable-endless-5');
SELECT count(durable.start_new('thrice', '{"name": "double", "input": 1}', 'immutable-thrice-' || i)) FROM generate_series(1, 50) i;
SELECT count(*) FROM generate_series(1, 50) i, durable.wait_for_completion('immutable-thrice-' || i, '1 min') WHERE runtime_status = 'Completed';
CREATE PROCEDURE until_status(id text, expected text, deadline timestamptz DEFAULT clock_timestamp() + interval '1 min') LANGUAGE plpgsql AS $$
BEGIN
    WHILE clock_timestamp() < deadline AND (SELECT runtime_status::text <> expected FROM durable.get_status(id)) LOOP
        COMMIT;
    END LOOP;
    ASSERT (SELECT runtime_status::text = expected FROM durable.get_status(id));
END $$;
SELECT durable.suspend('immutable-endless-5');
CALL until_status('immutable-endless-5', 'Suspended');
SELECT durable.resume('immutable-endless-5');
CALL until_status('immutable-endless-5', 'Running');
SELECT count(durable.terminate('immutable-endless-' || i, 'enough')) FROM generate_series(1, 5) i;
SELECT count(*) FROM generate_series(1, 5) i, durable.wait_for_completion('immutable-endless-' || i, '1 min') WHERE runtime_status = 'Terminated';

RESET ROLE;
SELECT * FROM durable_internal.violations;
SELECT count(durable.purge_instance_history(instance_id)) > 0 AS purged FROM durable.instances WHERE owner = 'regress_durable_immutable'::regrole;
DROP SCHEMA immutable_other, immutable CASCADE;
SELECT durable.revoke_usage('regress_durable_immutable');
DROP ROLE regress_durable_immutable;
