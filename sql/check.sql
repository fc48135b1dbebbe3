-- durable.check_orchestrator: what is found in PL/pgSQL with and without
-- plpgsql_check, in SQL, and what is said of other languages.
\set VERBOSITY terse
SELECT count(*) = 0 AS skip FROM pg_available_extensions WHERE name = 'plpgsql_check' \gset
\if :skip
\echo plpgsql_check is not available
\quit
\endif
\pset format unaligned
CREATE SCHEMA check_elsewhere;
CREATE TABLE check_table (a int);
CREATE TABLE check_elsewhere."Table" (a int);
CREATE VIEW check_view AS SELECT a FROM check_table;
CREATE SEQUENCE check_sequence;
CREATE FUNCTION check_volatile(a int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN a; END';
CREATE FUNCTION check_immutable(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';

-- All that is good.
CREATE FUNCTION check_good(input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    -- a comment: random(); insert into check_table
    task durable.task := durable.schedule_activity('check_volatile', '1', durable.retry_policy(3));
    amount numeric := check_immutable(2);
BEGIN
    /* select now() from check_table */
    PERFORM durable.log('log', format('now() is %s, random() is not', durable.now()));
    PERFORM durable.call_sql('UPDATE check_table SET a = random()'), durable.call_sql($q$DELETE FROM check_table WHERE a < now()$q$);
    PERFORM durable.set_custom_status(jsonb_build_object('id', durable.new_guid()));
    PERFORM durable.when_any(task, durable.create_timer(interval '1 s'), durable.subscribe_event(E'it\'s now()'));
    IF amount > 1 THEN
        PERFORM durable.continue_as_new(to_jsonb(lower('X') || "substring"('abc', 2)));
    END IF;
    RETURN to_jsonb(durable.when_all(VARIADIC ARRAY(
        SELECT durable.schedule_activity('check_volatile', to_jsonb(i)) FROM generate_series(1, 3) i)));
END
$$;

-- All that is bad.
CREATE FUNCTION check_bad(input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := now();
    id uuid := pg_catalog.gen_random_uuid();
    n int;
    r record;
BEGIN
    n := random() * 3 + check_volatile() + nextval('check_sequence');
    IF clock_timestamp() - CURRENT_TIMESTAMP > '0' OR timeofday() > statement_timestamp()::text OR current_date > localtimestamp THEN
        PERFORM pg_sleep(1), pg_backend_pid(), setval('check_sequence', 1), set_config('work_mem', '1MB', true);
    END IF;
    INSERT INTO check_table VALUES (n);
    UPDATE ONLY check_table AS t SET a = 2;
    UPDATE check_table SET a = 3;
    DELETE FROM check_elsewhere."Table";
    NOTIFY check_channel;
    FOR r IN SELECT a FROM check_view FOR UPDATE LOOP
        CREATE TEMP TABLE check_temporary (a int);
    END LOOP;
    EXECUTE 'SELECT 1';
    PERFORM durable.start_new('check_good'), durable.raise_event('x', 'e'), durable.wait_for_completion('x'),
            durable.set_custom_status('x', '1'), durable.terminate('x'), durable.get_status('x'), durable.run_sql('SELECT 1'), durable.task_id();
    RETURN NULL;
END
$$;

CREATE FUNCTION check_sql(input jsonb) RETURNS timestamptz LANGUAGE sql AS 'SELECT now() FROM check_table t JOIN check_elsewhere."Table" USING (a) /* random() */';
CREATE FUNCTION check_atomic(input jsonb) RETURNS jsonb
BEGIN ATOMIC
    SELECT durable.call_activity('check_volatile', to_jsonb(check_volatile(a) * random())) FROM check_table WHERE CURRENT_DATE > '2000-01-01';
    SELECT durable.call_activity('check_volatile', to_jsonb(durable.now()));
END;
CREATE FUNCTION check_internal(text) RETURNS text LANGUAGE internal AS 'upper';
CREATE FUNCTION check_broken() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM a FROM check_none WHERE random() > 1; END';
CREATE FUNCTION check_path() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM FROM "Table"; END';
CREATE FUNCTION check_own_path() RETURNS void LANGUAGE plpgsql SET search_path = check_elsewhere AS 'BEGIN PERFORM FROM "Table"; END';

-- The owner, who has logged in, is no superuser.
SELECT current_user AS superuser \gset
CREATE ROLE regress_durable_check_owner LOGIN;
SELECT durable.grant_usage('regress_durable_check_owner');
GRANT USAGE ON SCHEMA check_elsewhere TO regress_durable_check_owner;
GRANT SELECT, UPDATE ON check_view TO regress_durable_check_owner;
ALTER FUNCTION check_good(jsonb) OWNER TO regress_durable_check_owner;
ALTER FUNCTION check_bad(jsonb) OWNER TO regress_durable_check_owner;
ALTER FUNCTION check_broken() OWNER TO regress_durable_check_owner;
ALTER FUNCTION check_path() OWNER TO regress_durable_check_owner;
ALTER FUNCTION check_own_path() OWNER TO regress_durable_check_owner;

-- Without the extension.
\c - regress_durable_check_owner
SELECT severity, object, problem, regexp_replace(hint, 'postgresql-\d+', 'postgresql-NN') AS hint FROM durable.check_orchestrator('check_good(jsonb)');
SELECT severity, object, problem FROM durable.check_orchestrator('check_bad(jsonb)');
SELECT severity, object, problem, regexp_replace(hint, '-\d+-', '-NN-') AS hint FROM durable.check_orchestrator('check_path()');

-- With it.
\c - :superuser
CREATE SCHEMA check_extension;
CREATE EXTENSION plpgsql_check SCHEMA check_extension;
GRANT USAGE ON SCHEMA check_extension TO regress_durable_check_owner;
\c - regress_durable_check_owner
SELECT severity, object, problem, regexp_replace(hint, 'postgresql-\d+', 'postgresql-NN') AS hint FROM durable.check_orchestrator('check_good(jsonb)');
-- from PostgreSQL 16 on only the view's table is found
SELECT severity, object, problem FROM durable.check_orchestrator('check_bad(jsonb)') WHERE object <> 'public.check_view';
SELECT * FROM durable.check_orchestrator('check_broken()');
-- The search_path is the caller's, that which is given, or the function's own.
SELECT object, problem FROM durable.check_orchestrator('check_path()');
SELECT object, problem FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
SELECT object, problem FROM durable.check_orchestrator('check_own_path()');
SET search_path = check_elsewhere;
SELECT object, problem FROM durable.check_orchestrator('public.check_path()');
SHOW search_path;
RESET search_path;

\c - :superuser

-- Other languages.
SELECT * FROM durable.check_orchestrator('check_sql(jsonb)');
SELECT * FROM durable.check_orchestrator('check_atomic(jsonb)');
SELECT * FROM durable.check_orchestrator('check_internal(text)');
SELECT * FROM durable.check_orchestrator(NULL);
SELECT * FROM durable.check_orchestrator('0');

-- Who has not logged in as the owner has the text searched: a superuser, a user of the extension, a member of the owner, and whoever has set the role.
CREATE ROLE regress_durable_check IN ROLE regress_durable_check_owner;
SELECT durable.grant_usage('regress_durable_check');
SELECT severity, object, problem, hint FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
SET ROLE regress_durable_check;
SELECT count(*) FROM durable.check_orchestrator('check_bad(jsonb)');
SELECT severity, problem FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
SELECT object FROM durable.check_orchestrator('check_sql(jsonb)');
SET ROLE regress_durable_check_owner;
SELECT severity, problem FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
RESET ROLE;
SET SESSION AUTHORIZATION regress_durable_check_owner;
SELECT severity, problem FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
RESET SESSION AUTHORIZATION;
-- so has everybody where the owner is a superuser
ALTER FUNCTION check_path() OWNER TO CURRENT_USER;
SELECT severity, object, problem, hint FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
SET ROLE regress_durable_check;
SELECT severity, problem FROM durable.check_orchestrator('check_path()', 'check_elsewhere');
RESET ROLE;
REASSIGN OWNED BY regress_durable_check_owner TO CURRENT_USER;
DROP OWNED BY regress_durable_check_owner;
DROP ROLE regress_durable_check_owner;
SELECT durable.revoke_usage('regress_durable_check');
DROP ROLE regress_durable_check;

-- a large body takes as long as it is large, whatever it consists of
DO $$
BEGIN
	EXECUTE format('CREATE FUNCTION check_large() RETURNS int LANGUAGE plpgsql AS %L',
		'BEGIN ' || repeat($x$ IF 'e' || E'\'' /* ' */ = $y$ ' $y$ THEN NULL; END IF; -- ' $x$ || chr(10), 8000)
		|| 'PERFORM ''' || repeat('x', 300000) || $x$'; PERFORM pg_sleep(1); PERFORM 'pg_backend_pid()'; RETURN 1; END $x$);
END
$$;
SET statement_timeout = '60 s';
SELECT durable_internal.check_text('check_large()') LIKE '%perform ''''; perform pg_sleep(1); perform ''''; return 1; end %' AS is_cleared;
RESET statement_timeout;
-- what is neither a string nor a comment, though parts of the text look like one
CREATE FUNCTION check_tokens(int) RETURNS int LANGUAGE plpgsql AS $f$ BEGIN PERFORM e'it\'s', 'A' LIKE'x', A$b$c(NOW()), "Foo""Bar" - -$1 / 2 + a$, $q$ now() $q$, "É".Now(); END $f$;
SELECT durable_internal.check_text('check_tokens(int)');
DROP FUNCTION check_tokens;
-- names and what is between them take as long as they are long
SET check_function_bodies = off;
DO $$
DECLARE
	code text;
	started timestamptz;
BEGIN
	FOR code IN SELECT repeat(shape, 400000 / length(shape)) || ending
	              FROM unnest(ARRAY['a', 'a$', '.', 'a.', ' ', 'a ', '(', 'a(', ')', '"', '"a" ', 'from ', '-']) shape,
	                   unnest(ARRAY['', ' pg_sleep(1)', ';.(']) ending LOOP
		EXECUTE format('CREATE OR REPLACE FUNCTION check_shape() RETURNS int LANGUAGE plpgsql AS %L', code);
		started := clock_timestamp();
		PERFORM durable_internal.check_text('check_shape()');
		PERFORM durable_internal.check_references('check_shape()', code, '{pg_catalog,public}', true, NULL, NULL);
		PERFORM durable_internal.check_statements('check_shape()', code);
		IF clock_timestamp() - started > '10 s' THEN
			RAISE WARNING '% took %', left(code, 10), clock_timestamp() - started;
		END IF;
	END LOOP;
END
$$;
RESET check_function_bodies;
DROP FUNCTION check_shape;
-- what has no end takes all that follows
SET check_function_bodies = off;
CREATE FUNCTION check_endless() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM PI() /* 'x'; PERFORM now(); $$;
SELECT durable_internal.check_text('check_endless()');
RESET check_function_bodies;
DROP FUNCTION check_large, check_endless;

DROP EXTENSION plpgsql_check;
DROP VIEW check_view;
DROP FUNCTION check_volatile, check_immutable, check_good, check_bad, check_sql, check_atomic, check_internal, check_broken, check_path, check_own_path;
DROP TABLE check_table, check_elsewhere."Table";
DROP SEQUENCE check_sequence;
DROP SCHEMA check_elsewhere, check_extension;
