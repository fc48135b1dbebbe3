-- Owners that do not exist (src/worker/owner_adoption.c).

CREATE FUNCTION durable_internal.adopt_settings() RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- while a table is locked nobody knows
    quotas_wait boolean := true;
    schedules_wait boolean := true;
BEGIN
    -- who writes into these tables is not waited for, and rows that nobody else sees yet are dear to look at: all of that is
    -- left to the next look. Users may lock durable.schedules, so that quotas come first, by themselves.
    BEGIN
        LOCK TABLE durable_internal.quotas IN SHARE ROW EXCLUSIVE MODE NOWAIT;
        quotas_wait := EXISTS (SELECT
                                 FROM durable_internal.quotas q
                                WHERE durable_internal.owner_role(q.role) IS NULL AND durable_internal.owner_found(q.role) IS NULL
                                  AND q.role::text <> '-');
        IF NOT EXISTS (SELECT FROM durable_internal.quotas q WHERE durable_internal.owner_found(q.role) IS NOT NULL) THEN
            -- gives the lock back
            RAISE SQLSTATE '55P03';
        END IF;
        -- what has been set for the role meanwhile is newer
        DELETE FROM durable_internal.quotas q
         WHERE EXISTS (SELECT
                         FROM durable_internal.quotas o
                        WHERE o.role OPERATOR(durable_internal.=) durable_internal.owner_found(q.role));
        UPDATE durable_internal.quotas q
           SET role = durable_internal.owner_found(q.role)
         WHERE durable_internal.owner_found(q.role) IS NOT NULL;
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    BEGIN
        LOCK TABLE durable.schedules IN SHARE ROW EXCLUSIVE MODE NOWAIT;
        schedules_wait := EXISTS (SELECT
                                    FROM durable.schedules s
                                   WHERE durable_internal.owner_role(s.owner_name) IS NULL
                                     AND durable_internal.owner_found(s.owner_name) IS NULL);
        IF NOT EXISTS (SELECT FROM durable.schedules s WHERE durable_internal.owner_found(s.owner_name) IS NOT NULL) THEN
            RAISE SQLSTATE '55P03';
        END IF;
        DELETE FROM durable.schedules s
         WHERE EXISTS (SELECT
                         FROM durable.schedules o
                        WHERE o.schedule_name = s.schedule_name
                          AND o.owner_name OPERATOR(durable_internal.=) durable_internal.owner_found(s.owner_name));
        UPDATE durable.schedules s
           SET owner_name = durable_internal.owner_found(s.owner_name)
         WHERE durable_internal.owner_found(s.owner_name) IS NOT NULL;
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
    RETURN quotas_wait OR schedules_wait;
END
$$;
COMMENT ON FUNCTION durable_internal.adopt_settings() IS
'Gives quotas and schedules whose role was missing to the role that has its name now; nothing while another transaction writes into these tables. Returns whether some are, or may be, left whose role does not exist. Called by the scheduler.';

CREATE FUNCTION durable_internal.move_instances(owner_name text, role regrole) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_move_instances';
COMMENT ON FUNCTION durable_internal.move_instances(text, regrole) IS
'Makes a role the owner of all instances of the owner with that name; returns how many. Waits for their rows in the order of their keys.';

CREATE FUNCTION durable.reassign_owner(old_name text, new regrole) RETURNS bigint
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    old durable_internal.owner;
    absent boolean;
    moved bigint;
    settings bigint := 0;
    schedules bigint := 0;
BEGIN
    PERFORM durable.require_client('durable.reassign_owner');
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION 'only a superuser can reassign instances' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF old_name IS NULL OR new IS NULL THEN
        RAISE EXCEPTION 'no parameter of durable.reassign_owner may be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = new) THEN
        RAISE EXCEPTION 'role with OID % does not exist', new::oid USING ERRCODE = 'undefined_object';
    END IF;
    old := old_name::durable_internal.owner;
    absent := durable_internal.owner_role(old) IS NULL;
    moved := durable_internal.move_instances(old::text, new);
    -- a role that exists keeps its quotas, and its schedules with the jobs that run them
    IF absent THEN
        LOCK TABLE durable_internal.quotas, durable.schedules IN SHARE ROW EXCLUSIVE MODE;
        UPDATE durable_internal.quotas q
           SET role = durable_internal.owner_of(new)
         WHERE q.role::text = old::text AND old::text <> '-'
           AND NOT EXISTS (SELECT
                             FROM durable_internal.quotas o
                            WHERE o.role OPERATOR(durable_internal.=) durable_internal.owner_of(new));
        GET DIAGNOSTICS settings = ROW_COUNT;
        UPDATE durable.schedules s
           SET owner_name = durable_internal.owner_of(new)
         WHERE s.owner_name::text = old::text
           AND NOT EXISTS (SELECT
                             FROM durable.schedules o
                            WHERE o.schedule_name = s.schedule_name
                              AND o.owner_name OPERATOR(durable_internal.=) durable_internal.owner_of(new));
        GET DIAGNOSTICS schedules = ROW_COUNT;
    END IF;
    IF absent AND moved + settings + schedules = 0 THEN
        RAISE EXCEPTION 'nothing belongs to an owner %', old_name
            USING ERRCODE = 'undefined_object', HINT = 'The column owner_name of durable.instances has the names of the owners.';
    END IF;
    IF schedules > 0 THEN
        RAISE NOTICE 'the schedules of % do not run yet', old_name
            USING DETAIL = 'A job of pg_cron belongs to the role that made the job.',
                  HINT = format('Call durable.schedule for each of them as %s.', new);
    END IF;
    RETURN moved;
END
$$;
COMMENT ON FUNCTION durable.reassign_owner(text, regrole) IS
'Makes a role the owner of all instances of another owner, live and ended. Returns how many. For superusers, as the code of the instances runs with the rights of the new owner from then on: look at the columns function and owner_name of durable.instances first.
old_name: the name of the owner as the column owner_name of durable.instances shows the name. Write the name in double quotes if it begins with a quote or "(" or is "-". The role may exist, may be missing because the instances were restored from another server, or was dropped: (dropped role N).
new: the new owner.
The quotas and schedules of an owner that does not exist go to the new role too, except those that the new role has itself. A role that exists keeps both. Jobs of pg_cron do not move: the new role has to call durable.schedule again, as a NOTICE says.
Takes effect at commit: workers of the new role go on with the live instances. The call waits for activities that run in them; these are undone and run again.
Errors:
OD009: the caller is an orchestrator.
22004: an argument is NULL.
22P02: old_name cannot be a name.
42501: you are no superuser.
42704: there is no such new role, or nothing belongs to old_name.
Durable Functions has no owners.';
