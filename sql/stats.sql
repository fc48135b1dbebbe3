-- Counters: durable.stats and durable.function_stats.
SET client_min_messages = warning;
CREATE ROLE regress_durable_stats LOGIN;
CREATE ROLE regress_durable_nosy LOGIN;
SELECT durable.grant_usage('regress_durable_stats');
SELECT durable.grant_usage('regress_durable_nosy');
CREATE SCHEMA stats AUTHORIZATION regress_durable_stats;
SET search_path = stats;
SET ROLE regress_durable_stats;
CREATE FUNCTION double(n int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 2 * n; END';
CREATE FUNCTION failing() RETURNS int LANGUAGE sql AS 'SELECT 1 / (random() * 0)::int';
CREATE FUNCTION chain() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    n int := 1;
BEGIN
    FOR i IN 1 .. 3 LOOP
        n := durable.call_activity('double', to_jsonb(n));
    END LOOP;
    PERFORM durable.sleep('1 ms');
    RETURN n;
END
$$;
CREATE FUNCTION fails() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('failing'); END $$;
CREATE FUNCTION fan() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN cardinality(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('double', to_jsonb(i)) FROM generate_series(1, 10) i)));
END
$$;

SELECT instance_id FROM unnest('{a,b,c}'::text[]) id, durable.start_new(CASE id WHEN 'a' THEN 'chain' WHEN 'b' THEN 'fails' ELSE 'fan' END, instance_id => 'stats-' || id) instance_id;
SELECT instance_id, runtime_status, output FROM unnest('{a,b,c}'::text[]) id, durable.wait_for_completion('stats-' || id, '1 min');
SELECT role, ready_instances, running_instances <= 3 AS running, ready_activities, workers > 0 AS workers, waiting, ready_alone, waiting_alone, start_obstacle, batches > 0 AS batches, rollbacks,
       advanced > 0 AS advanced, wakeups >= 0 AS wakeups, turns >= 9 AS turns, replays >= 6 AS replays, replayed_tasks >= 21 AS replayed, history_reads >= 3 AS reads, history_events_read >= 3 AS events_read,
       activities, queued_activities BETWEEN 0 AND 14 AS queued, completed, failed, terminated, timers, total_lateness > 0 AS late,
       mean_lateness = max_lateness AS same, stats_since <= now() + interval '1 min' AS since
  FROM durable.stats;
-- an orchestrator may have had a turn more
SELECT role, kind, name, CASE kind WHEN 'activity' THEN calls ELSE least(calls, 2) END AS calls, failures, total_time > 0 AS total, mean_time = total_time / calls AS mean, max_time BETWEEN mean_time AND total_time AS max
  FROM durable.function_stats ORDER BY kind, name;

-- others see nothing of it, and do not reset it
SET ROLE regress_durable_nosy;
SELECT count(*) FROM durable.stats;
SELECT count(*) FROM durable.function_stats;
SELECT durable.reset_stats();
RESET ROLE;
SELECT durable.reset_stats();
SELECT count(*) FROM durable.function_stats;
SELECT sum(turns) FROM durable.stats;

-- 512 functions of a role have counters of their own
SET ROLE regress_durable_stats;
CREATE FUNCTION many() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    failures int := 0;
BEGIN
    FOR i IN 1 .. 600 LOOP
        BEGIN
            PERFORM durable.call_activity('no_such_function_' || i);
        EXCEPTION WHEN undefined_function THEN
            failures := failures + 1;
        END;
    END LOOP;
    RETURN failures;
END
$$;
SELECT durable.start_new('many', instance_id => 'stats-many');
SELECT runtime_status, output FROM durable.wait_for_completion('stats-many', '1 min');
SELECT count(*), sum(calls) FILTER (WHERE kind = 'activity') AS activities, max(calls) FILTER (WHERE name = '(others)') AS others FROM durable.function_stats;

-- a timer whose time has passed is late for the time at which it was made
CREATE FUNCTION passed() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep_until('1999-12-31'); RETURN 1; END $$;
SELECT durable.start_new('passed', instance_id => 'stats-passed');
SELECT runtime_status FROM durable.wait_for_completion('stats-passed', '1 min');
SELECT timers, max_lateness < 3600000 AS late FROM durable.stats;

RESET ROLE;
SELECT durable.reset_stats();
SELECT count(durable.purge_instance_history(instance_id)) FROM durable.instances WHERE instance_id LIKE 'stats-%';
DROP SCHEMA stats CASCADE;
SELECT durable.revoke_usage('regress_durable_stats'), durable.revoke_usage('regress_durable_nosy');
DROP ROLE regress_durable_stats, regress_durable_nosy;
