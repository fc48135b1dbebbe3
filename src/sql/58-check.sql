-- A look at an orchestrator before it runs: what in it would not be the same on
-- each replay.  A finding is a function, a table or a statement.  References
-- come from plpgsql_check or pg_depend where these know them; built-in functions
-- and statements are in neither and are looked for in the text.
-- The internal functions do not call each other by name, for which users would
-- need the schema; durable.check_orchestrator is bound to them by BEGIN ATOMIC.

CREATE FUNCTION durable_internal.check_text(function regprocedure) RETURNS text
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    rest text := (SELECT coalesce(pg_get_function_sqlbody(oid), prosrc) FROM pg_proc WHERE oid = function);
    result text := '';
    part text;
    stop integer;
BEGIN
    WHILE rest <> '' LOOP
        -- a comment, a string, the beginning of a string in dollars, a quoted name, or anything else
        part := substring(rest FROM '^(?:--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|[eE]''(?:[^''\\]|''''|\\.)*''|''(?:[^'']|'''')*''|\$(?:[[:alpha:]_]\w*)?\$|"(?:[^"]|"")*"|[^-/''$"eE]+|.)');
        rest := substr(rest, length(part) + 1);
        IF part LIKE '$%$' THEN
            stop := strpos(rest, part);
            rest := CASE stop WHEN 0 THEN '' ELSE substr(rest, stop + length(part)) END;
            part := '''';
        END IF;
        result := result || CASE
            WHEN part ~ '^(--|/\*)' THEN ' '
            WHEN part ~ '^[eE]?''' THEN ''''''
            WHEN part ~ '^"' THEN part
            ELSE lower(part)
        END;
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION durable_internal.check_text(regprocedure) IS
'Text of a function in SQL or PL/pgSQL without comments and strings, in lower case but for quoted names.';

CREATE FUNCTION durable_internal.check_call(function regprocedure, OUT severity text, OUT problem text, OUT hint text)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    proc pg_proc := (SELECT p FROM pg_proc p WHERE p.oid = function);
    schema text := proc.pronamespace::regnamespace;
BEGIN
    IF schema = 'durable' THEN
        -- those for clients that only look are STABLE, and show something else each time
        IF proc.provolatile = 'i' OR proc.oid = 'durable.set_custom_status(jsonb)'::regprocedure
           OR proc.proname = ANY ('{call_activity,schedule_activity,call_sql,schedule_sql,call_sub_orchestrator,
                schedule_sub_orchestrator,start_sub_orchestrator,create_timer,subscribe_event,await,when_all,when_any,
                cancel_task,sleep,sleep_until,wait_for_external_event,send_event,continue_as_new,instance_id,
                parent_instance_id,execution_id,instance_version,instance_tags,now,new_guid,is_replaying,log}')
        THEN
            RETURN;
        END IF;
        severity := 'error';
        problem := CASE WHEN proc.proname IN ('task_id', 'attempt', 'idempotency_key') THEN 'is for activities'
                        ELSE 'is for clients, not for orchestrators' END;
        hint := CASE proc.proname
            WHEN 'run_sql' THEN 'Use durable.call_sql.'
            WHEN 'start_new' THEN 'Use durable.start_sub_orchestrator, or durable.call_sub_orchestrator to wait for it.'
            WHEN 'wait_for_completion' THEN 'Use durable.call_sub_orchestrator.'
            WHEN 'raise_event' THEN 'Use durable.send_event.'
            WHEN 'set_custom_status' THEN 'Use durable.set_custom_status with the status only.'
            ELSE 'Call it in an activity: durable.call_activity.'
        END;
    ELSIF schema = 'pg_catalog' AND proc.proname = ANY ('{now,transaction_timestamp,statement_timestamp,clock_timestamp,timeofday}') THEN
        severity := 'error';
        problem := 'depends on the clock';
        hint := 'Use durable.now().';
    ELSIF schema = 'pg_catalog' AND proc.proname LIKE 'pg\_sleep%' THEN
        severity := 'error';
        problem := 'blocks the worker, on each replay again';
        hint := 'Use durable.sleep or durable.sleep_until.';
    ELSIF proc.proname ~ '^(gen_random_uuid|uuid_generate_v[1-7].*|uuidv[47])$' THEN
        severity := 'error';
        problem := 'is random';
        hint := 'Use durable.new_guid().';
    ELSIF schema = 'pg_catalog' AND proc.proname ~ '^(pg_backend_pid|pg_current_\w+|txid_current\w*|inet_client_\w+|pg_my_temp_schema)$' THEN
        severity := 'error';
        problem := 'depends on the session or transaction';
        hint := 'Call it in an activity: durable.call_activity or durable.call_sql.';
    ELSIF proc.provolatile = 'v' AND schema IN ('pg_catalog', 'information_schema') THEN
        severity := 'error';
        problem := CASE WHEN proc.proname ~ '^(nextval|setval|set_config|lo_.*|lo(write|read)|pg_notify)$' THEN 'has effects'
                        WHEN proc.proname LIKE 'random%' THEN 'is random'
                        ELSE 'is VOLATILE' END;
        hint := 'Call it in an activity: durable.call_activity or durable.call_sql.';
    ELSIF proc.provolatile = 'v' THEN
        severity := 'warning';
        problem := 'is VOLATILE';
        hint := CASE WHEN EXISTS (SELECT FROM pg_language l WHERE l.oid = proc.prolang AND l.lanname IN ('sql', 'plpgsql'))
                     THEN 'If it is part of the orchestrator, check it too; else call it as an activity, or declare it IMMUTABLE.'
                     ELSE 'Call it as an activity, or declare it IMMUTABLE.' END;
    END IF;
END
$$;
COMMENT ON FUNCTION durable_internal.check_call(regprocedure) IS
'Why an orchestrator should not call a function; all NULL if it may.';

-- Functions and tables that a function refers to, by its text and by what is
-- known better, and remarks on how well it could be looked at.
CREATE FUNCTION durable_internal.check_references(
    function regprocedure, code text, caller_path text,
    OUT class regclass, OUT object oid, OUT name text, OUT severity text, OUT problem text, OUT hint text
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
#variable_conflict use_column
DECLARE
    identifier CONSTANT text := '(?:"[^"]+"|[[:alpha:]_][\w$]*)';
    pinned CONSTANT text := current_setting('search_path');
    proc pg_proc := (SELECT p FROM pg_proc p WHERE p.oid = check_references.function);
    language text := (SELECT lanname FROM pg_language WHERE oid = proc.prolang);
    checker text := (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'plpgsql_check');
    path text := coalesce((SELECT substr(s, 13) FROM unnest(proc.proconfig) s WHERE s LIKE 'search\_path=%'), caller_path, pinned);
    schemas name[];
    exact boolean := false;
    complaint text;
    word text;
BEGIN
    -- names in it mean what they will mean to an instance; all here is qualified
    PERFORM pg_catalog.set_config('search_path', path, true);
    schemas := pg_catalog.current_schemas(true);
    IF language OPERATOR(pg_catalog.=) 'plpgsql' AND checker IS NOT NULL THEN
        BEGIN
            RETURN QUERY EXECUTE pg_catalog.format(
                'SELECT CASE type WHEN ''FUNCTION'' THEN ''pg_catalog.pg_proc'' ELSE ''pg_catalog.pg_class'' END::pg_catalog.regclass,
                        oid, NULL::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text
                   FROM %s.plpgsql_show_dependency_tb(%s::pg_catalog.oid::pg_catalog.regprocedure)
                  WHERE type OPERATOR(pg_catalog.=) ANY (''{FUNCTION,RELATION}''::pg_catalog.text[])', checker, proc.oid);
            RETURN QUERY EXECUTE pg_catalog.format(
                'SELECT NULL::pg_catalog.regclass, %2$s::pg_catalog.oid, pg_catalog.concat_ws('' '', ''line'', lineno, statement),
                        ''warning'', message, ''plpgsql_check has found this error.''
                   FROM %1$s.plpgsql_check_function_tb(%2$s::pg_catalog.oid::pg_catalog.regprocedure)
                  WHERE level OPERATOR(pg_catalog.=) ''error''', checker, proc.oid);
            exact := true;
        EXCEPTION WHEN OTHERS THEN
            complaint := pg_catalog.concat('plpgsql_check found an error: ', SQLERRM);
        END;
    END IF;
    PERFORM pg_catalog.set_config('search_path', pinned, true);

    IF proc.prosqlbody IS NOT NULL THEN
        RETURN QUERY SELECT refclassid::regclass, refobjid, NULL, NULL, NULL, NULL
          FROM pg_depend
         WHERE classid = 'pg_proc'::regclass AND objid = proc.oid AND deptype = 'n'
           AND refclassid IN ('pg_proc'::regclass, 'pg_class'::regclass);
        -- its text is written for the present path
        schemas := current_schemas(true);
        exact := true;
    END IF;
    IF NOT exact THEN
        RETURN QUERY SELECT NULL::regclass, proc.oid, proc.oid::regprocedure::text,
            CASE WHEN complaint IS NULL THEN 'info' ELSE 'warning' END,
            coalesce(complaint, CASE language
                WHEN 'plpgsql' THEN 'only its text was searched, as the extension plpgsql_check is not installed in this database'
                WHEN 'sql' THEN 'only its text was searched'
                ELSE format('is in language %s, which cannot be checked', language)
            END),
            CASE WHEN complaint IS NOT NULL THEN 'Mend that first; the rest is what the text shows.'
                 WHEN language = 'plpgsql' THEN format('CREATE EXTENSION plpgsql_check (Debian: package postgresql-%s-plpgsql-check).',
                                                       current_setting('server_version_num')::integer / 10000)
                 WHEN language = 'sql' THEN 'A body in BEGIN ATOMIC can be checked better.'
                 ELSE 'See to it that it has no clocks, random values, reads or writes but durable.now(), durable.new_guid() and activities.'
            END;
    END IF;
    IF language NOT IN ('sql', 'plpgsql') THEN
        RETURN;
    END IF;

    -- names before a parenthesis; of one without a schema the first schema that has it
    RETURN QUERY
    WITH called AS (
        SELECT DISTINCT (parse_ident(m[1]))[1] AS schema, (parse_ident(m[2]))[1] AS name
          FROM regexp_matches(code, format('(?:(%1$s)\s*\.\s*)?(%1$s)\s*\(', identifier), 'g') m
    ), candidate AS (
        SELECT p.oid, c.name, n.nspname,
               dense_rank() OVER (PARTITION BY c.schema, c.name ORDER BY array_position(schemas, n.nspname)) AS place
          FROM called c
          JOIN pg_proc p ON p.proname = c.name
          JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE CASE WHEN c.schema IS NOT NULL THEN n.nspname = c.schema ELSE n.nspname = ANY (schemas) END
    )
    SELECT 'pg_proc'::regclass, c.oid,
           CASE WHEN c.nspname = 'pg_catalog' THEN c.name ELSE format('%I.%I', c.nspname, c.name) END,
           NULL, NULL, NULL
      FROM candidate c
     WHERE c.place = 1 AND (NOT exact OR c.nspname = 'pg_catalog');

    IF NOT exact THEN
        FOR word IN SELECT DISTINCT m[1]
                      FROM regexp_matches(code, format('\y(?:from|join)\s+(?:only\s+)?(%1$s(?:\s*\.\s*%1$s)?)(?![\w$]|\s*[.(])', identifier), 'g') m LOOP
            BEGIN
                PERFORM pg_catalog.set_config('search_path', path, true);
                object := pg_catalog.to_regclass(word);
                PERFORM pg_catalog.set_config('search_path', pinned, true);
                class := 'pg_class'::regclass;
                RETURN NEXT;
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;
            END;
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION durable_internal.check_references(regprocedure, text, text) IS
'Functions and tables that a function refers to; rows without a class are remarks.';

CREATE FUNCTION durable_internal.check_statements(
    function regprocedure, code text,
    OUT severity text, OUT object text, OUT problem text, OUT hint text
) RETURNS SETOF record
LANGUAGE sql STABLE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
    SELECT DISTINCT 'error', m[1], 'depends on the clock', 'Use durable.now().'
      FROM regexp_matches(code, '\y(current_timestamp|current_date|current_time|localtimestamp|localtime)\y', 'g') m
    UNION ALL
    SELECT DISTINCT 'error', regexp_replace(coalesce(m[1], m[2], m[3]), '\s+', ' ', 'g'),
           'writes', 'Write in an activity: durable.call_activity or durable.call_sql.'
      FROM regexp_matches(code,
           '\y((?:insert\s+into|merge\s+into|delete\s+from)\s+(?:only\s+)?["\w.$]+)'
           '|\y(update\s+(?!set\y)(?:only\s+)?["\w.$]+)(?=\s+(?:as\s+)?["\w$]*\s*set\y)'
           '|(?:^|;|\y(?:begin|then|else|loop)\y)\s*((?:truncate|create|alter|drop|grant|revoke|copy|notify|comment|lock|call|vacuum|reindex)\y\s+["\w.$]+)', 'g') m
    UNION ALL
    SELECT 'warning', 'execute', 'dynamic SQL cannot be checked', 'Run it as an activity: durable.call_sql.'
     WHERE code ~ '\yexecute\y'
       AND (SELECT l.lanname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid = function) = 'plpgsql'
$$;
COMMENT ON FUNCTION durable_internal.check_statements(regprocedure, text) IS
'Statements and keywords in a function''s text that an orchestrator should not have.';

CREATE FUNCTION durable.check_orchestrator(
    function regprocedure,
    search_path text DEFAULT current_setting('search_path')
) RETURNS TABLE (severity text, object text, problem text, hint text)
LANGUAGE sql VOLATILE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH source AS MATERIALIZED (
        SELECT p.oid::regprocedure AS function,
               CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN durable_internal.check_text(p.oid) ELSE '' END AS code
          FROM pg_proc p
          JOIN pg_language l ON l.oid = p.prolang
         WHERE p.oid = check_orchestrator.function
    ), reference AS MATERIALIZED (
        SELECT r.class, r.object, r.name, r.severity, r.problem, r.hint
          FROM source s, durable_internal.check_references(s.function, s.code, check_orchestrator.search_path) r
    ), finding (rank, severity, object, problem, hint) AS (
        SELECT 0, r.severity, r.name, r.problem, r.hint
          FROM reference r
         WHERE r.class IS NULL
        UNION ALL
        -- where only the name is known, not which of its functions: if all are bad
        SELECT 1, min(c.severity), coalesce(r.name, r.object::regprocedure::text), min(c.problem), min(c.hint)
          FROM reference r, durable_internal.check_call(r.object) c
         WHERE r.class = 'pg_proc'::regclass
         GROUP BY coalesce(r.name, r.object::regprocedure::text)
        HAVING bool_and(c.severity IS NOT NULL)
        UNION ALL
        SELECT 1, t.severity, t.object, t.problem, t.hint
          FROM source s, durable_internal.check_statements(s.function, s.code) t
        UNION ALL
        SELECT DISTINCT 2, 'warning', c.oid::regclass::text, 'is read: it may not hold the same on each replay',
               'Read it in an activity: durable.call_sql. What never changes may be read.'
          FROM reference r
          JOIN pg_class c ON c.oid = r.object AND r.class = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    )
    SELECT f.severity, f.object, f.problem, f.hint
      FROM finding f
     ORDER BY f.rank, f.severity, f.object COLLATE "C";
END;
COMMENT ON FUNCTION durable.check_orchestrator(regprocedure, text) IS
'Look through the code of an orchestrator for what would not be the same on each replay, without running it. One row a finding: severity (error, warning, info), object, problem, hint.
error: calls of clocks, random and other VOLATILE built-in functions, of durable''s functions for clients, and writes. warning: other VOLATILE functions, tables, dynamic SQL, and errors that plpgsql_check finds. info: what could not be looked at.
PL/pgSQL is checked with the extension plpgsql_check where it is installed in the database, else by its text alone, and a row says so; SQL by its text, or better in BEGIN ATOMIC; other languages cannot be checked. Functions that it calls are not looked into. No row is no proof that it is deterministic.
search_path: with which names in it are looked up unless it sets its own; your current one unless given.';
