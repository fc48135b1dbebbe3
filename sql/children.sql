-- Sub-orchestrations: parallel, nested, ids, retry, tags and version, failures, termination.
CREATE SEQUENCE children_attempts;
CREATE PROCEDURE children_until(condition text) LANGUAGE plpgsql AS $$
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
CREATE FUNCTION children_echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION children_double(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION children_fail(state text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the child failed' USING ERRCODE = state, HINT = 'a hint'; END$$;
CREATE FUNCTION children_flaky(good_at int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    -- nextval is not rolled back
    IF nextval('children_attempts') < good_at THEN
        RAISE EXCEPTION 'not yet' USING ERRCODE = '55000';
    END IF;
    RETURN currval('children_attempts');
END
$$;

CREATE FUNCTION children_leaf(n int) RETURNS jsonb LANGUAGE sql AS $$SELECT durable.call_activity('children_double', to_jsonb(n))$$;
CREATE FUNCTION children_parallel(n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(r::int)
      FROM unnest(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_sub_orchestrator('children_leaf', to_jsonb(i)) FROM generate_series(1, n) i))) r
$$;
CREATE FUNCTION children_nested(depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF depth = 0 THEN
        RETURN jsonb_build_array(durable.parent_instance_id() IS NOT NULL);
    END IF;
    RETURN durable.call_sub_orchestrator('children_nested', to_jsonb(depth - 1)) || to_jsonb(depth);
END
$$;
CREATE FUNCTION children_about() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', durable.instance_id(), 'parent', durable.parent_instance_id(), 'version', durable.instance_version(), 'tags', durable.instance_tags())
$$;
CREATE FUNCTION children_inherit() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(
        durable.call_sub_orchestrator('children_about', instance_id => 'children-inherit-1'),
        durable.call_sub_orchestrator('children_about', instance_id => 'children-inherit-2', version => 'v2', tags => '{"b": 3, "c": 4}'))
$$;
-- The same id on each replay, by task and execution.
CREATE FUNCTION children_ids() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    first jsonb := durable.call_sub_orchestrator('children_about');
    second jsonb := durable.call_sub_orchestrator('children_about');
    detached text := durable.start_sub_orchestrator('children_leaf', '4');
BEGIN
    PERFORM durable.sleep('1 ms');
    RETURN jsonb_build_object('different', first ->> 'id' <> second ->> 'id', 'hexadecimal', first ->> 'id' ~ '^[0-9a-f]{32}$', 'detached', detached);
END
$$;
CREATE FUNCTION children_taken() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_sub_orchestrator('children_leaf', '1', instance_id => 'children-blocker');
    RETURN '"not reached"';
EXCEPTION WHEN SQLSTATE 'OD003' THEN
    RETURN to_jsonb(SQLERRM);
END
$$;
-- Failures cross with their SQLSTATE, over two generations.
CREATE FUNCTION children_failing(state text, depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF depth > 0 THEN
        RETURN durable.call_sub_orchestrator('children_failing', jsonb_build_array(state, depth - 1));
    END IF;
    RETURN durable.call_activity('children_fail', to_jsonb(state));
END
$$;
CREATE FUNCTION children_catch() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := '[]';
    hint text;
BEGIN
    BEGIN
        PERFORM durable.call_sub_orchestrator('children_failing', '["23505", 2]');
    EXCEPTION WHEN unique_violation THEN
        GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
        result := result || jsonb_build_array(SQLERRM, hint);
    END;
    BEGIN
        PERFORM durable.call_sub_orchestrator('children_no_such');
    EXCEPTION WHEN undefined_function THEN
        result := result || to_jsonb(SQLERRM);
    END;
    BEGIN
        PERFORM durable.call_sub_orchestrator('children_leaf', '{"bad": 1}');
    EXCEPTION WHEN invalid_parameter_value THEN
        result := result || to_jsonb(SQLERRM);
    END;
    BEGIN
        PERFORM durable.call_sub_orchestrator('children_leaf', '1', instance_id => 'a/b');
    EXCEPTION WHEN OTHERS THEN
        result := result || to_jsonb(SQLSTATE);
    END;
    BEGIN
        PERFORM durable.call_sub_orchestrator('children_leaf', '1', tags => '["a"]');
    EXCEPTION WHEN invalid_parameter_value THEN
        result := result || to_jsonb(SQLERRM);
    END;
    RETURN result;
END
$$;
CREATE FUNCTION children_flaky_child(good_at int) RETURNS jsonb LANGUAGE sql AS $$SELECT durable.call_activity('children_flaky', to_jsonb(good_at))$$;
CREATE FUNCTION children_retry(good_at int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_sub_orchestrator('children_flaky_child', to_jsonb(good_at), retry => durable.retry_policy(5, '5 ms'))
$$;
CREATE FUNCTION children_waiting() RETURNS jsonb LANGUAGE sql AS $$SELECT durable.wait_for_external_event('go')$$;
CREATE FUNCTION children_watch(child text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_sub_orchestrator('children_waiting', instance_id => child);
EXCEPTION WHEN SQLSTATE 'OD008' THEN
    RETURN to_jsonb(SQLERRM);
END
$$;
CREATE FUNCTION children_family(depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF depth = 0 THEN
        RETURN durable.wait_for_external_event('go');
    END IF;
    RETURN to_jsonb(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_sub_orchestrator('children_family', to_jsonb(depth - 1)) FROM generate_series(1, 2))));
END
$$;
CREATE FUNCTION children_detached(child text) RETURNS text LANGUAGE sql AS $$SELECT durable.start_sub_orchestrator('children_waiting', instance_id => child)$$;

SELECT durable.start_new('children_waiting', NULL, 'children-blocker');
CALL children_until($$(durable.get_status('children-blocker')).runtime_status = 'Running'$$);
SELECT durable.start_new(f, input, id, version => 'v1', tags => '{"a": 1, "b": 2}') FROM (VALUES
    ('children_parallel', '20'::jsonb, 'children-parallel'), ('children_nested', '5', 'children-nested'), ('children_inherit', NULL, 'children-inherit'),
    ('children_ids', NULL, 'children-ids'), ('children_taken', NULL, 'children-taken'), ('children_catch', NULL, 'children-catch'),
    ('children_retry', '3', 'children-retry'), ('children_watch', '"children-watched"', 'children-watch'),
    ('children_detached', '"children-alone"', 'children-detached')) v (f, input, id);
SELECT id, s.runtime_status, CASE jsonb_typeof(s.output) WHEN 'object' THEN s.output - 'detached' ELSE s.output END AS output
  FROM unnest('{children-parallel,children-nested,children-inherit,children-ids,children-taken,children-catch,children-retry,children-detached}'::text[]) id,
       durable.wait_for_completion(id, '1 min') s;

-- Children in the views.
SELECT count(*), count(DISTINCT instance_id), bool_and(version = 'v1' AND tags = '{"a": 1, "b": 2}' AND runtime_status = 'Completed') AS inherited
  FROM durable.instances WHERE parent_instance_id = 'children-parallel';
SELECT event_type, count(*) FROM durable.history WHERE instance_id = 'children-parallel' AND event_type LIKE 'Sub%' GROUP BY 1 ORDER BY 1;
SELECT s.runtime_status, s.output FROM durable.get_status('children-ids') p, durable.wait_for_completion(p.output ->> 'detached', '1 min') s;

-- An unhandled failure two generations up.
SELECT durable.start_new('children_failing', '["23514", 2]', 'children-failing');
SELECT runtime_status, output, failure ->> 'sqlstate' AS sqlstate, failure ->> 'message' AS message, failure ->> 'hint' AS hint
  FROM durable.wait_for_completion('children-failing', '1 min');

-- Each attempt an instance, one task.
SELECT event_type, task_id, failure ->> 'sqlstate' AS sqlstate, attempt FROM durable.history
 WHERE instance_id = 'children-retry' AND (event_type LIKE 'Sub%' OR event_type = 'TaskRetried') ORDER BY sequence_number;
SELECT runtime_status, count(*) FROM durable.instances WHERE parent_instance_id = 'children-retry' GROUP BY 1 ORDER BY 1;

-- A parent sees that its child was terminated.
CALL children_until($$(durable.get_status('children-watched')).runtime_status = 'Running'$$);
SELECT durable.terminate('children-watched', 'by hand');
SELECT runtime_status, output FROM durable.wait_for_completion('children-watch', '1 min');
SELECT runtime_status, output FROM durable.get_status('children-watched');

-- Fire and forget: lives on when the parent has ended, and can be terminated.
SELECT runtime_status, parent_instance_id FROM durable.get_status('children-alone');
SELECT durable.raise_event('children-alone', 'go', '"on its own"');
SELECT runtime_status, output FROM durable.wait_for_completion('children-alone', '1 min');

-- Termination reaches all descendants, or only the one.
SELECT durable.start_new('children_family', '2', 'children-family'), durable.start_new('children_family', '1', 'children-spare');
CALL children_until($$(SELECT count(*) = 6 FROM durable.history h JOIN durable.instances i USING (instance_id) WHERE i.name = 'children_family' AND h.event_type = 'EventSubscribed')$$);
SELECT durable.terminate('children-family', 'all of it'), durable.terminate('children-spare', 'only it', recursive => false);
CALL children_until($$NOT EXISTS (SELECT FROM durable.instances WHERE name = 'children_family' AND runtime_status = 'Running' AND parent_instance_id IS DISTINCT FROM 'children-spare')$$);
SELECT runtime_status, output, count(*) FROM durable.instances WHERE name = 'children_family' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT durable.raise_event(instance_id, 'go', '1') FROM durable.instances WHERE parent_instance_id = 'children-spare';
CALL children_until($$NOT EXISTS (SELECT FROM durable.instances WHERE name = 'children_family' AND runtime_status = 'Running')$$);
SELECT runtime_status, count(*) FROM durable.instances WHERE parent_instance_id = 'children-spare' GROUP BY 1;

-- What an execution starts and sends at its very end happens, once.
CREATE FUNCTION children_continue(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.send_event('children-listener', 'e', to_jsonb(n));
    IF n > 0 THEN
        PERFORM durable.start_sub_orchestrator('children_leaf', to_jsonb(n), instance_id => 'children-last-' || n);
        PERFORM durable.schedule_sub_orchestrator('children_leaf', to_jsonb(n), instance_id => 'children-given-up-' || n);
        PERFORM durable.continue_as_new(to_jsonb(n - 1));
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION children_listen() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(durable.wait_for_external_event('e', default_value => to_jsonb(i)) ORDER BY i) FROM generate_series(1, 3) i
$$;
SELECT durable.start_new('children_listen', NULL, 'children-listener');
SELECT durable.start_new('children_continue', '2', 'children-continue');
SELECT runtime_status FROM durable.wait_for_completion('children-continue', '1 min');
SELECT runtime_status, output FROM durable.wait_for_completion('children-listener', '1 min');
SELECT id, (durable.wait_for_completion(id, '1 min')).output FROM unnest('{children-last-1,children-last-2}'::text[]) id;
SELECT count(*) FROM durable.instances WHERE instance_id LIKE 'children-given-up-%';

-- A child knows its parent's id on each replay, though the parent has gone, or another has its id; over continue_as_new too.
CREATE FUNCTION children_knows(again boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('children_echo', to_jsonb(durable.parent_instance_id()));
    IF durable.wait_for_external_event('go') = '"again"' THEN
        PERFORM durable.continue_as_new(to_jsonb(again));
    END IF;
    RETURN to_jsonb(durable.parent_instance_id());
END
$$;
CREATE FUNCTION children_leave(child text) RETURNS text LANGUAGE sql AS
    $$SELECT durable.start_sub_orchestrator('children_knows', 'true', instance_id => child)$$;
SELECT durable.start_new('children_leave', to_jsonb(id || '-child'), id) FROM unnest('{children-purged,children-replaced}'::text[]) id;
CALL children_until($$(SELECT count(*) = 2 FROM durable.history h JOIN durable.instances i USING (instance_id) WHERE i.name = 'children_knows' AND h.event_type = 'EventSubscribed')$$);
SELECT durable.purge_instance_history('children-purged');
SELECT durable.start_new('children_leaf', '1', 'children-replaced', dedupe_statuses => '{}');
SELECT count(durable.raise_event(id || '-child', 'go', data)) FROM unnest('{children-purged,children-replaced}'::text[]) id, unnest('{"\"again\"",1}'::jsonb[]) WITH ORDINALITY d (data, n);
SELECT runtime_status, output, failure ->> 'detail' AS detail FROM unnest('{children-purged,children-replaced}'::text[]) id, durable.wait_for_completion(id || '-child', '1 min');
SELECT event_type, input, result FROM durable.history WHERE instance_id = 'children-purged-child' AND event_type LIKE 'Execution%' ORDER BY sequence_number;

SELECT durable.terminate('children-blocker');
SELECT runtime_status FROM durable.wait_for_completion('children-blocker', '1 min');
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'children-%';
DROP FUNCTION children_echo, children_knows, children_leave, children_double, children_fail, children_flaky, children_leaf, children_parallel, children_nested, children_about, children_inherit, children_ids, children_taken, children_failing, children_catch, children_flaky_child, children_retry, children_waiting, children_watch, children_family, children_detached, children_continue, children_listen;
DROP PROCEDURE children_until;
DROP SEQUENCE children_attempts;
