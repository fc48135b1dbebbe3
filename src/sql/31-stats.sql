-- Counters for operators, out of shared memory (src/shmem/stats.c).

CREATE FUNCTION durable_internal.role_stats()
RETURNS TABLE (role oid, batches bigint, rollbacks bigint, advanced bigint, turns bigint, replays bigint, replayed_tasks bigint,
               history_reads bigint, history_events_read bigint, activities bigint, queued_activities bigint,
               completed bigint, failed bigint, terminated bigint, timers bigint, lateness double precision, wakeups bigint,
               max_lateness double precision, stats_since timestamptz)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_role_stats';
COMMENT ON FUNCTION durable_internal.role_stats() IS
'What the workers of each role have done in this database; the columns are those of durable.stats.';

CREATE FUNCTION durable_internal.function_stats()
RETURNS TABLE (role oid, kind text, name text, calls bigint, failures bigint, total_time double precision, max_time double precision)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_function_stats';
COMMENT ON FUNCTION durable_internal.function_stats() IS
'What the functions of each role have done in this database.';

CREATE FUNCTION durable_internal.queues()
RETURNS TABLE (role oid, instances integer, claimed integer, activities integer, alone integer, complete boolean, workers integer,
               waiting_since timestamptz, alone_since timestamptz, start_obstacle text)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_queues';
COMMENT ON FUNCTION durable_internal.queues() IS
'What the lists in shared memory have for the workers of each role in this database; complete: the tables have no more.';

-- The lists are bounded.  While they do not hold everything, and only then, work is counted in the tables.  Functions
-- do that, so that whoever reads durable.stats otherwise locks no table of the engine's: it must tell of a stall when
-- one of these is locked.  They read as the owner of the extension, as views do; nobody else can name them.
CREATE FUNCTION durable_internal.count_ready(role oid) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT (SELECT count(*) FROM durable_internal.instances i WHERE i.state = 'R' AND i.owner OPERATOR(durable_internal.=) durable_internal.owner_of(count_ready.role::pg_catalog.regrole))
         + (SELECT count(*)
              FROM (SELECT m.key FROM durable_internal.messages m
                     UNION
                    SELECT t.key FROM durable_internal.timers t WHERE t.fire_at <= now()) k
              JOIN durable_internal.instances i ON i.key = k.key
             WHERE i.state = 'W' AND i.owner OPERATOR(durable_internal.=) durable_internal.owner_of(count_ready.role::pg_catalog.regrole));
END;
COMMENT ON FUNCTION durable_internal.count_ready(oid) IS
'How many instances of a role have something to do, those that workers hold included.';

CREATE FUNCTION durable_internal.count_queued(role oid) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*) FROM durable_internal.tasks t JOIN durable_internal.instances i ON i.key = t.key WHERE i.owner OPERATOR(durable_internal.=) durable_internal.owner_of(count_queued.role::pg_catalog.regrole);
END;
COMMENT ON FUNCTION durable_internal.count_queued(oid) IS
'How many activities of a role are queued or run out of the queue.';

CREATE FUNCTION durable_internal.scheduler_obstacle() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_scheduler_obstacle';
COMMENT ON FUNCTION durable_internal.scheduler_obstacle() IS
'Why this database has no scheduler although something is due, as a sentence; NULL: it has one, or nothing is due.';

-- It touches no table while the engine runs, as somebody may have locked that.
CREATE FUNCTION durable_internal.waiting_roles() RETURNS TABLE (role oid)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF durable_internal.scheduler_obstacle() IS NOT NULL THEN
        RETURN QUERY
        SELECT DISTINCT durable_internal.owner_role(i.owner)::oid
          FROM durable_internal.instances i
         WHERE i.state IN ('R', 'W') AND durable_internal.owner_role(i.owner) IS NOT NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION durable_internal.waiting_roles() IS
'The roles that have live instances in this database, while it waits for a scheduler; no row otherwise. Without a scheduler no list in shared memory has their work.';

CREATE VIEW durable.stats WITH (security_barrier) AS
SELECT coalesce(s.role, q.role, w.role)::pg_catalog.regrole AS role,
       CASE WHEN q.complete AND o.obstacle IS NULL THEN q.instances
            ELSE greatest(q.instances, coalesce(durable_internal.count_ready(CASE WHEN o.obstacle IS NULL THEN q.role ELSE coalesce(s.role, q.role, w.role) END), 0) - coalesce(q.claimed, 0))
       END AS ready_instances,
       coalesce(q.claimed, 0) AS running_instances,
       CASE WHEN q.complete AND o.obstacle IS NULL THEN q.activities
            ELSE coalesce(durable_internal.count_queued(CASE WHEN o.obstacle IS NULL THEN q.role ELSE coalesce(s.role, q.role, w.role) END), 0)
       END AS ready_activities,
       coalesce(q.workers, 0) AS workers,
       pg_catalog.clock_timestamp() - q.waiting_since AS waiting,
       coalesce(q.alone, 0) AS ready_alone,
       pg_catalog.clock_timestamp() - q.alone_since AS waiting_alone,
       coalesce(q.start_obstacle, o.obstacle) AS start_obstacle,
       coalesce(s.batches, 0) AS batches,
       coalesce(s.rollbacks, 0) AS rollbacks,
       coalesce(s.advanced, 0) AS advanced,
       coalesce(s.wakeups, 0) AS wakeups,
       coalesce(s.turns, 0) AS turns,
       coalesce(s.replays, 0) AS replays,
       coalesce(s.replayed_tasks, 0) AS replayed_tasks,
       coalesce(s.history_reads, 0) AS history_reads,
       coalesce(s.history_events_read, 0) AS history_events_read,
       coalesce(s.activities, 0) AS activities,
       coalesce(s.queued_activities, 0) AS queued_activities,
       coalesce(s.completed, 0) AS completed,
       coalesce(s.failed, 0) AS failed,
       coalesce(s.terminated, 0) AS terminated,
       coalesce(s.timers, 0) AS timers,
       coalesce(s.lateness, 0) AS total_lateness,
       s.lateness / nullif(s.timers, 0) AS mean_lateness,
       s.max_lateness,
       s.stats_since
  FROM durable_internal.role_stats() s
  FULL JOIN durable_internal.queues() q ON q.role = s.role
  FULL JOIN durable_internal.waiting_roles() w ON w.role = coalesce(s.role, q.role)
 CROSS JOIN durable_internal.scheduler_obstacle() o(obstacle)
 WHERE durable_internal.may_see(coalesce(s.role, q.role, w.role))
OFFSET 0;
COMMENT ON VIEW durable.stats IS
'What the engine has to do for each role that you may see, and what it has done, in this database. Counting is always on. Work that was rolled back is not counted.
The columns of what there is now, ready_instances to start_obstacle, are those of the engine''s lists in shared memory at this moment. The lists have room for 65536 instances of the server and 4096 ranges of activities. While something of this database did not fit, or the database waits for a scheduler, ready_instances and ready_activities are counted in the tables (ready_activities with those that run). That is exact, takes longer the more there are, and is done only by a query that asks for these columns. An instance whose row somebody else has locked is in no list until that transaction ends.
The counters, batches to max_lateness, count since stats_since.';
COMMENT ON COLUMN durable.stats.role IS 'Whose work.';
COMMENT ON COLUMN durable.stats.ready_instances IS 'Instances that have something to do and wait for a worker.';
COMMENT ON COLUMN durable.stats.running_instances IS 'Instances that workers hold.';
COMMENT ON COLUMN durable.stats.ready_activities IS
'Queued activities (of a fan-out, or slow ones) that no worker has taken.';
COMMENT ON COLUMN durable.stats.workers IS 'Processes of the role.';
COMMENT ON COLUMN durable.stats.waiting IS
'How long some of the work has waited; the longest of these: queued work for a worker; work that is to run alone, for a long place; instances that a worker holds, for the function of another instance that the worker runs; a worker, for a lock. NULL: nothing waits.';
COMMENT ON COLUMN durable.stats.ready_alone IS
'How many of the ready instances and activities are to run alone and wait for one of durable.max_long_activities places. Neighbouring activities of an instance count as one.';
COMMENT ON COLUMN durable.stats.waiting_alone IS 'For how long none of these has got a place. NULL: none waits.';
COMMENT ON COLUMN durable.stats.start_obstacle IS
'Why no process is started for the role for the moment, or why the database has no scheduler although something is due. NULL: nothing is in the way.';
COMMENT ON COLUMN durable.stats.batches IS 'Transactions of workers, each one commit.';
COMMENT ON COLUMN durable.stats.rollbacks IS
'Transactions of workers that failed and were tried again in smaller ones.';
COMMENT ON COLUMN durable.stats.advanced IS 'Instances in the batches.';
COMMENT ON COLUMN durable.stats.wakeups IS 'How often an idle worker was woken.';
COMMENT ON COLUMN durable.stats.turns IS 'Calls of orchestrators.';
COMMENT ON COLUMN durable.stats.replays IS 'Calls of orchestrators after the first call of an instance.';
COMMENT ON COLUMN durable.stats.replayed_tasks IS 'Tasks in the replays whose result was there already.';
COMMENT ON COLUMN durable.stats.history_reads IS
'Histories that were not in a worker''s cache and were read from the table.';
COMMENT ON COLUMN durable.stats.history_events_read IS 'Events in these histories.';
COMMENT ON COLUMN durable.stats.activities IS 'Calls of activities, retries included.';
COMMENT ON COLUMN durable.stats.queued_activities IS 'Calls of activities that went through the queue.';
COMMENT ON COLUMN durable.stats.completed IS 'Instances that completed.';
COMMENT ON COLUMN durable.stats.failed IS 'Instances that failed.';
COMMENT ON COLUMN durable.stats.terminated IS 'Instances that were terminated.';
COMMENT ON COLUMN durable.stats.timers IS 'Timers that came due: sleeps, timeouts, pauses before retries, start_at.';
COMMENT ON COLUMN durable.stats.total_lateness IS
'How long after their time workers took these timers in, all together, in milliseconds.';
COMMENT ON COLUMN durable.stats.mean_lateness IS
'The same for one timer on average, in milliseconds. NULL: there was none.';
COMMENT ON COLUMN durable.stats.max_lateness IS 'The same for the latest one, in milliseconds. NULL: there was none.';
COMMENT ON COLUMN durable.stats.stats_since IS
'Since when is counted: the start or a crash of the server, or durable.reset_stats.';

CREATE VIEW durable.function_stats WITH (security_barrier) AS
SELECT s.role::pg_catalog.regrole AS role,
       s.kind,
       s.name,
       s.calls,
       s.failures,
       s.total_time,
       s.total_time / nullif(s.calls, 0) AS mean_time,
       s.max_time
  FROM durable_internal.function_stats() s
 WHERE durable_internal.may_see(s.role)
OFFSET 0;
COMMENT ON VIEW durable.function_stats IS
'Calls of orchestrators and activities by the engine in this database, for each role that you may see, since the time in durable.stats.stats_since. Kept for 512 functions of a role and 8192 in all. Calls of other functions are counted under the name (others).';
COMMENT ON COLUMN durable.function_stats.role IS 'Who owns the instances.';
COMMENT ON COLUMN durable.function_stats.kind IS 'orchestrator or activity.';
COMMENT ON COLUMN durable.function_stats.name IS 'As given to durable.start_new or durable.call_activity.';
COMMENT ON COLUMN durable.function_stats.calls IS 'Of an orchestrator its turns, of an activity its attempts.';
COMMENT ON COLUMN durable.function_stats.failures IS
'Calls that ended with an error. A turn that ends to wait for something has none.';
COMMENT ON COLUMN durable.function_stats.total_time IS 'Of all calls, in milliseconds.';
COMMENT ON COLUMN durable.function_stats.mean_time IS 'Of one call on average, in milliseconds.';
COMMENT ON COLUMN durable.function_stats.max_time IS 'Of the longest call, in milliseconds.';

CREATE FUNCTION durable_internal.reset_stats() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_reset_stats';
COMMENT ON FUNCTION durable_internal.reset_stats() IS
'What durable.reset_stats does once it knows that the caller may.';

CREATE FUNCTION durable.reset_stats() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT pg_has_role((SELECT extowner FROM pg_extension WHERE extname = 'durable'), 'USAGE') THEN
        RAISE EXCEPTION 'only the owner of the extension durable can reset its statistics' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM durable_internal.reset_stats();
END
$$;
COMMENT ON FUNCTION durable.reset_stats() IS
'Begins the counters of the views durable.stats and durable.function_stats in this database anew, for all roles. For superusers and members of the role that owns the extension.
Errors:
OD009: the caller is an orchestrator.
42501: you may not do that.
55000: durable is not in shared_preload_libraries.
Durable Functions has no such function.';
