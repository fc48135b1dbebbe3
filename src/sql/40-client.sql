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
'Starts an instance of an orchestrator and returns the id of the instance. The instance begins when your transaction commits. After a rollback nothing was started.
name: the orchestrator, a function. Your search_path finds the function now, unless the name has a schema; the name may have argument types, as ''shop.charge(integer)''. The instance runs as you and with your search_path. At most 1024 bytes.
input: what the function gets. A function with one json or jsonb parameter gets the input whole, and a function without parameters ignores the input. A function with one parameter of an array or composite type gets the input whole too, if the input is an array of elements or an object with the columns. For other functions the keys of an object are names of parameters, the elements of an array are positions, and a scalar is the only parameter. A parameter without a value takes its default; without a default the only parameter is NULL, and each of several parameters is an error. A text has JSON''s quotes. A number for an integer is rounded as jsonb''s own cast rounds numbers: 42.0 is 42.
instance_id: 1 to 256 characters, without / \ # ? and control characters, and not beginning with @. NULL: the id is made, 32 hexadecimal digits in the order of time.
start_at: the instance does not begin before this time and is Pending until then. NULL or a time in the past: at once.
version: free text for durable.instance_version().
tags: a JSON object of your own, to find instances by. NULL: none.
dedupe_statuses: an instance with this id is kept if its status is one of these. An instance in another status is replaced, see below.
on_duplicate: what happens if an instance is kept. `error`: the call raises OD003. `ignore`: the call starts nothing and returns the id; for an instance of another role it is OD003 all the same. A client that may repeat a start, even after the instance has ended, needs `ignore` and all statuses in dedupe_statuses.
An instance that is replaced goes with its history and its sub-orchestrations that have ended. If the instance is live, its effects stay. Nobody waits for an activity that runs, and the result of the activity is discarded. Live sub-orchestrations are terminated, and a parent that awaits the instance sees OD008. You may replace an instance of a role that you are a member of; the new instance is yours.
Calls with the same id wait for each other''s transactions, and one of them wins. A call in an activity does not wait: it raises 55P03. If that ends the activity, the activity is undone and tried again later.
Errors:
OD003: an instance with the id is kept, or belongs to a role that you are not a member of, whatever its status.
OD009: the caller is an orchestrator.
22004: name, dedupe_statuses or on_duplicate is NULL.
22021: a text is not valid in the database''s encoding, or has characters that UTF8 does not have.
22023: instance_id, tags, start_at or on_duplicate has a value that is not allowed, or the input does not fit the parameters.
25006: the transaction is read-only, or the server is a standby.
28000: your role cannot log in. The engine connects as the role.
40001: in REPEATABLE READ or SERIALIZABLE, as INSERT raises the error.
42602, 42622: the name is not valid, or too long.
42809: the function is none that can be called with jsonb: a procedure, an aggregate, a polymorphic or a trigger function.
42883, 42725, 42501: the function does not exist, is ambiguous, or you may not execute the function or connect to the database.
53400: a quota of yours is exceeded.
54000: the text of an argument is longer than durable.max_payload, or has more than 1000 levels of arrays and objects.
54001: the call is in more than 32 nested subtransactions.
55000: durable is not in shared_preload_libraries.
Conversion of the input raises its own errors.
Durable Functions: StartNewAsync, which has no dedupe_statuses and replaces ended instances only.';

CREATE FUNCTION durable.terminate(
    instance_id text,
    reason text DEFAULT NULL,
    recursive boolean DEFAULT true,
    cancel_activities boolean DEFAULT false
) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_terminate';
COMMENT ON FUNCTION durable.terminate(text, text, boolean, boolean) IS
'Terminates an instance that is Pending, Running or Suspended. An instance that waits ends at once, an instance whose code runs ends at its next wait. The call takes effect after your transaction commits. A parent that awaits the instance sees OD008.
instance_id: which instance.
reason: becomes the output of the instance and an event of its history.
recursive: true: the live sub-orchestrations, and theirs, are terminated too.
cancel_activities: true: activities that run are cancelled when your transaction commits, even if they occupy all workers; with recursive the activities of the sub-orchestrations too. false: they finish, and their results are discarded. Activities that have not begun do not run in either case.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
OD002: the instance has ended.
22004: instance_id, recursive or cancel_activities is NULL.
53400: reason is larger than a quota of the owner allows.
54000: the text of an argument is longer than durable.max_payload.
22021, 25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: TerminateAsync, which ignores instances that have ended and cancels no activities.';

CREATE FUNCTION durable.raise_event(
    instance_id text,
    event_name text,
    event_data jsonb DEFAULT NULL
) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_raise_event';
COMMENT ON FUNCTION durable.raise_event(text, text, jsonb) IS
'Sends an event to a live instance. The event is delivered after your transaction commits. The event is kept until the orchestrator waits for its name, also over suspension, a start_at in the future and durable.continue_as_new. Events of one name are served in the order of raising.
instance_id: which instance.
event_name: 1 to 256 characters. Upper and lower case are the same.
event_data: what durable.wait_for_external_event returns to the orchestrator.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
OD002: the instance has ended.
22004: instance_id or event_name is NULL.
22023: event_name is too short or too long.
53400: a quota of the owner is exceeded.
54000: the text of an argument is longer than durable.max_payload.
22021, 25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: RaiseEventAsync, which drops events for instances that have ended without an error.';

CREATE FUNCTION durable.suspend(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_suspend';
COMMENT ON FUNCTION durable.suspend(text, text) IS
'Suspends an instance: from its next wait on the orchestrator does not run until durable.resume. Activities that were scheduled still run. Their results, timers and events are kept, and applied in order on resume. The call takes effect after your transaction commits. A second suspension does nothing.
instance_id: which instance.
reason: kept in the history.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
OD002: the instance has ended.
22004: instance_id is NULL.
53400: a quota of the owner is exceeded.
54000: the text of an argument is longer than durable.max_payload.
22021, 25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: SuspendAsync, which ignores instances that have ended.';

CREATE FUNCTION durable.resume(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_resume';
COMMENT ON FUNCTION durable.resume(text, text) IS
'Resumes a suspended instance: what has happened meanwhile is applied in order, and the orchestrator goes on. The call takes effect after your transaction commits. For an instance that is not suspended the call does nothing.
instance_id: which instance.
reason: kept in the history.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
OD002: the instance has ended.
22004: instance_id is NULL.
53400: reason is larger than a quota of the owner allows.
54000: the text of an argument is longer than durable.max_payload.
22021, 25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: ResumeAsync, which ignores instances that have ended.';

CREATE FUNCTION durable.set_custom_status(instance_id text, custom_status jsonb) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_set_custom_status';
COMMENT ON FUNCTION durable.set_custom_status(text, jsonb) IS
'For clients: sets the custom status of an instance from outside, as an operator''s repair. The call takes effect after your transaction commits. An instance that has ended gets the status too, without an event in its history. A live orchestrator may set another status at any time.
instance_id: which instance.
custom_status: any JSON value. NULL removes the status.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
22004: instance_id is NULL.
53400: a quota of the owner is exceeded.
54000: the text of an argument is longer than durable.max_payload.
22021, 25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions has no such function.';

-- Users have no access to durable_internal, and functions in PL/pgSQL call what their callers may.
-- Parallel workers do not know what their leader runs.
CREATE FUNCTION durable.require_client(function text) RETURNS void
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_require_client';
COMMENT ON FUNCTION durable.require_client(text) IS
'Raises an error if the caller is an orchestrator. The functions of durable that look at instances begin with this call. Your functions may do the same if they show something else on each replay. An orchestrator that makes the call fails, whatever it handles.
function: the name that the error shows.
Errors:
OD009: the caller is an orchestrator.
Durable Functions has no such function.';

CREATE FUNCTION durable.text_size(payload jsonb) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'durable_text_size';
COMMENT ON FUNCTION durable.text_size(jsonb) IS
'Returns how many bytes the text of a jsonb value has, as `octet_length(payload::text)` does, but in less time and memory, as no text is made. The setting durable.max_payload and durable.history_size count the same bytes.
payload: any value. The result for NULL is NULL.
Durable Functions has no such function.';

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
'Returns how large the history of an instance is, in bytes: the text of the inputs, results, failures and names that durable.get_status shows with the same arguments, and 200 bytes for each event. 0 if there is no such instance or you may not see the instance. durable.get_status and the HTTP gateway call this function before they make a history.
instance_id: which instance.
show_history_output: true: the results of what completed count.
show_input: true: inputs count.
Errors:
54000: the size is more than 16 MB (a quarter of durable.max_payload, if that is more). The error comes as soon as so much was read.
OD009: the caller is an orchestrator.
Durable Functions has no such function.';

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
'Returns the status of an instance as a durable.orchestration_status. NULL (in FROM a row of NULLs) if there is no such instance, or you may not see the instance: the owner, members of the owning role and members of pg_monitor may. The function does not wait and reads with the snapshot of your statement, like any query.
instance_id: which instance.
show_history: true: the column history has the history, an array of objects in order. Each object has sequence_number, event_type, event_time, task_id, name, input, result, failure and attempt, as far as they apply. They mean what the view durable.history says.
show_history_output: true: the history has the results of what completed.
show_input: true: with the inputs, of the instance and in its history.
Errors:
54000: show_history is true, and the history is larger than 16 MB, as durable.history_size counts. Read the view durable.history row by row.
OD009: the caller is an orchestrator.
Durable Functions: GetStatusAsync.';

CREATE FUNCTION durable.wait_for_completion(
    instance_id text,
    timeout interval DEFAULT '10 s'
) RETURNS durable.orchestration_status
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_wait_for_completion';
COMMENT ON FUNCTION durable.wait_for_completion(text, interval) IS
'Waits until an instance has ended and returns its status, as durable.get_status does, but as of the end of the wait, in every isolation level. At the timeout the function returns the current status, without an error. If the instance is replaced or purged meanwhile the result is NULL (in FROM a row of NULLs).
instance_id: which instance.
timeout: how long to wait. NULL: 10 seconds.
The session sleeps until the engine wakes the session, and can be cancelled. The wait keeps the snapshot of your statement, which holds back vacuum. For long waits use LISTEN with the setting durable.notify, or the HTTP gateway.
Errors:
OD001: there is no such instance, or you may not see the instance.
OD009: the caller is an orchestrator.
22004: instance_id is NULL.
22023: timeout is negative.
25006: the server is a standby.
55000: you wait in the transaction that started the instance, which the engine sees only after COMMIT; or durable is not in shared_preload_libraries.
Durable Functions: WaitForInstanceCompletionAsync.';

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
'Lets a role use durable: the role can start instances, and manage and see its own. The function runs plain GRANTs with the rights of the caller, who must be a superuser or a member of the role that owns the extension. Nothing is granted to PUBLIC. ALTER EXTENSION durable UPDATE runs this function again for the roles that it was run for: they get what is new, and also what was revoked from them by hand. What you grant by hand stays as it is.
role: who gets the rights. To own instances the role must be able to log in.
Errors:
22004: role is NULL.
42501: you may not grant the usage.
Durable Functions has no such function.';

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
'Takes back what durable.grant_usage granted to a role. Instances of the role stay. Live instances fail at their next call of a durable function. For superusers and members of the role that owns the extension.
role: who loses the rights.
Errors:
22004: role is NULL.
42501: you may not revoke the usage.
Durable Functions has no such function.';
