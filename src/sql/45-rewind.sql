CREATE FUNCTION durable.rewind(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_rewind';
COMMENT ON FUNCTION durable.rewind(text, text) IS
'Let a failed instance go on as if what made it fail had not happened. Takes effect after your transaction commits. Activities and sub-orchestrations whose failure was fatal run again, with their whole retry policy, failed sub-orchestrations being rewound in their turn, unless they were rewound by themselves: then their result is taken or waited for; a wait whose timeout was fatal begins anew. What completed is kept and not run again. A failure that the code had handled before, by doing anything durable after it, stays as it was, even if the code then raised it again: a saga that has compensated fails as before; durable.restart it. Where the orchestrator''s own code failed it is replayed with the function as it is now. May be repeated.
reason: kept in the history, with the event ExecutionRewound.
Errors: OD001 if there is no such instance or you are neither its owner nor a member of that role; OD002 if its status is not Failed; 22004 if instance_id is NULL; OD009 in an orchestrator. Durable Functions takes the failed events out of the history; here they stay.';
