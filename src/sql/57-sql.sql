-- SQL statements as activities.

CREATE FUNCTION durable.run_sql(statement text, parameters jsonb DEFAULT '[]') RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_run_sql';
COMMENT ON FUNCTION durable.run_sql(text, jsonb) IS
'Runs one SQL statement as the current user and returns `{"row_count": n, "rows": [{…}, …]}`. It is the activity behind durable.call_sql, and is for any SQL client as well.
row_count is how many rows were returned or changed. Each row is an object as to_jsonb makes it, so that NaN, infinity, and all that is no JSON, are strings. For a statement that returns no rows, rows is empty. Of several columns of the name `a` the second is called `a_1`.
statement: one SQL statement with $1, $2 …
parameters: an array of the values of $1, $2 … NULL: none. The types of the parameters follow from their use in the statement, as with PREPARE. JSON values become values of these types as jsonb_populate_record makes them.
Errors:
OD009: the caller is an orchestrator, which has durable.call_sql.
0A000: the statement is transaction control, or COPY from or to the client.
22004: statement is NULL.
22023: parameters is no array or has a wrong number of values.
42601: the text is not exactly one statement.
42P18: the type of a parameter cannot be told from the statement.
Errors of the statement are raised as they are.
Durable Functions has no such function.';
