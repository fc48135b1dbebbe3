-- A worker finds the row of an instance that it remembers although the table has been written anew, and made shorter.
CREATE FUNCTION moved_noop() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION moved_wait() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.wait_for_external_event('first');
    RETURN durable.wait_for_external_event('second');
END $$;
SELECT count(durable.start_new('moved_noop', instance_id => 'moved-noop-' || i)) FROM generate_series(1, 2000) i;
SELECT count(durable.start_new('moved_wait', instance_id => 'moved-' || i)) FROM generate_series(1, 30) i;
-- Waits until so many subscriptions have been made in all.
CREATE PROCEDURE moved_until(subscriptions int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..6000 LOOP
        IF NOT EXISTS (SELECT FROM durable.query_instances('{Pending,Running}', name => 'moved_noop')) AND
           (SELECT count(*) = subscriptions FROM durable.history WHERE instance_id ~ '^moved-[0-9]+$' AND event_type = 'EventSubscribed') THEN
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE 'not all have come so far';
END $$;
CALL moved_until(30);
SELECT sum(durable.purge_instance_history(instance_id)) FROM durable.instances WHERE name = 'moved_noop';
-- Nobody sees them any more.
CREATE PROCEDURE moved_unseen() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..6000 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND
                       (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)) THEN
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE 'somebody looks on';
END $$;
CALL moved_unseen();
SELECT pg_relation_size('durable_internal.instances') AS size \gset
VACUUM FULL durable_internal.instances;
SELECT pg_relation_size('durable_internal.instances') < :size - 20 * 8192 AS small;
-- One at a time: what fails together is tried again.
DO $$
BEGIN
    FOR i IN 1..30 LOOP
        PERFORM durable.raise_event('moved-' || i, 'first');
        COMMIT;
        CALL moved_until(30 + i);
    END LOOP;
END $$;
-- Each in the place of another.
CLUSTER durable_internal.instances USING instances_instance_id;
UPDATE durable_internal.instances SET tags = '{"moved": true}' WHERE instance_id = 'moved-1';
CLUSTER durable_internal.instances USING instances_listing;
SELECT count(durable.raise_event('moved-' || i, 'second', to_jsonb(i))) FROM generate_series(1, 30) i;
SELECT runtime_status, count(*), sum(output::int) FROM generate_series(1, 30) i, durable.wait_for_completion('moved-' || i, '1 min') GROUP BY 1;
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'moved%';
DROP FUNCTION moved_noop, moved_wait;
DROP PROCEDURE moved_until, moved_unseen;
