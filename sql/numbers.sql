-- JSON numbers for integers: as jsonb's own cast takes them, wherever in the input they are.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA numbers;
SET search_path = numbers;
CREATE DOMAIN small AS int CHECK (value < 100);
CREATE DOMAIN smaller AS small CHECK (value < 50);
CREATE DOMAIN few AS int[] CHECK (cardinality(value) < 5);
CREATE TYPE item AS (n int, price numeric, label text);
CREATE TYPE cart AS (items item[], counts smallint[], "the best" item, at bigint);
CREATE DOMAIN small_cart AS cart CHECK (cardinality((value).items) < 3);
CREATE FUNCTION i2(x smallint) RETURNS smallint LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION i4(x int) RETURNS int LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION i8(x bigint) RETURNS bigint LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION d(x smaller) RETURNS int LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION a(x int[]) RETURNS int[] LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION da(x few) RETURNS int[] LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION v(VARIADIC x bigint[]) RETURNS bigint[] LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION c(x cart) RETURNS cart LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION dc(x small_cart) RETURNS cart LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION n(x numeric) RETURNS numeric LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION f(x float8) RETURNS float8 LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION t(x text) RETURNS text LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION b(x boolean) RETURNS boolean LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION j(x jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION two(x int, y int DEFAULT 1) RETURNS int[] LANGUAGE sql AS 'SELECT ARRAY[x, y]';

-- What an activity of this function and input returns, or its error.
CREATE FUNCTION call(x jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_activity(x->>0, x->1);
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(SQLSTATE || ' ' || SQLERRM);
END
$$;
CREATE TABLE given (n int GENERATED ALWAYS AS IDENTITY, function text, input jsonb);
INSERT INTO given (function, input) VALUES
    ('i4', '42.0'), ('i4', '4.2e1'), ('i4', '42.5'), ('i4', '-42.5'), ('i4', '0.4'), ('i4', '-0.0'), ('i4', '42'), ('i4', '"42"'), ('i4', '"42.0"'),
    ('i4', '2147483647.4'), ('i4', '2147483647.5'), ('i4', '[42.0]'), ('i4', '{"x": 42.0}'),
    ('i2', '32767.0'), ('i2', '32768'), ('i8', '9223372036854775807.0'), ('i8', '1e19'),
    ('d', '42.0'), ('d', '49.5'), ('d', '{"x": 1.0}'), ('two', '[1.0, 2.5]'), ('two', '{"y": 3.0, "x": 2}'),
    ('a', '[1.0, 2, 3.5, null, "4"]'), ('a', '[[1.0, 2.0], [3.5, 4]]'), ('a', '{"x": [1.0]}'), ('a', '[[1.0]]'), ('a', '["1.0"]'),
    ('a', '[1.0, 99999999999.0]'), ('da', '[1.5, 2.0]'), ('da', '[1.0, 2, 3, 4, 5.0]'), ('v', '[[1.0, 2.5]]'),
    ('c', '{"items": [{"n": 1.0, "price": 2.50, "label": "a \"1.0\" b"}, {"n": 2}], "counts": [1.0, 2.5], "the best": {"n": 3.0, "label": 4.0}, "at": 5.0}'),
    ('c', '{"x": {"at": 5.5, "items": null}}'), ('c', '{"at": 5.0, "counts": {"odd": 1.0}}'),
    ('dc', '{"x": {"items": [{"n": 1.0}]}}'), ('dc', '{"x": {"items": [{"n": 1.0}, {}, {}]}}'),
    ('n', '42.0'), ('f', '42.0'), ('t', '42.0'), ('b', '1'), ('b', '1.0'), ('j', '42.0');
SELECT count(durable.start_new('call', jsonb_build_array(function, input), 'numbers-' || n)) FROM given;
SELECT g.function, g.input, output AS result FROM given g, durable.wait_for_completion('numbers-' || n, '1 min') ORDER BY n;
-- The same of parameters of a statement.
CREATE FUNCTION sql(x jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN durable.call_sql('SELECT $1::int AS a, $2::smaller AS b, $3::int[] AS c, ($4::item).n AS d, $5::text AS e', x)->'rows'->0;
END
$$;
SELECT durable.start_new('sql', '[42.0, 42.4, [1.5], {"n": 7.0}, 42.0]', 'numbers-sql');
SELECT output FROM durable.wait_for_completion('numbers-sql', '1 min');
-- start_new refuses what the function would.
SELECT durable.start_new('d', '99.5');
SELECT durable.start_new('i4', '2147483647.5');

SELECT count(durable.purge_instance_history(instance_id)) FROM durable.instances WHERE instance_id LIKE 'numbers-%';
DROP SCHEMA numbers CASCADE;
