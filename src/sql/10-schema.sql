\echo Use "CREATE EXTENSION durable" to load this file. \quit

CREATE SCHEMA durable;
COMMENT ON SCHEMA durable IS 'durable orchestrations: client API, orchestrator API, views';

CREATE SCHEMA durable_internal;
COMMENT ON SCHEMA durable_internal IS 'durable orchestrations: tables and helpers of the engine, not for users';

-- Keys and message ids come from a counter in shared memory (src/sched/database_slots.c), not
-- from sequences, so that lastval() of a client stays what it was.
--
-- The tables are read and written by the engine's C code through the table
-- access layer (src/store/store.h), column by number: keep both in step.

-- Whose something is, also where that role does not exist (src/store/owner.h).
CREATE TYPE durable_internal.owner;
CREATE FUNCTION durable_internal.owner_in(cstring) RETURNS durable_internal.owner
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_in';
CREATE FUNCTION durable_internal.owner_out(durable_internal.owner) RETURNS cstring
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_out';
CREATE TYPE durable_internal.owner (
    INPUT = durable_internal.owner_in, OUTPUT = durable_internal.owner_out, STORAGE = extended
);
COMMENT ON TYPE durable_internal.owner IS
'A role by OID, written and read by name; or the name of a role that does not exist here; or (dropped role N), with the OID that a role had before it was dropped; or - for no role.';
CREATE FUNCTION durable_internal.owner_lt(durable_internal.owner, durable_internal.owner) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_lt';
CREATE FUNCTION durable_internal.owner_le(durable_internal.owner, durable_internal.owner) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_le';
CREATE FUNCTION durable_internal.owner_eq(durable_internal.owner, durable_internal.owner) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_eq';
CREATE FUNCTION durable_internal.owner_ge(durable_internal.owner, durable_internal.owner) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_ge';
CREATE FUNCTION durable_internal.owner_gt(durable_internal.owner, durable_internal.owner) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_gt';
CREATE FUNCTION durable_internal.owner_cmp(durable_internal.owner, durable_internal.owner) RETURNS integer
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_cmp';
-- Found only by the type or by their schema, in which no user has rights.
CREATE OPERATOR durable_internal.< (
    LEFTARG = durable_internal.owner, RIGHTARG = durable_internal.owner, FUNCTION = durable_internal.owner_lt,
    COMMUTATOR = OPERATOR(durable_internal.>), NEGATOR = OPERATOR(durable_internal.>=),
    RESTRICT = pg_catalog.scalarltsel, JOIN = pg_catalog.scalarltjoinsel
);
CREATE OPERATOR durable_internal.<= (
    LEFTARG = durable_internal.owner, RIGHTARG = durable_internal.owner, FUNCTION = durable_internal.owner_le,
    COMMUTATOR = OPERATOR(durable_internal.>=), NEGATOR = OPERATOR(durable_internal.>),
    RESTRICT = pg_catalog.scalarlesel, JOIN = pg_catalog.scalarlejoinsel
);
CREATE OPERATOR durable_internal.= (
    LEFTARG = durable_internal.owner, RIGHTARG = durable_internal.owner, FUNCTION = durable_internal.owner_eq,
    COMMUTATOR = OPERATOR(durable_internal.=), RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel, MERGES
);
CREATE OPERATOR durable_internal.>= (
    LEFTARG = durable_internal.owner, RIGHTARG = durable_internal.owner, FUNCTION = durable_internal.owner_ge,
    COMMUTATOR = OPERATOR(durable_internal.<=), NEGATOR = OPERATOR(durable_internal.<),
    RESTRICT = pg_catalog.scalargesel, JOIN = pg_catalog.scalargejoinsel
);
CREATE OPERATOR durable_internal.> (
    LEFTARG = durable_internal.owner, RIGHTARG = durable_internal.owner, FUNCTION = durable_internal.owner_gt,
    COMMUTATOR = OPERATOR(durable_internal.<), NEGATOR = OPERATOR(durable_internal.<=),
    RESTRICT = pg_catalog.scalargtsel, JOIN = pg_catalog.scalargtjoinsel
);
CREATE OPERATOR CLASS durable_internal.owner_order DEFAULT FOR TYPE durable_internal.owner USING btree AS
    OPERATOR 1 durable_internal.<, OPERATOR 2 durable_internal.<=, OPERATOR 3 durable_internal.=,
    OPERATOR 4 durable_internal.>=, OPERATOR 5 durable_internal.>,
    FUNCTION 1 durable_internal.owner_cmp(durable_internal.owner, durable_internal.owner),
    FUNCTION 4 pg_catalog.btequalimage(oid);
CREATE FUNCTION durable_internal.owner_of(role regrole) RETURNS durable_internal.owner
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_of';
COMMENT ON FUNCTION durable_internal.owner_of(regrole) IS 'A role as an owner; NULL: no role.';
CREATE FUNCTION durable_internal.current_owner() RETURNS durable_internal.owner
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_current';
COMMENT ON FUNCTION durable_internal.current_owner() IS 'The current user as an owner.';
CREATE FUNCTION durable_internal.owner_role(owner durable_internal.owner) RETURNS regrole
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_role';
COMMENT ON FUNCTION durable_internal.owner_role(durable_internal.owner) IS
'The role of an owner; NULL where it did not exist when the owner was stored.';
CREATE FUNCTION durable_internal.owner_found(owner durable_internal.owner) RETURNS durable_internal.owner
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_owner_found';
COMMENT ON FUNCTION durable_internal.owner_found(durable_internal.owner) IS
'For an owner that was missing when it was stored, the role that has its name now; NULL if there is none, and for all other owners.';
CREATE FUNCTION durable_internal.may_see_cost(internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'durable_may_see_cost';
COMMENT ON FUNCTION durable_internal.may_see_cost(internal) IS
'Tells the planner that may_see costs less than every other condition on a row, so that PostgreSQL looks at it first.';
CREATE FUNCTION durable_internal.may_see(owner durable_internal.owner) RETURNS boolean
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE SUPPORT durable_internal.may_see_cost
AS 'MODULE_PATHNAME', 'durable_may_see_owner';
COMMENT ON FUNCTION durable_internal.may_see(durable_internal.owner) IS
'Whether the current user may see what this owner has: the members of the role do, and those of pg_monitor, who alone see what belongs to a role that does not exist. What belongs to no role (-) all may see.';
CREATE FUNCTION durable_internal.may_see(role oid) RETURNS boolean
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE SUPPORT durable_internal.may_see_cost
AS 'MODULE_PATHNAME', 'durable_may_see_role';
COMMENT ON FUNCTION durable_internal.may_see(oid) IS
'The same for a role; NULL: a role that does not exist.';

-- One row an instance.  fillfactor leaves room for HOT updates between turns;
-- none of the columns that change in every turn is indexed.  That of the indexes
-- leaves room for the version that ends an instance, without splits and clean-up.
CREATE TABLE durable_internal.instances (
    key bigint NOT NULL,
    instance_id text COLLATE "C" NOT NULL,
    execution_id uuid NOT NULL,
    state "char" NOT NULL,
    owner durable_internal.owner NOT NULL,
    name text NOT NULL,
    function text NOT NULL,
    version text,
    search_path text NOT NULL,
    tags jsonb,
    created_time timestamptz NOT NULL,
    last_updated_time timestamptz NOT NULL,
    completed_time timestamptz,
    scheduled_start_time timestamptz,
    started_time timestamptz,
    parent_key bigint,
    parent_task integer,
    first_seq integer NOT NULL DEFAULT 0,
    last_seq integer NOT NULL,
    turn_seq integer NOT NULL,
    first_task integer NOT NULL,
    awaiting integer NOT NULL DEFAULT 0,
    deliveries integer NOT NULL,
    custom_status jsonb,
    PRIMARY KEY (key) WITH (fillfactor = 50)
) USING heap WITH (fillfactor = 50);
-- Of the column's collation "C", so that ids with a prefix are side by side; for pages by id prefix too.
CREATE UNIQUE INDEX instances_instance_id ON durable_internal.instances (instance_id) WITH (fillfactor = 50);
-- For pages and counts (src/search), except by id prefix; each state, owner and name is a group in the order of pages.
-- It also leads the scheduler to what is ready.
CREATE INDEX instances_listing ON durable_internal.instances
    (state, owner, name COLLATE "C", created_time, instance_id) WITH (fillfactor = 50);
-- No estimate of EXPLAIN tells what others have; nothing is planned by these columns.
ALTER TABLE durable_internal.instances
    ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN function SET STATISTICS 0, ALTER COLUMN version SET STATISTICS 0,
    ALTER COLUMN search_path SET STATISTICS 0, ALTER COLUMN tags SET STATISTICS 0, ALTER COLUMN custom_status SET STATISTICS 0;
-- For ranges of time in queries of the view; hardly costs anything to keep.
CREATE INDEX instances_created ON durable_internal.instances USING brin (created_time) WITH (autosummarize = on);
CREATE INDEX instances_parent ON durable_internal.instances (parent_key) WHERE parent_key IS NOT NULL;

-- Append only.  An execution's events are numbered from instances.first_seq + 1:
-- after continue_as_new the numbers go on, so that no scan passes over the dead
-- rows of earlier executions.  A TaskCompleted or TaskFailed row with an input stands for its
-- TaskScheduled event too, whose sequence number is one less.
CREATE TABLE durable_internal.history (
    key bigint NOT NULL,
    seq integer NOT NULL,
    event smallint NOT NULL,
    event_time timestamptz NOT NULL,
    task_id integer,
    attempt integer,
    name text,
    input jsonb,
    result jsonb,
    PRIMARY KEY (key, seq)
) USING heap;

ALTER TABLE durable_internal.history
    ALTER COLUMN event_time SET STATISTICS 0, ALTER COLUMN task_id SET STATISTICS 0, ALTER COLUMN attempt SET STATISTICS 0,
    ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN input SET STATISTICS 0, ALTER COLUMN result SET STATISTICS 0;

-- What happened to an instance and is not in its history yet.
CREATE TABLE durable_internal.messages (
    key bigint NOT NULL,
    id bigint NOT NULL,
    kind smallint NOT NULL,
    time timestamptz NOT NULL,
    task_id integer,
    attempt integer,
    name text,
    payload jsonb,
    PRIMARY KEY (key, id)
) USING heap;

-- Activities that any worker of the owner may run; seq points to TaskScheduled;
-- rewinds: how often the activity was begun anew by a rewind, NULL: never.
CREATE TABLE durable_internal.tasks (
    key bigint NOT NULL,
    task_id integer NOT NULL,
    seq integer NOT NULL,
    attempt integer NOT NULL,
    deliveries integer NOT NULL,
    rewinds integer,
    PRIMARY KEY (key, task_id)
) USING heap;

-- task_id 0 is the delayed start of the instance itself.
CREATE TABLE durable_internal.timers (
    key bigint NOT NULL,
    task_id integer NOT NULL,
    fire_at timestamptz NOT NULL,
    PRIMARY KEY (key, task_id)
) USING heap;
CREATE INDEX timers_fire_at ON durable_internal.timers (fire_at, key);


ALTER TABLE durable_internal.instances ENABLE ROW LEVEL SECURITY;
ALTER TABLE durable_internal.history ENABLE ROW LEVEL SECURITY;
ALTER TABLE durable_internal.messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE durable_internal.tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE durable_internal.timers ENABLE ROW LEVEL SECURITY;

SELECT pg_catalog.pg_extension_config_dump('durable_internal.instances', '');
SELECT pg_catalog.pg_extension_config_dump('durable_internal.history', '');
SELECT pg_catalog.pg_extension_config_dump('durable_internal.messages', '');
SELECT pg_catalog.pg_extension_config_dump('durable_internal.tasks', '');
SELECT pg_catalog.pg_extension_config_dump('durable_internal.timers', '');
