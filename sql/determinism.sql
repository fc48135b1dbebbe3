-- What an orchestrator must not do, and what it does the same on each replay.
CREATE TABLE determinism_table (a int);
CREATE SEQUENCE determinism_sequence;
CREATE TABLE determinism_code (version text);
INSERT INTO determinism_code VALUES ('old');
CREATE PROCEDURE determinism_until(condition text) LANGUAGE plpgsql AS $$
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
CREATE FUNCTION determinism_echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';

-- Code that changes under a running instance: what it does before it waits
-- depends on a table.  Each input is what the old and the new code do.  The
-- time of a timer is not compared.
CREATE FUNCTION determinism_changes(old text[], new text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    before boolean := (SELECT version = 'old' FROM determinism_code);
BEGIN
    FOREACH statement IN ARRAY CASE WHEN before THEN old ELSE new END LOOP
        BEGIN
            EXECUTE 'SELECT ' || statement;
        EXCEPTION WHEN SQLSTATE 'OD004' THEN
            -- of no use
            RETURN '"caught"';
        END;
    END LOOP;
    RETURN durable.wait_for_external_event('go');
END
$$;
SELECT durable.start_new('determinism_changes', jsonb_build_array(old, new), 'determinism-' || id) FROM (VALUES
    ('same', '{durable.call_activity(''determinism_echo'')}'::text[], '{durable.call_activity(''determinism_echo'')}'::text[]),
    ('name', '{durable.call_activity(''determinism_echo'')}', '{durable.call_activity(''determinism_other'')}'),
    ('input', '{"durable.call_activity(''determinism_echo'', ''{\"a\": 1}'')"}', '{"durable.call_activity(''determinism_echo'', ''{\"a\": 2}'')"}'),
    ('null-input', '{"durable.call_activity(''determinism_echo'', NULL)"}', '{"durable.call_activity(''determinism_echo'', ''null'')"}'),
    ('kind', '{durable.call_activity(''determinism_echo'')}', '{durable.create_timer(interval ''1 h'')}'),
    ('child', '{durable.call_activity(''determinism_echo'')}', '{durable.call_sub_orchestrator(''determinism_echo'')}'),
    ('event', '{durable.subscribe_event(''e'')}', '{durable.subscribe_event(''f'')}'),
    ('timer', '{durable.create_timer(interval ''1 h'')}', '{durable.create_timer(interval ''2 h'')}'),
    ('sent', '{"durable.send_event(''determinism-same'', ''x'')"}', '{"durable.send_event(''determinism-same'', ''y'')"}'),
    ('sql', '{durable.call_sql(''SELECT 1'')}', '{durable.call_sql(''SELECT 2'')}'),
    ('extra', '{}', '{durable.call_activity(''determinism_echo'')}'),
    ('missing', '{durable.call_activity(''determinism_echo'')}', '{}'),
    ('order', '{durable.call_activity(''determinism_echo''),durable.subscribe_event(''e'')}', '{durable.subscribe_event(''e''),durable.call_activity(''determinism_echo'')}'),
    ('returns', '{durable.call_activity(''determinism_echo''),durable.subscribe_event(''e'')}', '{durable.call_activity(''determinism_echo''),"durable.continue_as_new(''[[],[]]'')"}')
    ) v (id, old, new);
CALL determinism_until($$(SELECT count(*) = 14 FROM durable.history WHERE instance_id LIKE 'determinism-%' AND event_type = 'EventSubscribed' AND name = 'go')$$);
UPDATE determinism_code SET version = 'new';
SELECT count(durable.raise_event(instance_id, 'go', '"went"')) FROM durable.instances WHERE instance_id LIKE 'determinism-%';
SELECT i.instance_id, s.runtime_status, s.output, s.failure ->> 'sqlstate' AS sqlstate, replace(s.failure ->> 'detail', ' with input null', '') AS detail
  FROM (SELECT instance_id FROM durable.instances WHERE instance_id LIKE 'determinism-%' AND instance_id <> 'determinism-returns' ORDER BY 1) i, durable.wait_for_completion(i.instance_id, '1 min') s
 ORDER BY i.instance_id COLLATE "C";
SELECT failure ->> 'hint' AS hint FROM durable.get_status('determinism-kind');
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, failure ->> 'detail' AS detail FROM durable.wait_for_completion('determinism-returns', '1 min');

-- An orchestrator that writes, or calls what is for clients, even if it catches the error.
CREATE FUNCTION determinism_forbidden(statement text, catch boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('determinism_echo');
    IF catch THEN
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN OTHERS THEN
            RETURN to_jsonb(SQLSTATE || ' was caught');
        END;
    ELSE
        EXECUTE statement;
    END IF;
    RETURN '"done"';
END
$$;
CREATE TEMP TABLE forbidden (n int, statement text);
INSERT INTO forbidden VALUES
    (1, 'INSERT INTO determinism_table VALUES (1)'), (2, 'UPDATE determinism_table SET a = 2'), (3, 'DELETE FROM determinism_table'),
    (4, 'SELECT nextval(''determinism_sequence'')'), (5, 'CREATE TABLE determinism_new (a int)'), (6, 'TRUNCATE determinism_table'),
    (7, 'NOTIFY determinism'), (8, 'SELECT FROM determinism_table FOR UPDATE'), (9, 'SET TRANSACTION READ WRITE'),
    (10, 'SELECT durable.start_new(''determinism_echo'')'), (11, 'SELECT durable.raise_event(''determinism-same'', ''e'')'),
    (12, 'SELECT durable.terminate(''determinism-same'')'), (13, 'SELECT durable.suspend(''determinism-same'')'), (14, 'SELECT durable.resume(''determinism-same'')'),
    (15, 'SELECT durable.wait_for_completion(''determinism-same'')'), (16, 'SELECT durable.set_custom_status(''determinism-same'', ''1'')'),
    (17, 'SELECT durable.task_id()'), (18, 'SELECT durable.attempt()'), (19, 'SELECT 1'),
    -- what only looks sees something else each time
    (20, 'SELECT durable.query_instances()'), (21, 'SELECT durable.create_check_status_response(''determinism-same'')'),
    (22, 'SELECT durable.rewind(''determinism-same'')'), (23, 'SELECT durable.restart(''determinism-same'')'),
    (24, 'SELECT durable.purge_instance_history(''determinism-same'')'), (25, 'SELECT durable.reset_stats()'),
    (26, 'SELECT durable.get_status(''determinism-same'')'), (27, 'SELECT durable.tasks(''determinism-same'')'),
    (28, 'SELECT durable.explain(''determinism-same'')'), (29, 'SELECT durable.require_client(''my.function'')'),
    (30, 'SELECT durable.notify_channel()'), (31, 'SELECT durable.role_obstacle()'), (32, 'SELECT durable.run_sql(''SELECT 1'')'),
    (33, 'SELECT durable.history_size(''determinism-same'')'), (34, 'SELECT durable.turn_state(''determinism-same'')');
SELECT count(durable.start_new('determinism_forbidden', jsonb_build_array(statement, catch), format('determinism-f-%s-%s', n, catch)))
  FROM forbidden, unnest('{f,t}'::boolean[]) catch;
SELECT f.statement, s.failure ->> 'sqlstate' AS sqlstate, coalesce(s.failure -> 'message', s.output) AS output, s.failure ->> 'hint' AS hint
  FROM (SELECT * FROM forbidden ORDER BY n) f, durable.wait_for_completion(format('determinism-f-%s-f', f.n), '1 min') s ORDER BY f.n;
SELECT f.statement, s.failure ->> 'sqlstate' AS sqlstate, s.output
  FROM (SELECT * FROM forbidden ORDER BY n) f, durable.wait_for_completion(format('determinism-f-%s-t', f.n), '1 min') s ORDER BY f.n;
-- nor in a parallel worker
SELECT CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END AS parallel \gset
CREATE ROLE regress_durable_parallel LOGIN;
ALTER ROLE regress_durable_parallel SET :parallel = on;
SELECT durable.grant_usage('regress_durable_parallel');
SET ROLE regress_durable_parallel;
SELECT durable.start_new('determinism_forbidden', '["SELECT durable.get_status(''determinism-same'')", false]', 'determinism-parallel');
SELECT failure ->> 'sqlstate' AS sqlstate, output FROM durable.wait_for_completion('determinism-parallel', '1 min');
SELECT durable.purge_instance_history('determinism-parallel');
RESET ROLE;
SELECT durable.revoke_usage('regress_durable_parallel');
DROP ROLE regress_durable_parallel;
SELECT count(*) FROM determinism_table;
SELECT last_value, is_called FROM determinism_sequence;

-- The same on each replay.
CREATE TABLE determinism_seen (at int, moment timestamptz, guid uuid, replaying boolean, execution uuid);
CREATE FUNCTION determinism_see(s jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO determinism_seen SELECT (jsonb_populate_record(NULL::determinism_seen, s)).*
$$;
CREATE FUNCTION determinism_about(at int, moment timestamptz) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('at', at, 'moment', moment, 'guid', durable.new_guid(), 'execution', durable.execution_id())
$$;
CREATE FUNCTION determinism_same(again boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := durable.now();
    first uuid := durable.new_guid();
    replaying boolean[] := ARRAY[durable.is_replaying()];
    times timestamptz[];
BEGIN
    FOR i IN 1 .. 3 LOOP
        -- were one of these another on replay, the input would be
        PERFORM durable.call_activity('determinism_see', determinism_about(i, durable.now()) || jsonb_build_object('replaying', false));
        replaying := replaying || durable.is_replaying();
        times := times || durable.now();
        PERFORM durable.sleep('2 ms');
        PERFORM durable.set_custom_status(jsonb_build_object('at', i));
        PERFORM durable.log('debug', 'at ' || i);
    END LOOP;
    IF again THEN
        PERFORM durable.continue_as_new('false');
    END IF;
    RETURN jsonb_build_object('ascending', times[1] < times[2] AND times[2] < times[3] AND start <= times[1],
                              'replaying', replaying, 'version', substr(first::text, 15, 1), 'variant', substr(first::text, 20, 1) IN ('8', '9', 'a', 'b'));
END
$$;
SELECT durable.start_new('determinism_same', 'true', 'determinism-replay');
SELECT runtime_status, output, custom_status FROM durable.wait_for_completion('determinism-replay', '1 min');
SELECT count(*), count(DISTINCT guid) AS guids, count(DISTINCT execution) AS executions FROM determinism_seen;
CREATE FUNCTION determinism_log(level text) RETURNS void LANGUAGE sql AS $$SELECT durable.log(level, 'x')$$;
SELECT durable.start_new('determinism_log', '"loud"', 'determinism-log');
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, output FROM durable.wait_for_completion('determinism-log', '1 min');

-- A handler that catches everything does not stop an orchestrator from waiting.
CREATE FUNCTION determinism_catches() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := '[]';
BEGIN
    FOR i IN 1 .. 3 LOOP
        BEGIN
            result := result || durable.call_activity('determinism_echo', to_jsonb(i));
        EXCEPTION WHEN OTHERS OR query_canceled THEN
            result := result || to_jsonb(SQLERRM);
        END;
    END LOOP;
    BEGIN
        result := result || durable.wait_for_external_event('go');
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        result := result || to_jsonb(SQLERRM);
    END;
    RETURN result;
END
$$;
SELECT durable.start_new('determinism_catches', NULL, 'determinism-catches');
CALL determinism_until($$EXISTS (SELECT FROM durable.history WHERE instance_id = 'determinism-catches' AND event_type = 'EventSubscribed')$$);
SELECT durable.raise_event('determinism-catches', 'go', '"went"');
SELECT runtime_status, output FROM durable.wait_for_completion('determinism-catches', '1 min');

SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'determinism-%';
DROP FUNCTION determinism_echo, determinism_changes, determinism_forbidden, determinism_see, determinism_about, determinism_same, determinism_log, determinism_catches;
DROP PROCEDURE determinism_until;
DROP TABLE determinism_table, determinism_code, determinism_seen;
DROP SEQUENCE determinism_sequence;
