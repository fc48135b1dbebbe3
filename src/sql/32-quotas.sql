-- Quotas of roles (src/engine/quota.c).

-- role -: those without a row of their own
CREATE TABLE durable_internal.quotas (
    role durable_internal.owner PRIMARY KEY,
    live_instances bigint CHECK (live_instances >= 0),
    pending_activities bigint CHECK (pending_activities >= 0),
    payload_size bigint CHECK (payload_size >= 0),
    history_length bigint CHECK (history_length >= 0)
) USING heap;
COMMENT ON TABLE durable_internal.quotas IS 'What durable.set_quota has set.';
ALTER TABLE durable_internal.quotas ENABLE ROW LEVEL SECURITY;
-- A role that was missing exists now and has a row of its own: in the restore both would be that role's.
SELECT pg_catalog.pg_extension_config_dump('durable_internal.quotas',
    'WHERE NOT EXISTS (SELECT FROM durable_internal.quotas o WHERE o.role OPERATOR(durable_internal.=) durable_internal.owner_found(quotas.role))');

CREATE FUNCTION durable_internal.table_changed() RETURNS trigger
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'durable_table_changed';
COMMENT ON FUNCTION durable_internal.table_changed() IS
'Trigger: has every process that keeps what it has read of the table read it again.';

CREATE TRIGGER quotas_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON durable_internal.quotas
FOR EACH STATEMENT EXECUTE FUNCTION durable_internal.table_changed();

CREATE FUNCTION durable.set_quota(
    role regrole,
    live_instances bigint DEFAULT NULL,
    pending_activities bigint DEFAULT NULL,
    payload_size bigint DEFAULT NULL,
    history_length bigint DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    smallest bigint := least(live_instances, pending_activities, payload_size, history_length);
BEGIN
    IF NOT pg_has_role((SELECT extowner FROM pg_extension WHERE extname = 'durable'), 'USAGE') THEN
        RAISE EXCEPTION 'only the owner of the extension durable can set quotas' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF smallest < 0 THEN
        RAISE EXCEPTION 'a quota must not be negative, as % is', smallest USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF set_quota.role IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = set_quota.role) THEN
        RAISE EXCEPTION 'role with OID % does not exist', set_quota.role::oid USING ERRCODE = 'undefined_object';
    END IF;
    -- one that comes at the same time waits, and then sees the row
    LOCK TABLE durable_internal.quotas IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM durable_internal.quotas q WHERE q.role OPERATOR(durable_internal.=) durable_internal.owner_of(set_quota.role);
    IF smallest IS NOT NULL OR set_quota.role IS NOT NULL THEN
        INSERT INTO durable_internal.quotas
        VALUES (durable_internal.owner_of(set_quota.role), live_instances, pending_activities, payload_size, history_length);
    END IF;
END
$$;
COMMENT ON FUNCTION durable.set_quota(regrole, bigint, bigint, bigint, bigint) IS
'Sets what the instances that a role owns may use in this database, in place of what was set for the role before. NULL: no limit. Takes effect at commit, also for what runs. For superusers and members of the role that owns the extension.
role: whose instances. NULL: all roles that have no quotas of their own.
live_instances: how many instances may be live, sub-orchestrations included. A start beyond that is an error; in an orchestrator the sub-orchestration fails. What durable.rewind revives is not refused.
pending_activities: how many activities of all instances of the role may be scheduled and not ended. Activities beyond that fail at once, without an attempt.
payload_size: how many bytes one value may have: an input, a result, an event, a custom status, a reason, a set of tags, a version, the name of a function, or the search_path of an instance. For jsonb the larger of its text and its jsonb counts. A call with a larger value is an error, an activity that returns one fails and is rolled back, and an orchestrator fails, whatever it handles. Texts of failures do not count: each is cut at 64 kB.
history_length: how many events the history of one execution may have, with what was sent to the instance and is not in its history yet. An orchestrator that needs more fails, whatever it handles. durable.raise_event, durable.suspend and the client''s durable.set_custom_status are errors then, and so is durable.send_event for the sender. durable.resume, durable.terminate and the results of what was scheduled are not refused.
All these errors have SQLSTATE 53400. What other transactions have started and not committed yet counts. A transaction that has started instances of a role with a quota of live_instances cannot be prepared (0A000).
Errors:
22023: a quota is negative.
42501: you may not set quotas.
42704: there is no such role.
Durable Functions has no quotas.';

CREATE FUNCTION durable.unset_quota(role regrole) RETURNS void
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT pg_has_role((SELECT extowner FROM pg_extension WHERE extname = 'durable'), 'USAGE') THEN
        RAISE EXCEPTION 'only the owner of the extension durable can set quotas' USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM durable_internal.quotas q WHERE q.role OPERATOR(durable_internal.=) durable_internal.owner_of(unset_quota.role);
END
$$;
COMMENT ON FUNCTION durable.unset_quota(regrole) IS
'Removes the quotas of a role. The quotas of all roles, if there are any, hold for the role again. No error if there is nothing to remove. For superusers and members of the role that owns the extension.
role: whose quotas. NULL: those of all roles that have none of their own.
Errors:
42501: you may not set quotas.
Durable Functions has no quotas.';

CREATE VIEW durable.quotas WITH (security_barrier) AS
SELECT durable_internal.owner_role(q.role) AS role,
       q.live_instances,
       q.pending_activities,
       q.payload_size,
       q.history_length
  FROM durable_internal.quotas q
 WHERE durable_internal.may_see(q.role)
   AND (durable_internal.owner_role(q.role) IS NOT NULL OR q.role::pg_catalog.text OPERATOR(pg_catalog.=) '-')
OFFSET 0;
COMMENT ON VIEW durable.quotas IS
'What durable.set_quota has set, for the roles that you may see. Quotas of a role that did not exist when they were restored are not shown until the role exists.';
COMMENT ON COLUMN durable.quotas.role IS
'The role. NULL: all roles that are not listed. A role that was dropped is shown as a number, until durable.unset_quota is called for the number.';
COMMENT ON COLUMN durable.quotas.live_instances IS 'How many instances may be live. NULL: no limit.';
COMMENT ON COLUMN durable.quotas.pending_activities IS
'How many activities may be scheduled and not ended. NULL: no limit.';
COMMENT ON COLUMN durable.quotas.payload_size IS 'How many bytes one value may have. NULL: no limit.';
COMMENT ON COLUMN durable.quotas.history_length IS
'How many events the history of one execution may have. NULL: no limit.';
