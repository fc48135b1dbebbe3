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
'Set what the instances that a role owns may use in this database, in place of what was set for it before; NULL: no limit. role: NULL sets it for all roles that have no quotas of their own. Takes effect at commit, also for what runs.
live_instances: that have not ended, sub-orchestrations included; starting more is an error, in an orchestrator the failure of the sub-orchestration. What rewind revives is not refused. pending_activities: scheduled and not ended, over all of the role''s instances; a fan-out beyond it has activities that fail at once, without an attempt. payload_size: bytes of one input, result, event, custom status, reason or set of tags, of its text or as jsonb, whichever is more, or of a version, a function''s name or the search_path of an instance as text (texts of failures are not counted: each is cut at 64 kB); beyond it the call is an error, an activity fails and is rolled back, an orchestrator fails whatever it handles. history_length: events in the history of one execution, with what has been sent to the instance and is not in its history yet; an orchestrator that wants more fails whatever it handles, and raise_event, suspend and set_custom_status are errors, as send_event is in the orchestrator that sends; resume and terminate are not, nor are the results of what the orchestrator has scheduled.
All these errors have SQLSTATE 53400 (configuration_limit_exceeded). What other transactions have started and not committed yet counts. A transaction that has started instances of a role with a quota of live_instances cannot be prepared (PREPARE TRANSACTION).
For superusers and members of the role that owns the extension.
Errors: 42501 for others; 22023 for a negative quota; 42704 if there is no such role. Durable Functions has nothing like it.';

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
'Remove the quotas of a role, for which those of all roles apply again, if there are any; role NULL removes those. No error if there is nothing to remove.
For superusers and members of the role that owns the extension.
Errors: 42501 for others.';

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
'What durable.set_quota has set, for the roles that you may see; role NULL: for all that are not listed. NULL: no limit. A role that was dropped is shown as a number, until durable.unset_quota is called for that. Those of a role that did not exist when they were restored are not shown until the role exists.';
