-- Suspend, resume and terminate: what is kept, in which order, and who is reached.
\set VERBOSITY terse
\set later '''2999-01-01 00:00Z'''
CREATE TABLE control_log (id int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION control_note(what text) RETURNS text LANGUAGE sql AS $$ INSERT INTO control_log (what) VALUES (what) RETURNING what $$;
CREATE FUNCTION control_echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
-- Collects events until one says end; notes each.
CREATE FUNCTION control_collect() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen jsonb := '[]';
    event jsonb;
BEGIN
    LOOP
        event := durable.wait_for_external_event('e');
        EXIT WHEN event = '"end"';
        PERFORM durable.call_activity('control_note', event);
        seen := seen || event;
    END LOOP;
    RETURN seen;
END $$;
-- The order in which a timer, an activity and an event end.
CREATE FUNCTION control_race(delay interval) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    timer durable.task := durable.create_timer(delay);
    event durable.task := durable.subscribe_event('e');
    activity durable.task := durable.schedule_activity('control_slow');
    open durable.task[] := ARRAY[timer, event, activity];
    first durable.task;
    result jsonb := '[]';
BEGIN
    WHILE cardinality(open) > 0 LOOP
        first := durable.when_any(VARIADIC open);
        result := result || to_jsonb(CASE first WHEN timer THEN 'timer' WHEN event THEN 'event' ELSE 'activity' END);
        open := array_remove(open, first);
    END LOOP;
    RETURN result;
END $$;
-- An activity that ends when it is allowed to.
CREATE FUNCTION control_slow() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM control_note('slow'); PERFORM pg_advisory_xact_lock_shared(4711); END $$;
CREATE FUNCTION control_wait() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
CREATE FUNCTION control_tree(id text, depth int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF depth = 0 THEN
        RETURN durable.wait_for_external_event('go');
    END IF;
    RETURN durable.call_sub_orchestrator('control_tree', jsonb_build_object('id', id || depth, 'depth', depth - 1), id || depth);
END $$;
CREATE FUNCTION control_catch(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_sub_orchestrator('control_wait', NULL, id);
EXCEPTION WHEN SQLSTATE 'OD008' THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- Waits until a query returns true.
CREATE FUNCTION control_until(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    reached boolean;
BEGIN
    FOR i IN 1..6000 LOOP
        EXECUTE query INTO reached;
        IF reached THEN
            RETURN 'reached';
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 'never';
END $$;
CREATE FUNCTION control_status(id text, wanted text) RETURNS text LANGUAGE sql AS $$
    SELECT control_until(format('SELECT runtime_status = %L FROM durable.get_status(%L)', wanted, id)) $$;

-- Events wait for resume, and come in order.
SELECT durable.start_new('control_collect', instance_id => 'control-1');
SELECT durable.raise_event('control-1', 'e', '"before"');
SELECT control_until('SELECT count(*) = 1 FROM control_log');
SELECT durable.suspend('control-1', 'a pause');
SELECT control_status('control-1', 'Suspended');
SELECT count(durable.raise_event('control-1', CASE i % 2 WHEN 0 THEN 'e' ELSE 'E' END, to_jsonb(i::text))) FROM generate_series(1, 5) i;
SELECT durable.suspend('control-1', 'again');
-- Something that is known to come after them has been done.
SELECT durable.start_new('control_echo', '"other"', 'control-other');
SELECT output FROM durable.wait_for_completion('control-other', '1 min');
SELECT what FROM control_log ORDER BY id;
SELECT runtime_status, output FROM durable.get_status('control-1');
SELECT durable.resume('control-1', 'on');
SELECT durable.raise_event('control-1', 'e', '"end"');
SELECT runtime_status, output FROM durable.wait_for_completion('control-1', '1 min');
SELECT what FROM control_log ORDER BY id;
SELECT event_type, result FROM durable.history
 WHERE instance_id = 'control-1' AND event_type IN ('ExecutionSuspended', 'ExecutionResumed') ORDER BY sequence_number;

-- Timers and results of activities wait too, in the order in which they came, whoever was awaited.
SELECT pg_advisory_lock(4711);
SELECT clock_timestamp() + interval '3200 ms' AS due \gset
SELECT durable.start_new('control_race', '"3 s"', 'control-2'), durable.start_new('control_race', '"3 s"', 'control-3');
SELECT control_until('SELECT count(*) = 2 FROM pg_locks WHERE locktype = ''advisory'' AND objid = 4711 AND NOT granted');
SELECT durable.suspend('control-2'), durable.suspend('control-3');
SELECT durable.raise_event('control-2', 'e');
SELECT control_status('control-2', 'Suspended'), control_status('control-3', 'Suspended');
SELECT pg_advisory_unlock(4711);
SELECT control_until(format('SELECT clock_timestamp() > %L', :'due'));
SELECT durable.raise_event('control-3', 'e');
SELECT runtime_status FROM durable.query_instances(instance_ids => '{control-2,control-3}');
SELECT durable.resume('control-2'), durable.resume('control-3');
SELECT output FROM unnest('{control-2,control-3}'::text[]) id, durable.wait_for_completion(id, '1 min');

-- One that is Pending, suspended in the transaction that starts it, resumed, and one whose time comes meanwhile.
BEGIN;
SELECT durable.start_new('control_echo', '"suspended"', 'control-4', start_at => clock_timestamp() + interval '100 ms');
SELECT durable.suspend('control-4');
COMMIT;
SELECT control_status('control-4', 'Suspended');
SELECT clock_timestamp() + interval '200 ms' AS due \gset
SELECT control_until(format('SELECT clock_timestamp() > %L', :'due'));
SELECT runtime_status FROM durable.get_status('control-4');
SELECT durable.suspend('control-4'), durable.resume('control-4'), durable.resume('control-4');
SELECT runtime_status, output FROM durable.wait_for_completion('control-4', '1 min');
-- Suspending and resuming at once changes nothing.
SELECT durable.start_new('control_wait', instance_id => 'control-5');
SELECT durable.suspend('control-5'), durable.resume('control-5'), durable.raise_event('control-5', 'go', '5');
SELECT runtime_status, output FROM durable.wait_for_completion('control-5', '1 min');
-- A suspended one can be terminated; what was kept is not delivered.
SELECT durable.start_new('control_wait', instance_id => 'control-6');
SELECT durable.suspend('control-6');
SELECT control_status('control-6', 'Suspended');
SELECT durable.raise_event('control-6', 'go');
SELECT durable.terminate('control-6', 'enough');
SELECT runtime_status, output FROM durable.wait_for_completion('control-6', '1 min');
SELECT durable.resume('control-6');

-- Terminating reaches all live descendants, unless told not to.
SELECT durable.start_new('control_tree', '{"id": "control-t", "depth": 3}', 'control-t');
SELECT control_status('control-t321', 'Running');
SELECT durable.terminate('control-t', 'the tree');
SELECT control_until('SELECT count(*) = 4 FROM durable.query_instances(''{Terminated}'', instance_id_prefix => ''control-t'')');
SELECT instance_id, runtime_status, output FROM durable.query_instances(instance_id_prefix => 'control-t');
SELECT durable.start_new('control_tree', '{"id": "control-u", "depth": 2}', 'control-u');
SELECT control_status('control-u21', 'Running');
SELECT durable.terminate('control-u', recursive => false);
SELECT runtime_status, output FROM durable.wait_for_completion('control-u', '1 min');
SELECT durable.raise_event('control-u21', 'go', '"went on"');
SELECT runtime_status, output FROM durable.wait_for_completion('control-u2', '1 min');
-- A suspended child is reached as well; a parent sees OD008.
SELECT durable.start_new('control_catch', '"control-v1"', 'control-v');
SELECT control_status('control-v1', 'Running');
SELECT durable.suspend('control-v1');
SELECT control_status('control-v1', 'Suspended');
SELECT durable.terminate('control-v1', 'by hand');
SELECT output FROM durable.wait_for_completion('control-v', '1 min');
-- One that has not begun never runs.
TRUNCATE control_log;
BEGIN;
SELECT durable.start_new('control_collect', instance_id => 'control-7');
SELECT durable.raise_event('control-7', 'e', '"never"');
SELECT durable.terminate('control-7');
COMMIT;
SELECT runtime_status, output FROM durable.wait_for_completion('control-7', '1 min');
SELECT count(*) FROM control_log;

-- durable.wait_for_completion returns what durable.get_status does.
SELECT durable.start_new('control_wait', '{}', 'control-8', now() + '1 h', 'v1', '{"k": "v"}');
SELECT durable.start_new('control_wait', NULL, 'control-9');
SELECT durable.suspend('control-9');
SELECT control_status('control-9', 'Suspended');
SELECT count(*) > 10 AS some, count(*) FILTER (WHERE s IS DISTINCT FROM durable.wait_for_completion(s.instance_id, '0 s')) AS different,
       string_agg(DISTINCT s.runtime_status::text, ' ') AS statuses, count(s.parent_instance_id) > 0 AS children
  FROM durable.instances i, durable.get_status(i.instance_id) s WHERE i.instance_id LIKE 'control%' AND i.runtime_status <> 'Running';
SELECT durable.terminate('control-8'), durable.terminate('control-9');
SELECT control_status('control-8', 'Terminated'), control_status('control-9', 'Terminated');

SELECT durable.purge_instance_history_by('-infinity') > 0 AS some;
SELECT * FROM durable.count_instances(instance_id_prefix => 'control');
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'control%';
DROP TABLE control_log;
DROP FUNCTION control_note, control_echo, control_collect, control_race, control_slow, control_wait, control_tree, control_catch, control_until, control_status;
