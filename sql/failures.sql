-- Failures: an activity's error reaches the orchestrator and its handlers whole; handlers do not get in the way of waiting;
-- an orchestrator that does what it must not fails, whatever it catches.
\set VERBOSITY terse
CREATE EXTENSION plpython3u;

CREATE FUNCTION failures_raise(state text, message text, detail text, hint text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail, HINT = hint;
END
$$;
CREATE TABLE failures_row (n int PRIMARY KEY, m int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION failures_insert(n int, m int DEFAULT NULL) RETURNS int LANGUAGE sql AS
    'INSERT INTO failures_row VALUES (n, m) RETURNING n';
CREATE FUNCTION failures_echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';

-- Starts an orchestrator whose body is given, as instance failures-name.
CREATE PROCEDURE failures_start(title text, body text, language text DEFAULT 'plpgsql') LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION failures_of_%s() RETURNS jsonb LANGUAGE %s AS %L', title, language, body);
    PERFORM durable.start_new('failures_of_' || title, instance_id => 'failures-' || title);
END
$$;
-- How the instances of the given names ended.
CREATE FUNCTION failures_ends(VARIADIC names text[])
RETURNS TABLE (name text, status durable.runtime_status, output jsonb, failure jsonb) LANGUAGE sql AS $$
    SELECT title, runtime_status, s.output, s.failure - 'context'
      FROM unnest(names) title, durable.wait_for_completion('failures-' || title, '1 min') s
$$;

-- Caught, in each language, and uncaught.
CALL failures_start('diagnostics', $$
DECLARE
    state text; message text; detail text; hint text; context text;
BEGIN
    RETURN durable.call_activity('failures_raise', '["AB123", "100% ünusual", "a detail", "a hint"]');
EXCEPTION WHEN SQLSTATE 'AB123' THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    RETURN jsonb_build_object('state', state, 'message', message, 'detail', detail, 'hint', hint,
                              'names the place', context ~ 'failures_raise.* line 3 at RAISE');
END
$$);
CALL failures_start('condition', $$
BEGIN
    PERFORM durable.call_activity('failures_insert', '[1]');
    RETURN durable.call_activity('failures_insert', '[1]');
EXCEPTION
    WHEN foreign_key_violation THEN RETURN '"wrong handler"';
    WHEN unique_violation THEN RETURN to_jsonb(SQLERRM);
    WHEN OTHERS THEN RETURN '"wrong handler"';
END
$$);
CALL failures_start('python', $$
import json
try:
    plpy.execute("""SELECT durable.call_activity('failures_raise', '["22012", "a message", "a detail", "a hint"]')""")
except plpy.SPIError as e:
    return json.dumps({'state': e.sqlstate, 'message': str(e), 'detail': e.spidata[1], 'hint': e.spidata[2]})
$$, 'plpython3u');
CALL failures_start('python_condition', $$
from plpy import spiexceptions
try:
    plpy.execute("SELECT durable.call_activity('failures_insert', '[1]')")
except spiexceptions.ForeignKeyViolation:
    return '"wrong handler"'
except spiexceptions.UniqueViolation:
    return '"unique violation"'
$$, 'plpython3u');
CALL failures_start('uncaught', $$
BEGIN
    PERFORM durable.call_activity('failures_echo', '1');
    RETURN durable.call_activity('failures_raise', '["AB123", "a message", "a detail", "a hint"]');
END
$$);
CALL failures_start('own', $$
BEGIN
    PERFORM durable.call_activity('failures_echo', '1');
    RAISE EXCEPTION 'its own' USING ERRCODE = 'CD456', HINT = 'try again';
END
$$);
CALL failures_start('again', $$
BEGIN
    PERFORM durable.call_activity('failures_echo', '1');
    PERFORM durable.call_activity('failures_raise', '["AB123", "the first", "a detail", "a hint"]');
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION 'instead of %', SQLERRM;
END
$$);
-- Its constraints are checked at the end of the activity, and fail it and nobody else.
CALL failures_start('deferred', $$
BEGIN
    PERFORM durable.call_activity('failures_insert', '[10, 1]');
    RETURN durable.call_activity('failures_insert', '[11, 1]');
END
$$);
CREATE FUNCTION failures_commit() RETURNS void LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CALL failures_start('commit', $$
BEGIN
    RETURN durable.call_activity('failures_commit');
END
$$);
CALL failures_start('unknown', $$
BEGIN
    RETURN durable.call_activity('failures_no_such', '1');
EXCEPTION WHEN undefined_function THEN
    RETURN to_jsonb(SQLERRM);
END
$$);
SELECT name, status, jsonb_pretty(output) AS output FROM failures_ends('diagnostics', 'condition', 'python', 'python_condition', 'unknown');
SELECT name, status, output, jsonb_pretty(failure) AS failure FROM failures_ends('uncaught', 'own', 'again', 'deferred', 'commit');
SELECT * FROM failures_row ORDER BY n;
SELECT event_type, task_id, result, failure - 'context' AS failure
  FROM durable.history WHERE instance_id = 'failures-uncaught' ORDER BY sequence_number;

-- Waiting in the scope of a handler: each must see the result of the activity and nothing else.
CALL failures_start('others', $$
BEGIN
    FOR i IN 1 .. 3 LOOP
        BEGIN
            PERFORM durable.call_activity('failures_echo', to_jsonb(i));
        EXCEPTION WHEN OTHERS THEN
            RETURN jsonb_build_object('caught', SQLERRM);
        END;
    END LOOP;
    RETURN durable.call_activity('failures_echo', '"all"');
END
$$);
CALL failures_start('canceled', $$
DECLARE
    result jsonb := '[]';
BEGIN
    FOR i IN 1 .. 3 LOOP
        BEGIN
            result := result || durable.call_activity('failures_echo', to_jsonb(i));
        EXCEPTION WHEN query_canceled OR assert_failure THEN
            result := result || jsonb_build_object('caught', SQLERRM);
        END;
    END LOOP;
    RETURN result;
END
$$);
CALL failures_start('canceled_raise', $$
BEGIN
    PERFORM durable.sleep('10 ms');
    RETURN durable.wait_for_external_event('never', '10 ms', '"timeout"');
EXCEPTION WHEN query_canceled THEN
    RAISE EXCEPTION 'swallowed';
END
$$);
CALL failures_start('python_except', $$
import json
result = []
for i in range(3):
    try:
        result.append(json.loads(plpy.execute("SELECT durable.call_activity('failures_echo', '%d') AS r" % i)[0]['r']))
    except plpy.SPIError as e:
        result.append(str(e))
    except:
        result.append('bare')
return json.dumps(result)
$$, 'plpython3u');
CALL failures_start('python_subtransaction', $$
try:
    with plpy.subtransaction():
        plpy.execute("SELECT durable.sleep('10 ms')")
        return plpy.execute("SELECT durable.call_activity('failures_echo', '5') AS r")[0]['r']
except Exception:
    return '"swallowed"'
$$, 'plpython3u');
SELECT name, status, output, failure FROM failures_ends('others', 'canceled', 'canceled_raise', 'python_except', 'python_subtransaction');
-- Nothing ran twice on the way.
SELECT instance_id, count(*) AS tasks, count(DISTINCT task_id) AS different
  FROM durable.history
 WHERE event_type = 'TaskCompleted' AND instance_id ~ '^failures-(others|canceled|python_except|python_subtransaction)$'
 GROUP BY 1 ORDER BY 1;

-- A cancellation that is none of durable's is an error like another.
CREATE FUNCTION failures_cancel() RETURNS void LANGUAGE sql AS 'SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)';
CALL failures_start('cancel', $$
BEGIN
    PERFORM durable.call_activity('failures_cancel');
    RETURN '"not reached"';
EXCEPTION WHEN query_canceled THEN
    RETURN to_jsonb(SQLERRM);
END
$$);
CALL failures_start('cancel_self', $$
BEGIN
    PERFORM durable.call_activity('failures_echo');
    PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(60);
    RETURN '"not reached"';
END
$$);
CALL failures_start('cancel_raise', $$
BEGIN
    RAISE query_canceled;
END
$$);
SELECT name, status, output, failure FROM failures_ends('cancel', 'cancel_self', 'cancel_raise');
-- The role's timeout holds for activities and turns, each by itself. It leaves a slow machine time for the turn.
CREATE ROLE regress_durable_hasty LOGIN;
ALTER ROLE regress_durable_hasty SET statement_timeout = '1 s';
SELECT durable.grant_usage('regress_durable_hasty');
CREATE FUNCTION failures_sleep(seconds int) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(seconds)';
CREATE FUNCTION failures_hasty_activity() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.sleep('1100 ms');
    PERFORM durable.call_activity('failures_sleep', '60');
    RETURN 'not reached';
EXCEPTION WHEN query_canceled THEN
    RETURN SQLERRM;
END
$$;
SET ROLE regress_durable_hasty;
SELECT durable.start_new('failures_hasty_activity', instance_id => 'failures-hasty_activity');
SELECT durable.start_new('failures_sleep', '60', instance_id => 'failures-hasty_turn');
RESET ROLE;
SELECT name, status, output, failure FROM failures_ends('hasty_activity', 'hasty_turn');

-- An orchestrator cannot write.
CREATE SEQUENCE failures_sequence;
CALL failures_start('insert', $$
BEGIN
    PERFORM durable.call_activity('failures_echo');
    INSERT INTO failures_row VALUES (100);
    RETURN NULL;
END
$$);
CALL failures_start('update', 'DELETE FROM failures_row RETURNING NULL::jsonb', 'sql');
CALL failures_start('lock', $$ BEGIN PERFORM FROM failures_row FOR UPDATE; RETURN NULL; END $$);
CALL failures_start('ddl', $$ BEGIN CREATE TABLE failures_made (); RETURN NULL; END $$);
CALL failures_start('nextval', $$ SELECT to_jsonb(nextval('failures_sequence')) $$, 'sql');
CALL failures_start('python_write', $$ plpy.execute('DELETE FROM failures_row') $$, 'plpython3u');
CALL failures_start('read_write', $$
BEGIN
    SET LOCAL transaction_read_only = off;
    INSERT INTO failures_row VALUES (101);
    RETURN NULL;
END
$$);
CALL failures_start('own_handler', $$
BEGIN
    INSERT INTO failures_row VALUES (102);
    RETURN '"written"';
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(SQLERRM);
END
$$);
SELECT name, status, output, failure->>'sqlstate' AS sqlstate, failure->>'hint' AS hint
  FROM failures_ends('insert', 'update', 'lock', 'ddl', 'nextval', 'python_write', 'read_write', 'own_handler');
-- What it does to the session instead has no effect outside of it.
CALL failures_start('session', $$
BEGIN
    PERFORM pg_advisory_lock(4711), pg_notify('failures', ''), set_config('search_path', 'nowhere', false);
    RETURN durable.call_activity('failures_echo', '"fine"');
END
$$);
SELECT name, status, output, failure FROM failures_ends('session');
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711;
SELECT * FROM failures_row ORDER BY n;
SELECT to_regclass('failures_made') IS NULL AS none, is_called FROM failures_sequence;

-- An orchestrator cannot act as a client, even if it ignores the error.
CALL failures_start('target', $$ BEGIN PERFORM durable.wait_for_external_event('go'); RETURN NULL; END $$);
CREATE FUNCTION failures_client(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE 'SELECT durable.' || call;
    EXCEPTION WHEN OTHERS THEN
        -- as if nothing had happened
    END;
    PERFORM durable.call_activity('failures_echo');
    RETURN 'done';
END
$$;
CREATE TABLE failures_call AS
SELECT row_number() OVER ()::text AS n, call
  FROM unnest('{start_new(''failures_echo''),"raise_event(''failures-target'', ''go'')",terminate(''failures-target''),suspend(''failures-target''),resume(''failures-target''),wait_for_completion(''failures-target'')}'::text[]) call;
SELECT count(durable.start_new('failures_client', to_jsonb(call), instance_id => 'failures-client-' || n)) FROM failures_call;
SELECT call, status, failure->>'sqlstate' AS sqlstate, failure->>'message' AS message FROM failures_call, failures_ends('client-' || n);
SELECT DISTINCT failure - 'message' AS failure FROM failures_call, failures_ends('client-' || n);
SELECT (durable.get_status('failures-target')).runtime_status IN ('Pending', 'Running') AS live;
SELECT durable.terminate('failures-target', 'done with');
SELECT name, status, output FROM failures_ends('target');

-- What only an orchestrator may call: not a session, and not an activity.
CREATE FUNCTION failures_try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT ' || call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE TABLE failures_outside AS
SELECT call
  FROM unnest(ARRAY['durable.call_activity(''failures_echo'')', 'durable.sleep(''1 s'')', 'durable.sleep_until(now())',
                    'durable.wait_for_external_event(''x'')', 'durable.set_custom_status(''1'')',
                    'durable.is_replaying()', 'durable.now()', 'durable.continue_as_new()',
                    'durable.schedule_activity(''failures_echo'')', 'durable.create_timer(interval ''1 s'')',
                    'durable.call_sub_orchestrator(''failures_echo'')', 'durable.send_event(''x'', ''y'')',
                    'durable.new_guid()', 'durable.log(''info'', ''x'')']) call;
SELECT failures_try(call) FROM failures_outside;
SELECT left(failures_try('durable.instance_id()'), 5) AS instance_id, left(failures_try('durable.task_id()'), 5) AS task_id,
       left(failures_try('durable.attempt()'), 5) AS attempt;
CREATE FUNCTION failures_outside_of(activity text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(durable.call_activity('failures_try', to_jsonb(call)) ORDER BY call) FROM failures_outside
$$;
SELECT durable.start_new('failures_outside_of', '"failures_try"', instance_id => 'failures-outside');
SELECT status, failure, (SELECT bool_and(o #>> '{}' LIKE 'OD005 %') FROM jsonb_array_elements(output) o) AS all_refused FROM failures_ends('outside');
-- An orchestrator is no activity, and the failure says what it is.
CREATE FUNCTION failures_misplaced() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.call_activity('failures_outside_of', '""') $$;
CALL failures_start('misplaced', $$
BEGIN
    RETURN durable.call_activity('failures_misplaced');
END
$$);
SELECT failure - 'context' AS failure FROM failures_ends('misplaced');
CREATE FUNCTION failures_inside_activity() RETURNS text LANGUAGE sql AS
    $$ SELECT durable.instance_id() || ' ' || durable.task_id() || ' ' || durable.attempt() $$;
CALL failures_start('inside', $$
BEGIN
    RETURN durable.call_activity('failures_inside_activity');
END
$$);
SELECT * FROM failures_ends('inside');

-- Determinism: each of these does something else when it is replayed.  The code is changed while they wait.
CREATE PROCEDURE failures_change(title text, before text, after text) LANGUAGE plpgsql AS $$
DECLARE
    body text := 'BEGIN %s; PERFORM durable.wait_for_external_event(''go''); RETURN ''"done"''; EXCEPTION WHEN OTHERS THEN RETURN ''"caught"''; END';
BEGIN
    CALL failures_start(title, format(body, before));
    COMMIT;
    LOOP
        PERFORM FROM durable.history WHERE instance_id = 'failures-' || title AND event_type = 'EventSubscribed';
        EXIT WHEN FOUND;
        COMMIT;
    END LOOP;
    EXECUTE format('CREATE OR REPLACE FUNCTION failures_of_%s() RETURNS jsonb LANGUAGE plpgsql AS %L', title, format(body, after));
    PERFORM durable.raise_event('failures-' || title, 'go');
END
$$;
CALL failures_change('same', $$PERFORM durable.call_activity('failures_echo', '{"a": 1, "b": 2}')$$,
                     $$PERFORM durable.call_activity('failures_echo', '{"b": 2, "a": 1}')$$);
CALL failures_change('activity', $$PERFORM durable.call_activity('failures_echo', '1')$$, $$PERFORM durable.call_activity('failures_insert', '[1]')$$);
CALL failures_change('input', $$PERFORM durable.call_activity('failures_echo', '{"a": 1}')$$, $$PERFORM durable.call_activity('failures_echo', '{"a": 2}')$$);
CALL failures_change('kind', $$PERFORM durable.sleep('1 ms')$$, $$PERFORM durable.call_activity('failures_echo', '1')$$);
CALL failures_change('missing', $$PERFORM durable.call_activity('failures_echo', '1')$$, $$RETURN '"early"'$$);
CALL failures_change('added', $$PERFORM 1$$, $$PERFORM durable.call_activity('failures_echo', '1')$$);
CALL failures_change('raised', $$PERFORM durable.call_activity('failures_echo', '1')$$, $$RAISE EXCEPTION 'new error'$$);
SELECT name, status, output, failure->>'sqlstate' AS sqlstate, failure->>'detail' AS detail
  FROM failures_ends('same', 'activity', 'input', 'kind', 'missing', 'added', 'raised');
SELECT failure->>'hint' AS hint FROM failures_ends('activity');
CALL failures_start('random', $$
BEGIN
    PERFORM durable.call_activity('failures_echo', to_jsonb(random()));
    PERFORM durable.sleep('1 ms');
    RETURN durable.call_activity('failures_echo', '2');
END
$$);
SELECT status, failure->>'sqlstate' AS sqlstate, failure->>'message' AS message FROM failures_ends('random');

-- Nothing is left behind.
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'failures%';
SELECT instance_id FROM durable.instances WHERE instance_id LIKE 'failures%' AND runtime_status NOT IN ('Completed', 'Failed', 'Terminated');
SELECT durable.revoke_usage('regress_durable_hasty');
DROP ROLE regress_durable_hasty;
SELECT format('DROP ROUTINE %s', string_agg(oid::regprocedure::text, ', ')) FROM pg_proc WHERE proname LIKE 'failures%' \gexec
DROP TABLE failures_row, failures_call, failures_outside;
DROP SEQUENCE failures_sequence;
DROP EXTENSION plpython3u;
