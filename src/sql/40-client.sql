-- Client functions: for any session.

CREATE FUNCTION durable.start_new(
    name text,
    input jsonb DEFAULT NULL,
    instance_id text DEFAULT NULL,
    start_at timestamptz DEFAULT NULL,
    version text DEFAULT NULL,
    tags jsonb DEFAULT '{}',
    dedupe_statuses durable.runtime_status[] DEFAULT '{Pending,Running,Suspended}',
    on_duplicate text DEFAULT 'error'
) RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_start_new';
COMMENT ON FUNCTION durable.start_new(text, jsonb, text, timestamptz, text, jsonb, durable.runtime_status[], text) IS
'Start an instance of the orchestrator function name and return its id. It begins when the transaction commits and not at all when it rolls back.
name: a function, found now by your search_path unless it has a schema; the instance runs as you and with your search_path. input: one json or jsonb parameter takes it whole, otherwise an object''s keys are parameter names, an array''s elements are positions, and a scalar is the only parameter; a number for an integer is rounded as by jsonb''s own cast, so that 42.0 is 42. instance_id: 1 to 256 characters, not beginning with @, without / \ # ? and control characters; NULL: one is made, 32 hexadecimal digits in the order of time. start_at: not before this time, until then it is Pending; in the past or NULL: at once. version: free text for durable.instance_version(). tags: a JSON object of your own. dedupe_statuses: an instance of that id in one of these statuses is kept; on_duplicate says whether that is an error (''error'') or your call returns its id and starts nothing (''ignore''; for an instance of another role it is an error all the same); a start that may be repeated, even when the instance has ended, needs ''ignore'' and all statuses. One in another status is replaced with its history and ended sub-orchestrations; if it is live its effects stay, an activity that runs is not waited for and its result is discarded, its live sub-orchestrations are terminated and a parent that awaits it sees OD008; it may be one of a role that you are a member of, and the new one is yours. Concurrent calls with one id wait for each other''s transactions and one wins; a call in an activity does not wait: it raises 55P03, and if that ends the activity, the activity is undone and tried again later.
Errors: OD003 if such an instance exists, or the id belongs to one that is neither yours nor of a role that you are a member of, whatever its status; 42883, 42725, 42501 if the function does not exist, is ambiguous or may not be executed; others if it cannot take the input; 22023 for a bad id, tags, start_at or on_duplicate; 22004 if name, dedupe_statuses or on_duplicate is NULL; 54000 if the text of an argument is longer than durable.max_payload; 54001 in more than 32 nested subtransactions; 53400 if a quota of yours is exceeded; 28000 if the current role cannot log in, as the engine connects as it; 40001 as INSERT would in repeatable read. Durable Functions'' StartNewAsync has no dedupe and replaces ended instances only.';

CREATE FUNCTION durable.terminate(
    instance_id text,
    reason text DEFAULT NULL,
    recursive boolean DEFAULT true,
    cancel_activities boolean DEFAULT false
) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_terminate';
COMMENT ON FUNCTION durable.terminate(text, text, boolean, boolean) IS
'Terminate an instance that is Pending, Running or Suspended: at once if it waits, at its next await if it runs. It takes effect after your transaction commits.
reason: becomes its output and an event of its history. recursive: its live sub-orchestrations, and theirs, are terminated too. cancel_activities: activities that run, with recursive also those of its sub-orchestrations, are cancelled when your transaction commits, even if they occupy all of its workers; else they finish and their results are thrown away. Activities that have not begun are not run in either case. A parent that awaits the instance sees OD008.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; OD002 if it has ended already (Durable Functions ignores that); 54000 if the text of an argument is longer than durable.max_payload; 22004 if instance_id, recursive or cancel_activities is NULL.';

CREATE FUNCTION durable.raise_event(
    instance_id text,
    event_name text,
    event_data jsonb DEFAULT NULL
) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_raise_event';
COMMENT ON FUNCTION durable.raise_event(text, text, jsonb) IS
'Send an event to an instance that is not ended. It is delivered after your transaction commits and kept until the orchestrator waits for that name, also over suspension, a later start_at and continue_as_new; events of one name are served in the order of raising.
event_name: 1 to 256 characters, upper and lower case are the same. event_data: what wait_for_external_event returns.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; OD002 if it has ended (Durable Functions drops such events silently); 54000 if the text of an argument is longer than durable.max_payload; 22004 if instance_id or event_name is NULL; 22023 for a name too short or too long.';

CREATE FUNCTION durable.suspend(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_suspend';
COMMENT ON FUNCTION durable.suspend(text, text) IS
'Suspend an instance: from the next await on its orchestrator does not run until durable.resume. Activities that were scheduled still run; their results, timers and events are kept and applied in order on resume. Takes effect after your transaction commits. Suspending a suspended instance does nothing.
reason: kept in the history.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; OD002 if it has ended; 54000 if the text of an argument is longer than durable.max_payload; 22004 if instance_id is NULL.';

CREATE FUNCTION durable.resume(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_resume';
COMMENT ON FUNCTION durable.resume(text, text) IS
'Resume a suspended instance: what has happened meanwhile is applied in order and its orchestrator goes on. Takes effect after your transaction commits. Resuming an instance that is not suspended does nothing.
reason: kept in the history.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; OD002 if it has ended; 54000 if the text of an argument is longer than durable.max_payload; 22004 if instance_id is NULL.';

CREATE FUNCTION durable.set_custom_status(instance_id text, custom_status jsonb) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_set_custom_status';
COMMENT ON FUNCTION durable.set_custom_status(text, jsonb) IS
'Set the custom status of an instance from outside: an operator''s repair tool, which Durable Functions does not have. Also for an instance that has ended, there without an event in the history. NULL removes it. A live orchestrator may set it anew at any time. Takes effect after your transaction commits.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; 54000 if the text of an argument is longer than durable.max_payload; 22004 if instance_id is NULL.';

-- Users have no access to durable_internal, and functions in PL/pgSQL call what their callers may.
-- Parallel workers do not know what their leader runs.
CREATE FUNCTION durable.require_client(function text) RETURNS void
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_require_client';
COMMENT ON FUNCTION durable.require_client(text) IS
'Raises OD009 if an orchestrator runs, naming the function given, which is for clients and activities only. The functions of durable that look at instances begin with it; yours may too if they show something else on each replay.';

CREATE FUNCTION durable.text_size(payload jsonb) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'durable_text_size';
COMMENT ON FUNCTION durable.text_size(jsonb) IS
'How many bytes the text of a jsonb value has, as octet_length(payload::text), but in less time and memory as no text is made. durable.max_payload and durable.history_size count the same bytes. NULL for NULL. Durable Functions has no such function.';

CREATE FUNCTION durable_internal.is_sound(payload jsonb) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'durable_is_sound';
COMMENT ON FUNCTION durable_internal.is_sound(jsonb) IS
'Whether a payload can be restored from a dump: all texts are valid in the database''s encoding and have characters that UTF8 has, and arrays and objects have at most 1000 levels.';

CREATE FUNCTION durable_internal.is_sound(string text) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'durable_is_sound_text';
COMMENT ON FUNCTION durable_internal.is_sound(text) IS
'Whether a text is valid in the database''s encoding and has only characters that UTF8 has.';

CREATE FUNCTION durable.history_size(
    instance_id text,
    show_history_output boolean DEFAULT false,
    show_input boolean DEFAULT true
) RETURNS bigint
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    size_limit CONSTANT bigint := greatest(16 * 1024 * 1024, pg_size_bytes(current_setting('durable.max_payload')) / 4);
    -- A loop over a cursor fetches one row at a time: no more than one payload is in memory, and none after the limit is read.
    sizes CURSOR FOR
        SELECT 200 + coalesce(octet_length(h.name), 0)
               + CASE WHEN show_input IS FALSE THEN 0 ELSE coalesce(durable.text_size(h.input), 0) END
               + CASE WHEN h.event_type LIKE '%Completed' AND show_history_output IS NOT TRUE THEN 0
                      ELSE coalesce(durable.text_size(h.result), 0) END
               + coalesce(durable.text_size(h.failure), 0) AS bytes
          FROM durable.history h
         WHERE h.instance_id = history_size.instance_id
         ORDER BY h.sequence_number;
    total bigint := 0;
    events bigint := 0;
BEGIN
    PERFORM durable.require_client('durable.history_size');
    FOR event IN sizes LOOP
        total := total + event.bytes;
        events := events + 1;
        IF total > size_limit THEN
            RAISE EXCEPTION 'the history of instance "%" is too large for one value', instance_id
                USING ERRCODE = 'program_limit_exceeded',
                      DETAIL = format('%s of its events have %s bytes of text; the most that is shown at once is %s bytes.', events, total, size_limit),
                      HINT = 'Read the view durable.history row by row, or ask without inputs (show_input) and without results (show_history_output).';
        END IF;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION durable.history_size(text, boolean, boolean) IS
'How large the history of an instance is, in bytes: the text of the inputs, results, failures and names that durable.get_status shows with the same show_history_output and show_input, and 200 for each event. 0 if there is no such instance or you may not see it. durable.get_status and the HTTP gateway call it before they make a history. Durable Functions has no such function.
Errors: 54000 if the size is more than a quarter of durable.max_payload, which is 16 MB unless that was changed, and more than 16 MB, as soon as so much has been read; OD009 in an orchestrator.';

CREATE FUNCTION durable.get_status(
    instance_id text,
    show_history boolean DEFAULT false,
    show_history_output boolean DEFAULT false,
    show_input boolean DEFAULT true
) RETURNS durable.orchestration_status
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    status durable.orchestration_status;
BEGIN
    PERFORM durable.require_client('durable.get_status');
    SELECT i.instance_id, i.name, i.function, i.version, i.runtime_status, i.input, i.output, i.custom_status,
           i.created_time, i.last_updated_time, i.completed_time, i.scheduled_start_time, i.execution_id,
           i.parent_instance_id, i.tags, i.failure, i.owner, NULL, NULL
      INTO status
      FROM durable.instances i
     WHERE i.instance_id = get_status.instance_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF show_input IS FALSE THEN
        status.input := NULL;
    END IF;
    IF show_history THEN
        PERFORM durable.history_size(get_status.instance_id, show_history_output, show_input);
        status.history := (
            SELECT jsonb_agg(
                       jsonb_strip_nulls(jsonb_build_object(
                           'sequence_number', h.sequence_number,
                           'event_type', h.event_type,
                           'event_time', h.event_time,
                           'task_id', h.task_id,
                           'attempt', h.attempt,
                           'name', h.name))
                       || CASE WHEN h.input IS NULL OR show_input IS FALSE THEN '{}'
                               ELSE jsonb_build_object('input', h.input) END
                       || CASE WHEN h.result IS NULL THEN '{}'
                               WHEN h.event_type LIKE '%Completed' AND show_history_output IS NOT TRUE THEN '{}'
                               ELSE jsonb_build_object('result', h.result) END
                       || CASE WHEN h.failure IS NULL THEN '{}'
                               ELSE jsonb_build_object('failure', h.failure) END
                       ORDER BY h.sequence_number)
              FROM durable.history h
             WHERE h.instance_id = get_status.instance_id);
    END IF;
    RETURN status;
END
$$;
COMMENT ON FUNCTION durable.get_status(text, boolean, boolean, boolean) IS
'The status of an instance as a durable.orchestration_status; NULL when there is none or you may not see it (owners, members of the owning role and pg_monitor do).
show_history: fill in history, an array of objects in order with sequence_number, event_type, event_time, task_id, name, input, result, failure and attempt, each where it applies. show_history_output: with the results of what completed. show_input: with the inputs, of the instance and in its history. A history of more than 16 MB, as durable.history_size counts, is refused before anything is made of it: read the view durable.history row by row.
Reads with the snapshot of your statement, like any query.
Errors: 54000 if show_history is true and the history is too large; OD009 in an orchestrator.';

CREATE FUNCTION durable.wait_for_completion(
    instance_id text,
    timeout interval DEFAULT '10 s'
) RETURNS durable.orchestration_status
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_wait_for_completion';
COMMENT ON FUNCTION durable.wait_for_completion(text, interval) IS
'Wait until an instance has ended and return its status, as durable.get_status does but as of the end of the wait, in every isolation level. At the timeout (NULL: 10 seconds) the current status is returned, no error. NULL if the instance is replaced or purged meanwhile.
The session sleeps until the engine wakes it and can be cancelled. It keeps its statement''s snapshot while it waits, which holds back vacuum: for long waits use LISTEN with durable.notify, or the HTTP gateway.
Errors: OD001 if there is no such instance or you may not see it; 55000 in the transaction that started it, as the engine sees it only after COMMIT; 22023 for a negative timeout; 22004 if instance_id is NULL.';

CREATE FUNCTION durable_internal.grant_statements(role regrole, verb text, preposition text) RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s %s %s %s', verb, what, preposition, role)
      FROM (SELECT unnest(ARRAY[
                'USAGE ON SCHEMA durable',
                'SELECT ON ALL TABLES IN SCHEMA durable',
                -- of their own schedules
                'INSERT, UPDATE, DELETE ON durable.schedules',
                'EXECUTE ON ALL ROUTINES IN SCHEMA durable',
                -- a view calls its functions with the rights of who reads it
                'EXECUTE ON FUNCTION durable_internal.event_type(smallint)',
                'EXECUTE ON FUNCTION durable_internal.owner_role(durable_internal.owner)',
                'EXECUTE ON FUNCTION durable_internal.may_see(durable_internal.owner)',
                'EXECUTE ON FUNCTION durable_internal.may_see(oid)',
                'EXECUTE ON FUNCTION durable_internal.workers()',
                'EXECUTE ON FUNCTION durable_internal.blocked_by(integer)',
                'EXECUTE ON FUNCTION durable_internal.lone_ranges()',
                'EXECUTE ON FUNCTION durable_internal.role_stats()',
                'EXECUTE ON FUNCTION durable_internal.function_stats()',
                'EXECUTE ON FUNCTION durable_internal.queues()',
                'EXECUTE ON FUNCTION durable_internal.scheduler_obstacle()',
                'EXECUTE ON FUNCTION durable_internal.waiting_roles()',
                'EXECUTE ON FUNCTION durable_internal.databases()',
                'EXECUTE ON FUNCTION durable_internal.database_wanted(name)',
                'EXECUTE ON FUNCTION durable_internal.count_ready(oid)',
                'EXECUTE ON FUNCTION durable_internal.count_queued(oid)',
                -- and so does a default of durable.schedules
                'EXECUTE ON FUNCTION durable_internal.current_owner()',
                'EXECUTE ON FUNCTION durable_internal.is_sound(jsonb)',
                'EXECUTE ON FUNCTION durable_internal.is_sound(text)',
                -- and durable.check_orchestrator those that it is made of
                'EXECUTE ON FUNCTION durable_internal.check_text(regprocedure)',
                'EXECUTE ON FUNCTION durable_internal.check_call(regprocedure)',
                'EXECUTE ON FUNCTION durable_internal.path_schemas(text)',
                'EXECUTE ON FUNCTION durable_internal.may_check(regprocedure)',
                'EXECUTE ON FUNCTION durable_internal.call_checker(regprocedure, regprocedure, text)',
                'EXECUTE ON FUNCTION durable_internal.check_references(regprocedure, text, name[], boolean, jsonb, jsonb)',
                'EXECUTE ON FUNCTION durable_internal.check_statements(regprocedure, text)'])
            UNION ALL
            SELECT 'USAGE ON TYPE ' || oid::regtype
              FROM pg_type
             WHERE typnamespace = 'durable'::regnamespace AND typelem = 0
               AND (typrelid = 0 OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c'))
           ) granted (what)
$$;

CREATE FUNCTION durable.grant_usage(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    IF NOT pg_has_role((SELECT extowner FROM pg_extension WHERE extname = 'durable'), 'USAGE') THEN
        RAISE EXCEPTION 'only the owner of the extension durable can grant its usage' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF role IS NULL THEN
        RAISE EXCEPTION 'parameter "role" of durable.grant_usage must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    FOR statement IN SELECT durable_internal.grant_statements(role, 'GRANT', 'TO') LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION durable.grant_usage(regrole) IS
'Let a role use durable: start instances and manage and see its own. Runs plain GRANTs with the rights of the caller, who must be a superuser or a member of the role that owns the extension. Nothing is granted to PUBLIC. ALTER EXTENSION durable UPDATE runs it again for the roles that it was run for, so that they have what is new, and again what was revoked from them by hand; what you grant by hand stays as it is.
Errors: 42501 for others; 22004 if role is NULL.';

-- Run by ALTER EXTENSION durable UPDATE, after its scripts (src/init/utility_hook.c).
CREATE FUNCTION durable_internal.grant_again() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT durable_internal.grant_statements(a.grantee::regrole, 'GRANT', 'TO')
          FROM pg_proc p, aclexplode(p.proacl) a
         WHERE p.oid = 'durable_internal.current_owner()'::regprocedure AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION durable_internal.grant_again() IS
'Grants to each role that durable.grant_usage has been run for all that it grants now. Such roles are known by their right to execute durable_internal.current_owner(), which nothing else grants: an update script never drops that function.';

CREATE FUNCTION durable.revoke_usage(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    statement text;
BEGIN
    IF NOT pg_has_role((SELECT extowner FROM pg_extension WHERE extname = 'durable'), 'USAGE') THEN
        RAISE EXCEPTION 'only the owner of the extension durable can revoke its usage' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF role IS NULL THEN
        RAISE EXCEPTION 'parameter "role" of durable.revoke_usage must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    FOR statement IN SELECT durable_internal.grant_statements(role, 'REVOKE', 'FROM') LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION durable.revoke_usage(regrole) IS
'Take back what durable.grant_usage granted to a role. Instances that it owns stay; those that are live fail at their next call of a durable function. For those who may call grant_usage.
Errors: 42501 for others; 22004 if role is NULL.';
