CREATE FUNCTION durable.rewind(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_rewind';
COMMENT ON FUNCTION durable.rewind(text, text) IS
'Lets a failed instance go on as if what made the instance fail had not happened. The call takes effect after your transaction commits. It may be repeated.
Activities whose failure was fatal run again, with their whole retry policy and a new durable.idempotency_key(). Sub-orchestrations whose failure was fatal are rewound in their turn; if somebody rewound such a sub-orchestration by itself, its result is taken or waited for. A wait whose timeout was fatal begins anew. What completed is kept and does not run again.
A failure that the code had handled stays as it was. A failure counts as handled when the code did anything durable after the failure, even if the code then raised the failure again. So a saga that has compensated fails as before: call durable.restart for it. Where the orchestrator''s own code failed, the orchestrator is replayed with the function as it is now. durable.explain says which of the two calls helps.
instance_id: which instance.
reason: kept in the history, with the event ExecutionRewound.
Errors:
OD001: there is no such instance, or you are neither its owner nor a member of the owning role.
OD002: the status of the instance is not Failed.
22004: instance_id is NULL.
53400: reason is larger than a quota of the owner allows.
54000: reason is longer than durable.max_payload.
22021, 25006, 54001, 55000, OD009: as for durable.start_new.
Durable Functions: RewindAsync, which takes the failed events out of the history; here they stay.';
