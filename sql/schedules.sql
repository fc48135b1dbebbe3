-- Schedules, with the real pg_cron: jobs are run as it runs them, as their role.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_cron') AS missing \gset
\if :missing
\quit
\endif
CREATE ROLE regress_schedule LOGIN;
CREATE ROLE regress_schedule_other LOGIN;
SELECT durable.grant_usage('regress_schedule'), durable.grant_usage('regress_schedule_other');
CREATE SCHEMA schedule_functions;
GRANT USAGE ON SCHEMA schedule_functions TO regress_schedule;
CREATE FUNCTION schedule_functions.schedule_wait(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.wait_for_external_event('go');
END
$$;
CREATE FUNCTION schedule_who() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN durable.call_activity(''schedule_user''); END';
CREATE FUNCTION schedule_user() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
-- Does what pg_cron does for the job of a schedule.
CREATE FUNCTION schedule_job(scheduled text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    command text;
    role name;
    result text;
BEGIN
    SELECT j.command, j.username INTO STRICT command, role FROM cron.job j WHERE j.jobname = 'durable: ' || scheduled;
    EXECUTE format('SET LOCAL ROLE %I', role);
    SET LOCAL search_path = pg_catalog;
    EXECUTE command INTO result;
    RETURN result;
END
$$;

-- pg_cron is not there.
\set VERBOSITY default
SELECT durable.schedule('nightly', '0 3 * * *', 'schedule_who');
\set VERBOSITY terse
SELECT durable.schedule_purge('30 days', '0 3 * * *');
SELECT durable.unschedule('nightly');
CREATE EXTENSION pg_cron;
SET ROLE regress_schedule;
\set VERBOSITY default
SELECT durable.schedule('nightly', '0 3 * * *', 'schedule_who');
\set VERBOSITY terse
RESET ROLE;
GRANT USAGE ON SCHEMA cron TO regress_schedule, regress_schedule_other;
SET ROLE regress_schedule;

-- Arguments.
SELECT durable.schedule(NULL, '0 3 * * *', 'schedule_who');
SELECT durable.schedule('', '0 3 * * *', 'schedule_who');
SELECT durable.schedule('nightly', 'at noon', 'schedule_who');
SELECT durable.schedule('nightly', '0 3 * * *', 'no_such_function');
SELECT durable.schedule('nightly', '0 3 * * *', 'schedule_who', '{"a": 1}', tags => '[]');
SELECT durable.schedule_purge('-1 day', '0 3 * * *');
SELECT durable.schedule_purge('1 day', '0 3 * * *', runtime_status => '{Running}');
SELECT durable.schedule_purge('1 day', '0 3 * * *', batch_size => 0);
SELECT durable.unschedule(NULL);
SELECT durable.run_schedule('nightly');
SELECT count(*) AS stored FROM durable.schedules;
SELECT count(*) AS jobs FROM cron.job;
SELECT count(*) AS started FROM durable.instances;

-- A schedule, its job, and its runs: one at a time.
SET search_path = schedule_functions, public;
SELECT durable.schedule('it''s hourly', '7 * * * *', 'schedule_wait', '{"n": 1}', version => 'v1', tags => '{"k": "v"}') IS NOT NULL AS job;
RESET search_path;
SELECT schedule_name, owner, cron_expression, name, input, version, tags, allow_overlap, search_path, last_run_time FROM durable.schedules;
SELECT schedule, command, username, jobname, jobid = (SELECT job_id FROM durable.schedules) AS same FROM cron.job;
RESET ROLE;
SELECT schedule_job('it''s hourly') AS first \gset
SELECT name, function, version, input, tags, owner FROM durable.instances WHERE instance_id = :'first';
SELECT schedule_job('it''s hourly') IS NULL AS skipped;
SELECT last_instance_id = :'first' AS last, last_run_time IS NOT NULL AS run, last_skipped_time IS NOT NULL AS skipped FROM durable.schedules;
SELECT durable.suspend(:'first');
SELECT schedule_job('it''s hourly') IS NULL AS skipped;
SELECT durable.terminate(:'first');
SELECT runtime_status FROM durable.wait_for_completion(:'first');
SELECT schedule_job('it''s hourly') AS second \gset
SELECT :'first' <> :'second' AS another;

-- With overlap.
SET ROLE regress_schedule;
SELECT durable.schedule('it''s hourly', '8 * * * *', 'schedule_functions.schedule_wait', allow_overlap => true) = job_id AS same FROM durable.schedules;
SELECT schedule_name, cron_expression, name, input, allow_overlap, last_instance_id = :'second' AS last FROM durable.schedules;
RESET ROLE;
SELECT schedule_job('it''s hourly') <> :'second' AS another;
SELECT schedule_job('it''s hourly') <> :'second' AS another;
SELECT count(*) FROM durable.instances WHERE tags @> '{"schedule": "it''s hourly"}' AND runtime_status IN ('Pending', 'Running');

-- As whom it runs; the name is free for every role.
SET ROLE regress_schedule;
SELECT durable.schedule('who', '0 0 1 1 *', 'schedule_who') IS NOT NULL AS job;
SET ROLE regress_schedule_other;
SELECT count(*) AS seen FROM durable.schedules;
SELECT durable.unschedule('who');
SELECT durable.run_schedule('who');
UPDATE durable.schedules SET name = 'x';
INSERT INTO durable.schedules (schedule_name, owner_name, cron_expression, name, search_path) VALUES ('x', 'regress_schedule', '* * * * *', 'x', '');
SELECT durable.schedule('it''s hourly', '9 * * * *', 'public.schedule_who') IS NOT NULL AS job;
SELECT schedule_name, owner FROM durable.schedules;
SELECT durable.unschedule('it''s hourly');
RESET ROLE;
SELECT schedule_job('who') AS who \gset
SELECT runtime_status, output, owner FROM durable.wait_for_completion(:'who');
SELECT schedule_name, owner FROM durable.schedules ORDER BY 1, 2;

-- A function that goes away, and a schedule that does, fail in pg_cron's job.
DROP FUNCTION schedule_who();
SELECT schedule_job('who');
DELETE FROM durable.schedules WHERE schedule_name = 'who';
SELECT schedule_job('who');
SET ROLE regress_schedule;
SELECT durable.unschedule('who') AS job_removed;
SELECT durable.unschedule('who');
SELECT jobname FROM cron.job;

-- Rollback.
BEGIN;
SELECT durable.schedule('rolled back', '0 3 * * *', 'public.schedule_user') IS NOT NULL AS job;
ROLLBACK;
SELECT count(*) FROM cron.job WHERE jobname LIKE '%rolled%';

-- Purges.
SELECT durable.schedule_purge('0', '0 4 * * *') IS NOT NULL AS job;
SELECT schedule_name, name, retention, runtime_status, batch_size FROM durable.schedules WHERE schedule_name = 'purge';
SELECT command FROM cron.job WHERE jobname = 'durable: purge';
SELECT command AS purge FROM cron.job WHERE jobname = 'durable: purge' \gset
SELECT count(*) AS ended FROM durable.instances WHERE runtime_status IN ('Completed', 'Terminated');
:purge;
SELECT count(*) AS ended FROM durable.instances WHERE runtime_status IN ('Completed', 'Terminated');
SELECT count(*) > 0 AS live FROM durable.instances;
SELECT durable.run_schedule('purge') IS NULL AS nothing_started;
-- The same name for an orchestration.
SELECT durable.schedule('purge', '0 4 * * *', 'public.schedule_user') = job_id AS same FROM durable.schedules WHERE schedule_name = 'purge';
SELECT name, retention, runtime_status, batch_size FROM durable.schedules WHERE schedule_name = 'purge';

-- Without the right to use pg_cron, and without pg_cron.
RESET ROLE;
REVOKE USAGE ON SCHEMA cron FROM regress_schedule;
SET ROLE regress_schedule;
\set VERBOSITY default
SELECT durable.unschedule('purge');
\set VERBOSITY terse
RESET ROLE;
SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'durable: purge';
DROP EXTENSION pg_cron CASCADE;
SET ROLE regress_schedule;
SELECT durable.unschedule('it''s hourly');
SELECT durable.schedule('nightly', '0 3 * * *', 'public.schedule_user');
SELECT count(*) FROM durable.schedules;
RESET ROLE;

SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE tags @> '{"schedule": "it''s hourly"}' AND runtime_status IN ('Pending', 'Running');
SELECT durable.revoke_usage('regress_schedule'), durable.revoke_usage('regress_schedule_other');
DROP ROLE regress_schedule_other;
