-- Terminate with cancel_activities interrupts what runs, also below; without, it is left alone.
\set VERBOSITY terse
CREATE FUNCTION cancel_sleep() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN 1; END $$;
CREATE FUNCTION cancel_leaf() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN to_jsonb(durable.when_all(durable.schedule_activity('cancel_sleep'), durable.schedule_activity('cancel_sleep')));
END $$;
CREATE FUNCTION cancel_parent() RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_sub_orchestrator('cancel_leaf', instance_id => 'cancel-leaf') $$;
-- Waits until so many of the activities run, alone: before that each is tried and undone.
CREATE PROCEDURE cancel_until(wanted int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..6000 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF (SELECT count(*) = wanted AND count(*) FILTER (WHERE w.place = 'long') = wanted
              FROM pg_stat_activity s LEFT JOIN durable.workers w USING (pid)
             WHERE s.query = 'cancel_sleep' AND s.state = 'active') THEN
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE 'it never came to % activities', wanted;
END $$;
SELECT durable.start_new('cancel_parent', instance_id => 'cancel-parent');
CALL cancel_until(2);
SELECT durable.terminate('cancel-parent', 'left alone');
SELECT runtime_status, output FROM durable.wait_for_completion('cancel-leaf', '1 min');
CALL cancel_until(2);
-- They run on for nobody; an administrator may end them.
SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query = 'cancel_sleep' AND state = 'active';
CALL cancel_until(0);
SELECT durable.start_new('cancel_parent', instance_id => 'cancel-parent');
CALL cancel_until(2);
SELECT durable.terminate('cancel-parent', 'interrupted', cancel_activities => true);
SELECT runtime_status, output FROM durable.wait_for_completion('cancel-leaf', '1 min');
SELECT runtime_status, output FROM durable.wait_for_completion('cancel-parent', '1 min');
CALL cancel_until(0);
-- Also when the activities to cancel occupy as many places as they may, and one waits for a place: the last one is for
-- another role.
CREATE FUNCTION cancel_all(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN to_jsonb(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('cancel_sleep') FROM generate_series(1, n))));
END $$;
CREATE FUNCTION cancel_grandparent(n int) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_sub_orchestrator('cancel_all', to_jsonb(n), 'cancel-all') $$;
SELECT durable.start_new('cancel_grandparent', to_jsonb(current_setting('durable.max_long_activities')::int), 'cancel-grandparent') AS id;
CALL cancel_until(current_setting('durable.max_long_activities')::int / 2);
SELECT state, count(*) FROM durable.activities WHERE instance_id = 'cancel-all' GROUP BY 1 ORDER BY 1;
SELECT durable.terminate('cancel-grandparent', 'interrupted', cancel_activities => true);
SELECT instance_id, runtime_status, output, failure
  FROM unnest('{cancel-all,cancel-grandparent}'::text[]) id, durable.wait_for_completion(id, '1 min');
CALL cancel_until(0);
SELECT event_type, failure FROM durable.history WHERE instance_id = 'cancel-all' AND event_type <> 'TaskScheduled' ORDER BY sequence_number;
-- Not if the savepoint is rolled back in which it was asked for.
SELECT durable.start_new('cancel_parent', instance_id => 'cancel-parent');
CALL cancel_until(2);
BEGIN;
SAVEPOINT asked;
SAVEPOINT within;
SELECT durable.terminate('cancel-leaf', 'rolled back', cancel_activities => true);
RELEASE within;
ROLLBACK TO asked;
COMMIT;
SELECT runtime_status FROM durable.wait_for_completion('cancel-parent', '500 ms');
CALL cancel_until(2);
BEGIN;
SAVEPOINT asked;
SELECT durable.terminate('cancel-leaf', 'released', cancel_activities => true);
RELEASE asked;
COMMIT;
SELECT runtime_status, output FROM durable.wait_for_completion('cancel-parent', '1 min');
CALL cancel_until(0);
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'cancel%';
DROP FUNCTION cancel_sleep, cancel_leaf, cancel_parent, cancel_all, cancel_grandparent;
DROP PROCEDURE cancel_until;
