-- What must hold of every instance that has not ended: a worker has something
-- to do for it, or it waits for something that will come, or it is suspended.
-- Tests assert that this view is empty.
CREATE VIEW durable_internal.violations AS
SELECT i.key,
       i.instance_id,
       i.state,
       p.problem
  FROM durable_internal.instances i
 CROSS JOIN LATERAL (
       SELECT 'unknown state' AS problem
        WHERE i.state NOT IN ('R', 'W', 'S', 'C', 'F', 'T')
       UNION ALL
       SELECT 'last_seq is not the last event of the history'
        WHERE i.last_seq IS DISTINCT FROM (
              SELECT h.seq FROM durable_internal.history h WHERE h.key = i.key ORDER BY h.seq DESC LIMIT 1)
       UNION ALL
       SELECT 'an ended instance has no completed_time'
        WHERE i.state IN ('C', 'F', 'T') AND i.completed_time IS NULL
       UNION ALL
       SELECT 'an ended instance has timers'
        WHERE i.state IN ('C', 'F', 'T')
          AND EXISTS (SELECT FROM durable_internal.timers t WHERE t.key = i.key)
       UNION ALL
       SELECT 'waits for nothing'
        WHERE i.state = 'W'
          AND NOT EXISTS (SELECT FROM durable_internal.messages m WHERE m.key = i.key)
          AND NOT EXISTS (SELECT FROM durable_internal.tasks t WHERE t.key = i.key)
          AND NOT EXISTS (SELECT FROM durable_internal.timers t WHERE t.key = i.key)
          AND NOT EXISTS (SELECT
                            FROM durable_internal.instances c
                           WHERE c.parent_key = i.key AND c.parent_task <> 0 AND c.state IN ('R', 'W', 'S'))
          -- a subscription that no event has served
          AND NOT EXISTS (SELECT
                            FROM durable_internal.history h
                           WHERE h.key = i.key AND h.event IN (12, 13)
                           GROUP BY pg_catalog.lower(h.name)
                          HAVING count(*) FILTER (WHERE h.event = 12) > count(*) FILTER (WHERE h.event = 13))
       ) p
UNION ALL
SELECT t.key, NULL, NULL, 'an activity is queued for an instance that does not exist'
  FROM durable_internal.tasks t
 WHERE NOT EXISTS (SELECT FROM durable_internal.instances i WHERE i.key = t.key)
UNION ALL
SELECT t.key, NULL, NULL, 'a timer is set for an instance that does not exist'
  FROM durable_internal.timers t
 WHERE NOT EXISTS (SELECT FROM durable_internal.instances i WHERE i.key = t.key);
COMMENT ON VIEW durable_internal.violations IS
'Instances that break an invariant of the engine, and why; empty unless there is a defect.';

-- Tell the engine, at commit, that this database has the extension.
CREATE FUNCTION durable_internal.extension_changed() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_extension_changed';
SELECT durable_internal.extension_changed();

-- Who may start instances may run processes in the server, so an administrator
-- says who that is: durable.grant_usage.  PostgreSQL gives PUBLIC functions by
-- default.  Types it gives too, but nobody can name them without the schema, and
-- pg_dump warns of rights on types that an extension has changed.
REVOKE ALL ON ALL ROUTINES IN SCHEMA durable, durable_internal FROM PUBLIC;
