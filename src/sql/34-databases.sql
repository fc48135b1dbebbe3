-- In which databases of the server the engine runs (src/sched/database_slots.c).

CREATE FUNCTION durable_internal.databases()
RETURNS TABLE (database oid, state text, since timestamptz, scheduler_pid integer, pauses integer, failures integer, retry_at timestamptz)
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'durable_databases_known';
COMMENT ON FUNCTION durable_internal.databases() IS
'What the launcher knows of the databases of the server: of those that durable.databases and durable.max_databases let it look after.';

CREATE FUNCTION durable_internal.database_wanted(database name) RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'durable_database_wanted';
COMMENT ON FUNCTION durable_internal.database_wanted(name) IS
'Whether the setting durable.databases lets the engine into a database.';

CREATE VIEW durable.databases WITH (security_barrier) AS
SELECT d.datname AS database,
       s.state,
       s.since,
       s.reason,
       s.retry_at,
       k.scheduler_pid AS pid,
       CASE WHEN k.database IS NOT NULL THEN k.failures END AS failures
  FROM pg_catalog.pg_database d
  LEFT JOIN durable_internal.databases() k ON k.database = d.oid
 CROSS JOIN LATERAL (
       SELECT * FROM (VALUES
           (d.datistemplate, 'excluded', 'it is a template', NULL::timestamptz, NULL::timestamptz),
           (NOT d.datallowconn, 'excluded', 'it does not accept connections', NULL, NULL),
           (d.datconnlimit = -2, 'excluded', 'it is invalid, as its DROP DATABASE was interrupted: drop it', NULL, NULL),
           (NOT durable_internal.database_wanted(d.datname), 'excluded', 'the setting durable.databases does not name it', NULL, NULL),
           (k.database IS NULL, 'excluded', 'the launcher does not run or has not looked yet, or there are more databases than durable.max_databases', NULL, NULL),
           (k.pauses > 0, 'paused', 'a session copies, moves, renames or drops it', k.since, NULL),
           (k.state = 'served', 'served', NULL, k.since, NULL),
           (k.state = 'absent', 'absent', 'it does not have the extension', k.since, NULL),
           (k.state = 'idle', 'idle', NULL, k.since, k.retry_at),
           (k.state = 'unfit', 'unfit', 'the tables of the extension are not as they should be: the server''s log says what is wrong', k.since, k.retry_at),
           (k.state = 'failing', 'failing', 'its scheduler has ended soon after its start: the server''s log says why', k.since, k.retry_at),
           (true, 'waiting', 'its scheduler is about to be started; if this lasts, no process is free: increase max_worker_processes or decrease durable.max_workers or durable.max_long_activities', k.since, NULL)
       ) cases (applies, state, reason, since, retry_at)
        WHERE cases.applies LIMIT 1) s
 WHERE pg_catalog.pg_has_role('pg_monitor'::pg_catalog.name, 'USAGE');
COMMENT ON VIEW durable.databases IS
'The databases of the server, and whether the engine looks after each. Superusers and members of pg_monitor see rows, others none. Durable Functions has nothing like it.';
COMMENT ON COLUMN durable.databases.database IS 'The name of the database.';
COMMENT ON COLUMN durable.databases.state IS
'served: the scheduler of the database runs. idle: nothing is due, so the database has no process; its scheduler comes when something is committed for the engine, half a second before the next timer, and once an hour. waiting: there is, or may be, something to do, and the scheduler is about to be started; if this lasts, no process is free. absent: the database does not have the extension. excluded: the setting durable.databases keeps the engine out. paused: a session copies, moves, renames or drops the database. unfit: the tables of the extension are not as they should be. failing: the scheduler ends soon after its start.';
COMMENT ON COLUMN durable.databases.since IS 'Since when the database has been in this state.';
COMMENT ON COLUMN durable.databases.reason IS
'Why the database is not served, and what to do. NULL: it is served or idle.';
COMMENT ON COLUMN durable.databases.retry_at IS
'When a scheduler is started again: in an idle database for the next timer, within an hour; otherwise after a pause that doubles up to a minute.';
COMMENT ON COLUMN durable.databases.pid IS 'The process of the scheduler.';
COMMENT ON COLUMN durable.databases.failures IS 'How many times in a row the scheduler has ended soon after its start.';
