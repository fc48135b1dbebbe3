-- Client functions: removing what has ended, and running it again.

CREATE FUNCTION durable.purge_instance_history(instance_id text) RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_purge_instance_history';
COMMENT ON FUNCTION durable.purge_instance_history(text) IS
'Remove an instance that has ended, with its history and with its sub-orchestrations, and theirs, that have ended; those that live go on. Returns how many instances were removed, 0 if there is no such instance of yours or of a role whose member you are.
Errors: OD002 if it is live; 22004 if instance_id is NULL; OD009 in an orchestrator.';

CREATE FUNCTION durable.purge_instance_history_by(
    created_time_from timestamptz,
    created_time_to timestamptz DEFAULT NULL,
    runtime_status durable.runtime_status[] DEFAULT NULL,
    batch_size integer DEFAULT 1000
) RETURNS bigint
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_purge_instance_history_by';
COMMENT ON FUNCTION durable.purge_instance_history_by(timestamptz, timestamptz, durable.runtime_status[], integer) IS
'Remove all instances that have ended, that were created in a range of time (both ends inclusive, NULL: to the present) and that you own or whose owner you are a member of, each as durable.purge_instance_history does, and return how many were removed. They go in one transaction, yours; to remove very many use CALL durable.purge_instance_history_batches, which commits in between.
runtime_status: only these of Completed, Failed and Terminated; NULL: all three. batch_size: how many are looked up at a time, 1 to 100000.
It never waits and does not hinder the engine: instances that another transaction holds are left for the next time. So are sub-orchestrations of the current execution of a live parent, which may be rewound; they go with it.
Errors: 22023 for a status of live instances or a bad batch_size; 22004 if created_time_from (it may be -infinity) or batch_size is NULL or runtime_status contains NULL; OD009 in an orchestrator.';

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
'Like durable.purge_instance_history_by, but commits after each batch of batch_size instances, so that millions can be removed without a long transaction: CALL durable.purge_instance_history_batches(''-infinity'', now() - interval ''30 days''). purged: returns how many were removed.
Errors: those of durable.purge_instance_history_by; 2D000 inside a transaction block.';

CREATE FUNCTION durable.restart(instance_id text, restart_with_new_instance_id boolean DEFAULT true) RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_restart';
COMMENT ON FUNCTION durable.restart(text, boolean) IS
'Start an orchestration again: an instance of the same name, version, tags and input, with the same search_path and, whoever restarts it, the same owner. Returns its id. The function is found again by its name, so it may be another one than before. The function must be there and the owner allowed to execute it. Whether it takes the input is not looked at, as that may run code of the owner: an input that does not fit fails the new instance. A restarted sub-orchestration has no parent, and of one that has continued as new input and version are the last ones. It begins when the transaction commits, without the start_at that there may have been.
restart_with_new_instance_id: true: under a new id, the old instance stays as it is, whatever its status; false: under the same id, in the place of the old instance, which must have ended and goes with its history and ended sub-orchestrations.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; OD002 if it is live and is to be replaced; those of durable.start_new for the function, with the rights of the owner; 22004 if an argument is NULL; OD009 in an orchestrator.';
