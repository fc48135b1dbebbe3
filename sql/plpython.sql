-- Orchestrators and activities in PL/Python.
\set VERBOSITY terse
SELECT count(*) = 0 AS skip FROM pg_available_extensions WHERE name = 'plpython3u' \gset
\if :skip
\echo plpython3u is not available
\quit
\endif
CREATE EXTENSION plpython3u;
CREATE TABLE python_table (n int PRIMARY KEY);
CREATE FUNCTION python_activity(n int) RETURNS int LANGUAGE plpython3u AS $$
return n * 2
$$;
CREATE FUNCTION python_write(n int) RETURNS void LANGUAGE plpython3u AS $$
plpy.execute(plpy.prepare("INSERT INTO python_table VALUES ($1)", ["int"]), [n])
$$;
CREATE FUNCTION python_loop() RETURNS void LANGUAGE plpython3u AS $$
while True:
    plpy.execute("SELECT 1")
$$;
CREATE FUNCTION python_orchestrator(input jsonb) RETURNS jsonb LANGUAGE plpython3u AS $$
import json

def call(query, types=[], values=[]):
    return plpy.execute(plpy.prepare("SELECT " + query + " AS result", types), values)[0]["result"]

# PL/Python knows no name for a SQLSTATE of our own
def sqlstate(e):
    return "".join(chr((e.spidata[0] >> 6 * i & 63) + 48) for i in range(5))

result = {"input": json.loads(input)}
result["activity"] = json.loads(call("durable.call_activity('python_activity', $1)", ["jsonb"], ["21"]))
# a fan-out by a list of tasks
tasks = [call("durable.schedule_activity('python_activity', $1)", ["jsonb"], [str(i)]) for i in range(3)]
result["task"] = tasks[0]
result["all"] = [json.loads(r) for r in call("durable.when_all(VARIADIC ARRAY(SELECT ROW(t)::durable.task FROM unnest($1) t))", ["int[]"], [[t["id"] for t in tasks]])]
call("durable.call_activity('python_write', '1')")
try:
    call("durable.call_activity('python_write', '1')")
except plpy.spiexceptions.UniqueViolation as e:
    result["error"] = [e.sqlstate, sqlstate(e)]
try:
    call("durable.wait_for_external_event('never', '1 ms')")
except plpy.SPIError as e:
    result["timeout"] = sqlstate(e)
try:
    call("durable.call_activity('python_loop', timeout => '50 ms')")
except plpy.SPIError as e:
    result["loop"] = sqlstate(e)
try:
    result["event"] = json.loads(call("durable.wait_for_external_event('go')"))
except Exception as e:
    # an orchestrator that catches everything still waits
    result["event"] = str(e)
call("durable.sleep('1 ms')")
return json.dumps(result)
$$;
SELECT durable.start_new('python_orchestrator', '{"a": 1}', 'python');
SELECT durable.raise_event('python', 'go', '"went"');
SELECT runtime_status, jsonb_pretty(output) FROM durable.wait_for_completion('python', '1 min');
-- A write, and an error that nobody catches.
CREATE FUNCTION python_writes() RETURNS void LANGUAGE plpython3u AS $$
plpy.execute("INSERT INTO python_table VALUES (2)")
$$;
CREATE FUNCTION python_fails() RETURNS void LANGUAGE plpython3u AS $$
raise ValueError("of no value")
$$;
SELECT durable.start_new('python_writes', NULL, 'python-writes'), durable.start_new('python_fails', NULL, 'python-fails');
SELECT runtime_status, output, failure ->> 'sqlstate' AS sqlstate FROM durable.wait_for_completion('python-writes', '1 min');
SELECT runtime_status, output, failure ->> 'sqlstate' AS sqlstate FROM durable.wait_for_completion('python-fails', '1 min');
SELECT n FROM python_table;
SELECT severity, problem FROM durable.check_orchestrator('python_orchestrator(jsonb)');
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'python%';
DROP FUNCTION python_activity, python_write, python_loop, python_orchestrator, python_writes, python_fails;
DROP TABLE python_table;
DROP EXTENSION plpython3u;
