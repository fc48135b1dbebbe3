-- Running an orchestration again.
\set VERBOSITY terse
CREATE ROLE regress_durable_restart LOGIN;
CREATE ROLE regress_durable_restart_other LOGIN;
CREATE ROLE regress_durable_restart_monitor LOGIN IN ROLE pg_monitor;
SELECT durable.grant_usage(role) FROM unnest('{regress_durable_restart,regress_durable_restart_other,regress_durable_restart_monitor}'::regrole[]) role;
CREATE SCHEMA restart_schema AUTHORIZATION regress_durable_restart;
SET ROLE regress_durable_restart;
SET search_path = restart_schema;
CREATE TABLE calls (id int GENERATED ALWAYS AS IDENTITY, who text, path text);
CREATE FUNCTION note(x jsonb) RETURNS jsonb LANGUAGE sql AS $$
    INSERT INTO restart_schema.calls (who, path) VALUES (current_user, current_setting('search_path')); SELECT x $$;
CREATE FUNCTION restarted(x jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('x', durable.call_activity('note', x), 'version', durable.instance_version(), 'tags', durable.instance_tags()) $$;
CREATE FUNCTION restart_wait() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
CREATE FUNCTION restart_again(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF n < 2 THEN PERFORM durable.continue_as_new(to_jsonb(n + 1), version => 'v' || n); END IF;
    RETURN n;
END $$;
CREATE FUNCTION restart_parent() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.call_sub_orchestrator('restarted', '"from parent"', 'restart-child') $$;
CREATE FUNCTION restart_spy() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.restart('restart-1'); END $$;
SELECT durable.start_new('restarted', '{"n": 1}', 'restart-1', version => 'v1', tags => '{"k": "v"}');
SELECT output FROM durable.wait_for_completion('restart-1', '1 min');

-- As another role of the same rights, with another search_path: the same instance comes of it.
RESET ROLE;
RESET search_path;
SELECT durable.restart('restart-1') AS id \gset
SELECT :'id' ~ '^[0-9a-f]{32}$' AS made;
SELECT name, function, version, input, output, tags, owner, parent_instance_id, scheduled_start_time FROM durable.wait_for_completion(:'id', '1 min');
SELECT runtime_status FROM durable.get_status('restart-1');
SELECT * FROM restart_schema.calls ORDER BY id;

-- Under its own id.
SELECT execution_id FROM durable.get_status('restart-1') \gset
SELECT durable.restart('restart-1', false);
SELECT output, owner, execution_id <> :'execution_id' AS another FROM durable.wait_for_completion('restart-1', '1 min');
SELECT count(*) FROM restart_schema.calls;
SELECT count(*) FROM durable.history WHERE instance_id = 'restart-1' AND event_type = 'ExecutionStarted';
BEGIN;
SELECT durable.restart('restart-1', false);
ROLLBACK;
SELECT runtime_status FROM durable.get_status('restart-1');

-- The function is found again.
SET ROLE regress_durable_restart;
CREATE OR REPLACE FUNCTION restart_schema.restarted(x jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"new code"'::jsonb $$;
SELECT durable.restart('restart-1', false);
SELECT output FROM durable.wait_for_completion('restart-1', '1 min');
DROP FUNCTION restart_schema.restarted;
SELECT durable.restart('restart-1', false);
SELECT runtime_status FROM durable.get_status('restart-1');
CREATE FUNCTION restart_schema.restarted(n int) RETURNS int LANGUAGE sql AS $$ SELECT n * 2 $$;
SELECT durable.restart('restart-1') AS id \gset
SELECT function, output FROM durable.wait_for_completion(:'id', '1 min');
SELECT durable.restart(durable.start_new('restart_schema.restarted', '[4]')) AS id \gset
SELECT function, output FROM durable.wait_for_completion(:'id', '1 min');
-- Its owner must still be able to run it.
RESET ROLE;
REVOKE EXECUTE ON FUNCTION restart_schema.restarted FROM PUBLIC, regress_durable_restart;
ALTER FUNCTION restart_schema.restarted OWNER TO CURRENT_USER;
REVOKE EXECUTE ON FUNCTION restart_schema.restarted FROM PUBLIC, regress_durable_restart;
SELECT durable.restart('restart-1');
GRANT EXECUTE ON FUNCTION restart_schema.restarted TO regress_durable_restart;

-- Live ones only under a new id.
SET ROLE regress_durable_restart;
SET search_path = restart_schema;
SELECT durable.start_new('restart_wait', instance_id => 'restart-live');
SELECT durable.start_new('restart_wait', instance_id => 'restart-later', start_at => '2999-01-01');
SELECT durable.restart('restart-later', false);
SELECT durable.terminate('restart-later');
SELECT runtime_status FROM durable.wait_for_completion('restart-later', '1 min');
SELECT durable.restart('restart-live') AS id \gset
SELECT durable.raise_event(id, 'go', to_jsonb(n)) FROM unnest(ARRAY['restart-live', :'id']) WITH ORDINALITY t (id, n);
SELECT output FROM unnest(ARRAY['restart-live', :'id']) WITH ORDINALITY t (id, n), durable.wait_for_completion(id, '1 min') ORDER BY n;
-- One that has ended by termination or failure, one that has continued as new, a sub-orchestration.
SELECT durable.start_new('restart_wait', instance_id => 'restart-terminated');
SELECT durable.terminate('restart-terminated');
SELECT runtime_status FROM durable.wait_for_completion('restart-terminated', '1 min');
SELECT durable.restart('restart-terminated', false);
SELECT durable.raise_event('restart-terminated', 'go', '"again"');
SELECT output FROM durable.wait_for_completion('restart-terminated', '1 min');
SELECT durable.start_new('restart_again', '0', 'restart-again');
SELECT version, output FROM durable.wait_for_completion('restart-again', '1 min');
SELECT durable.restart('restart-again', false);
SELECT version, input, output FROM durable.wait_for_completion('restart-again', '1 min');
CREATE OR REPLACE FUNCTION restart_schema.restart_child(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE OR REPLACE FUNCTION restart_schema.restart_parent() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.call_sub_orchestrator('restart_child', '"from parent"', 'restart-child') $$;
SELECT durable.start_new('restart_parent', instance_id => 'restart-parent');
SELECT output FROM durable.wait_for_completion('restart-parent', '1 min');
SELECT parent_instance_id FROM durable.get_status('restart-child');
SELECT durable.restart('restart-child', false);
SELECT parent_instance_id, output FROM durable.wait_for_completion('restart-child', '1 min');
SELECT durable.restart('restart-parent', false);
SELECT output FROM durable.wait_for_completion('restart-parent', '1 min');
SELECT count(*) FROM durable.instances WHERE instance_id LIKE 'restart-child%';

-- What is refused.
SELECT durable.restart(NULL);
SELECT durable.restart('restart-1', NULL);
SELECT durable.restart('restart-none');
SET ROLE regress_durable_restart_other;
SELECT durable.restart('restart-1');
SET ROLE regress_durable_restart_monitor;
SELECT durable.restart('restart-1');
SET ROLE regress_durable_restart;
SELECT durable.start_new('restart_spy', instance_id => 'restart-spy');
SELECT failure ->> 'sqlstate' AS sqlstate FROM durable.wait_for_completion('restart-spy', '1 min');

-- What the owner's code does when its input is checked, it does as the owner.
CREATE FUNCTION restart_schema.spy(v text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% checks %', current_user, v;
    RETURN true;
END $$;
CREATE DOMAIN restart_schema.checked AS text CHECK (restart_schema.spy(VALUE));
CREATE FUNCTION restart_schema.restart_domain(d restart_schema.checked) RETURNS text LANGUAGE sql AS 'SELECT d';
SELECT durable.start_new('restart_domain', '"x"', 'restart-domain');
SELECT output FROM durable.wait_for_completion('restart-domain', '1 min');
RESET ROLE;
SELECT durable.restart('restart-domain', false);
SELECT output FROM durable.wait_for_completion('restart-domain', '1 min');
RESET search_path;
SHOW search_path;

DO $$ BEGIN PERFORM durable.purge_instance_history_by('-infinity'); END $$;
SELECT * FROM durable.count_instances(instance_id_prefix => 'restart');
SELECT * FROM durable_internal.violations;
SELECT durable.revoke_usage(role) FROM unnest('{regress_durable_restart,regress_durable_restart_other,regress_durable_restart_monitor}'::regrole[]) role;
SET client_min_messages = warning;
DROP SCHEMA restart_schema CASCADE;
DROP ROLE regress_durable_restart, regress_durable_restart_other, regress_durable_restart_monitor;
