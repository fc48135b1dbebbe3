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
'What the engine has to do and has done for each role that you may see, in this database.
Now: ready_instances: that have something to do and wait for a worker; running_instances: that workers hold; ready_activities: queued (fan-out, slow ones) that no worker has taken; workers: processes of this role; waiting: how long some of the work has waited, NULL if none does: queued work for a worker that takes it, work that is to run alone for a long place, instances that a worker holds for the function that it runs of another one, or a worker for a lock; the longest of these; ready_alone: how many of the ready instances and activities are to run alone and wait for one of durable.max_long_activities places, neighbouring activities of an instance counting as one; waiting_alone: for how long none of these has got one, NULL if none waits; start_obstacle: why no process is started for the role for the moment, or why the database has no scheduler although something is due there; NULL: nothing is in the way.
They are what the engine''s lists in shared memory have at this moment. Those have room for 65536 instances of the server and 4096 ranges of activities. While something of this database did not fit, ready_instances and ready_activities are counted in the tables (the latter with those that run): exact, in a time that grows with the number, and only by a query that asks for these columns. So they are while the database waits for a scheduler, as the lists have nothing of it then. An instance whose row somebody else has locked is in no list until that transaction ends.
Since stats_since (start or crash of the server, or durable.reset_stats): batches: transactions of workers, each one commit; rollbacks: those that failed and were tried again in smaller ones; advanced: instances in the batches; wakeups: how often an idle worker was woken; turns: calls of orchestrators; replays: those after the first of an instance; replayed_tasks: tasks in them whose result was there already; history_reads, history_events_read: histories not found in a worker''s cache, and their events; activities: calls, retries included; queued_activities: those of them that went through the queue; completed, failed, terminated: instances; timers: that came due (sleeps, timeouts, pauses before retries, start_at); total_lateness, mean_lateness, max_lateness: how long after its time a worker took such a timer in, in milliseconds.
Work that was rolled back is not counted. Counting is always on.';

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
'Calls of orchestrators and activities by the engine in this database, for each role that you may see, since the time in durable.stats.stats_since. kind: orchestrator or activity; name: as given to durable.start_new or durable.call_activity; calls: of an orchestrator its turns, of an activity its attempts; failures: those that ended with an error (a turn that ends to wait for something is none); total_time, mean_time, max_time: in milliseconds.
Kept for 512 functions of a role and 8192 in all; calls of others are counted under the name (others).';

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
'Begin the counters of durable.stats and durable.function_stats in this database anew, for all roles. For superusers and members of the role that owns the extension.
Errors: 42501 for others; 55000 if durable is not in shared_preload_libraries.';
