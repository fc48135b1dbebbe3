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
    size CONSTANT integer := 1024;
    source text := (SELECT coalesce(pg_get_function_sqlbody(oid), prosrc) FROM pg_proc WHERE oid = function);
    total CONSTANT integer := length(source);
    taken integer := 0;     -- how much of the source has come into the view
    view text := '';        -- the part that is looked at: each step costs as much as the view is long
    result text := '';
    line text := '';
    part text;
    cut boolean;
    dollars boolean;        -- whether the part begins a string in dollars
BEGIN
    LOOP
        IF length(view) < size / 2 THEN
            view := view || substr(source, taken + 1, size);
            taken := least(taken + size, total);
        END IF;
        EXIT WHEN view = '';
        -- a comment, a string, the beginning of a string in dollars, or as much as there is of quoted names and anything else
        part := substring(view FROM '^(?:--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|[eE]''(?:[^''\\]|''''|\\.)*''|''(?:[^'']|'''')*''|\$(?:[[:alpha:]_]\w*)?\$|(?:[^-/''$"eE]|[eE](?!'')|[[:alpha:]_][\w$]+|-(?!-)|/(?!\*)|\$(?![[:alpha:]_$])|"(?:[^"]|"")*")+|.)');
        dollars := part ~ '^[$](?:[[:alpha:]_]\w*)?[$]$';
        -- one that ends behind the view, or nowhere
        cut := length(part) = length(view) OR (length(part) = 1 AND view ~ '^([eE]?''|"|/\*)')
            OR (dollars AND strpos(substr(view, length(part) + 1), part) = 0);
        IF cut AND taken < total THEN
            part := substr(source, taken + 1, length(view));
            taken := taken + length(part);
            view := view || part;
            CONTINUE;
        END IF;
        line := line || CASE
            WHEN part ~ '^(--|/\*)' OR cut AND view ~ '^/\*' THEN ' '
            WHEN part ~ '^[eE]?''' OR dollars OR cut AND view ~ '^[eE]''' THEN ''''''
            WHEN cut AND view ~ '^"' THEN part
            WHEN strpos(part, '"') = 0 THEN lower(part)
            -- each second piece is the inside of a quoted name
            ELSE (SELECT string_agg(CASE n % 2 WHEN 1 THEN lower(piece) ELSE piece END, '"' ORDER BY n)
                    FROM unnest(string_to_array(part, '"')) WITH ORDINALITY p (piece, n))
        END;
        view := CASE WHEN cut THEN ''
                     WHEN dollars THEN substr(view, 2 * length(part) + strpos(substr(view, length(part) + 1), part))
                     ELSE substr(view, length(part) + 1) END;
        IF length(view) > 2 * size THEN
            taken := taken - length(view) + size;
            view := left(view, size);
        END IF;
        IF length(line) > size THEN
            result := result || line;
            line := '';
        END IF;
    END LOOP;
    RETURN result || line;
END
$$;
COMMENT ON FUNCTION durable_internal.check_text(regprocedure) IS
'Text of a function in SQL or PL/pgSQL without comments and strings, in lower case but for quoted names; a comment, string or quoted name without an end takes all that follows.';

CREATE FUNCTION durable_internal.check_call(function regprocedure, OUT severity text, OUT problem text, OUT hint text)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    proc pg_proc := (SELECT p FROM pg_proc p WHERE p.oid = function);
    schema text := (SELECT n.nspname FROM pg_namespace n WHERE n.oid = proc.pronamespace);
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

CREATE FUNCTION durable_internal.path_schemas(search_path text) RETURNS name[]
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_path_schemas';
COMMENT ON FUNCTION durable_internal.path_schemas(text) IS
'The schemas in which names are looked up under a search_path, in order, without that of temporary objects.';

CREATE FUNCTION durable_internal.may_check(function regprocedure) RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_may_check';
COMMENT ON FUNCTION durable_internal.may_check(regprocedure) IS
'Whether plpgsql_check may look at a function in this session: the owner of the function is no superuser, has logged in, and is the current user.';

CREATE FUNCTION durable_internal.call_checker(callee regprocedure, function regprocedure, search_path text) RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_call_checker';
COMMENT ON FUNCTION durable_internal.call_checker(regprocedure, regprocedure, text) IS
'Calls callee with the OID of a function that durable_internal.may_check allows (42501 for another), under a search_path: {"rows": what it returned} or {"error": message}. It is read-only and undone.';

-- Functions and tables that a function refers to, by its text and by what is
-- known better, and remarks on how well it could be looked at.  search_path is
-- pinned here; schemas are those in which the function's names are looked up.
-- dependencies and errors are the answers of plpgsql_check, NULL if it was not asked;
-- allowed says whether plpgsql_check may be asked.
CREATE FUNCTION durable_internal.check_references(
    function regprocedure, code text, schemas name[], allowed boolean, dependencies jsonb, errors jsonb,
    OUT class regclass, OUT object oid, OUT name text, OUT severity text, OUT problem text, OUT hint text
) RETURNS SETOF record
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
#variable_conflict use_column
DECLARE
    identifier CONSTANT text := '(?:"[^"]+"|[[:alpha:]_][\w$]*)';
    proc pg_proc := (SELECT p FROM pg_proc p WHERE p.oid = check_references.function);
    language text := (SELECT lanname FROM pg_language WHERE oid = proc.prolang);
    superuser boolean := (SELECT rolsuper FROM pg_roles WHERE oid = proc.proowner);
    complaint text := coalesce(dependencies ->> 'error', errors ->> 'error');
    exact boolean := coalesce(dependencies ? 'rows' AND errors ? 'rows', false);
BEGIN
    RETURN QUERY
    SELECT CASE r.type WHEN 'FUNCTION' THEN 'pg_proc' ELSE 'pg_class' END::regclass, r.oid,
           NULL::text, NULL::text, NULL::text, NULL::text
      FROM jsonb_to_recordset(dependencies -> 'rows') r (type text, oid oid)
     WHERE r.type IN ('FUNCTION', 'RELATION')
     UNION ALL
    SELECT NULL::regclass, proc.oid, concat_ws(' ', 'line', r.lineno, r.statement),
           'warning', r.message, 'plpgsql_check has found this error.'
      FROM jsonb_to_recordset(errors -> 'rows') r (lineno integer, statement text, message text, level text)
     WHERE r.level = 'error';

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
            coalesce('plpgsql_check found an error: ' || complaint, CASE language
                WHEN 'plpgsql' THEN CASE
                    WHEN allowed THEN 'only its text was searched, as the extension plpgsql_check is not installed in this database'
                    WHEN superuser THEN 'only its text was searched, as plpgsql_check may run code, and its owner is a superuser'
                    ELSE 'only its text was searched, as plpgsql_check may run code, and its owner has not logged in here'
                END
                WHEN 'sql' THEN 'only its text was searched'
                ELSE format('is in language %s, which cannot be checked', language)
            END),
            CASE WHEN complaint IS NOT NULL THEN 'Mend that first; the rest is what the text shows.'
                 WHEN language = 'plpgsql' AND NOT allowed THEN format(
                     CASE WHEN superuser THEN 'Give it to a role that is no superuser and check it as that role'
                          ELSE 'Log in as role %s to check it' END
                     || ', or call plpgsql_check yourself if you trust whoever wrote it.', proc.proowner::regrole)
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
        -- A match takes a name whether a parenthesis follows or not, so that no part of the name is looked at again.
        SELECT (parse_ident(c.schema))[1] AS schema, (parse_ident(c.name))[1] AS name
          FROM (SELECT DISTINCT m[1] AS schema, m[2] AS name
                  FROM regexp_matches(code, format('(?:(%1$s)\s*\.\s*)?(%1$s)(\s*\()?', identifier), 'g') m
                 WHERE m[3] IS NOT NULL) c
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
        RETURN QUERY
        WITH read AS (
            SELECT DISTINCT m[1] AS schema, m[2] AS name
              FROM regexp_matches(code, format('\y(?:from|join)\s+(?:only\s+)?(?:(%1$s)\s*\.\s*)?(%1$s)(?![\w$]|\s*[.(])', identifier), 'g') m
        ), candidate AS (
            SELECT c.oid,
                   dense_rank() OVER (PARTITION BY r.schema, r.name ORDER BY array_position(schemas, n.nspname)) AS place
              FROM read r
              JOIN pg_class c ON c.relname = (parse_ident(r.name))[1]
              JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE CASE WHEN r.schema IS NOT NULL THEN n.nspname = (parse_ident(r.schema))[1] ELSE n.nspname = ANY (schemas) END
        )
        SELECT 'pg_class'::regclass, c.oid, NULL, NULL, NULL, NULL FROM candidate c WHERE c.place = 1;
    END IF;
END
$$;
COMMENT ON FUNCTION durable_internal.check_references(regprocedure, text, name[], boolean, jsonb, jsonb) IS
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
               CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN durable_internal.check_text(p.oid) ELSE '' END AS code,
               durable_internal.may_check(p.oid) AS allowed,
               l.lanname = 'plpgsql' AND durable_internal.may_check(p.oid) AS checked,
               coalesce((SELECT substr(c, 13) FROM unnest(p.proconfig) c WHERE c LIKE 'search!_path=%' ESCAPE '!'),
                        check_orchestrator.search_path, '') AS path
          FROM pg_proc p
          JOIN pg_language l ON l.oid = p.prolang
         WHERE p.oid = check_orchestrator.function
    ), checker AS MATERIALIZED (
        SELECT max(p.oid) FILTER (WHERE p.proname = 'plpgsql_show_dependency_tb') AS dependencies,
               max(p.oid) FILTER (WHERE p.proname = 'plpgsql_check_function_tb') AS errors
          FROM pg_extension e
          JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
          JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
         WHERE e.extname = 'plpgsql_check' AND p.proargtypes[0] = 'regprocedure'::regtype
    ), known AS MATERIALIZED (
        SELECT s.function, s.code, s.allowed, durable_internal.path_schemas(s.path) AS schemas,
               CASE WHEN s.checked THEN durable_internal.call_checker(c.dependencies, s.function, s.path) END AS dependencies,
               CASE WHEN s.checked THEN durable_internal.call_checker(c.errors, s.function, s.path) END AS errors
          FROM source s, checker c
    ), reference AS MATERIALIZED (
        SELECT r.class, r.object, r.name, r.severity, r.problem, r.hint
          FROM known k, durable_internal.check_references(k.function, k.code, k.schemas, k.allowed, k.dependencies, k.errors) r
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
'Looks through the code of an orchestrator for what would not be the same on each replay. Returns one row for each finding. No row is no proof that the code is deterministic. Functions that the code calls are not looked into.
function: the orchestrator, by name and argument types.
search_path: by which names in the code are looked up, unless the function sets its own. Your current search_path unless given.
severity: error: calls of clocks, random and other VOLATILE built-in functions, calls of durable''s functions for clients, and writes. warning: other VOLATILE functions, tables, dynamic SQL, and errors that plpgsql_check finds. info: what could not be looked at.
object: the function, the table or the statement.
problem: what is wrong with it.
hint: what to do instead.
PL/pgSQL is checked with the extension plpgsql_check where that is installed in the database and you have logged in as the owner of the function, who is no superuser. Otherwise PL/pgSQL is checked by its text alone, and a row says so. SQL is checked by its text, or better in BEGIN ATOMIC. Other languages cannot be checked.
The reason for the condition: plpgsql_check has PostgreSQL parse and plan the statements. That runs code which the statements name, with your rights, as a call of the function would: functions that are declared IMMUTABLE or STABLE, and the CHECK of a domain. What that does to the database is undone. Who wrote a function cannot be told, as its owner may have changed. So plpgsql_check is never asked with the rights of a superuser, and not after SET ROLE, which such code could undo. If you trust whoever wrote the function, call plpgsql_check yourself.
Durable Functions has an analyzer for C# code.';
