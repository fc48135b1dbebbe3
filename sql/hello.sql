-- Orchestrators in PL/pgSQL, SQL and PL/Python, what they can call, and how inputs become arguments.
SET jit = off;
\set VERBOSITY terse
CREATE EXTENSION plpython3u;

CREATE FUNCTION hello_say(name text) RETURNS text LANGUAGE sql AS $$ SELECT 'Hello ' || name || '!' $$;

-- The same sequence in three languages.
CREATE FUNCTION hello_sequence() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    greetings jsonb := '[]';
BEGIN
    greetings := greetings || durable.call_activity('hello_say', '"Tokyo"');
    greetings := greetings || durable.call_activity('hello_say', '"Seattle"');
    greetings := greetings || durable.call_activity('hello_say', '"London"');
    RETURN greetings;
END
$$;
CREATE FUNCTION hello_sql() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(durable.call_activity('hello_say', '"Tokyo"'),
                             durable.call_activity('hello_say', '"Seattle"'),
                             durable.call_activity('hello_say', '"London"'))
$$;
CREATE FUNCTION hello_say_python(name text) RETURNS text LANGUAGE plpython3u AS $$
return 'Hello %s!' % name
$$;
CREATE FUNCTION hello_python(cities text[]) RETURNS jsonb LANGUAGE plpython3u AS $$
import json
plan = plpy.prepare('SELECT durable.call_activity($1, $2) AS greeting', ['text', 'jsonb'])
greetings = []
for city in cities:
    greetings.append(json.loads(plpy.execute(plan, ['hello_say_python', json.dumps(city)])[0]['greeting']))
return json.dumps(greetings)
$$;
SELECT durable.start_new('hello_sequence', instance_id => 'hello-plpgsql');
SELECT durable.start_new('hello_sql', instance_id => 'hello-sql');
SELECT durable.start_new('hello_python', '{"cities": ["Tokyo", "Seattle", "London"]}', instance_id => 'hello-python');
SELECT id, runtime_status, output, failure
  FROM unnest('{hello-plpgsql,hello-sql,hello-python}'::text[]) id, durable.wait_for_completion(id, '1 min');
SELECT sequence_number, event_type, task_id, input, result, attempt
  FROM durable.history WHERE instance_id = 'hello-plpgsql' ORDER BY sequence_number;
SELECT instance_id, string_agg(event_type, ' ' ORDER BY sequence_number) AS events
  FROM durable.history WHERE instance_id IN ('hello-sql', 'hello-python') GROUP BY instance_id;

-- What an orchestrator sees of itself, and that it sees the same on each replay: the answers of each turn go to an
-- activity, whose input is compared with the history.
CREATE FUNCTION hello_same(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION hello_self(input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    seen jsonb := jsonb_build_array(durable.now(), durable.instance_id());
    first timestamptz := durable.now();
    before boolean := durable.is_replaying();
    event jsonb;
    answer jsonb;
BEGIN
    seen := durable.call_activity('hello_same', seen || to_jsonb(durable.now()));
    PERFORM durable.set_custom_status('"sleeping"');
    PERFORM durable.sleep('20 ms');
    seen := durable.call_activity('hello_same', seen || to_jsonb(durable.now()));
    PERFORM durable.set_custom_status('"waiting"');
    event := durable.wait_for_external_event('go');
    answer := durable.wait_for_external_event('never', '10 ms', '"none"');
    PERFORM durable.set_custom_status('{"went": true}');
    RETURN jsonb_build_object(
        'input', input, 'event', event, 'id', durable.instance_id(), 'replayed the beginning', before,
        'replaying', durable.is_replaying(), 'same', (seen->>1) = durable.instance_id(),
        'slept', durable.now() - first >= '20 ms', 'no answer', answer);
END
$$;
BEGIN;
SELECT durable.start_new('hello_self', '{"a": [1, null]}', instance_id => 'hello-self');
SELECT durable.raise_event('hello-self', 'GO', '{"by": "test"}');
COMMIT;
SELECT runtime_status, custom_status, jsonb_pretty(output) AS output, failure
  FROM durable.wait_for_completion('hello-self', '1 min');
SELECT event_type, name, result
  FROM durable.history WHERE instance_id = 'hello-self' AND event_type ~ 'Event|Status' ORDER BY event_type, sequence_number;
-- A timeout without a default is an error that can be handled.
CREATE FUNCTION hello_late() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.wait_for_external_event('never', '10 ms');
    RETURN 'not reached';
EXCEPTION WHEN SQLSTATE 'OD006' THEN
    RETURN SQLERRM;
END
$$;
SELECT durable.start_new('hello_late', instance_id => 'hello-late');
SELECT runtime_status, output FROM durable.wait_for_completion('hello-late', '1 min');

-- An activity's effects commit with its completion, and are undone with its failure.
CREATE TABLE hello_effect (what text PRIMARY KEY);
CREATE FUNCTION hello_write(what text, fail boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hello_effect VALUES (what);
    IF fail THEN
        RAISE EXCEPTION 'after the effect';
    END IF;
END
$$;
CREATE FUNCTION hello_effects() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('hello_write', '["kept"]');
    PERFORM durable.call_activity('hello_write', '["undone", true]');
    RETURN 'not reached';
EXCEPTION WHEN raise_exception THEN
    RETURN SQLERRM;
END
$$;
SELECT durable.start_new('hello_effects', instance_id => 'hello-effects');
SELECT runtime_status, output FROM durable.wait_for_completion('hello-effects', '1 min');
SELECT * FROM hello_effect;

-- The calling rule.  Each function is started as an orchestrator and called as an activity with the same input, and both
-- must come to the same.
CREATE TYPE hello_point AS (x int, y int);
CREATE DOMAIN hello_positive AS int CHECK (VALUE > 0);
CREATE FUNCTION hello_none() RETURNS text LANGUAGE sql AS $$ SELECT 'none' $$;
CREATE FUNCTION hello_whole(whole jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT whole';
CREATE FUNCTION hello_json(whole json) RETURNS json LANGUAGE sql AS 'SELECT whole';
CREATE FUNCTION hello_one(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION hello_default(n int DEFAULT 7) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION hello_two(a int, b text DEFAULT 'B', c date DEFAULT '2020-02-29') RETURNS text LANGUAGE sql AS
    $$ SELECT format('%s/%s/%s', coalesce(a::text, 'null'), coalesce(b, 'null'), c) $$;
CREATE FUNCTION hello_strict(n int) RETURNS text LANGUAGE sql STRICT AS $$ SELECT 'called' $$;
CREATE FUNCTION hello_array(x int[]) RETURNS int[] LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION hello_variadic(VARIADIC x int[]) RETURNS bigint LANGUAGE sql AS 'SELECT sum(n) FROM unnest(x) n';
CREATE FUNCTION hello_point(p hello_point) RETURNS int LANGUAGE sql AS 'SELECT p.x * 10 + p.y';
CREATE FUNCTION hello_points(p hello_point, q hello_point) RETURNS hello_point LANGUAGE sql AS 'SELECT p.x + q.x, p.y + q.y';
CREATE FUNCTION hello_domain(n hello_positive) RETURNS int LANGUAGE sql AS 'SELECT n::int';
CREATE FUNCTION hello_unnamed(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 - $2';
CREATE FUNCTION "hello ""odd"""("The Key" int) RETURNS int LANGUAGE sql AS 'SELECT "The Key"';
CREATE FUNCTION hello_void() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION hello_set(n int) RETURNS SETOF int LANGUAGE sql AS 'SELECT generate_series(1, n)';
CREATE FUNCTION hello_table(n int) RETURNS TABLE (i int, word text) LANGUAGE sql AS
    $$ SELECT i, repeat('x', i) FROM generate_series(1, n) i $$;
CREATE FUNCTION hello_out(n int, OUT half numeric, OUT twice int) LANGUAGE sql AS 'SELECT n / 2.0, n * 2';
CREATE FUNCTION hello_types(t timestamptz, b bytea, f float8) RETURNS jsonb LANGUAGE sql AS
    'SELECT jsonb_build_array(t, b, f)';

CREATE TABLE hello_case (n int GENERATED ALWAYS AS IDENTITY, function text, input jsonb, error text);
INSERT INTO hello_case (function, input) VALUES
    ('hello_none', NULL), ('hello_none', '{"any": "thing"}'), ('hello_none', '[1]'),
    ('hello_whole', NULL), ('hello_whole', 'null'), ('hello_whole', '1'), ('hello_whole', '[1, {"a": 2}]'),
    ('hello_whole', '{"whole": 1}'), ('hello_json', '{"whole": [1]}'),
    ('hello_one', '5'), ('hello_one', '"5"'), ('hello_one', '[5]'), ('hello_one', '{"n": 5}'), ('hello_one', NULL),
    ('hello_one', '"five"'), ('hello_one', '{"m": 5}'), ('hello_one', '{}'), ('hello_one', '[]'), ('hello_one', '[5, 6]'),
    ('hello_one', '1e10'), ('hello_one', 'true'),
    ('hello_default', NULL), ('hello_default', '{}'), ('hello_default', '[]'), ('hello_default', '8'),
    ('hello_default', '{"n": null}'),
    ('hello_two', '{"a": 1}'), ('hello_two', '{"b": "x", "a": 1}'), ('hello_two', '{"a": 1, "c": "1999-12-31"}'),
    ('hello_two', '{"a": null, "b": null}'), ('hello_two', '[1]'), ('hello_two', '[1, "y", "2001-01-01"]'),
    ('hello_two', '[1, "y", "2001-01-01", 4]'), ('hello_two', '{"b": "x"}'), ('hello_two', '{"a": 1, "d": 2}'),
    ('hello_two', '{"A": 1}'), ('hello_two', '1'), ('hello_two', NULL), ('hello_two', '{"a": 1, "c": "2001-02-30"}'),
    ('hello_strict', '1'), ('hello_strict', 'null'),
    ('hello_array', '[1, 2]'), ('hello_array', '[[1, 2]]'), ('hello_array', '{"x": [1, 2]}'), ('hello_array', '[]'),
    ('hello_variadic', '[1, 2, 3]'), ('hello_variadic', '{"x": [1, 2]}'),
    ('hello_point', '{"x": 1, "y": 2}'), ('hello_point', '{"p": {"x": 1, "y": 2}}'),
    ('hello_point', '{"x": 1, "z": 2}'), ('hello_point', '{"q": {"x": 1, "y": 2}}'), ('hello_point', '{}'),
    ('hello_points', '[{"x": 1, "y": 2}, {"x": 10, "y": 20}]'),
    ('hello_domain', '1'), ('hello_domain', '0'),
    ('hello_unnamed', '[5, 3]'), ('hello_unnamed', '{"a": 5}'),
    ('"hello ""odd"""', '{"The Key": 3}'), ('public.hello_one', '6'), ('hello_one(int)', '6'),
    ('hello_void', NULL), ('hello_set', '3'), ('hello_set', '0'), ('hello_table', '2'), ('hello_out', '3'),
    ('hello_types', '["2020-01-01 00:00Z", "\\x00ff", 1.5e3]');

CREATE FUNCTION hello_call(call jsonb) RETURNS jsonb LANGUAGE plpgsql AS
    $$ BEGIN RETURN durable.call_activity(call->>'function', call->'input'); END $$;
-- As activities.
SELECT count(durable.start_new('hello_call', jsonb_build_object('function', function)
                                             || CASE WHEN input IS NULL THEN '{}' ELSE jsonb_build_object('input', input) END,
                               instance_id => 'hello-activity-' || n))
  FROM hello_case;
-- As orchestrators: here what is wrong with the input is an error of start_new.
DO $$
DECLARE
    c hello_case;
BEGIN
    FOR c IN SELECT * FROM hello_case LOOP
        BEGIN
            PERFORM durable.start_new(c.function, c.input, instance_id => 'hello-orchestrator-' || c.n);
        EXCEPTION WHEN OTHERS THEN
            UPDATE hello_case SET error = SQLSTATE || ' ' || SQLERRM WHERE n = c.n;
        END;
    END LOOP;
END
$$;
-- Each is waited for once, whatever the plan.
CREATE TABLE hello_outcome AS
SELECT c.n, s.* FROM hello_case c, durable.wait_for_completion('hello-activity-' || c.n, '1 min') s;
CREATE TABLE hello_outcome_orchestrator AS
SELECT c.n, s.* FROM hello_case c, durable.wait_for_completion('hello-orchestrator-' || c.n, '1 min') s WHERE c.error IS NULL;
SELECT c.function, c.input, coalesce(o.output, to_jsonb(c.error)) AS result
  FROM hello_case c
  LEFT JOIN hello_outcome_orchestrator o USING (n)
 ORDER BY c.n;
SELECT c.function, c.input, s.output, s.failure - 'context' AS failure
  FROM hello_case c
  JOIN hello_outcome s USING (n)
  LEFT JOIN hello_outcome_orchestrator i USING (n)
 WHERE (s.output, coalesce(s.failure->>'sqlstate' || ' ' || (s.failure->>'message'), ''), s.runtime_status)
       IS DISTINCT FROM
       (CASE WHEN c.error IS NULL THEN i.output ELSE to_jsonb(substr(c.error, 7)) END, coalesce(c.error, ''),
        CASE WHEN c.error IS NULL THEN 'Completed' ELSE 'Failed' END::durable.runtime_status);

-- Nothing is left behind.
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'hello%';
SELECT count(*) FROM durable.timers WHERE instance_id LIKE 'hello%';
DROP FUNCTION hello_say, hello_sequence, hello_sql, hello_say_python, hello_python, hello_same, hello_self, hello_late,
    hello_write, hello_effects, hello_none, hello_whole, hello_json, hello_one, hello_default, hello_two, hello_strict,
    hello_array, hello_variadic, hello_point, hello_points, hello_domain, hello_unnamed, "hello ""odd""", hello_void,
    hello_set, hello_table, hello_out, hello_types, hello_call;
DROP TABLE hello_effect, hello_case, hello_outcome, hello_outcome_orchestrator;
DROP TYPE hello_point;
DROP DOMAIN hello_positive;
DROP EXTENSION plpython3u;
