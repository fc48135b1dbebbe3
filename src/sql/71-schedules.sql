-- Schedules: jobs of pg_cron that start instances.
--
-- A job of pg_cron runs as the role that made it, and says no more than
-- SELECT durable.run_schedule('name'); what that starts stands in a table of
-- ours.  So nothing here depends on pg_cron being there: it may be installed
-- after durable, dropped, or made anew.  All functions run as their caller and
-- see and change only the caller's schedules, by row-level security and, for
-- roles that bypass it, by their WHERE.

CREATE TABLE durable.schedules (
    schedule_name text NOT NULL CHECK (pg_catalog.length(schedule_name) BETWEEN 1 AND 200),
    owner regrole GENERATED ALWAYS AS (durable_internal.owner_role(owner_name)) STORED,
    owner_name durable_internal.owner NOT NULL DEFAULT durable_internal.current_owner(),
    cron_expression text NOT NULL,
    name text NOT NULL,
    input jsonb CHECK (durable_internal.is_sound(input)),
    version text,
    tags jsonb NOT NULL DEFAULT '{}' CHECK (durable_internal.is_sound(tags)),
    allow_overlap boolean NOT NULL DEFAULT false,
    -- PostgreSQL does not read back an interval whose part below a day is the least there is, whatever the others are
    retention interval CHECK (retention OPERATOR(pg_catalog.>=) '0' AND pg_catalog.date_part('hour', retention) OPERATOR(pg_catalog.>) -2562047788),
    runtime_status durable.runtime_status[],
    batch_size integer,
    search_path text NOT NULL,
    job_id bigint,
    created_time timestamptz NOT NULL DEFAULT pg_catalog.now(),
    last_run_time timestamptz,
    last_instance_id text,
    last_skipped_time timestamptz,
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    CHECK (durable_internal.is_sound(pg_catalog.concat_ws(' ', schedule_name, cron_expression, name, version, search_path, last_instance_id)))
);
-- PostgreSQL looks into an index before it asks a policy, if it takes the condition for leakproof. So users must have no
-- such condition on a column of an index: repeat can raise an error, so that PostgreSQL never takes it for leakproof, and
-- owner_name has no operator that users can name.
CREATE UNIQUE INDEX schedules_name ON durable.schedules (pg_catalog.repeat(schedule_name, 1), owner_name);
-- No estimate of EXPLAIN tells what others have; nothing is planned by these.
ALTER TABLE durable.schedules
    ALTER COLUMN schedule_name SET STATISTICS 0, ALTER COLUMN owner SET STATISTICS 0,
    ALTER COLUMN owner_name SET STATISTICS 0, ALTER COLUMN cron_expression SET STATISTICS 0,
    ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN input SET STATISTICS 0, ALTER COLUMN version SET STATISTICS 0,
    ALTER COLUMN tags SET STATISTICS 0, ALTER COLUMN allow_overlap SET STATISTICS 0,
    ALTER COLUMN retention SET STATISTICS 0, ALTER COLUMN runtime_status SET STATISTICS 0,
    ALTER COLUMN batch_size SET STATISTICS 0, ALTER COLUMN search_path SET STATISTICS 0,
    ALTER COLUMN job_id SET STATISTICS 0, ALTER COLUMN created_time SET STATISTICS 0,
    ALTER COLUMN last_run_time SET STATISTICS 0, ALTER COLUMN last_instance_id SET STATISTICS 0,
    ALTER COLUMN last_skipped_time SET STATISTICS 0, ALTER COLUMN id SET STATISTICS 0;
ALTER INDEX durable.schedules_name ALTER COLUMN 1 SET STATISTICS 0;
COMMENT ON TABLE durable.schedules IS
'The schedules that you may see, made by durable.schedule and durable.schedule_purge. Change a schedule with the functions only: a row alone runs nothing. A row with more text than durable.max_payload is refused (42501).';
COMMENT ON COLUMN durable.schedules.schedule_name IS
'The name of the schedule, 1 to 200 characters, unique for each owner.';
COMMENT ON COLUMN durable.schedules.owner IS
'The role that the schedule runs as. NULL if the role did not exist when the schedule was restored, until the role exists.';
COMMENT ON COLUMN durable.schedules.owner_name IS 'The quoted name of the role, also of a role that does not exist.';
COMMENT ON COLUMN durable.schedules.cron_expression IS 'When the schedule runs, as pg_cron takes it.';
COMMENT ON COLUMN durable.schedules.name IS 'The function that is started. Of a purge the procedure that is called.';
COMMENT ON COLUMN durable.schedules.input IS 'The input of each instance.';
COMMENT ON COLUMN durable.schedules.version IS 'The version of each instance. NULL: none.';
COMMENT ON COLUMN durable.schedules.tags IS 'The tags of each instance. The tag "schedule" is added to them.';
COMMENT ON COLUMN durable.schedules.allow_overlap IS
'true: an instance is started although the instance of the last run is live.';
COMMENT ON COLUMN durable.schedules.retention IS
'Of a purge how long instances are kept, from their creation. NULL: the schedule starts instances.';
COMMENT ON COLUMN durable.schedules.runtime_status IS 'Of a purge which instances are removed.';
COMMENT ON COLUMN durable.schedules.batch_size IS 'Of a purge how many instances go in one transaction.';
COMMENT ON COLUMN durable.schedules.search_path IS 'By which the name is found at each run, and that of the instances.';
COMMENT ON COLUMN durable.schedules.job_id IS
'The job, as in cron.job. After a restore without the tables of pg_cron the job of the source, which runs nothing here.';
COMMENT ON COLUMN durable.schedules.created_time IS 'When the schedule was made.';
COMMENT ON COLUMN durable.schedules.last_run_time IS 'When a run last started an instance.';
COMMENT ON COLUMN durable.schedules.last_instance_id IS 'The instance that this run started.';
COMMENT ON COLUMN durable.schedules.last_skipped_time IS
'When a run was last skipped, as the instance of the run before was live.';
COMMENT ON COLUMN durable.schedules.id IS 'The primary key, a random UUID.';
-- A role that was missing exists now and has made a schedule of that name: in the restore both would be that role's.
SELECT pg_catalog.pg_extension_config_dump('durable.schedules',
    'WHERE NOT EXISTS (SELECT FROM durable.schedules o WHERE o.schedule_name OPERATOR(pg_catalog.=) schedules.schedule_name'
    ' AND o.owner_name OPERATOR(durable_internal.=) durable_internal.owner_found(schedules.owner_name))');

ALTER TABLE durable.schedules ENABLE ROW LEVEL SECURITY;
-- Each policy begins with may_see, which costs less than all conditions of users. PostgreSQL would look at some of these
-- before a comparison of owners, and before the policy for SELECT where that is not the only one.
CREATE POLICY schedules_see ON durable.schedules FOR SELECT
    USING (durable_internal.may_see(owner));
-- what durable.schedule refuses nobody writes by hand: a row that pg_dump could not read, or no server restore (see the table's checks)
CREATE POLICY schedules_insert ON durable.schedules FOR INSERT
    WITH CHECK (owner = pg_catalog.quote_ident(current_user)::pg_catalog.regrole
                AND pg_catalog.octet_length(pg_catalog.concat(schedule_name, cron_expression, name, input, version, tags, runtime_status, search_path, last_instance_id))
                    <= pg_catalog.pg_size_bytes(pg_catalog.current_setting('durable.max_payload')));
CREATE POLICY schedules_update ON durable.schedules FOR UPDATE
    USING (durable_internal.may_see(owner) AND owner = pg_catalog.quote_ident(current_user)::pg_catalog.regrole)
    WITH CHECK (owner = pg_catalog.quote_ident(current_user)::pg_catalog.regrole
                AND pg_catalog.octet_length(pg_catalog.concat(schedule_name, cron_expression, name, input, version, tags, runtime_status, search_path, last_instance_id))
                    <= pg_catalog.pg_size_bytes(pg_catalog.current_setting('durable.max_payload')));
CREATE POLICY schedules_delete ON durable.schedules FOR DELETE
    USING (durable_internal.may_see(owner) AND owner = pg_catalog.quote_ident(current_user)::pg_catalog.regrole);

CREATE FUNCTION durable.check_pg_cron() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cron_database text;
    secret boolean := false;
    problem text;
    advice text;
BEGIN
    BEGIN
        cron_database := current_setting('cron.database_name', true);
    EXCEPTION WHEN insufficient_privilege THEN
        secret := true;
    END;
    IF cron_database IS NULL AND NOT secret THEN
        problem := 'pg_cron is not loaded';
        advice := format('Install pg_cron, add it to shared_preload_libraries, set cron.database_name to %s, restart the server, and CREATE EXTENSION pg_cron.',
                         quote_literal(current_database()));
    ELSIF cron_database <> current_database() THEN
        problem := format('pg_cron runs in database "%s", not in this one', cron_database);
        advice := format('Set cron.database_name to %s and restart the server, or have a job of pg_cron there that calls durable.start_new here with cron.schedule_in_database.',
                         quote_literal(current_database()));
    ELSIF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        problem := 'pg_cron is not installed in this database';
        advice := 'CREATE EXTENSION pg_cron in this database, which must be the one that cron.database_name names.';
    ELSIF NOT has_schema_privilege('cron', 'USAGE') THEN
        RAISE EXCEPTION 'role "%" may not use pg_cron', current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT USAGE ON SCHEMA cron TO %I', current_user);
    END IF;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'schedules need pg_cron: %', problem
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = advice;
    END IF;
END
$$;
COMMENT ON FUNCTION durable.check_pg_cron() IS
'Raises an error unless pg_cron is ready to run schedules of this database for you.
Errors:
42501: you lack USAGE on schema cron.
55000: pg_cron is not there, not loaded, or runs in another database. The hint says what is missing.
Durable Functions has no such function.';

CREATE FUNCTION durable.schedule(
    schedule_name text,
    cron_expression text,
    name text,
    input jsonb DEFAULT NULL,
    version text DEFAULT NULL,
    tags jsonb DEFAULT '{}',
    allow_overlap boolean DEFAULT false,
    search_path text DEFAULT pg_catalog.current_setting('search_path')
) RETURNS bigint
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    tomorrow CONSTANT timestamptz := now() + '1 day';
    job bigint;
BEGIN
    IF num_nulls(schedule_name, cron_expression, name, tags, allow_overlap, search_path) > 0 THEN
        RAISE EXCEPTION 'only input and version of durable.schedule may be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF length(schedule_name) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'a schedule name has 1 to 200 characters, not %', length(schedule_name)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM durable.check_pg_cron();
    -- whatever a run would stumble over is an error now
    BEGIN
        PERFORM set_config('search_path', search_path, true);
        PERFORM durable.start_new(name, input, version => version, tags => tags, start_at => tomorrow);
        RAISE EXCEPTION USING ERRCODE = 'OD000', MESSAGE = 'undo';
    EXCEPTION WHEN SQLSTATE 'OD000' THEN
        NULL;
    END;
    EXECUTE 'SELECT cron.schedule($1, $2, $3)'
       INTO job
      USING 'durable: ' || schedule_name, cron_expression, format('SELECT durable.run_schedule(%L)', schedule_name);
    INSERT INTO durable.schedules AS s (schedule_name, cron_expression, name, input, version, tags, allow_overlap, search_path, job_id)
    VALUES (schedule_name, cron_expression, name, input, version, tags, allow_overlap, search_path, job)
    ON CONFLICT (repeat(schedule_name, 1), owner_name) DO UPDATE
       SET cron_expression = excluded.cron_expression, name = excluded.name, input = excluded.input, version = excluded.version,
           tags = excluded.tags, allow_overlap = excluded.allow_overlap, search_path = excluded.search_path,
           retention = NULL, runtime_status = NULL, batch_size = NULL, job_id = excluded.job_id;
    RETURN job;
END
$$;
COMMENT ON FUNCTION durable.schedule(text, text, text, jsonb, text, jsonb, boolean, text) IS
'Starts an instance again and again: a job of pg_cron that runs as you starts the instance as you. Returns the id of the job. A schedule of yours with the same name is replaced. Takes effect after your transaction commits.
schedule_name: 1 to 200 characters. Each instance gets the name in its tag "schedule".
cron_expression: as pg_cron takes it, in pg_cron''s time zone. Newer versions of pg_cron know `30 seconds`.
name, input, version, tags: as for durable.start_new. What that function would refuse is refused now.
allow_overlap: true: an instance is started although the instance of the last run is live. false: the run is skipped.
search_path: by which the name is found at each run, and that of the instances. Yours unless given.
Errors:
22004: an argument other than input and version is NULL.
22023: pg_cron cannot read the schedule, or the name is too short or too long.
42501: you lack USAGE on schema cron.
55000: pg_cron is not there, not loaded, or runs in another database. The hint says what is missing.
And those of durable.start_new.
Durable Functions has timer triggers and eternal orchestrations for this.';

CREATE FUNCTION durable.schedule_purge(
    retention interval,
    cron_expression text,
    schedule_name text DEFAULT 'purge',
    runtime_status durable.runtime_status[] DEFAULT '{Completed,Failed,Terminated}',
    batch_size integer DEFAULT 1000
) RETURNS bigint
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    job bigint;
BEGIN
    IF num_nulls(retention, cron_expression, schedule_name, runtime_status, batch_size) > 0 THEN
        RAISE EXCEPTION 'no parameter of durable.schedule_purge may be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF length(schedule_name) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'a schedule name has 1 to 200 characters, not %', length(schedule_name)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF retention < '0' OR batch_size < 1 OR cardinality(runtime_status) = 0
       OR NOT runtime_status <@ '{Completed,Failed,Terminated}' THEN
        RAISE EXCEPTION '%', CASE WHEN retention < '0' THEN 'retention must not be negative'
                                  WHEN batch_size < 1 THEN 'batch_size must be at least 1'
                                  ELSE 'only instances that are Completed, Failed or Terminated can be purged' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM durable.check_pg_cron();
    EXECUTE 'SELECT cron.schedule($1, $2, $3)'
       INTO job
      USING 'durable: ' || schedule_name, cron_expression,
            format('CALL durable.purge_instance_history_batches(''-infinity'', pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.interval %L, %L, %s)',
                   retention, runtime_status, batch_size);
    INSERT INTO durable.schedules AS s (schedule_name, cron_expression, name, retention, runtime_status, batch_size, search_path, job_id)
    VALUES (schedule_name, cron_expression, 'durable.purge_instance_history_batches', retention, runtime_status, batch_size, '', job)
    ON CONFLICT (repeat(schedule_name, 1), owner_name) DO UPDATE
       SET cron_expression = excluded.cron_expression, name = excluded.name, input = NULL, version = NULL, tags = '{}',
           allow_overlap = false, search_path = '', retention = excluded.retention, runtime_status = excluded.runtime_status,
           batch_size = excluded.batch_size, job_id = excluded.job_id;
    RETURN job;
END
$$;
COMMENT ON FUNCTION durable.schedule_purge(interval, text, text, durable.runtime_status[], integer) IS
'Purges again and again: a job of pg_cron that runs as you removes the instances that you may manage, that have ended, and that were created longer ago than the retention. The job calls the procedure durable.purge_instance_history_batches. Returns the id of the job. A schedule of yours with the same name is replaced. The table cron.job_run_details has when the job has run. End it with durable.unschedule.
retention: how long instances are kept, from their creation.
cron_expression: as pg_cron takes it.
schedule_name: 1 to 200 characters.
runtime_status: only these of Completed, Failed and Terminated.
batch_size: how many instances go in one transaction, 1 or more.
Errors:
22004: an argument is NULL.
22023: an argument is out of range, or pg_cron cannot read the schedule.
42501, 55000: as for durable.schedule.
Durable Functions has no such function.';

CREATE FUNCTION durable.run_schedule(schedule_name text) RETURNS text
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    me CONSTANT regrole := quote_ident(current_user)::regrole;
    run durable.schedules;
    run_tags jsonb;
    id text;
BEGIN
    -- a second run waits here, and then sees the instance of the first
    SELECT * INTO run FROM durable.schedules s WHERE s.schedule_name = schedule_name AND s.owner = me FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role "%" has no schedule "%"', current_user, schedule_name
            USING ERRCODE = 'undefined_object',
                  HINT = 'Yours are in durable.schedules. If a job of pg_cron asks for one that is gone, end the job with cron.unschedule.';
    END IF;
    IF run.retention IS NOT NULL THEN
        PERFORM durable.purge_instance_history_by('-infinity', now() - run.retention, run.runtime_status, run.batch_size);
    ELSIF NOT run.allow_overlap
          AND EXISTS (SELECT
                        FROM durable.instances i
                       WHERE i.instance_id = run.last_instance_id AND i.runtime_status IN ('Pending', 'Running', 'Suspended')) THEN
        UPDATE durable.schedules s SET last_skipped_time = now() WHERE s.id = run.id;
        RETURN NULL;
    ELSE
        run_tags := run.tags || jsonb_build_object('schedule', run.schedule_name);
        PERFORM set_config('search_path', run.search_path, true);
        id := durable.start_new(run.name, run.input, version => run.version, tags => run_tags);
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END IF;
    UPDATE durable.schedules s
       SET last_run_time = now(), last_instance_id = id
     WHERE s.id = run.id;
    RETURN id;
END
$$;
COMMENT ON FUNCTION durable.run_schedule(text) IS
'Runs a schedule of yours now, as its job of pg_cron does. Returns the id of the instance that was started. NULL if the run was skipped because the instance of the last run is live. NULL too for a purge, which is done here in one transaction.
schedule_name: which schedule.
Errors:
42704: you have no such schedule.
And those of durable.start_new and durable.purge_instance_history_by.
Durable Functions has no such function.';

CREATE FUNCTION durable.unschedule(schedule_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    me CONSTANT regrole := quote_ident(current_user)::regrole;
    job bigint;
    existed boolean;
BEGIN
    IF schedule_name IS NULL THEN
        RAISE EXCEPTION 'parameter "schedule_name" of durable.unschedule must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    DELETE FROM durable.schedules s WHERE s.schedule_name = schedule_name AND s.owner = me;
    existed := FOUND;
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        RETURN existed;
    END IF;
    IF NOT has_schema_privilege('cron', 'USAGE') THEN
        IF existed THEN
            RAISE WARNING 'the job of schedule "%" stays in pg_cron, where it only fails', schedule_name
                USING HINT = format('GRANT USAGE ON SCHEMA cron TO %I, or remove it as a superuser with cron.unschedule.', current_user);
        END IF;
        RETURN existed;
    END IF;
    EXECUTE 'SELECT jobid FROM cron.job WHERE jobname = $1 AND username = current_user'
       INTO job
      USING 'durable: ' || schedule_name;
    IF job IS NOT NULL THEN
        EXECUTE 'SELECT cron.unschedule($1)' USING job;
    END IF;
    RETURN existed OR job IS NOT NULL;
END
$$;
COMMENT ON FUNCTION durable.unschedule(text) IS
'Ends a schedule of yours that durable.schedule or durable.schedule_purge made. Returns false if there is none. Instances that it has started go on. The call works also where pg_cron was dropped or you may not use pg_cron any more: then a warning says that the job stays. To end a schedule of another role SET ROLE to that role first.
schedule_name: which schedule.
Errors:
22004: schedule_name is NULL.
Durable Functions has no such function.';
