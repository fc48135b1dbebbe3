-- call_sql, schedule_sql and run_sql: parameters, types, results, errors.
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SET datestyle = 'ISO';
CREATE TABLE sql_table (id int PRIMARY KEY, name text, amount numeric);
CREATE TYPE sql_color AS ENUM ('red', 'green');
CREATE TYPE sql_pair AS (a int, b text);
CREATE DOMAIN sql_positive AS int CHECK (VALUE > 0);

-- Every result type.
SELECT jsonb_pretty(durable.run_sql($q$
    SELECT 1::int2 AS int2, 9007199254740993 AS int8, 12345678901234567890.10 AS numeric, 0.1::float4 AS float4, 1e300::float8 AS float8,
           true AS bool, 'ä"\' AS text, 'x'::char(3) AS char, NULL::int AS null, '\x00ff'::bytea AS bytea,
           '{1,NULL,3}'::int[] AS array, '{{a,b},{c,d}}'::text[] AS matrix, '{}'::int[] AS empty, 'red'::sql_color AS enum,
           '{green}'::sql_color[] AS enums, '(1,x)'::sql_pair AS composite, ARRAY['(1,x)'::sql_pair] AS composites, ROW(1, 'x') AS record,
           '1 day 02:03:04.5'::interval AS interval, '2020-02-29'::date AS date, '12:34:56.789'::time AS time,
           '2020-02-29 12:34:56.789012'::timestamp AS timestamp, '2020-02-29 12:34:56+00'::timestamptz AS timestamptz,
           '[1,5)'::int4range AS range, '{[1,2),[5,6)}'::int4multirange AS multirange, 'NaN'::numeric AS nan, 'Infinity'::float8 AS infinity,
           '{"b": 1.50}'::json AS json, '{"b": 1.50, "a": null}'::jsonb AS jsonb, '10.0.0.1/8'::inet AS inet,
           '101'::bit(3) AS bit, '(1,2)'::point AS point, 5::sql_positive AS domain, 'a=>b'::text::tsvector AS tsvector,
           'pg_class'::regclass AS regclass, '2b5e5d6e-3f0e-4c41-9a9d-2f5a6d7e8f90'::uuid AS uuid, 'infinity'::timestamptz AS forever
$q$));
-- Columns of the same name, without a name, none at all; no rows.
SELECT durable.run_sql('SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a');
SELECT durable.run_sql('SELECT 1, 2');
SELECT durable.run_sql('SELECT FROM generate_series(1, 2)');
SELECT durable.run_sql('SELECT 1 WHERE false');

-- Every kind of parameter, of a type that follows from its use.
SELECT durable.run_sql($q$
    SELECT $1 + 1 AS int, $2 || '!' AS text, $3::numeric AS numeric, $4::sql_color AS enum, $5::int[] AS array, $6::sql_pair AS composite,
           $7::bytea AS bytea, $8::interval AS interval, $9::int4range AS range, $10::jsonb AS jsonb, $11::sql_positive AS domain,
           $12::float8 AS nan, $13::timestamptz AS time, $14::text AS json, $15::int IS NULL AS "null", $1 AS again, $16::bool AS bool
$q$, '[1, "x", 12345678901234567890.10, "green", [1, null], {"a": 1, "b": "x"}, "\\x00ff", "1 day", "[1,3)", {"k": [1]}, 5, "NaN",
       "2020-02-29T00:00:00+00", {"k": 1}, null, true]');
SELECT durable.run_sql('SELECT $1 = ANY ($2) AS found', '["b", ["a", "b"]]');
SELECT durable.run_sql('SELECT 1 AS one', NULL), durable.run_sql('SELECT 1 AS one;  -- and no more', '[]');

-- Statements.
SELECT durable.run_sql('INSERT INTO sql_table SELECT i, $1, i * $2::numeric FROM generate_series(1, 3) i', '["n", 0.50]');
SELECT durable.run_sql('UPDATE sql_table SET amount = amount * 2 WHERE id = ANY ($1) RETURNING id, amount', '[[1, 2]]');
SELECT durable.run_sql('WITH gone AS (DELETE FROM sql_table WHERE id = $1 RETURNING *) SELECT name FROM gone', '[1]');
SELECT durable.run_sql('CREATE TABLE sql_other AS SELECT * FROM sql_table');
SELECT durable.run_sql('VALUES (1, 2), (3, 4)');
SELECT durable.run_sql('EXPLAIN (COSTS off) SELECT 1');
SELECT durable.run_sql('SHOW server_encoding');
SELECT durable.run_sql('DROP TABLE sql_other');

-- What is refused.
SELECT durable.run_sql(NULL);
SELECT durable.run_sql('');
SELECT durable.run_sql('SELECT 1; SELECT 2');
SELECT durable.run_sql('SELECT 1 +');
SELECT durable.run_sql('SELECT no_such FROM sql_table');
SELECT durable.run_sql('COMMIT');
SELECT durable.run_sql('COPY sql_table TO STDOUT');
SELECT durable.run_sql('VACUUM sql_table');
SELECT durable.run_sql('SELECT $1::int', '[]');
SELECT durable.run_sql('SELECT $1::int', '[1, 2]');
SELECT durable.run_sql('SELECT 1', '[1]');
SELECT durable.run_sql('SELECT $2::int', '[1, 2]');
SELECT durable.run_sql('SELECT $1, $1 + 1', '[1]');
SELECT durable.run_sql('SELECT $1::int', '1');
SELECT durable.run_sql('SELECT $1::int', '{"a": 1}');
SELECT durable.run_sql('SELECT $1::int, $2::int', '[1, "x"]');
SELECT durable.run_sql('SELECT $1::sql_positive', '[-1]');
SELECT durable.run_sql('INSERT INTO sql_table VALUES ($1)', '[2]');

-- In orchestrators.
CREATE FUNCTION sql_order(input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    inserted jsonb := durable.call_sql('INSERT INTO sql_table VALUES ($1, $2) RETURNING *', input);
    tasks durable.task[] := ARRAY(
        SELECT durable.schedule_sql('SELECT $1 * 10 AS n', jsonb_build_array(i)) FROM generate_series(1, 3) i);
BEGIN
    BEGIN
        PERFORM durable.call_sql('INSERT INTO sql_table VALUES ($1)', jsonb_build_array(input -> 0));
    EXCEPTION WHEN unique_violation THEN
        RETURN jsonb_build_object('inserted', inserted, 'all', durable.when_all(VARIADIC tasks), 'error', SQLERRM);
    END;
    RETURN 'null';
END
$$;
CREATE FUNCTION sql_language(id int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_sql('DELETE FROM sql_table WHERE id = $1', jsonb_build_array(id))
$$;
CREATE FUNCTION sql_bad_parameters() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_sql('SELECT $1::int', '[1, 2]')
$$;
CREATE FUNCTION sql_slow() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_sql('SELECT pg_sleep(600)', timeout => '50 ms')
$$;
SELECT durable.start_new('sql_order', '[10, "ten"]', 'sql-order') = 'sql-order' AS started;
SELECT runtime_status, output FROM durable.wait_for_completion('sql-order', '1 min');
SELECT event_type, task_id, CASE WHEN event_type = 'TaskScheduled' THEN name END AS name, input, result, failure - 'context' AS failure FROM durable.history WHERE instance_id = 'sql-order' AND event_type LIKE 'Task%' AND task_id IN (1, 5) ORDER BY sequence_number;
SELECT durable.start_new('sql_language', '10', 'sql-language'), durable.start_new('sql_bad_parameters', NULL, 'sql-bad'), durable.start_new('sql_slow', NULL, 'sql-slow');
SELECT output FROM durable.wait_for_completion('sql-language', '1 min');
SELECT runtime_status, failure - 'context' AS failure FROM durable.wait_for_completion('sql-bad', '1 min');
SELECT runtime_status, failure - 'context' AS failure FROM durable.wait_for_completion('sql-slow', '1 min');
SELECT id, name FROM sql_table ORDER BY id;

-- As the current user.
CREATE ROLE regress_durable_sql LOGIN;
SELECT durable.grant_usage('regress_durable_sql');
SET ROLE regress_durable_sql;
SELECT durable.run_sql('SELECT current_user');
SELECT durable.run_sql('SELECT * FROM sql_table');
RESET ROLE;
SELECT durable.revoke_usage('regress_durable_sql');
DROP ROLE regress_durable_sql;
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'sql-%';
DROP FUNCTION sql_order, sql_language, sql_bad_parameters, sql_slow;
DROP TABLE sql_table;
DROP TYPE sql_color, sql_pair, sql_positive;
