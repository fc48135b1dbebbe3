-- durable.idempotency_key() and durable.execution_id() in activities: the same whenever the activity is run again, never the same for another call.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA idempotency;
SET search_path = idempotency;
CREATE TABLE keys (n int GENERATED ALWAYS AS IDENTITY, instance_id text, execution_id uuid, task_id int, attempt int, key text);
CREATE FUNCTION note() RETURNS jsonb LANGUAGE sql AS $$
    INSERT INTO keys (instance_id, execution_id, task_id, attempt, key)
    VALUES (durable.instance_id(), durable.execution_id(), durable.task_id(), durable.attempt(), durable.idempotency_key())
    RETURNING to_jsonb(key)
$$;
-- What a failed activity was told, in its error.
CREATE FUNCTION fail() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = durable.idempotency_key(), ERRCODE = 'P0001';
END
$$;
CREATE FUNCTION fail_until(attempts int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF durable.attempt() < attempts THEN
        RAISE EXCEPTION USING MESSAGE = durable.idempotency_key();
    END IF;
    RETURN to_jsonb(durable.idempotency_key());
END
$$;
-- The keys that an instance's activities were given, by its results and failures in order.
CREATE FUNCTION told(id text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT coalesce(failure->>'message', result #>> '{}') FROM durable.history
     WHERE instance_id = id AND event_type IN ('TaskCompleted', 'TaskFailed', 'TaskRetried') ORDER BY sequence_number
$$;
-- A key without what differs from run to run.
CREATE FUNCTION shown(key text, id text) RETURNS text LANGUAGE sql AS
    $$ SELECT replace(key, execution_id::text, 'execution') FROM durable.instances WHERE instance_id = id $$;

-- Each call has its own, however it is run: within the turn's worker, in a fan-out, by SQL; the execution's id is that of the orchestrator.
CREATE FUNCTION calls() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('note');
    PERFORM durable.call_activity('note');
    PERFORM durable.when_all(durable.schedule_activity('note'), durable.schedule_activity('note'));
    PERFORM durable.call_sql('SELECT idempotency.note()');
    RETURN to_jsonb(durable.execution_id());
END
$$;
SELECT durable.start_new('calls', instance_id => 'idempotency-calls');
SELECT s.output = to_jsonb(i.execution_id) AS same
  FROM durable.wait_for_completion('idempotency-calls', '1 min') s, durable.instances i WHERE i.instance_id = 'idempotency-calls';
SELECT task_id, key = execution_id || '/' || task_id AS composed, shown(key, instance_id) FROM keys ORDER BY task_id;
-- Under the same id, after a restart, in place of it, and after a purge: others.
SELECT durable.restart('idempotency-calls', false);
SELECT runtime_status FROM durable.wait_for_completion('idempotency-calls', '1 min');
SELECT durable.start_new('calls', instance_id => 'idempotency-calls', dedupe_statuses => '{}');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-calls', '1 min');
SELECT durable.purge_instance_history('idempotency-calls');
SELECT durable.start_new('calls', instance_id => 'idempotency-calls');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-calls', '1 min');
SELECT count(*), count(DISTINCT key) AS keys, count(DISTINCT (instance_id, task_id)) AS calls FROM keys;
-- continue_as_new has others, too.
CREATE FUNCTION eternal(n int) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('note');
    IF n > 0 THEN
        PERFORM durable.continue_as_new(to_jsonb(n - 1));
    END IF;
    RETURN '"done"';
END
$$;
SELECT durable.start_new('eternal', '2', instance_id => 'idempotency-eternal');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-eternal', '1 min');
SELECT count(*), count(DISTINCT key) AS keys, count(DISTINCT execution_id) AS executions FROM keys WHERE instance_id = 'idempotency-eternal';

-- All attempts have the same.
CREATE FUNCTION retried() RETURNS jsonb LANGUAGE sql AS
    $$ SELECT durable.call_activity('fail_until', '3', retry => durable.retry_policy(max_attempts => 3, first_interval => interval '1 ms')) $$;
SELECT durable.start_new('retried', instance_id => 'idempotency-retried');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-retried', '1 min');
SELECT shown(k, 'idempotency-retried') FROM told('idempotency-retried') k;
-- So has one whose worker died.  A sequence is not rolled back with its activity.
CREATE SEQUENCE seen;
CREATE FUNCTION dies() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    hash bigint := hashtextextended(durable.idempotency_key(), 0) & 9223372036854775807;
BEGIN
    IF NOT (SELECT is_called FROM seen) THEN
        PERFORM setval('seen', hash);
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(60);
    END IF;
    RETURN (SELECT last_value FROM seen) = hash;
END
$$;
CREATE FUNCTION mourns() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.call_activity('dies') $$;
SELECT durable.start_new('mourns', instance_id => 'idempotency-dies');
SELECT runtime_status, output AS same FROM durable.wait_for_completion('idempotency-dies', '1 min');

-- A rewind gives a new one to what it runs again, and to nothing else.
CREATE TABLE healed (n int);
CREATE FUNCTION fragile() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM healed) THEN
        RAISE EXCEPTION USING MESSAGE = durable.idempotency_key(), ERRCODE = 'P0002';
    END IF;
    RETURN to_jsonb(durable.idempotency_key());
END
$$;
CREATE FUNCTION rewound() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    first jsonb := durable.call_activity('note');
BEGIN
    BEGIN
        PERFORM durable.call_activity('fail');
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
    PERFORM durable.call_activity('fragile', retry => durable.retry_policy(max_attempts => 2, first_interval => interval '1 ms'));
    RETURN durable.call_activity('note');
END
$$;
SELECT durable.start_new('rewound', instance_id => 'idempotency-rewound');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-rewound', '1 min');
SELECT durable.rewind('idempotency-rewound');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-rewound', '1 min');
INSERT INTO healed VALUES (1);
SELECT durable.rewind('idempotency-rewound');
SELECT runtime_status FROM durable.wait_for_completion('idempotency-rewound', '1 min');
SELECT shown(k, 'idempotency-rewound') FROM told('idempotency-rewound') k;
-- restart takes the rewinds back, as all.
SELECT durable.restart('idempotency-rewound', false);
SELECT runtime_status FROM durable.wait_for_completion('idempotency-rewound', '1 min');
SELECT shown(k, 'idempotency-rewound') FROM told('idempotency-rewound') k;

-- Elsewhere they are errors.
SELECT durable.idempotency_key();
SELECT durable.execution_id();
CREATE FUNCTION misplaced() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.idempotency_key(); END $$;
SELECT durable.start_new('misplaced', instance_id => 'idempotency-misplaced');
SELECT runtime_status, failure->>'sqlstate' AS sqlstate FROM durable.wait_for_completion('idempotency-misplaced', '1 min');
SELECT severity, object, problem, hint FROM durable.check_orchestrator('misplaced()') WHERE severity = 'error';

SELECT count(durable.purge_instance_history(instance_id)) FROM durable.instances WHERE instance_id LIKE 'idempotency-%';
DROP SCHEMA idempotency CASCADE;
