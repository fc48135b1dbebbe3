-- Retry policies and timeouts of activities.
CREATE SEQUENCE retries_a;
CREATE SEQUENCE retries_b;
CREATE TABLE retries_ran (who text, attempt int);
CREATE PROCEDURE retries_until(condition text) LANGUAGE plpgsql AS $$
DECLARE
    done boolean;
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXECUTE 'SELECT ' || condition INTO done;
        IF done THEN
            RETURN;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'not in time: %', condition;
END
$$;
-- Fails until it was called often enough; what nextval counts is not rolled back.
CREATE FUNCTION retries_flaky(counter regclass, good_at int, state text DEFAULT '55000') RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    n bigint := nextval(counter);
BEGIN
    INSERT INTO retries_ran VALUES (durable.instance_id(), durable.attempt());
    IF n < good_at THEN
        RAISE EXCEPTION 'attempt % failed', n USING ERRCODE = state;
    END IF;
    RETURN jsonb_build_object('instance', durable.instance_id(), 'task', durable.task_id(), 'attempt', durable.attempt());
END
$$;
CREATE FUNCTION retries_fail(state text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'always' USING ERRCODE = state; END$$;
CREATE FUNCTION retries_sleep() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(600)';
CREATE FUNCTION retries_loop() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        BEGIN
            PERFORM 1 / 0;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END
$$;

-- One task, whatever the attempts.
CREATE FUNCTION retries_good() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_activity('retries_flaky', '["retries_a", 3]', durable.retry_policy(5, '1 ms'))
$$;
CREATE FUNCTION retries_exhausted() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    PERFORM durable.call_activity('retries_fail', '"23505"', durable.retry_policy(3, '0'));
    RETURN '"not reached"';
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN jsonb_build_array(SQLERRM, detail);
END
$$;
CREATE FUNCTION retries_unhandled() RETURNS jsonb LANGUAGE sql AS $$SELECT durable.call_activity('retries_fail', '"23505"', durable.retry_policy(2, '1 ms'))$$;
CREATE FUNCTION retries_final() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_activity('retries_fail', '"23514"', durable.retry_policy(5, '1 hour', non_retryable => '{23505,23514}'))
$$;
-- 20, 40, 50, 50 ms
CREATE FUNCTION retries_backoff() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_activity('retries_fail', '"55000"', durable.retry_policy(5, '20 ms', 2, '50 ms'))
$$;
-- The third attempt would be too late.
CREATE FUNCTION retries_total() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_activity('retries_fail', '"55000"', durable.retry_policy(1000000, '10 ms', 1000000, retry_timeout => '1 min'))
$$;
-- No pause stays none, however often it grows.
CREATE FUNCTION retries_at_once() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_activity('retries_fail', '"55000"', durable.retry_policy(60, '0', 1000000))
$$;
CREATE FUNCTION retries_sql() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_sql('SELECT retries_flaky(''retries_b'', $1)', '[2]', durable.retry_policy(2, '1 ms'))
$$;
-- In parallel, one pausing while others run.
CREATE FUNCTION retries_parallel() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity('retries_fail', '"55000"', durable.retry_policy(i, '1 ms')) FROM generate_series(1, 4) i);
    attempts text[];
    detail text;
BEGIN
    FOR i IN 1 .. 4 LOOP
        BEGIN
            PERFORM durable.await(tasks[i]);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            attempts := attempts || detail;
        END;
    END LOOP;
    RETURN to_jsonb(attempts);
END
$$;
CREATE FUNCTION retries_timeouts() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result text[];
    activity text;
BEGIN
    FOREACH activity IN ARRAY '{retries_sleep,retries_loop}'::text[] LOOP
        BEGIN
            PERFORM durable.call_activity(activity, timeout => '30 ms');
        EXCEPTION WHEN SQLSTATE 'OD006' THEN
            result := result || SQLERRM;
        END;
    END LOOP;
    -- more milliseconds than fit into an integer
    PERFORM durable.call_sql('SELECT pg_sleep(0.05)', timeout => '30 days');
    PERFORM durable.call_activity('retries_fail', '"none"', timeout => '1000 years');
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(result || SQLERRM);
END
$$;
CREATE FUNCTION retries_timeout_retried() RETURNS jsonb LANGUAGE sql AS $$
    SELECT durable.call_activity('retries_sleep', retry => durable.retry_policy(2, '1 ms'), timeout => '20 ms')
$$;
CREATE FUNCTION retries_refused() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    result text[];
BEGIN
    BEGIN
        PERFORM durable.call_activity('retries_fail', '"55000"', ROW(0, '1 s', 1, NULL, NULL, NULL));
    EXCEPTION WHEN invalid_parameter_value THEN
        result := result || SQLERRM;
    END;
    FOR i IN 1 .. 3 LOOP
        BEGIN
            PERFORM durable.call_activity('retries_fail', '"55000"', ROW(2, '1 ms', ('{0,Infinity,NaN}'::float8[])[i], NULL, NULL, NULL));
        EXCEPTION WHEN invalid_parameter_value THEN
            result := result || SQLERRM;
        END;
    END LOOP;
    BEGIN
        PERFORM durable.call_activity('retries_fail', '"55000"', timeout => '-1 s');
    EXCEPTION WHEN invalid_parameter_value THEN
        result := result || SQLERRM;
    END;
    RETURN to_jsonb(result);
END
$$;

SELECT durable.start_new(f, instance_id => f)
  FROM unnest('{retries_good,retries_exhausted,retries_unhandled,retries_final,retries_backoff,retries_total,retries_at_once,retries_sql,retries_parallel,retries_timeouts,retries_timeout_retried,retries_refused}'::text[]) f;
SELECT id, s.runtime_status, s.output
  FROM unnest('{retries_good,retries_exhausted,retries_sql,retries_parallel,retries_timeouts,retries_refused}'::text[]) id, durable.wait_for_completion(id, '1 min') s;
SELECT id, s.runtime_status, s.failure - 'context' AS failure
  FROM unnest('{retries_unhandled,retries_final,retries_backoff,retries_total,retries_at_once,retries_timeout_retried}'::text[]) id, durable.wait_for_completion(id, '1 min') s;

-- One task with its attempts.
SELECT event_type, task_id, name, failure ->> 'message' AS message, attempt FROM durable.history WHERE instance_id = 'retries_good' AND task_id IS NOT NULL ORDER BY sequence_number;
-- What a failed attempt has written is gone.
SELECT who, attempt FROM retries_ran ORDER BY 1;
SELECT instance_id, count(*) FILTER (WHERE event_type = 'TaskRetried') AS retried, count(DISTINCT task_id) AS tasks
  FROM durable.history WHERE instance_id LIKE 'retries\_%' GROUP BY 1 ORDER BY 1;
-- No pause is shorter than it should be, and the ceiling holds.
SELECT attempt, event_time - lag(event_time) OVER (ORDER BY sequence_number) >= least(20 * 2 ^ (attempt - 2), 50) * interval '1 ms' AS long_enough,
       event_time - lag(event_time) OVER (ORDER BY sequence_number) < interval '10 s' AS short_enough
  FROM durable.history WHERE instance_id = 'retries_backoff' AND event_type IN ('TaskRetried', 'TaskFailed') ORDER BY sequence_number;

-- The pause is a timer; an instance that ends does not leave it behind.
CREATE FUNCTION retries_long() RETURNS jsonb LANGUAGE sql AS $$SELECT durable.call_activity('retries_fail', '"55000"', durable.retry_policy(2, '1 hour'))$$;
SELECT durable.start_new('retries_long', instance_id => 'retries_long');
CALL retries_until($$EXISTS (SELECT FROM durable.timers WHERE instance_id = 'retries_long')$$);
SELECT t.task_id, t.fire_at - h.event_time = '1 hour' AS an_hour, a.name, a.attempt
  FROM durable.timers t JOIN durable.history h USING (instance_id, task_id) JOIN durable.activities a USING (instance_id, task_id)
 WHERE t.instance_id = 'retries_long' AND h.event_type = 'TaskRetried';
SELECT durable.terminate('retries_long');
SELECT runtime_status FROM durable.wait_for_completion('retries_long', '1 min');
SELECT count(*) FROM durable.timers WHERE instance_id LIKE 'retries\_%';

SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'retries\_%';
DROP FUNCTION retries_flaky, retries_fail, retries_sleep, retries_loop, retries_good, retries_exhausted, retries_unhandled, retries_final, retries_backoff, retries_total, retries_at_once, retries_sql, retries_parallel, retries_timeouts, retries_timeout_retried, retries_refused, retries_long;
DROP PROCEDURE retries_until;
DROP TABLE retries_ran;
DROP SEQUENCE retries_a, retries_b;
