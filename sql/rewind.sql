-- Rewind: what failed runs again, what completed or was handled stays.
\set VERBOSITY terse
CREATE TABLE rewind_broken (step text PRIMARY KEY);
CREATE TABLE rewind_ran (id int GENERATED ALWAYS AS IDENTITY, instance_id text, step text);
-- An activity that fails while its step is broken. A run that failed leaves no row.
CREATE FUNCTION rewind_step(step text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rewind_ran (instance_id, step) VALUES (durable.instance_id(), step);
    IF EXISTS (SELECT FROM rewind_broken b WHERE b.step = rewind_step.step) THEN
        RAISE EXCEPTION 'step % is broken', step USING ERRCODE = 'ZZ001';
    END IF;
    RETURN step;
END $$;
CREATE FUNCTION rewind_end(id text) RETURNS TABLE (status durable.runtime_status, output jsonb, message text) LANGUAGE sql AS
    $$ SELECT s.runtime_status, s.output, s.failure ->> 'message' FROM durable.wait_for_completion(id, '1 min') s $$;
CREATE FUNCTION rewind_runs(id text) RETURNS text LANGUAGE sql AS
    $$ SELECT string_agg(step, ' ' ORDER BY step, r.id) FROM rewind_ran r WHERE instance_id LIKE rewind_runs.id || '%' $$;

-- Timers before and after, a failure that a handler dealt with, a fan-out of which two failed, mended one after the other.
CREATE FUNCTION rewind_many() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := '[]';
BEGIN
    result := result || durable.call_activity('rewind_step', '"first"');
    BEGIN
        PERFORM durable.call_activity('rewind_step', '"handled"');
    EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
        result := result || durable.call_activity('rewind_step', '"instead"');
    END;
    PERFORM durable.sleep('1 ms');
    result := result || to_jsonb(durable.when_all(VARIADIC ARRAY(
        SELECT durable.schedule_activity('rewind_step', to_jsonb('fan-' || i)) FROM generate_series(1, 4) i)));
    PERFORM durable.sleep('1 ms');
    RETURN result || durable.call_activity('rewind_step', '"last"');
END $$;
INSERT INTO rewind_broken VALUES ('handled'), ('fan-2'), ('fan-3');
SELECT durable.start_new('rewind_many', instance_id => 'rewind-many');
SELECT * FROM rewind_end('rewind-many');
DELETE FROM rewind_broken WHERE step = 'fan-2';
SELECT durable.rewind('rewind-many', 'the second is mended');
SELECT * FROM rewind_end('rewind-many');
-- The handled one is mended too, which must not matter.
DELETE FROM rewind_broken;
SELECT durable.rewind('rewind-many', 'all are mended');
SELECT * FROM rewind_end('rewind-many');
SELECT rewind_runs('rewind-many');
SELECT event_type, result FROM durable.history WHERE instance_id = 'rewind-many' AND event_type LIKE 'Execution%' ORDER BY sequence_number;

-- A timer that is open when the instance fails is set again.
CREATE FUNCTION rewind_timer() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    timer durable.task := durable.create_timer(interval '20 ms');
BEGIN
    PERFORM durable.call_activity('rewind_step', '"timer"');
    RETURN coalesce(durable.await(timer), '"fired"');
END $$;
INSERT INTO rewind_broken VALUES ('timer');
SELECT durable.start_new('rewind_timer', instance_id => 'rewind-timer');
SELECT * FROM rewind_end('rewind-timer');
DELETE FROM rewind_broken;
SELECT durable.rewind('rewind-timer');
SELECT * FROM rewind_end('rewind-timer');

-- A retry policy begins again.
CREATE FUNCTION rewind_retry() RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_activity('rewind_step', '"retry"', durable.retry_policy(3, '1 ms')) $$;
INSERT INTO rewind_broken VALUES ('retry');
SELECT durable.start_new('rewind_retry', instance_id => 'rewind-retry');
SELECT * FROM rewind_end('rewind-retry');
SELECT durable.rewind('rewind-retry');
SELECT * FROM rewind_end('rewind-retry');
DELETE FROM rewind_broken;
SELECT durable.rewind('rewind-retry');
SELECT * FROM rewind_end('rewind-retry');
SELECT event_type, attempt FROM durable.history WHERE instance_id = 'rewind-retry' ORDER BY sequence_number;

-- A wait whose timeout was fatal begins anew.
CREATE FUNCTION rewind_wait() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('go', '50 ms'); END $$;
SELECT durable.start_new('rewind_wait', instance_id => 'rewind-wait');
SELECT * FROM rewind_end('rewind-wait');
SELECT durable.rewind('rewind-wait');
SELECT * FROM rewind_end('rewind-wait');
BEGIN;
SELECT durable.rewind('rewind-wait');
SELECT durable.raise_event('rewind-wait', 'go', '"came"');
COMMIT;
SELECT * FROM rewind_end('rewind-wait');

-- Failed sub-orchestrations are rewound, completed siblings stay.
CREATE FUNCTION rewind_child(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('rewind_step', to_jsonb(name || '-before'));
    RETURN durable.call_activity('rewind_step', to_jsonb(name));
END $$;
CREATE FUNCTION rewind_parent() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN to_jsonb(durable.when_all(
        durable.schedule_sub_orchestrator('rewind_child', '"good"', 'rewind-parent-good'),
        durable.schedule_sub_orchestrator('rewind_child', '"bad"', 'rewind-parent-bad')));
END $$;
CREATE FUNCTION rewind_grandparent() RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_sub_orchestrator('rewind_parent', instance_id => 'rewind-parent') $$;
INSERT INTO rewind_broken VALUES ('bad');
SELECT durable.start_new('rewind_grandparent', instance_id => 'rewind-grandparent');
SELECT * FROM rewind_end('rewind-grandparent');
DELETE FROM rewind_broken;
SELECT durable.rewind('rewind-grandparent', 'all the way down');
SELECT * FROM rewind_end('rewind-grandparent');
SELECT rewind_runs('rewind-parent');
SELECT instance_id, runtime_status FROM durable.instances WHERE instance_id LIKE 'rewind-%parent%' ORDER BY 1;

-- The orchestrator's own error, after its function was replaced.
CREATE FUNCTION rewind_bug() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := durable.call_activity('rewind_step', '"bug"');
BEGIN
    RETURN 1 / 0;
END $$;
SELECT durable.start_new('rewind_bug', instance_id => 'rewind-bug');
SELECT * FROM rewind_end('rewind-bug');
CREATE OR REPLACE FUNCTION rewind_bug() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result jsonb := durable.call_activity('rewind_step', '"bug"');
BEGIN
    PERFORM durable.set_custom_status('"mended"');
    RETURN result || durable.call_activity('rewind_step', '"more"');
END $$;
SELECT durable.rewind('rewind-bug');
SELECT * FROM rewind_end('rewind-bug');
SELECT rewind_runs('rewind-bug'), custom_status FROM durable.get_status('rewind-bug');

-- A failure after which the code did something durable was handled: rewind replays, and the same error comes.
CREATE FUNCTION rewind_compensated() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('rewind_step', '"pay"');
    RETURN '"paid"';
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
    PERFORM durable.call_activity('rewind_step', '"compensate"');
    RAISE EXCEPTION 'given up';
END $$;
INSERT INTO rewind_broken VALUES ('pay');
SELECT durable.start_new('rewind_compensated', instance_id => 'rewind-compensated');
SELECT * FROM rewind_end('rewind-compensated');
DELETE FROM rewind_broken;
SELECT durable.rewind('rewind-compensated');
SELECT * FROM rewind_end('rewind-compensated');
SELECT rewind_runs('rewind-compensated');

-- A child that was rewound by itself and has completed is not run again for its parent, which takes its result.
CREATE FUNCTION rewind_own_child() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_activity('rewind_step', '"first"') || durable.call_activity('rewind_step', '"own"');
END $$;
CREATE FUNCTION rewind_own() RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_sub_orchestrator('rewind_own_child', instance_id => 'rewind-own-child') $$;
INSERT INTO rewind_broken VALUES ('own');
SELECT durable.start_new('rewind_own', instance_id => 'rewind-own');
SELECT * FROM rewind_end('rewind-own');
DELETE FROM rewind_broken;
SELECT durable.rewind('rewind-own-child');
SELECT * FROM rewind_end('rewind-own-child');
SELECT durable.rewind('rewind-own');
SELECT * FROM rewind_end('rewind-own');
SELECT rewind_runs('rewind-own-child');
SELECT event_type FROM durable.history WHERE instance_id = 'rewind-own' ORDER BY sequence_number;

-- What was in the pause before another attempt when the instance failed is tried again at once; what the code gave up as it
-- failed goes on, until it gives it up again.
CREATE FUNCTION rewind_halted(cancels boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    cause durable.task := durable.schedule_activity('rewind_step', '"cause"');
    tasks durable.task[] := ARRAY[
        durable.schedule_activity('rewind_step', '"paused"', durable.retry_policy(2, '1 day')),
        durable.schedule_sub_orchestrator('rewind_child', '"child"', retry => durable.retry_policy(2, '1 day'))];
BEGIN
    PERFORM durable.wait_for_external_event('go');
    tasks := tasks || durable.schedule_activity('rewind_step', '"unseen"') || durable.create_timer(interval '1 ms');
    BEGIN
        PERFORM durable.await(cause);
    EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
        PERFORM durable.cancel_task(t) FROM unnest(tasks) t WHERE cancels;
        RAISE;
    END;
    RETURN to_jsonb(durable.when_all(tasks));
END $$;
INSERT INTO rewind_broken VALUES ('cause'), ('paused'), ('child');
SELECT durable.start_new('rewind_halted', to_jsonb(id = 'rewind-canceled'), id) FROM unnest('{rewind-paused,rewind-canceled}'::text[]) id;
DO $$
BEGIN
    WHILE (SELECT count(*) FROM durable.history WHERE instance_id IN ('rewind-paused', 'rewind-canceled') AND event_type IN ('TaskRetried', 'TaskFailed')) < 6 LOOP
        PERFORM pg_sleep(0.001);
    END LOOP;
END $$;
SELECT durable.raise_event(id, 'go') FROM unnest('{rewind-paused,rewind-canceled}'::text[]) id;
SELECT e.* FROM unnest('{rewind-paused,rewind-canceled}'::text[]) id, rewind_end(id) e;
SELECT rewind_runs('rewind-canceled');
SELECT task_id, name, state FROM durable.tasks('rewind-canceled');
DELETE FROM rewind_broken;
SELECT durable.rewind(id) FROM unnest('{rewind-paused,rewind-canceled}'::text[]) id;
SELECT e.* FROM unnest('{rewind-paused,rewind-canceled}'::text[]) id, rewind_end(id) e;
SELECT rewind_runs(id) FROM unnest('{rewind-paused,rewind-canceled}'::text[]) id;
SELECT task_id, name, state FROM durable.tasks('rewind-canceled');

-- What the code had seen before it went on stays, even if it awaits that once more together with what fails.
CREATE FUNCTION rewind_seen() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    timer durable.task := durable.create_timer(interval '1 ms');
    handled durable.task := durable.schedule_activity('rewind_step', '"handled"');
BEGIN
    PERFORM durable.await(timer);
    BEGIN
        PERFORM durable.await(handled);
    EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
        PERFORM durable.call_activity('rewind_step', '"instead"');
    END;
    IF durable.instance_id() = 'rewind-seen-timer' THEN
        RETURN to_jsonb(durable.when_all(timer, durable.schedule_activity('rewind_step', '"fatal"')));
    END IF;
    RETURN to_jsonb(durable.when_all(timer, durable.schedule_activity('rewind_step', '"fatal"'), handled));
END $$;
INSERT INTO rewind_broken VALUES ('handled'), ('fatal');
SELECT durable.start_new('rewind_seen', instance_id => id) FROM unnest('{rewind-seen-timer,rewind-seen-failure}'::text[]) id;
SELECT e.* FROM unnest('{rewind-seen-timer,rewind-seen-failure}'::text[]) id, rewind_end(id) e;
DELETE FROM rewind_broken;
SELECT durable.rewind(id) FROM unnest('{rewind-seen-timer,rewind-seen-failure}'::text[]) id;
SELECT e.* FROM unnest('{rewind-seen-timer,rewind-seen-failure}'::text[]) id, rewind_end(id) e;

-- Only what failed can be rewound, and only by who may manage it.
SELECT durable.rewind('rewind-many');
SELECT durable.rewind('rewind-none');
SELECT durable.rewind(NULL);
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'rewind%';
DROP FUNCTION rewind_step, rewind_end, rewind_runs, rewind_many, rewind_timer, rewind_retry, rewind_wait, rewind_child,
    rewind_parent, rewind_grandparent, rewind_bug, rewind_compensated, rewind_own_child, rewind_own, rewind_halted, rewind_seen;
DROP TABLE rewind_broken, rewind_ran;
