-- The channels of lifecycle events (src/engine/lifecycle_notify.c).

-- The key of the channels' names, for nobody to read.  Not dumped: a restored database has a key of its own.
-- A publication of all tables needs the primary key; it is the secret, so that one that comes by replication finds no row in its way.
CREATE TABLE durable_internal.notify_secret (
    secret bytea PRIMARY KEY
) USING heap;
COMMENT ON TABLE durable_internal.notify_secret IS 'Of what durable.notify_channel makes the names of channels.';
ALTER TABLE durable_internal.notify_secret ENABLE ROW LEVEL SECURITY;
INSERT INTO durable_internal.notify_secret
SELECT pg_catalog.uuid_send(pg_catalog.gen_random_uuid()) OPERATOR(pg_catalog.||) pg_catalog.uuid_send(pg_catalog.gen_random_uuid());

CREATE TRIGGER notify_secret_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON durable_internal.notify_secret
FOR EACH STATEMENT EXECUTE FUNCTION durable_internal.table_changed();

CREATE FUNCTION durable.notify_channel(role regrole DEFAULT NULL) RETURNS text
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_get_notify_channel';
COMMENT ON FUNCTION durable.notify_channel(regrole) IS
'Returns the channel on which the lifecycle events of a role''s instances go out, for LISTEN. With `shared` in the setting durable.notify_channel the channel is durable for all roles. With `owner` each role has a channel in each database, whose name nobody can guess. The name stays the same until durable.renew_notify_channels or a change of that setting. A dump does not carry the name. The setting durable.notify says which events go out.
role: whose instances. NULL: yours.
Errors:
OD009: the caller is an orchestrator.
42501: you are neither a member of the role nor of pg_monitor.
42704: there is no such role.
Durable Functions has no such function.';

CREATE FUNCTION durable.renew_notify_channels() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT pg_has_role((SELECT extowner FROM pg_extension WHERE extname = 'durable'), 'USAGE') THEN
        RAISE EXCEPTION 'only the owner of the extension durable can renew its channels' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- else one that comes at the same time would not see the new row
    LOCK TABLE durable_internal.notify_secret IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM durable_internal.notify_secret;
    INSERT INTO durable_internal.notify_secret VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
END
$$;
COMMENT ON FUNCTION durable.renew_notify_channels() IS
'Gives the channels of all roles in this database new names. Call it when somebody knows a channel and should not any more, such as a former member of a role. Takes effect at commit. Sessions that listen have to ask the function durable.notify_channel again. For superusers and members of the role that owns the extension.
Errors:
42501: you may not do that.
Durable Functions has no such function.';
