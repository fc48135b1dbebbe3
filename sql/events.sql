-- External events: kept, in order, with timeouts, across continue_as_new, between instances.
CREATE PROCEDURE events_until(condition text) LANGUAGE plpgsql AS $$
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
CREATE FUNCTION events_waits(id text, times int DEFAULT 1) RETURNS boolean LANGUAGE sql AS
    $$SELECT count(*) >= times FROM durable.history WHERE instance_id = id AND event_type = 'EventSubscribed'$$;
CREATE FUNCTION events_echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';

-- As many events as asked for, in the order in which they are served.
CREATE FUNCTION events_collect(name text, n int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    got jsonb[] := '{}';
BEGIN
    FOR i IN 1 .. n LOOP
        got := got || durable.wait_for_external_event(name);
    END LOOP;
    RETURN to_jsonb(got);
END
$$;
-- Waiters in the order in which they began to wait, though awaited in another.
CREATE FUNCTION events_waiters() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    first durable.task := durable.subscribe_event('E');
    second durable.task := durable.subscribe_event('e');
    other durable.task := durable.subscribe_event('other');
    third durable.task := durable.subscribe_event('e');
BEGIN
    RETURN jsonb_build_array(durable.await(third), durable.await(first), durable.await(other), durable.await(second));
END
$$;
-- One that has given up does not take an event.
CREATE FUNCTION events_timeouts() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := '[]';
BEGIN
    result := result || durable.wait_for_external_event('late', '5 ms', '"default"');
    result := result || coalesce(durable.wait_for_external_event('late', '5 ms', 'null'), '"no default"');
    BEGIN
        PERFORM durable.wait_for_external_event('late', '5 ms');
    EXCEPTION WHEN SQLSTATE 'OD006' THEN
        result := result || to_jsonb(SQLERRM);
    END;
    BEGIN
        PERFORM durable.wait_for_external_event('late', '-1 s');
    EXCEPTION WHEN SQLSTATE 'OD006' THEN
        result := result || '"negative"';
    END;
    PERFORM durable.set_custom_status('"now"');
    RETURN result || durable.wait_for_external_event('late', '1 year') || durable.wait_for_external_event('late', '1 year');
END
$$;
CREATE FUNCTION events_unhandled() RETURNS jsonb LANGUAGE sql AS $$SELECT durable.wait_for_external_event('never', '1 ms')$$;
-- One event an execution; the rest wait for the next.
CREATE FUNCTION events_aggregate(state jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    event jsonb := durable.wait_for_external_event('add');
BEGIN
    IF event = '"end"' THEN
        RETURN state;
    END IF;
    PERFORM durable.continue_as_new(jsonb_build_object('n', (state ->> 'n')::int + 1, 'sum', (state ->> 'sum')::int + event::int,
                                                       'last', event, 'ordered', (state ->> 'ordered')::boolean AND (state ->> 'last')::int < event::int));
    RETURN '"not reached"';
END
$$;
-- Without preserve_unprocessed_events.
CREATE FUNCTION events_forget(again boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF again THEN
        PERFORM durable.wait_for_external_event('go');
        PERFORM durable.continue_as_new('false', preserve_unprocessed_events => false);
    END IF;
    RETURN durable.wait_for_external_event('extra', '5 ms', '"none"');
END
$$;
CREATE FUNCTION events_send(target text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := '[]';
BEGIN
    FOR i IN 1 .. 3 LOOP
        PERFORM durable.send_event(target, 'E', to_jsonb(i));
        PERFORM durable.call_activity('events_echo');
    END LOOP;
    PERFORM durable.send_event(durable.instance_id(), 'self', '"me"');
    result := result || durable.wait_for_external_event('self');
    BEGIN
        PERFORM durable.send_event('events-none', 'e');
    EXCEPTION WHEN SQLSTATE 'OD001' THEN
        result := result || to_jsonb(SQLERRM);
    END;
    RETURN result;
END
$$;

-- In the transaction of the start, to one that has not run and one that will not for long.
BEGIN;
SELECT durable.start_new('events_collect', '["e", 4]', 'events-start');
SELECT durable.raise_event('events-start', 'E', '1');
SELECT durable.raise_event('events-start', 'e', '{"two": 2}');
SELECT durable.raise_event('events-start', 'e', NULL);
SELECT durable.raise_event('events-start', 'E', 'null');
COMMIT;
SELECT runtime_status, output FROM durable.wait_for_completion('events-start', '1 min');
SELECT durable.start_new('events_collect', '["e", 1]', 'events-later', start_at => now() + interval '300 ms');
SELECT durable.raise_event('events-later', 'e', '"early"');
SELECT (durable.get_status('events-later')).runtime_status;
SELECT runtime_status, output FROM durable.wait_for_completion('events-later', '1 min');
-- Rolled back: not raised.
SELECT durable.start_new('events_collect', '["e", 1]', 'events-rollback');
BEGIN;
SELECT durable.raise_event('events-rollback', 'e', '"rolled back"');
ROLLBACK;
SELECT durable.raise_event('events-rollback', 'e', '"kept"');
SELECT runtime_status, output FROM durable.wait_for_completion('events-rollback', '1 min');

-- Several waiters; names of any letters.
SELECT durable.start_new('events_waiters', NULL, 'events-waiters'), durable.start_new('events_collect', '["Größe É", 1]', 'events-name');
CALL events_until($$events_waits('events-waiters', 4)$$);
SELECT durable.raise_event('events-waiters', name, data)
  FROM (VALUES ('e', '1'::jsonb), ('OTHER', '"o"'), ('E', '2'), ('e', '3')) v (name, data);
SELECT durable.raise_event('events-name', 'gRÖSSE é', '1'), durable.raise_event('events-name', 'gRÖßE é', '2');
SELECT runtime_status, output FROM durable.wait_for_completion('events-waiters', '1 min');
SELECT runtime_status, output FROM durable.wait_for_completion('events-name', '1 min');

-- Timeouts.
SELECT durable.start_new('events_timeouts', NULL, 'events-timeouts'), durable.start_new('events_unhandled', NULL, 'events-unhandled');
CALL events_until($$(durable.get_status('events-timeouts')).custom_status = '"now"'$$);
SELECT durable.raise_event('events-timeouts', 'late', '"first"');
SELECT durable.raise_event('events-timeouts', 'late', '"second"');
SELECT runtime_status, output FROM durable.wait_for_completion('events-timeouts', '1 min');
SELECT count(*) FROM durable.timers WHERE instance_id = 'events-timeouts';
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, output FROM durable.wait_for_completion('events-unhandled', '1 min');

-- A thousand in one statement; then one by one over as many executions.
SELECT durable.start_new('events_collect', '["e", 1000]', 'events-1000');
SELECT count(durable.raise_event('events-1000', 'e', to_jsonb(i))) FROM generate_series(1, 1000) i;
SELECT runtime_status, output = (SELECT to_jsonb(array_agg(i)) FROM generate_series(1, 1000) i) AS all_in_order FROM durable.wait_for_completion('events-1000', '1 min');
SELECT durable.start_new('events_aggregate', '{"n": 0, "sum": 0, "last": 0, "ordered": true}', 'events-aggregate');
SELECT count(durable.raise_event('events-aggregate', 'add', to_jsonb(i))) FROM generate_series(1, 300) i;
SELECT durable.raise_event('events-aggregate', 'add', '"end"');
SELECT runtime_status, output FROM durable.wait_for_completion('events-aggregate', '1 min');
SELECT count(*) < 20 AS bounded FROM durable.history WHERE instance_id = 'events-aggregate';
SELECT durable.start_new('events_forget', 'true', 'events-forget');
SELECT durable.raise_event('events-forget', 'extra', '1'), durable.raise_event('events-forget', 'go');
SELECT runtime_status, output FROM durable.wait_for_completion('events-forget', '1 min');

-- Suspended: kept in order, applied on resume.
SELECT durable.start_new('events_collect', '["e", 3]', 'events-suspended');
CALL events_until($$events_waits('events-suspended')$$);
SELECT durable.suspend('events-suspended', 'a pause');
CALL events_until($$(durable.get_status('events-suspended')).runtime_status = 'Suspended'$$);
SELECT durable.raise_event('events-suspended', 'e', to_jsonb(i)) FROM generate_series(1, 3) i;
CALL events_until($$(SELECT count(*) = 3 FROM durable.history WHERE instance_id = 'events-suspended' AND event_type = 'EventRaised')$$);
SELECT runtime_status FROM durable.wait_for_completion('events-suspended', '100 ms');
SELECT durable.resume('events-suspended');
SELECT runtime_status, output FROM durable.wait_for_completion('events-suspended', '1 min');

-- Terminated: what is left is dropped, what comes later is refused.
SELECT durable.start_new('events_collect', '["e", 2]', 'events-terminated');
CALL events_until($$events_waits('events-terminated')$$);
BEGIN;
SELECT durable.raise_event('events-terminated', 'other', '1');
SELECT durable.terminate('events-terminated', 'enough');
COMMIT;
SELECT runtime_status, output FROM durable.wait_for_completion('events-terminated', '1 min');
SELECT durable.raise_event('events-terminated', 'e', '1');
SELECT count(*) FROM durable_internal.messages m JOIN durable_internal.instances i USING (key) WHERE i.instance_id = 'events-terminated';

-- From instance to instance.
SELECT durable.start_new('events_collect', '["e", 3]', 'events-target'), durable.start_new('events_send', '"events-target"', 'events-send');
SELECT runtime_status, output FROM durable.wait_for_completion('events-send', '1 min');
SELECT runtime_status, output FROM durable.wait_for_completion('events-target', '1 min');
-- One that has ended drops it.
SELECT durable.start_new('events_send', '"events-target"', 'events-send-late');
SELECT runtime_status, output FROM durable.wait_for_completion('events-send-late', '1 min');
-- A failure that was handled is one on every replay, also for a worker that has not seen it.
CREATE FUNCTION events_fail_to_send() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text := 'sent';
BEGIN
    BEGIN
        PERFORM durable.send_event('events-none', 'e');
        PERFORM durable.call_activity('events_echo');
    EXCEPTION WHEN SQLSTATE 'OD001' THEN
        result := SQLERRM;
    END;
    PERFORM durable.wait_for_external_event('go');
    RETURN result;
END
$$;
SELECT durable.start_new('events_fail_to_send', instance_id => 'events-fail-to-send');
CALL events_until($$events_waits('events-fail-to-send')$$);
SELECT bool_and(pg_terminate_backend(pid, 60000)) FROM durable.workers WHERE pid IS NOT NULL;
SELECT durable.raise_event('events-fail-to-send', 'go');
SELECT runtime_status, output FROM durable.wait_for_completion('events-fail-to-send', '1 min');
SELECT event_type, task_id, name, input FROM durable.history WHERE instance_id = 'events-send' AND event_type LIKE 'Event%' ORDER BY sequence_number;

SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'events-%';
DROP FUNCTION events_waits, events_echo, events_collect, events_waiters, events_timeouts, events_unhandled, events_aggregate, events_forget, events_send, events_fail_to_send;
DROP PROCEDURE events_until;

-- Outside an orchestrator, the way for clients is named.
\set VERBOSITY default
SELECT durable.send_event('events-none', 'x');
SELECT durable.set_custom_status('"x"');
SELECT durable.call_activity('x');
