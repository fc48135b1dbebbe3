-- Removing instances that have ended.
\set VERBOSITY terse
\set later '''2999-01-01 00:00Z'''
CREATE FUNCTION purge_one(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION purge_fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE FUNCTION purge_wait() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
-- Awaits a child that has one of its own, and starts two that nobody awaits.
CREATE FUNCTION purge_child(id text) RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.call_sub_orchestrator('purge_one', '1', id) $$;
CREATE FUNCTION purge_parent(prefix text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.start_sub_orchestrator('purge_wait', instance_id => prefix || '-live');
    PERFORM durable.start_sub_orchestrator('purge_one', instance_id => prefix || '-free');
    PERFORM durable.call_sub_orchestrator('purge_child', to_jsonb(prefix || '-grandchild'), prefix || '-child');
    RETURN durable.wait_for_external_event('end');
END $$;
CREATE FUNCTION purge_spy() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.purge_instance_history('purge-x'); END $$;
CREATE FUNCTION purge_spy_by() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.purge_instance_history_by('-infinity'); END $$;

-- The SQLSTATE of a statement, or what it returns.
CREATE FUNCTION purge_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE statement INTO result;
    RETURN coalesce(result, 'null');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
-- Waits for a status.
CREATE FUNCTION purge_until(id text, wanted text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..6000 LOOP
        IF (durable.get_status(id)).runtime_status = wanted::durable.runtime_status THEN
            RETURN wanted;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN 'still ' || (durable.get_status(id)).runtime_status;
END $$;

-- One instance.
SELECT durable.start_new('purge_one', '{"big": 1}', 'purge-1');
SELECT runtime_status FROM durable.wait_for_completion('purge-1', '1 min');
SELECT i.key FROM durable_internal.instances i WHERE instance_id = 'purge-1' \gset
BEGIN;
SELECT durable.purge_instance_history('purge-1');
SELECT durable.get_status('purge-1') IS NULL AS gone;
SELECT durable.purge_instance_history('purge-1');
ROLLBACK;
SELECT runtime_status FROM durable.get_status('purge-1');
SELECT durable.purge_instance_history('purge-1');
SELECT durable.get_status('purge-1') IS NULL AS gone;
SELECT count(*) FROM durable_internal.history WHERE key = :key;
SELECT durable.purge_instance_history('purge-1');
SELECT durable.start_new('purge_wait', instance_id => 'purge-live');
SELECT purge_until('purge-live', 'Running');
SELECT durable.start_new('purge_one', instance_id => 'purge-pending', start_at => :later);
SELECT call, purge_try(call) AS result
  FROM unnest(ARRAY['SELECT durable.purge_instance_history(''purge-live'')',
                    'SELECT durable.purge_instance_history(''purge-pending'')',
                    'SELECT durable.purge_instance_history(NULL)',
                    'SELECT durable.purge_instance_history_by(NULL)',
                    'SELECT durable.purge_instance_history_by(''-infinity'', batch_size => 0)',
                    'SELECT durable.purge_instance_history_by(''-infinity'', batch_size => 100001)',
                    'SELECT durable.purge_instance_history_by(''-infinity'', batch_size => NULL)',
                    'SELECT durable.purge_instance_history_by(''-infinity'', NULL, ''{NULL}'')',
                    'SELECT durable.purge_instance_history_by(''-infinity'', NULL, ''{Completed,Pending}'')',
                    'SELECT durable.purge_instance_history_by(''-infinity'', NULL, ''{Running}'')',
                    'SELECT durable.purge_instance_history_by(''-infinity'', NULL, ''{Suspended}'')',
                    'SELECT durable.purge_instance_history_by(''-infinity'', NULL, ''{ContinuedAsNew}'')',
                    'SELECT durable.purge_instance_history_by(''-infinity'', NULL, ''{}'')']) call;
SELECT durable.suspend('purge-live');
SELECT purge_until('purge-live', 'Suspended');
SELECT durable.purge_instance_history('purge-live');
BEGIN READ ONLY;
SELECT durable.purge_instance_history('purge-none');
ROLLBACK;
-- A purged id can be used again at once, also in the same transaction.
SELECT durable.terminate('purge-live');
SELECT runtime_status FROM durable.wait_for_completion('purge-live', '1 min');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT durable.purge_instance_history('purge-live');
SELECT durable.start_new('purge_one', '2', instance_id => 'purge-live');
COMMIT;
SELECT output FROM durable.wait_for_completion('purge-live', '1 min');
SELECT durable.purge_instance_history('purge-live');

-- With sub-orchestrations that have ended; live ones go on.
SELECT durable.start_new('purge_parent', '"purge-p"', 'purge-p');
SELECT purge_until('purge-p-grandchild', 'Completed'), purge_until('purge-p-child', 'Completed'), purge_until('purge-p-live', 'Running'), purge_until('purge-p-free', 'Completed');
-- What a live parent may need stays when purging by filter.
SELECT durable.purge_instance_history_by((SELECT created_time FROM durable.get_status('purge-p')));
SELECT instance_id, runtime_status FROM durable.instances WHERE instance_id LIKE 'purge-p-%' ORDER BY 1;
SELECT durable.start_new('purge_one', instance_id => 'purge-p-free');
SELECT durable.raise_event('purge-p', 'end', '"done"');
SELECT output FROM durable.wait_for_completion('purge-p', '1 min');
SELECT durable.purge_instance_history('purge-p');
SELECT instance_id, parent_instance_id FROM durable.instances WHERE instance_id LIKE 'purge-p%' AND instance_id NOT LIKE 'purge-p%g' ORDER BY 1;
SELECT durable.raise_event('purge-p-live', 'go', '"on"');
SELECT output FROM durable.wait_for_completion('purge-p-live', '1 min');
SELECT runtime_status FROM durable.wait_for_completion('purge-p-free', '1 min');

-- A live instance that is replaced takes its live ones with it.
SELECT durable.start_new('purge_parent', '"purge-q"', 'purge-q');
SELECT purge_until('purge-q-grandchild', 'Completed'), purge_until('purge-q-child', 'Completed'), purge_until('purge-q-live', 'Running'), purge_until('purge-q-free', 'Completed');
SELECT durable.start_new('purge_one', instance_id => 'purge-q', dedupe_statuses => '{}');
SELECT runtime_status, output FROM durable.wait_for_completion('purge-q-live', '1 min');
SELECT runtime_status FROM durable.wait_for_completion('purge-q', '1 min');
SELECT instance_id FROM durable.instances WHERE instance_id LIKE 'purge-q%' ORDER BY 1;

-- By filter.
SELECT durable.purge_instance_history_by('-infinity', runtime_status => '{Completed,Failed,Terminated}') > 0 AS some;
SELECT instance_id FROM durable.instances WHERE instance_id LIKE 'purge%' ORDER BY 1;
SELECT now() AS start \gset
SELECT count(durable.start_new('purge_one', to_jsonb(i), 'purge-c-' || i)) FROM generate_series(1, 25) i;
SELECT count(durable.start_new('purge_fail', instance_id => 'purge-f-' || i)) FROM generate_series(1, 4) i;
SELECT count(durable.start_new('purge_one', instance_id => 'purge-t-' || i, start_at => :later)) FROM generate_series(1, 3) i;
SELECT count(durable.terminate('purge-t-' || i)) FROM generate_series(1, 3) i;
SELECT s.runtime_status, count(*)
  FROM durable.query_instances(created_time_from => :'start') i, durable.wait_for_completion(i.instance_id, '1 min') s GROUP BY 1 ORDER BY 1;
SELECT durable.purge_instance_history_by('infinity');
SELECT durable.purge_instance_history_by('-infinity', :'start');
SELECT durable.purge_instance_history_by((SELECT created_time FROM durable.get_status('purge-c-24')), (SELECT created_time FROM durable.get_status('purge-f-1')));
SELECT durable.purge_instance_history_by(:'start', runtime_status => '{Failed}');
SELECT runtime_status, count FROM durable.count_instances(created_time_from => :'start');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT durable.purge_instance_history_by(:'start', batch_size => 4);
SELECT runtime_status, count FROM durable.count_instances(created_time_from => :'start');
ROLLBACK;
-- In batches that commit.
BEGIN;
CALL durable.purge_instance_history_batches(:'start');
ROLLBACK;
DO $$ DECLARE n bigint; BEGIN CALL durable.purge_instance_history_batches('-infinity', '-infinity', NULL, 1, n); RAISE NOTICE 'purged %', n; END $$;
CALL durable.purge_instance_history_batches(:'start', NULL, '{Running}');
CALL durable.purge_instance_history_batches(NULL);
CALL durable.purge_instance_history_batches(:'start', runtime_status => '{Terminated}');
CALL durable.purge_instance_history_batches(:'start', batch_size => 5);
CALL durable.purge_instance_history_batches(:'start');
SELECT runtime_status, count FROM durable.count_instances(created_time_from => :'start');

-- Only what one owns, or whose owner one is a member of.
CREATE ROLE regress_durable_purge_1 LOGIN;
CREATE ROLE regress_durable_purge_2 LOGIN;
CREATE ROLE regress_durable_purge_member LOGIN IN ROLE regress_durable_purge_1;
CREATE ROLE regress_durable_purge_monitor LOGIN IN ROLE pg_monitor;
SELECT durable.grant_usage(role)
  FROM unnest('{regress_durable_purge_1,regress_durable_purge_2,regress_durable_purge_member,regress_durable_purge_monitor}'::regrole[]) role;
SET ROLE regress_durable_purge_1;
SELECT count(durable.start_new('purge_one', instance_id => 'purge-o-' || i)) FROM generate_series(1, 3) i;
SELECT count(*) FROM generate_series(1, 3) i, durable.wait_for_completion('purge-o-' || i, '1 min');
SET ROLE regress_durable_purge_2;
SELECT durable.purge_instance_history('purge-o-1');
SELECT durable.purge_instance_history_by('-infinity');
CALL durable.purge_instance_history_batches('-infinity');
SET ROLE regress_durable_purge_monitor;
SELECT durable.purge_instance_history('purge-o-1');
SELECT durable.purge_instance_history_by('-infinity');
SET ROLE regress_durable_purge_member;
SELECT durable.purge_instance_history('purge-o-1');
SELECT durable.purge_instance_history_by('-infinity');
RESET ROLE;

SELECT durable.start_new('purge_spy', instance_id => 'purge-spy'), durable.start_new('purge_spy_by', instance_id => 'purge-spy-by');
SELECT s.failure ->> 'sqlstate' AS sqlstate, s.output FROM unnest('{purge-spy,purge-spy-by}'::text[]) id, durable.wait_for_completion(id, '1 min') s;
SELECT durable.terminate('purge-pending');
SELECT runtime_status FROM durable.wait_for_completion('purge-pending', '1 min');
SELECT durable.purge_instance_history_by('-infinity') > 0 AS some;
SELECT count(*) FROM durable_internal.history h WHERE NOT EXISTS (SELECT FROM durable_internal.instances i WHERE i.key = h.key);
SELECT * FROM durable_internal.violations;
SELECT durable.revoke_usage(role)
  FROM unnest('{regress_durable_purge_1,regress_durable_purge_2,regress_durable_purge_member,regress_durable_purge_monitor}'::regrole[]) role;
DROP ROLE regress_durable_purge_1, regress_durable_purge_2, regress_durable_purge_member, regress_durable_purge_monitor;
DROP FUNCTION purge_one, purge_fail, purge_wait, purge_child, purge_parent, purge_spy, purge_spy_by, purge_try, purge_until;
