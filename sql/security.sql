-- Roles that do not trust each other: each attempt to get at another's instances, rights or session.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_durable_alice LOGIN;
CREATE ROLE regress_durable_mallory LOGIN;
CREATE ROLE regress_durable_alices LOGIN IN ROLE regress_durable_alice;
CREATE ROLE regress_durable_watcher LOGIN IN ROLE pg_monitor;
SELECT durable.grant_usage(role)
  FROM unnest('{regress_durable_alice,regress_durable_mallory,regress_durable_alices,regress_durable_watcher}'::regrole[]) role;
CREATE SCHEMA security;
GRANT ALL ON SCHEMA security TO regress_durable_alice, regress_durable_mallory;
GRANT USAGE ON SCHEMA security TO regress_durable_watcher;
SET search_path = security;

-- The SQLSTATE of a statement, and its message with ids taken out, or what it returns.
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE statement INTO result;
    RETURN coalesce(result, 'null');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION echo(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION failing() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'alice''s secret'; END $$;
CREATE FUNCTION waiting() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('security.echo', '"alice''s secret"');
    PERFORM durable.create_timer('1 year'::interval);
    RETURN durable.wait_for_external_event('secret');
END
$$;
-- Runs activities, or SQL statements, one after the other, and says how each ended.
CREATE FUNCTION one_by_one(activities text[] DEFAULT '{}', statements text[] DEFAULT '{}') RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    results text[];
    what text;
BEGIN
    FOREACH what IN ARRAY activities LOOP
        BEGIN
            results := results || format('%s: %s', what, durable.call_activity(what) #>> '{}');
        EXCEPTION WHEN OTHERS THEN
            results := results || format('%s: %s %s', what, SQLSTATE, SQLERRM);
        END;
    END LOOP;
    FOREACH what IN ARRAY statements LOOP
        BEGIN
            results := results || format('%s: %s', what, durable.call_sql(what) -> 'rows' ->> 0);
        EXCEPTION WHEN OTHERS THEN
            results := results || format('%s: %s %s', what, SQLSTATE, SQLERRM);
        END;
    END LOOP;
    RETURN results;
END
$$;
-- What an instance came to.
CREATE FUNCTION outcome(id text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    status durable.orchestration_status := durable.wait_for_completion(id, '1 min');
BEGIN
    IF jsonb_typeof(status.output) = 'array' THEN
        RETURN QUERY SELECT jsonb_array_elements_text(status.output);
    ELSE
        RETURN NEXT coalesce(status.failure ->> 'sqlstate', status.runtime_status::text) || ' ' || (status.output #>> '{}');
    END IF;
END
$$;

-- 1. Another's instance looks like none, in every function and view.
SET ROLE regress_durable_alice;
SELECT durable.start_new('waiting', '"alice''s secret"', 'security-live', tags => '{"alice": "secret"}');
SELECT durable.start_new('failing', instance_id => 'security-failed');
SELECT durable.start_new('one_by_one', '{"activities": ["echo"]}', 'security-ended');
SELECT outcome('security-failed');
SELECT outcome('security-ended');
DO $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM durable.timers WHERE instance_id = 'security-live') LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
SET ROLE regress_durable_mallory;
CREATE TEMP TABLE call AS
SELECT oid::regprocedure AS function, proname,
       CASE prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT ' END || format('durable.%I(%%L', proname) ||
       CASE proname WHEN 'raise_event' THEN ', ''e''' WHEN 'set_custom_status' THEN ', ''1''' ELSE '' END || ')' AS call
  FROM pg_proc
 WHERE pronamespace = 'durable'::regnamespace AND proargnames[1] = 'instance_id' AND proargtypes[0] = 'text'::regtype
   AND (proargmodes IS NULL OR proargmodes[1] = 'i')
   -- of orchestrators
   AND proname NOT IN ('send_event');
-- The same for another's as for none, but for the name in the message.
SELECT c.function, attempt(format(call, 'security-none')) AS none
  FROM call c ORDER BY proname;
SELECT c.function, id, attempt(format(call, id)) AS other
  FROM call c, unnest('{live,failed,ended}'::text[]) state, concat('security-', state) id
 WHERE attempt(format(call, id)) <> replace(attempt(format(call, 'security-none')), 'security-none', id)
 ORDER BY 1, 2;
SELECT count(*) FROM durable.query_instances();
SELECT count(*) FROM durable.query_instances(instance_ids => '{security-live}');
SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'security', runtime_status => '{Failed,Running}');
SELECT * FROM durable.count_instances();
SELECT durable.purge_instance_history_by('-infinity');
SELECT c.relname, attempt(format('SELECT count(*) FROM durable.%I', relname))
  FROM pg_class c WHERE relnamespace = 'durable'::regnamespace AND relkind IN ('v', 'r') ORDER BY 1;
SELECT c.relname, attempt(format('SELECT count(*) FROM durable_internal.%I', relname))
  FROM pg_class c WHERE relnamespace = 'durable_internal'::regnamespace AND relkind IN ('v', 'r', 'S') ORDER BY 1;
-- A function in a condition of mallory's sees nothing of others; it is not even called for them.
CREATE FUNCTION pg_temp.spy(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE WARNING 'seen: %', t; RETURN true; END $$;
SELECT count(*) FROM durable.instances WHERE pg_temp.spy(instance_id);
SELECT count(*) FROM durable.history WHERE pg_temp.spy(instance_id);
SELECT count(*) FROM durable.activities WHERE pg_temp.spy(instance_id);
SELECT count(*) FROM durable.timers WHERE pg_temp.spy(instance_id);
SELECT count(*) FROM durable.workers WHERE pg_temp.spy(role::text);
-- What alice's workers do is not shown to mallory.
SELECT DISTINCT query FROM pg_stat_activity WHERE backend_type = 'durable worker' AND usename = 'regress_durable_alice';
-- An event from an orchestrator does not reach it either.
CREATE FUNCTION security.send() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.send_event('security-live', 'secret', '"mallory"');
    RETURN 'sent';
END
$$;
SELECT durable.start_new('send', instance_id => 'security-send');
SELECT outcome('security-send');
-- Nor does a sub-orchestration take its id.
CREATE FUNCTION security.usurp() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_sub_orchestrator('echo', '1', instance_id => 'security-ended');
END
$$;
SELECT durable.start_new('usurp', instance_id => 'security-usurp');
SELECT outcome('security-usurp');
SELECT attempt($$SELECT durable.start_new('echo', instance_id => 'security-ended')$$);
SELECT attempt($$SELECT durable.start_new('echo', instance_id => 'security-ended', dedupe_statuses => '{}')$$);
-- Nor does an event reach it as if it were a sub-orchestration, which it could not be; nor one that takes the id of another while the code runs.
CREATE FUNCTION security.send_to_child() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    child durable.task := durable.schedule_sub_orchestrator('echo', '1', instance_id => 'security-live');
BEGIN
    PERFORM durable.send_event('security-live', 'secret', '"mallory"');
    RETURN durable.await(child);
END
$$;
SELECT durable.start_new('send_to_child', instance_id => 'security-send-child');
SELECT outcome('security-send-child');
CREATE FUNCTION security.send_slowly() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.send_event('security-victim', 'secret', '"mallory"');
    PERFORM pg_advisory_lock(1701);
    RETURN 'sent';
END
$$;
SELECT durable.start_new('echo', instance_id => 'security-victim');
SELECT outcome('security-victim');
SELECT pg_advisory_lock(1701);
SELECT durable.start_new('send_slowly', instance_id => 'security-send-slowly');
DO $$
BEGIN
    -- where it runs alone; before that it is tried and undone
    WHILE NOT EXISTS (SELECT
                        FROM pg_locks l
                        JOIN durable.workers w ON w.pid = l.pid AND w.place = 'long'
                       WHERE l.locktype = 'advisory' AND l.objid = 1701 AND NOT l.granted) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
SELECT durable.purge_instance_history('security-victim');
SET ROLE regress_durable_alice;
SELECT durable.start_new('waiting', instance_id => 'security-victim');
SET ROLE regress_durable_mallory;
SELECT pg_advisory_unlock(1701);
SELECT outcome('security-send-slowly');
RESET ROLE;
SELECT count(*) FROM durable_internal.messages m JOIN durable_internal.instances i USING (key) WHERE i.instance_id IN ('security-live', 'security-victim');
SELECT count(*) FROM durable.history WHERE instance_id IN ('security-live', 'security-victim') AND event_type = 'EventRaised';
SELECT durable.terminate('security-victim');
SELECT outcome('security-victim');
SELECT durable.purge_instance_history('security-victim');
SET ROLE regress_durable_mallory;
DROP FUNCTION send, usurp, send_to_child, send_slowly;
-- Watchers read, and change nothing; members manage.
SET ROLE regress_durable_watcher;
SELECT instance_id, runtime_status, owner FROM durable.instances WHERE instance_id LIKE 'security-%' ORDER BY 1;
SELECT attempt(format('SELECT durable.%s', call))
  FROM unnest(ARRAY['terminate(''security-live'')', 'raise_event(''security-live'', ''secret'')', 'suspend(''security-live'')',
                    'resume(''security-live'')', 'rewind(''security-failed'')', 'restart(''security-ended'')',
                    'set_custom_status(''security-live'', ''1'')', 'purge_instance_history(''security-ended'')']) call;
SET ROLE regress_durable_alices;
SELECT durable.suspend('security-live'), durable.resume('security-live'), durable.rewind('security-failed'),
       durable.purge_instance_history('security-ended'), durable.raise_event('security-live', 'secret', '"for alice"');
SELECT outcome('security-live');
SELECT outcome('security-failed');
RESET ROLE;

-- 2. grant_usage is for those who own the extension; revoke_usage takes all of it back.
SET ROLE regress_durable_mallory;
SELECT attempt('SELECT durable.grant_usage(''regress_durable_mallory'')');
SELECT attempt('SELECT durable.revoke_usage(''regress_durable_alice'')');
RESET ROLE;
SELECT durable.revoke_usage('regress_durable_watcher');
SET ROLE regress_durable_watcher;
SELECT attempt('SELECT durable.start_new(''security.echo'')');
SELECT attempt('SELECT count(*) FROM durable.instances');
RESET ROLE;
SELECT pg_describe_object(classid, objid, objsubid)
  FROM pg_shdepend WHERE refobjid = 'regress_durable_watcher'::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database());

-- 3. Code runs as the owner, in a process that is connected as the owner.
CREATE TABLE secrets (secret text);
INSERT INTO secrets VALUES ('the superuser''s');
CREATE FUNCTION who() RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', current_user, session_user, current_setting('is_superuser')) $$;
CREATE FUNCTION who_plpgsql() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN security.who(); END $$;
CREATE FUNCTION orchestrate_who() RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY[security.who(), durable.call_activity('security.who') #>> '{}', durable.call_activity('security.who_plpgsql') #>> '{}',
                 durable.call_sql('SELECT security.who()') #>> '{rows,0,who}',
                 durable.call_sub_orchestrator('security.who') #>> '{}'];
END
$$;
SET ROLE regress_durable_mallory;
SELECT durable.start_new('orchestrate_who', instance_id => 'security-who');
SELECT outcome('security-who');
-- Gaining a role or its rights.
CREATE FUNCTION reset_role() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RESET ROLE; RETURN security.who(); END $$;
CREATE FUNCTION set_role() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SET ROLE regress_durable_alice'; RETURN security.who(); END $$;
CREATE FUNCTION set_role_none() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SET ROLE none'; RETURN security.who(); END $$;
CREATE FUNCTION set_authorization() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SET SESSION AUTHORIZATION regress_durable_alice'; RETURN security.who(); END $$;
CREATE FUNCTION reset_authorization() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RESET SESSION AUTHORIZATION; RETURN security.who(); END $$;
CREATE FUNCTION config_authorization() RETURNS text LANGUAGE sql AS $$ SELECT set_config('session_authorization', 'postgres', false) $$;
CREATE FUNCTION read_secrets() RETURNS text LANGUAGE sql AS $$ SELECT secret FROM security.secrets $$;
CREATE FUNCTION read_engine() RETURNS text LANGUAGE sql AS $$ SELECT count(*)::text FROM durable_internal.instances $$;
CREATE FUNCTION write_engine() RETURNS text LANGUAGE plpgsql AS $$ BEGIN UPDATE durable_internal.instances SET owner = 10; RETURN 'done'; END $$;
CREATE FUNCTION read_file() RETURNS text LANGUAGE sql AS $$ SELECT pg_read_file('PG_VERSION') $$;
CREATE FUNCTION replication_role() RETURNS text LANGUAGE sql AS $$ SELECT set_config('session_replication_role', 'replica', false) $$;
SELECT durable.start_new('one_by_one', instance_id => 'security-gain', input => '{
    "activities": ["reset_role", "who", "set_role", "who", "set_role_none", "who", "set_authorization", "who", "reset_authorization", "who",
                   "config_authorization", "read_secrets", "read_engine", "write_engine", "read_file", "replication_role"],
    "statements": ["RESET ROLE", "SET ROLE regress_durable_alice", "SET SESSION AUTHORIZATION postgres", "RESET SESSION AUTHORIZATION",
                   "SELECT security.who()", "SET session_replication_role = replica", "SELECT secret FROM security.secrets",
                   "COPY security.secrets TO PROGRAM ''cat''", "ALTER ROLE regress_durable_mallory SUPERUSER",
                   "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION security.f()", "LOAD ''$libdir/plpgsql''"]}');
-- servers word the refusal of these two differently
SELECT regexp_replace(outcome('security-gain'), '^((COPY|ALTER ROLE).*: 42501) .*', '\1') AS outcome;
-- A member may become the role it is a member of; the next activity is itself again.
SET ROLE regress_durable_alices;
SELECT durable.start_new('security.one_by_one', instance_id => 'security-member', input => '{"activities": ["security.set_role", "security.who"]}');
SELECT outcome('security-member');
-- SECURITY DEFINER functions do what they always do.
RESET ROLE;
CREATE FUNCTION defined() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT current_user = 'postgres' AND session_user = 'regress_durable_mallory' $$;
CREATE FUNCTION defined_start() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = security
    AS $$ SELECT durable.start_new('who', instance_id => 'security-defined') $$;
ALTER FUNCTION defined() OWNER TO regress_durable_alice;
ALTER FUNCTION defined_start() OWNER TO regress_durable_alice;
CREATE OR REPLACE FUNCTION defined() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT security.who() $$;
SET ROLE regress_durable_mallory;
SELECT durable.start_new('one_by_one', '{"activities": ["defined", "who"]}', 'security-definer');
SELECT outcome('security-definer');
-- An instance that one starts belongs to its owner.
SELECT defined_start();
SELECT durable.get_status('security-defined') IS NULL AS none;
SET ROLE regress_durable_alice;
SELECT outcome('security-defined');

-- 4. Deferred constraint triggers run as the owner of the instance, inside the activity that fires them.
SET ROLE regress_durable_mallory;
CREATE TABLE deferred (n int, who text);
CREATE TABLE log (who text);
CREATE FUNCTION check_deferred() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.n < 0 THEN
        RAISE check_violation USING MESSAGE = 'negative, says ' || security.who();
    END IF;
    INSERT INTO security.log VALUES (security.who());
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION check_deferred();
CREATE FUNCTION insert_good() RETURNS text LANGUAGE sql AS $$ INSERT INTO security.deferred VALUES (1) RETURNING 'good' $$;
CREATE FUNCTION insert_bad() RETURNS text LANGUAGE sql AS $$ INSERT INTO security.deferred VALUES (-1) RETURNING 'bad' $$;
CREATE FUNCTION insert_as_deferred() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO security.deferred VALUES (-2);
    RETURN 'deferred again';
END
$$;
SELECT durable.start_new('one_by_one', '{"activities": ["insert_good", "insert_bad", "insert_good", "insert_as_deferred", "insert_good"]}', 'security-deferred');
-- beside others of the same role, which share its transactions
SELECT count(durable.start_new('one_by_one', '{"activities": ["insert_good", "who"]}', 'security-beside-' || n)) FROM generate_series(1, 5) n;
SELECT outcome('security-deferred');
SELECT DISTINCT outcome('security-beside-' || n) FROM generate_series(1, 5) n;
SELECT n, count(*) FROM deferred GROUP BY 1;
SELECT who, count(*) FROM log GROUP BY 1;
-- Alice is the one who fires a trigger that mallory has laid on a table of his.
GRANT INSERT ON deferred TO regress_durable_alice;
GRANT INSERT ON log TO regress_durable_alice;
SET ROLE regress_durable_alice;
SELECT durable.start_new('one_by_one', '{"statements": ["INSERT INTO security.deferred VALUES (3)", "INSERT INTO security.deferred VALUES (-3)", "SELECT security.who()"]}', 'security-fired');
SELECT outcome('security-fired');

-- 5. A hostile search_path: functions, operators, casts and types that shadow the engine's do not meet its own work.
RESET ROLE;
CREATE SCHEMA hostile AUTHORIZATION regress_durable_mallory;
SET ROLE regress_durable_mallory;
CREATE FUNCTION hostile.trap(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE FUNCTION hostile.trap(a int, b int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE FUNCTION hostile.trap(a jsonb, b jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE FUNCTION hostile.trap(a timestamptz, b timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE TABLE security.trapped (who name, session name);
GRANT INSERT ON security.trapped TO PUBLIC;
CREATE OPERATOR hostile.= (FUNCTION = hostile.trap, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR hostile.= (FUNCTION = hostile.trap, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR hostile.<> (FUNCTION = hostile.trap, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR hostile.= (FUNCTION = hostile.trap, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE OPERATOR hostile.@> (FUNCTION = hostile.trap, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE OPERATOR hostile.<= (FUNCTION = hostile.trap, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE OPERATOR hostile.> (FUNCTION = hostile.trap, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN 'epoch'; END $$;
CREATE FUNCTION hostile.pg_has_role(oid, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE FUNCTION hostile.pg_has_role(regrole, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE FUNCTION hostile.pg_has_role(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN true; END $$;
CREATE FUNCTION hostile.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN 'trapped'; END $$;
CREATE FUNCTION hostile.jsonb_build_object(VARIADIC text[]) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN '{}'; END $$;
CREATE FUNCTION hostile.to_jsonb(anyelement) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN '1'; END $$;
CREATE FUNCTION hostile.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN 'x'; END $$;
CREATE FUNCTION hostile.quote_ident(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO security.trapped VALUES (current_user, session_user); RETURN 'x'; END $$;
CREATE DOMAIN hostile.jsonb AS pg_catalog.jsonb CHECK (hostile.trap(1, 1));
CREATE DOMAIN hostile.text AS pg_catalog.text CHECK (hostile.trap(1, 1));
CREATE TYPE hostile.runtime_status AS ENUM ('Mine');
CREATE TABLE hostile.instances (a int);
CREATE TABLE hostile.history (a int);
CREATE FUNCTION hostile.plain() RETURNS pg_catalog.text LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM durable.wait_for_external_event('E', '1 min');
    PERFORM durable.sleep('1 ms');
    PERFORM durable.call_activity('security.echo', '1', durable.retry_policy(), '1 min');
    PERFORM durable.call_sql('SELECT $1::pg_catalog.int4', '[1]');
    PERFORM durable.call_sub_orchestrator('security.echo', '1');
    RETURN 'done';
END
$$;
SET search_path = hostile, security, pg_catalog;
SELECT durable.start_new('plain', instance_id => 'security-path', tags => '{"a": 1}');
SELECT durable.raise_event('security-path', 'e');
SELECT durable.set_custom_status('security-path', '1');
SELECT (durable.wait_for_completion('security-path', '1 min')).runtime_status;
SELECT (durable.get_status('security-path', true, true)).runtime_status;
SELECT count(*) FROM durable.query_instances(name => 'plain', tags => '{"a": 1}', created_time_from => '-infinity');
SELECT * FROM durable.count_instances(name => 'plain');
SELECT count(*) > 5 FROM durable.history WHERE instance_id OPERATOR(pg_catalog.=) 'security-path';
SELECT count(*) > 5 FROM durable.explain('security-path');
SELECT jsonb_typeof(durable.create_check_status_response('security-path')::pg_catalog.jsonb);
SELECT durable.purge_instance_history('security-path');
SET search_path = security;
SELECT * FROM trapped;
-- A hostile path of the role itself, its operators and all, in its workers and in a client with more rights.
RESET ROLE;
ALTER ROLE regress_durable_mallory SET search_path = hostile, security, pg_catalog;
SELECT bool_and(pg_terminate_backend(pid, 5000)) IS NOT FALSE AS ended FROM durable.workers WHERE role = 'regress_durable_mallory'::regrole AND pid IS NOT NULL;
SET ROLE regress_durable_mallory;
SELECT durable.start_new('hostile.plain', instance_id => 'security-role-path');
SELECT durable.raise_event('security-role-path', 'e');
SELECT outcome('security-role-path');
SELECT * FROM trapped;
RESET ROLE;
SET search_path = hostile, security, pg_catalog;
SELECT instance_id FROM durable.query_instances(instance_ids => '{security-role-path}');
SELECT durable.restart('security-role-path', false);
SELECT durable.terminate('security-role-path');
SELECT (durable.wait_for_completion('security-role-path', '1 min')).runtime_status;
SET search_path = security;
SELECT * FROM trapped;
ALTER ROLE regress_durable_mallory RESET search_path;

-- 6. A function in pg_temp is not found by name, and no other process sees it.
SET ROLE regress_durable_mallory;
CREATE FUNCTION pg_temp.passing() RETURNS text LANGUAGE sql AS $$ SELECT 'pg_temp' $$;
CREATE FUNCTION pg_temp.echo(x jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'pg_temp' $$;
SELECT attempt($$SELECT durable.start_new('passing')$$);
SELECT attempt($$SELECT durable.start_new('pg_temp.passing', instance_id => 'security-temp')$$) !~ 'XX000' AS refused_or_fails;
SELECT durable.start_new('one_by_one', '{"activities": ["passing", "pg_temp.passing", "echo"],
    "statements": ["CREATE FUNCTION pg_temp.echo(x jsonb) RETURNS text LANGUAGE sql AS ''SELECT ''''temporary''''''", "SELECT to_regproc(''pg_temp.echo'') IS NULL AS gone", "SELECT security.echo(''1'')"]}', 'security-temporary');
SELECT outcome('security-temporary');

-- 7. Nothing of a session passes from one task to the next.
CREATE SEQUENCE counter;
CREATE FUNCTION leave_guc() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET work_mem = '1234kB';
    SET search_path = nowhere;
    SET my.secret = 'left';
    PERFORM set_config('my.other', 'left', false);
    SET default_transaction_read_only = on;
    SET statement_timeout = '1 h';
    SET TIME ZONE 'Asia/Tokyo';
    RETURN 'left';
END
$$;
CREATE FUNCTION find_guc() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', current_setting('work_mem') <> '1234kB', current_setting('search_path'), coalesce(nullif(current_setting('my.secret', true), ''), 'none'),
                     coalesce(nullif(current_setting('my.other', true), ''), 'none'), current_setting('transaction_read_only'),
                     current_setting('statement_timeout'), current_setting('timezone') <> 'Asia/Tokyo')
$$;
CREATE FUNCTION leave_temp() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE left_behind (a int);
    CREATE TEMP TABLE secrets AS SELECT 'mine' AS secret;
    CREATE TEMP SEQUENCE left_sequence;
    CREATE TYPE pg_temp.left_type AS (a int);
    RETURN 'left';
END
$$;
CREATE FUNCTION find_temp() RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(relname, ' '), 'none') FROM pg_class WHERE relnamespace = pg_my_temp_schema()
$$;
CREATE FUNCTION leave_prepared() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'PREPARE left_statement AS SELECT 1';
    EXECUTE 'DECLARE left_cursor CURSOR WITH HOLD FOR SELECT security.who()';
    EXECUTE 'DECLARE left_open CURSOR FOR SELECT 1';
    RETURN 'left';
END
$$;
CREATE FUNCTION find_prepared() RETURNS text LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM pg_prepared_statements) || ' ' || (SELECT count(*) FROM pg_cursors WHERE name LIKE 'left%')
$$;
CREATE FUNCTION leave_locks() RETURNS text LANGUAGE sql AS $$ SELECT 'left' FROM pg_advisory_lock(815) a, pg_advisory_lock_shared(816) b, pg_advisory_lock(8, 15) c $$;
CREATE FUNCTION find_locks() RETURNS text LANGUAGE sql AS $$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND (objid IN (815, 816) OR classid = 8) $$;
CREATE FUNCTION leave_sequence() RETURNS text LANGUAGE sql AS $$ SELECT 'left' FROM nextval('security.counter') $$;
CREATE FUNCTION find_sequence() RETURNS text LANGUAGE sql AS $$ SELECT currval('security.counter') $$;
CREATE FUNCTION leave_listen() RETURNS text LANGUAGE plpgsql AS $$ BEGIN LISTEN left_channel; RETURN 'left'; END $$;
CREATE FUNCTION find_listen() RETURNS text LANGUAGE sql AS $$ SELECT count(*) FROM pg_listening_channels() $$;
CREATE FUNCTION leave_random() RETURNS text LANGUAGE sql AS $$ SELECT 'left' FROM setseed(0.5) $$;
CREATE FUNCTION leave_and_fail() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM security.leave_locks(), security.leave_guc(), security.leave_prepared(), security.leave_sequence();
    RAISE EXCEPTION 'after all';
END
$$;
SELECT durable.start_new('one_by_one', instance_id => 'security-session', input => '{
    "activities": ["find_guc", "leave_guc", "find_guc", "leave_temp", "find_temp", "leave_temp", "find_temp", "leave_prepared", "find_prepared", "leave_prepared",
                   "leave_locks", "find_locks", "leave_sequence", "find_sequence", "leave_listen", "find_listen", "leave_random",
                   "leave_and_fail", "find_guc", "find_locks", "find_prepared", "find_sequence"],
    "statements": ["SET work_mem = ''1234kB''", "CREATE TEMP TABLE left_behind AS SELECT 1 AS a", "SELECT a FROM left_behind", "PREPARE left_statement AS SELECT 1", "EXECUTE left_statement",
                   "SELECT pg_advisory_lock(815)::text", "LISTEN left_channel", "DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1", "FETCH left_cursor",
                   "SELECT security.find_guc(), security.find_temp(), security.find_prepared(), security.find_locks(), security.find_listen()"]}');
SELECT outcome('security-session');
-- Nor from an orchestrator.
CREATE FUNCTION leave_from_orchestrator() RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('my.secret', 'left', false), pg_advisory_lock(815);
    PERFORM durable.call_activity('security.echo');
    RETURN ARRAY[durable.call_activity('security.find_guc') #>> '{}', durable.call_activity('security.find_locks') #>> '{}'];
END
$$;
SELECT durable.start_new('leave_from_orchestrator', instance_id => 'security-leave');
SELECT outcome('security-leave');
SELECT count(*) AS locks_left FROM pg_locks WHERE locktype = 'advisory' AND objid IN (815, 816);

-- 8. Row-level security of the user's tables, and the role's settings.
RESET ROLE;
CREATE TABLE accounts (owner name, amount int);
INSERT INTO accounts VALUES ('regress_durable_alice', 100), ('regress_durable_mallory', 1);
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts USING (owner = current_user);
GRANT ALL ON accounts TO regress_durable_alice, regress_durable_mallory;
CREATE FUNCTION balance() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(amount) FROM security.accounts $$;
CREATE FUNCTION take_all() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL row_security = off;
    RETURN (SELECT sum(amount) FROM security.accounts);
END
$$;
CREATE FUNCTION read_settings() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', current_setting('work_mem'), current_setting('statement_timeout'), current_setting('transaction_isolation'),
                     current_setting('transaction_read_only'), current_setting('transaction_deferrable'))
$$;
CREATE FUNCTION too_long() RETURNS text LANGUAGE sql AS $$ SELECT 'slept' FROM pg_sleep(60) $$;
CREATE FUNCTION write_something() RETURNS text LANGUAGE sql AS $$ INSERT INTO security.log VALUES ('written') RETURNING 'written' $$;
SET ROLE regress_durable_mallory;
SELECT durable.start_new('one_by_one', '{"activities": ["balance", "take_all"]}', 'security-rls');
SELECT outcome('security-rls');
RESET ROLE;
ALTER ROLE regress_durable_alice SET work_mem = '2345kB';
ALTER ROLE regress_durable_alice SET statement_timeout = '700ms';
ALTER ROLE regress_durable_alice SET default_transaction_isolation = 'serializable';
ALTER ROLE regress_durable_alice SET default_transaction_deferrable = on;
SELECT bool_and(pg_terminate_backend(pid, 5000)) IS NOT FALSE AS ended FROM durable.workers WHERE role = 'regress_durable_alice'::regrole AND pid IS NOT NULL;
SET ROLE regress_durable_alice;
SELECT durable.start_new('one_by_one', '{"activities": ["balance", "read_settings"]}', 'security-settings');
SELECT durable.start_new('one_by_one', '{"activities": ["too_long"]}', 'security-timeout');
SELECT outcome('security-settings');
SELECT outcome('security-timeout');
RESET ROLE;
ALTER ROLE regress_durable_alice SET default_transaction_read_only = on;
GRANT INSERT, SELECT ON log TO regress_durable_alice;
SELECT bool_and(pg_terminate_backend(pid, 5000)) IS NOT FALSE AS ended FROM durable.workers WHERE role = 'regress_durable_alice'::regrole AND pid IS NOT NULL;
SET ROLE regress_durable_alice;
SELECT durable.start_new('one_by_one', '{"activities": ["balance", "read_settings", "write_something"]}', 'security-read-only');
SELECT outcome('security-read-only');
RESET ROLE;
ALTER ROLE regress_durable_alice RESET ALL;
-- Settings of a role that the engine would stumble over.
ALTER ROLE regress_durable_mallory SET row_security = off;
ALTER ROLE regress_durable_mallory SET lock_timeout = '1ms';
ALTER ROLE regress_durable_mallory SET role = 'regress_durable_alice';
ALTER ROLE regress_durable_mallory SET session_preload_libraries = 'no_such_library';
ALTER ROLE regress_durable_mallory SET DateStyle = 'German';
ALTER ROLE regress_durable_mallory SET quote_all_identifiers = on;
ALTER ROLE regress_durable_mallory SET check_function_bodies = off;
SELECT bool_and(pg_terminate_backend(pid, 5000)) IS NOT FALSE AS ended FROM durable.workers WHERE role = 'regress_durable_mallory'::regrole AND pid IS NOT NULL;
SET ROLE regress_durable_mallory;
SELECT durable.start_new('one_by_one', '{"activities": ["who", "echo"]}', 'security-odd-settings');
SELECT outcome('security-odd-settings');
RESET ROLE;
ALTER ROLE regress_durable_mallory RESET ALL;

-- Nothing is left behind.
SELECT * FROM durable_internal.violations;
SELECT bool_and(pg_terminate_backend(pid, 5000)) IS NOT FALSE AS ended FROM durable.workers WHERE role::text LIKE 'regress_durable_%' AND pid IS NOT NULL;
SELECT count(*) > 0 AS purged FROM durable.instances i, durable.purge_instance_history(i.instance_id)
 WHERE i.instance_id LIKE 'security-%' AND i.runtime_status IN ('Completed', 'Failed', 'Terminated');
RESET search_path;
DROP TABLE pg_temp.call;
DROP SCHEMA hostile, security CASCADE;
SELECT durable.revoke_usage(role) FROM unnest('{regress_durable_alice,regress_durable_mallory,regress_durable_alices}'::regrole[]) role;
DROP OWNED BY regress_durable_alice, regress_durable_mallory, regress_durable_alices, regress_durable_watcher;
DROP ROLE regress_durable_alice, regress_durable_mallory, regress_durable_alices, regress_durable_watcher;
