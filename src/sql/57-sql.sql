-- SQL statements as activities.

CREATE FUNCTION durable.run_sql(statement text, parameters jsonb DEFAULT '[]') RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_run_sql';
COMMENT ON FUNCTION durable.run_sql(text, jsonb) IS
'The activity behind durable.call_sql, for any SQL client as well: run one SQL statement as the current user and return {"row_count": n, "rows": [{...}, ...]}.
parameters: the values of $1, $2 ...; their types follow from their use in the statement, as with PREPARE, and JSON values become values of these types as in jsonb_populate_record. NULL: none.
row_count: rows that were returned or changed. rows: as to_jsonb makes them, so that NaN and infinity, and all that is no JSON, are strings; empty for a statement that returns none. Of columns of the same name the second "a" is called "a_1".
Errors: those of the statement; 42601 unless it is exactly one statement; 22023 for a wrong number of parameters; 42P18 for a parameter whose type cannot be told; 0A000 for transaction control and COPY from or to the client; 22004 if statement is NULL; OD009 in an orchestrator, which has durable.call_sql.';
