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
'The channel on which the lifecycle events of a role''s instances go out, for LISTEN; NULL: your own role. With durable.notify_channel = shared it is durable for all roles; with owner each role has one in each database, whose name nobody can guess. It stays the same until durable.renew_notify_channels or a change of that setting; a dump does not carry it. Which events go out is what durable.notify says.
Errors: 42501 unless you are a member of the role or of pg_monitor; 42704 if there is no such role; OD009 in an orchestrator. Durable Functions has nothing like it.';

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
'Give the channels of all roles in this database new names, as somebody knows one who should not any more, such as a former member of a role. Takes effect at commit; who listens has to ask durable.notify_channel again. For superusers and members of the role that owns the extension.
Errors: 42501 for others.';
