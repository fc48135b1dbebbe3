-- Functions in SQL that the planner inlines are remembered by workers: for one search_path, until anything changes, and
-- with errors that name them.
\set VERBOSITY terse
CREATE SCHEMA inlined_a;
CREATE FUNCTION inlined_shout(x text) RETURNS text LANGUAGE sql AS 'SELECT upper(x) || ''!''';
CREATE FUNCTION inlined_a.upper(text) RETURNS text LANGUAGE sql AS 'SELECT ''shadowed '' || $1';
CREATE FUNCTION inlined_divide(n int) RETURNS int LANGUAGE sql AS 'SELECT 12 / n';
CREATE TABLE inlined_count (n int);
CREATE FUNCTION inlined_constant() RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT count(*) FROM inlined_count';
CREATE FUNCTION inlined_caller(name text, input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_activity(name, input);
END
$$;
-- What an activity returns, or its failure.
CREATE PROCEDURE inlined_call(name text, input jsonb, INOUT result jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    id text := durable.start_new('public.inlined_caller', jsonb_build_object('name', name, 'input', input));
BEGIN
    COMMIT;
    SELECT coalesce(failure -> 'cause', failure, output) INTO result FROM durable.wait_for_completion(id, '1 min');
END
$$;

CALL inlined_call('inlined_shout', '"ah"');
CALL inlined_call('inlined_shout', '"oh"');

-- Another search_path, and back.
SET search_path = inlined_a, pg_catalog, public;
CALL inlined_call('inlined_shout', '"ah"');
RESET search_path;
CALL inlined_call('inlined_shout', '"ah"');

-- Replaced.
CREATE OR REPLACE FUNCTION inlined_shout(x text) RETURNS text LANGUAGE sql AS 'SELECT lower(x) || ''?''';
CALL inlined_call('inlined_shout', '"AH"');

-- Errors say where.
CALL inlined_call('inlined_divide', '4');
CALL inlined_call('inlined_divide', '0');
CALL inlined_call('inlined_divide', '3');

-- A claim to be immutable is not believed from one call to the next.
CALL inlined_call('inlined_constant', NULL);
INSERT INTO inlined_count VALUES (1);
CALL inlined_call('inlined_constant', NULL);

DROP FUNCTION inlined_a.upper, inlined_shout, inlined_divide, inlined_constant, inlined_caller;
DROP PROCEDURE inlined_call;
DROP TABLE inlined_count;
DROP SCHEMA inlined_a;
