-- Client functions: removing what has ended, and running it again.

CREATE FUNCTION durable.purge_instance_history(instance_id text) RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_purge_instance_history';
COMMENT ON FUNCTION durable.purge_instance_history(text) IS
'Removes an instance that has ended, with its history and with its sub-orchestrations, and theirs, that have ended. Live sub-orchestrations go on. Returns how many instances were removed: 0 if there is no such instance of yours, or of a role that you are a member of.
instance_id: which instance.
Errors:
OD002: the instance is live.
22004: instance_id is NULL.
25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: PurgeInstanceHistoryAsync.';

CREATE FUNCTION durable.purge_instance_history_by(
    created_time_from timestamptz,
    created_time_to timestamptz DEFAULT NULL,
    runtime_status durable.runtime_status[] DEFAULT NULL,
    batch_size integer DEFAULT 1000
) RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_purge_instance_history_by';
COMMENT ON FUNCTION durable.purge_instance_history_by(timestamptz, timestamptz, durable.runtime_status[], integer) IS
'Removes all instances that have ended and were created in a range of time, if you own them or are a member of the owning role. Each goes as durable.purge_instance_history removes an instance. Returns how many were removed. All go in one transaction, yours. To remove very many use the procedure durable.purge_instance_history_batches, which commits in between.
created_time_from: the beginning of the range, inclusive. It may be -infinity.
created_time_to: the end of the range, inclusive. NULL: to the present.
runtime_status: only these of Completed, Failed and Terminated. NULL: all three.
batch_size: how many instances are looked up at a time, 1 to 100000.
The function never waits and does not hinder the engine. Instances that another transaction holds are left for the next time. Sub-orchestrations of the current execution of a live parent are left too, as the parent may rewind them; they go with the parent.
Errors:
22004: created_time_from or batch_size is NULL, or runtime_status contains NULL.
22023: runtime_status has a status of live instances, or batch_size is out of range.
25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: PurgeInstanceHistoryAsync with a range of time.';

CREATE PROCEDURE durable.purge_instance_history_batches(
    created_time_from timestamptz,
    created_time_to timestamptz DEFAULT NULL,
    runtime_status durable.runtime_status[] DEFAULT NULL,
    batch_size integer DEFAULT 1000,
    INOUT purged bigint DEFAULT NULL
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'durable_purge_instance_history_batches';
COMMENT ON PROCEDURE durable.purge_instance_history_batches(timestamptz, timestamptz, durable.runtime_status[], integer, bigint) IS
'Removes what durable.purge_instance_history_by removes, but commits after each batch, so that millions go without a long transaction: `CALL durable.purge_instance_history_batches(''-infinity'', now() - interval ''30 days'')`.
created_time_from, created_time_to, runtime_status: as for durable.purge_instance_history_by.
batch_size: how many instances go in one transaction, 1 to 100000.
purged: returns how many instances were removed. What the caller passes is ignored.
Errors:
2D000: the call is inside a transaction block.
22004, 22023, 25006, 55000, OD009: as for durable.purge_instance_history_by.
Durable Functions has no such function.';

CREATE FUNCTION durable.restart(instance_id text, restart_with_new_instance_id boolean DEFAULT true) RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_restart';
COMMENT ON FUNCTION durable.restart(text, boolean) IS
'Starts an orchestration again and returns the id of the new instance. The new instance has the name, version, tags, input and search_path of the old instance, and the same owner, whoever restarts it. It begins when your transaction commits, without the start_at that there may have been.
instance_id: the old instance. If it has continued as new, its last input and version count. A restarted sub-orchestration has no parent.
restart_with_new_instance_id: true: under a new id; the old instance stays as it is, whatever its status. false: under the same id; the old instance must have ended, and goes with its history and its sub-orchestrations that have ended.
The function is found again by its name, so it may be another function than before. The owner must be allowed to execute it. The input is not checked against the function, as the check may run code of the owner. An input that does not fit fails the new instance.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
OD002: the instance is live and would be replaced.
22004: an argument is NULL.
42704: the owner of the instance does not exist.
42883, 42725, 42501, 28000: the function or the owner is not as durable.start_new needs them.
22021, 25006, 53400, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: RestartAsync.';
