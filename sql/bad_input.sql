-- Bad input: each is an error of the call, with the right SQLSTATE and nothing stored, or a failed instance that says why.
-- Other instances go on: beside each instance that fails, another one is started that must complete.
\set VERBOSITY terse
CREATE ROLE regress_durable_bad LOGIN;
SELECT durable.grant_usage('regress_durable_bad');
CREATE SCHEMA bad AUTHORIZATION regress_durable_bad;
SET search_path = bad, public;

CREATE FUNCTION bad.echo(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION bad.add(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION bad.twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION bad.twice(a text) RETURNS text LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION bad.secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION bad.secret FROM PUBLIC;
CREATE PROCEDURE bad.procedure() LANGUAGE sql AS '';
CREATE FUNCTION bad.trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION bad.anything(x anyelement) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION bad.records() RETURNS SETOF record LANGUAGE sql AS 'SELECT 1, 2';
CREATE AGGREGATE bad.agg(int) (sfunc = int4pl, stype = int);
GRANT USAGE ON SCHEMA bad TO PUBLIC;

-- Errors of start_new, and the same as failures of an activity.
CREATE TABLE bad.input (n int GENERATED ALWAYS AS IDENTITY, function text, input jsonb);
INSERT INTO bad.input (function, input) VALUES
    ('no_such_function', NULL), ('no_such_schema.f', NULL), ('bad.no_such_function', NULL), ('echo(int)', NULL),
    ('no.such.function', NULL), ('', NULL), ('a b', NULL), ('"', NULL), ('echo(', NULL), ('(', NULL), ('.', NULL),
    ('echo; DROP TABLE bad.input', NULL), (repeat('x', 20000), NULL),
    ('twice', '1'), ('secret', NULL), ('procedure', NULL), ('trigger', NULL), ('anything', '1'), ('records', NULL),
    ('agg', '1'), ('add', '{"a": 1}'), ('add', '{"a": 1, "b": 2, "c": 3}'), ('add', '{"A": 1, "b": 2}'), ('add', '1'),
    ('add', '{"a": 1, "b": "x"}'), ('add', '{"a": 1, "b": [2]}'), ('add', '[1, 99999999999]');
CREATE FUNCTION bad.start(function text, input jsonb, id text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.start_new(function, input, id);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION bad.call(call jsonb) RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN RETURN durable.call_activity(call->>'function', call->'input'); END $$;
GRANT SELECT ON bad.input TO regress_durable_bad;
SET ROLE regress_durable_bad;
SELECT left(function, 30) AS function, input, bad.start(function, input, 'bad-started') AS error FROM bad.input ORDER BY n;
SELECT durable.get_status('bad-started') IS NULL AS none;
SELECT count(durable.start_new('call', jsonb_strip_nulls(to_jsonb(i) - 'n'), 'bad-activity-' || n)) FROM bad.input i;
SELECT DISTINCT runtime_status, failure->>'activity' = i.function AS named
  FROM bad.input i, durable.wait_for_completion('bad-activity-' || n, '1 min');
-- They differ from the errors above in nothing.
SELECT i.function, i.input, s.failure
  FROM bad.input i, durable.get_status('bad-activity-' || n) s
 WHERE (s.failure->>'sqlstate') || ' ' || (s.failure->>'message') IS DISTINCT FROM bad.start(i.function, i.input)
 ORDER BY n;
RESET ROLE;

-- Ids, nulls, and what else clients can get wrong (more in client.sql).
SELECT bad.start('echo', '1', id) FROM unnest(ARRAY['', '@x', 'a/b', E'a\\b', 'a#b', 'a?b', E'a\tb', repeat('x', 257)]) id;
SELECT bad.start(NULL, '1');
CREATE FUNCTION bad.client(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'SELECT durable.' || call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT call, bad.client(call)
  FROM unnest('{"raise_event(''none'', ''e'')","terminate(''none'')","suspend(''none'')","resume(''none'')",
                "raise_event(''bad-activity-1'', ''e'')","terminate(''bad-activity-1'')",
                "raise_event(NULL, ''e'')","raise_event(''none'', NULL)","terminate(NULL)","wait_for_completion(NULL)",
                "wait_for_completion(''none'')"}'::text[]) call;
-- NULLs, and times that never come, inside an orchestrator.
CREATE FUNCTION bad.null_call(call text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN bad.client(call); END';
CREATE TABLE bad.null_calls AS
SELECT row_number() OVER () AS n, call
  FROM unnest('{call_activity(NULL),sleep(NULL),sleep_until(NULL),wait_for_external_event(NULL),"wait_for_external_event('''')",
                "subscribe_event('''')","send_event(''x'', '''')",
                await(NULL),create_timer(NULL::interval),create_timer(NULL::timestamptz),"send_event(NULL, NULL)",
                schedule_activity(NULL),call_sub_orchestrator(NULL),
                sleep_until(''infinity''),create_timer(''infinity''::timestamptz),create_timer(''-infinity''::timestamptz)}'::text[]) call;
SELECT count(durable.start_new('null_call', to_jsonb(call), 'bad-null-' || n)) FROM bad.null_calls;
SELECT call, runtime_status, coalesce(output #>> '{}', failure->>'message') AS result
  FROM bad.null_calls, durable.wait_for_completion('bad-null-' || n, '1 min') ORDER BY n;

-- A change of durable.turn_timeout is there when a worker says so.
CREATE FUNCTION bad.turn_timeout() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('durable.turn_timeout') $$;
CREATE PROCEDURE bad.await_turn_timeout(value text) LANGUAGE plpgsql AS $$
DECLARE
    id text;
BEGIN
    LOOP
        id := durable.start_new('turn_timeout');
        COMMIT;
        EXIT WHEN (durable.wait_for_completion(id, '1 min')).output = to_jsonb(value);
        COMMIT;
    END LOOP;
END
$$;
ALTER SYSTEM SET durable.turn_timeout = '1 s';
SELECT pg_reload_conf();
SET ROLE regress_durable_bad;
CALL bad.await_turn_timeout('1s');
RESET ROLE;

CREATE PROCEDURE bad.pair(function text, input jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.start_new(function, input, 'bad-' || function);
    PERFORM durable.start_new('call', '{"function": "echo", "input": "fine"}', 'bad-beside-' || function);
END
$$;
-- How instances ended, and that the ones beside them completed.
CREATE FUNCTION bad.ends(VARIADIC functions text[])
RETURNS TABLE (function text, status durable.runtime_status, sqlstate text, message text, beside durable.runtime_status)
LANGUAGE sql AS $$
    SELECT f, s.runtime_status, s.failure->>'sqlstate', coalesce(s.failure->>'message', s.output #>> '{}'), b.runtime_status
      FROM unnest(functions) f, durable.wait_for_completion('bad-' || f, '1 min') s,
           durable.wait_for_completion('bad-beside-' || f, '1 min') b
$$;

-- Orchestrators that never end, whatever they catch; recursion; too much memory.
CREATE FUNCTION bad.forever() RETURNS void LANGUAGE plpgsql AS 'BEGIN LOOP END LOOP; END';
CREATE FUNCTION bad.forever_catching() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        LOOP END LOOP;
    EXCEPTION WHEN query_canceled THEN
        RAISE EXCEPTION 'I will not be canceled';
    END;
END
$$;
CREATE FUNCTION bad.forever_later() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('echo', '1');
    PERFORM pg_sleep(3600);
END
$$;
CREATE FUNCTION bad.forever_suspended() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM durable.call_activity('echo', '1');
    EXCEPTION WHEN query_canceled THEN
        LOOP END LOOP;
    END;
    RETURN 'went on';
END
$$;
CREATE FUNCTION bad.forever_activity() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM durable.call_activity('forever', timeout => '300 ms'); END $$;
-- Nothing that code can handle ends these.
CREATE FUNCTION bad.endless() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            PERFORM pg_sleep(3600);
        EXCEPTION WHEN query_canceled THEN
            NULL;
        END;
    END LOOP;
END
$$;
CREATE FUNCTION bad.endless_activity() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM durable.call_activity('endless', timeout => '300 ms'); END $$;
CREATE FUNCTION bad.recursion(n int DEFAULT 0) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN bad.recursion(n + 1); END';
CREATE FUNCTION bad.recursion_activity() RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN RETURN durable.call_activity('recursion', '1'); END $$;
CREATE FUNCTION bad.memory() RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', 1073741824) $$;
CREATE FUNCTION bad.memory_activity() RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN RETURN durable.call_activity('memory'); END $$;
SET ROLE regress_durable_bad;
CALL bad.pair('forever');
CALL bad.pair('forever_catching');
CALL bad.pair('forever_later');
CALL bad.pair('forever_suspended');
CALL bad.pair('forever_activity');
CALL bad.pair('endless');
CALL bad.pair('endless_activity');
CALL bad.pair('recursion_activity');
CALL bad.pair('memory');
CALL bad.pair('memory_activity');
SELECT * FROM bad.ends('forever', 'forever_catching', 'forever_later', 'forever_suspended', 'forever_activity',
                       'endless', 'endless_activity', 'recursion_activity', 'memory', 'memory_activity');
SELECT failure->>'hint' AS hint FROM durable.get_status('bad-forever');
SELECT failure->>'detail' AS detail, failure->>'hint' AS hint FROM durable.get_status('bad-endless');
SELECT failure - 'message' - 'sqlstate' AS failure FROM durable.get_status('bad-endless_activity');
RESET ROLE;
ALTER SYSTEM RESET durable.turn_timeout;
SELECT pg_reload_conf();
-- A turn has the time to come to the end of the stack.
SET ROLE regress_durable_bad;
CALL bad.pair('recursion', '0');
SELECT * FROM bad.ends('recursion');
RESET ROLE;

-- The ground is pulled from under instances that wait.
CREATE FUNCTION bad.waits() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.wait_for_external_event('go');
    RETURN 'went on';
END
$$;
CREATE PROCEDURE bad.await_subscribed(title text) LANGUAGE plpgsql AS $$
BEGIN
    COMMIT;
    WHILE NOT EXISTS (SELECT FROM durable.history WHERE instance_id = 'bad-' || title AND event_type = 'EventSubscribed') LOOP
        COMMIT;
    END LOOP;
END
$$;
CREATE PROCEDURE bad.pair_waiting(title text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION bad.%s() RETURNS text LANGUAGE plpgsql AS %L', title,
                   (SELECT prosrc FROM pg_proc WHERE oid = 'bad.waits'::regproc));
    CALL bad.pair(title);
    CALL bad.await_subscribed(title);
END
$$;
SET ROLE regress_durable_bad;
CALL bad.pair_waiting('dropped');
CALL bad.pair_waiting('renamed');
CALL bad.pair_waiting('moved');
CALL bad.pair_waiting('recreated');
CALL bad.pair_waiting('changed');
CALL bad.pair_waiting('revoked');
CALL bad.pair_waiting('broken');
DROP FUNCTION dropped();
ALTER FUNCTION renamed() RENAME TO renamed_away;
RESET ROLE;
ALTER FUNCTION moved() SET SCHEMA public;
SET ROLE regress_durable_bad;
DROP FUNCTION recreated();
CREATE FUNCTION recreated() RETURNS text LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go')::text || ' went on anew' $$;
DROP FUNCTION changed();
CREATE FUNCTION changed(n int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT n';
REVOKE EXECUTE ON FUNCTION revoked() FROM PUBLIC, regress_durable_bad;
CREATE OR REPLACE FUNCTION broken() RETURNS text LANGUAGE plpgsql AS 'BEGIN SELECT * FROM no_such_table; END';
SELECT count(durable.raise_event('bad-' || f, 'go', '"it"'))
  FROM unnest('{dropped,renamed,moved,recreated,changed,revoked,broken}'::text[]) f;
SELECT * FROM bad.ends('dropped', 'renamed', 'moved', 'recreated', 'changed', 'revoked', 'broken');
SELECT DISTINCT failure->>'hint' AS hint FROM durable.instances
 WHERE instance_id IN ('bad-dropped', 'bad-renamed', 'bad-moved', 'bad-changed');
RESET ROLE;
-- A schema of the search_path goes, with the activities in it.
CREATE SCHEMA bad_gone;
CREATE FUNCTION bad_gone.echo(x jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"from the schema that goes"'::jsonb $$;
CREATE FUNCTION bad_gone.only_there() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION bad.echo_twice() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text := durable.call_activity('echo', '"other"');
BEGIN
    PERFORM durable.wait_for_external_event('go');
    RETURN concat_ws(', ', result, durable.call_activity('echo', '"other"'), durable.call_activity('only_there'));
END
$$;
SET search_path = bad_gone, bad, public;
CALL bad.pair('echo_twice');
CALL bad.await_subscribed('echo_twice');
SET search_path = bad, public;
SET client_min_messages = warning;
DROP SCHEMA bad_gone CASCADE;
RESET client_min_messages;
SELECT durable.raise_event('bad-echo_twice', 'go');
SELECT * FROM bad.ends('echo_twice');
SELECT result FROM durable.history WHERE instance_id = 'bad-echo_twice' AND event_type = 'TaskCompleted' ORDER BY sequence_number;

-- Rights: of the function that is called later, and to use durable at all.
CREATE ROLE regress_durable_bad_too LOGIN;
GRANT USAGE ON SCHEMA bad TO regress_durable_bad_too;
SELECT durable.grant_usage('regress_durable_bad_too');
CREATE FUNCTION bad.denied() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.wait_for_external_event('go');
    RETURN durable.call_activity('secret');
END
$$;
CREATE FUNCTION bad.unusable() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.wait_for_external_event('go');
    RETURN durable.call_activity('echo', '1');
END
$$;
-- Roles that go: one whose worker still lives, one whose worker has gone, and one with a timer that is due by itself.
CREATE FUNCTION bad.orphan() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.wait_for_external_event('go');
    RETURN durable.call_activity('echo', '1');
END
$$;
CREATE FUNCTION bad.orphan_pending() RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
SET ROLE regress_durable_bad_too;
CALL bad.pair('denied');
CALL bad.pair('unusable');
CALL bad.await_subscribed('denied');
CALL bad.await_subscribed('unusable');
SELECT durable.raise_event('bad-denied', 'go');
SELECT * FROM bad.ends('denied');
RESET ROLE;
SELECT durable.revoke_usage('regress_durable_bad_too');
SELECT durable.raise_event('bad-unusable', 'go');
SELECT * FROM bad.ends('unusable');
SELECT durable.grant_usage('regress_durable_bad_too');
CREATE FUNCTION bad.orphan_worker_gone() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
SET ROLE regress_durable_bad_too;
CALL bad.pair('orphan');
CALL bad.pair('orphan_worker_gone');
CALL bad.await_subscribed('orphan');
CALL bad.await_subscribed('orphan_worker_gone');
SELECT durable.start_new('orphan_pending', instance_id => 'bad-orphan_pending', start_at => now() + '1 s');
SELECT runtime_status FROM durable.wait_for_completion('bad-beside-orphan', '1 min');
RESET ROLE;
DROP OWNED BY regress_durable_bad_too;
DROP ROLE regress_durable_bad_too;
SELECT durable.start_new('echo', '1', 'bad-beside-orphan_pending');
SELECT function, status, sqlstate, regexp_replace(message, '\d+', 'N') AS message, beside FROM bad.ends('orphan');
SELECT function, status, sqlstate, regexp_replace(message, '\d+', 'N') AS message, beside FROM bad.ends('orphan_worker_gone', 'orphan_pending');

-- Nothing is left behind, and the engine works.
SELECT durable.start_new('echo', '"alive"', 'bad-last');
SELECT runtime_status, output FROM durable.wait_for_completion('bad-last', '1 min');
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'bad%';
SELECT instance_id FROM durable.instances WHERE instance_id LIKE 'bad%' AND runtime_status NOT IN ('Completed', 'Failed');
SET client_min_messages = warning;
RESET search_path;
DROP SCHEMA bad CASCADE;
DROP FUNCTION public.moved();
DROP OWNED BY regress_durable_bad;
DROP ROLE regress_durable_bad;
