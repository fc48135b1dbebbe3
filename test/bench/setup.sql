-- What the workloads run, in a database of each workload's own.
CREATE EXTENSION durable;

-- What activities write; it has no index, so that what is measured is the engine's.
CREATE TABLE greetings (greeting text NOT NULL);
CREATE TABLE numbers (n integer NOT NULL);

CREATE FUNCTION say_hello(name text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    greeting text := 'Hello ' || name || '!';
BEGIN
    INSERT INTO greetings VALUES (greeting);
    RETURN greeting;
END
$$;

CREATE FUNCTION hello_sequence() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    greetings jsonb := '[]';
BEGIN
    greetings := greetings || durable.call_activity('say_hello', '"Tokyo"');
    greetings := greetings || durable.call_activity('say_hello', '"Seattle"');
    greetings := greetings || durable.call_activity('say_hello', '"London"');
    RETURN greetings;
END
$$;

-- The same with activities that write nothing.
CREATE FUNCTION step_hello(name text) RETURNS text
LANGUAGE plpgsql AS $$ BEGIN RETURN 'Hello ' || name || '!'; END $$;

CREATE FUNCTION hello_steps() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    greetings jsonb := '[]';
BEGIN
    greetings := greetings || durable.call_activity('step_hello', '"Tokyo"');
    greetings := greetings || durable.call_activity('step_hello', '"Seattle"');
    greetings := greetings || durable.call_activity('step_hello', '"London"');
    RETURN greetings;
END
$$;

CREATE FUNCTION say_hello_slowly(name text) RETURNS text
LANGUAGE sql VOLATILE AS $$ SELECT 'Hello ' || name || '!' FROM pg_sleep(0.2) $$;

-- One activity of three is slow.
CREATE FUNCTION hello_slowly() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    greetings jsonb := '[]';
BEGIN
    greetings := greetings || durable.call_activity('say_hello', '"Tokyo"');
    greetings := greetings || durable.call_activity('say_hello_slowly', '"Seattle"');
    greetings := greetings || durable.call_activity('say_hello', '"London"');
    RETURN greetings;
END
$$;

-- Results of a size.
CREATE FUNCTION large(bytes integer) RETURNS text
LANGUAGE sql AS $$ SELECT repeat('x', bytes) $$;

CREATE FUNCTION hello_large(bytes integer) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    RETURN length(durable.call_activity('large', to_jsonb(bytes)) #>> '{}')
         + length(durable.call_activity('large', to_jsonb(bytes)) #>> '{}')
         + length(durable.call_activity('large', to_jsonb(bytes)) #>> '{}');
END
$$;

-- Each activity leaves a row, so that one done twice is seen.
CREATE TABLE effects (instance text NOT NULL, step integer NOT NULL);
CREATE FUNCTION leave_effect(step integer) RETURNS integer
LANGUAGE sql AS $$ INSERT INTO effects VALUES (durable.instance_id(), step) RETURNING step $$;

CREATE FUNCTION hello_with_effects() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 3 LOOP
        PERFORM durable.call_activity('leave_effect', to_jsonb(i));
    END LOOP;
END
$$;

CREATE FUNCTION noop() RETURNS void
LANGUAGE plpgsql AS $$ BEGIN END $$;

CREATE FUNCTION twice(n integer) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO numbers VALUES (2 * n);
    RETURN 2 * n;
END
$$;

CREATE FUNCTION fan_out(n integer, activity text DEFAULT 'twice') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity(activity, to_jsonb(i))
                                    FROM generate_series(1, n) i ORDER BY i);
BEGIN
    RETURN (SELECT sum(result::integer) FROM unnest(durable.when_all(VARIADIC tasks)) result);
END
$$;

-- The same, but it writes nothing.
CREATE FUNCTION step_twice(n integer) RETURNS integer
LANGUAGE plpgsql AS $$ BEGIN RETURN 2 * n; END $$;

CREATE FUNCTION in_sequence(n integer, activity text DEFAULT 'twice') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    total bigint := 0;
BEGIN
    FOR i IN 1 .. n LOOP
        total := total + durable.call_activity(activity, to_jsonb(i))::bigint;
    END LOOP;
    RETURN total;
END
$$;

-- Answers each event with its custom status; a new execution now and then keeps the history short.
CREATE FUNCTION pong() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 20 LOOP
        PERFORM durable.set_custom_status(durable.wait_for_external_event('ping'));
    END LOOP;
    PERFORM durable.continue_as_new();
END
$$;

CREATE FUNCTION sleeper(until timestamptz) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep_until(until); END $$;

-- What start_new is compared with.
CREATE TABLE plain (id text PRIMARY KEY, created timestamptz NOT NULL DEFAULT now());

-- Waits until no instance after a key is live. They end about in order, so it looks at the youngest first, and at all of
-- them only when those have ended: looking must not cost what is measured.
CREATE PROCEDURE drain(after_key bigint DEFAULT 0)
LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM (SELECT state FROM durable_internal.instances WHERE key > after_key ORDER BY key DESC LIMIT 100) i
                   WHERE state NOT IN ('C', 'F', 'T'))
       OR EXISTS (SELECT FROM durable_internal.instances WHERE key > after_key AND state NOT IN ('C', 'F', 'T')) LOOP
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

-- Starts instances in one statement and says how long it took until the last had ended.
CREATE PROCEDURE batch(orchestrator text, n integer, input jsonb DEFAULT NULL, INOUT seconds double precision DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    last bigint := (SELECT coalesce(max(key), 0) FROM durable_internal.instances);
    begin_time timestamptz := clock_timestamp();
    completed bigint;
BEGIN
    PERFORM count(durable.start_new(orchestrator, input)) FROM generate_series(1, n);
    COMMIT;
    CALL drain(last);
    seconds := extract(epoch FROM clock_timestamp() - begin_time);
    completed := (SELECT count(*) FROM durable_internal.instances WHERE key > last AND state = 'C');
    ASSERT completed = n, format('%s of %s instances completed', completed, n);
END
$$;

-- Round trips with an instance of pong: the milliseconds of each.
CREATE TABLE pings (ms double precision);
CREATE PROCEDURE ping(instance text, n integer)
LANGUAGE plpgsql AS $$
DECLARE
    begin_time timestamptz;
    answer jsonb;
BEGIN
    FOR i IN 1 .. n LOOP
        begin_time := clock_timestamp();
        PERFORM durable.raise_event(instance, 'ping', to_jsonb(i));
        COMMIT;
        LOOP
            SELECT custom_status INTO answer FROM durable.instances WHERE instance_id = instance;
            EXIT WHEN answer = to_jsonb(i);
            COMMIT;
            PERFORM pg_sleep(0.0001);
        END LOOP;
        INSERT INTO pings VALUES (1000 * extract(epoch FROM clock_timestamp() - begin_time));
        COMMIT;
    END LOOP;
END
$$;

-- The floor: tables like the engine's, and the rows that the last instances have left, those that activities of
-- hello_sequence write among them, in batches as the engine takes them.
CREATE TABLE floor_greetings (LIKE greetings INCLUDING ALL);
CREATE TABLE floor_instances (LIKE durable_internal.instances INCLUDING ALL) WITH (fillfactor = 70);
CREATE TABLE floor_history (LIKE durable_internal.history INCLUDING ALL);
CREATE UNLOGGED TABLE source_instances (LIKE durable_internal.instances INCLUDING ALL);
CREATE UNLOGGED TABLE source_history (LIKE durable_internal.history INCLUDING ALL);
CREATE UNLOGGED TABLE source_batches (batch bigint PRIMARY KEY, low bigint NOT NULL, high bigint NOT NULL);

CREATE PROCEDURE floor_prepare(n integer, INOUT events bigint DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE source_instances, source_history, source_batches;
    INSERT INTO source_instances SELECT * FROM durable_internal.instances ORDER BY key DESC LIMIT n;
    INSERT INTO source_history
        SELECT h.* FROM durable_internal.history h JOIN source_instances USING (key) ORDER BY h.key, h.seq;
    GET DIAGNOSTICS events = ROW_COUNT;
    INSERT INTO source_batches
        SELECT batch, min(key), max(key)
          FROM (SELECT key, (row_number() OVER (ORDER BY key) - 1) / current_setting('durable.batch_size')::integer AS batch
                  FROM source_instances) numbered
         GROUP BY batch;
    ANALYZE source_instances, source_history, source_batches;
END
$$;

-- Writes every `sessions`th batch, each in a transaction.
CREATE PROCEDURE floor_write(sessions integer, session integer)
LANGUAGE plpgsql AS $$
DECLARE
    keys source_batches;
BEGIN
    FOR keys IN SELECT * FROM source_batches WHERE batch % sessions = session - 1 ORDER BY batch LOOP
        INSERT INTO floor_instances SELECT * FROM source_instances WHERE key BETWEEN keys.low AND keys.high;
        INSERT INTO floor_history SELECT * FROM source_history WHERE key BETWEEN keys.low AND keys.high;
        INSERT INTO floor_greetings
            SELECT 'Hello ' || city || '!' FROM source_instances, unnest('{Tokyo,Seattle,London}'::text[]) city
             WHERE key BETWEEN keys.low AND keys.high AND name = 'hello_sequence';
        COMMIT;
    END LOOP;
END
$$;

-- Instances that ended long ago: copies of the last thousand, older than all there are.
CREATE PROCEDURE finished(n integer)
LANGUAGE plpgsql AS $$
DECLARE
    oldest bigint := (SELECT min(key) - 1 FROM durable_internal.instances);
BEGIN
    CREATE TEMP TABLE pattern AS
        SELECT i.*, row_number() OVER (ORDER BY key) AS number
          FROM (SELECT * FROM durable_internal.instances ORDER BY key DESC LIMIT 1000) i;
    CREATE TEMP TABLE pattern_history AS
        SELECT h.*, number FROM durable_internal.history h JOIN pattern USING (key);
    ANALYZE pattern, pattern_history;
    FOR copy IN 1 .. n / 1000 LOOP
        INSERT INTO durable_internal.instances
            SELECT oldest - n + 1000 * (copy - 1) + number, format('finished-%s-%s', copy, number), execution_id, state,
                   owner, name, function, version, search_path, tags, created_time, last_updated_time, completed_time,
                   scheduled_start_time, started_time, parent_key, parent_task, first_seq, last_seq, turn_seq, first_task,
                   awaiting, deliveries, custom_status
              FROM pattern;
        INSERT INTO durable_internal.history
            SELECT oldest - n + 1000 * (copy - 1) + number, seq, event, event_time, task_id, attempt, name, input, result
              FROM pattern_history;
        COMMIT;
    END LOOP;
    DROP TABLE pattern, pattern_history;
END
$$;
