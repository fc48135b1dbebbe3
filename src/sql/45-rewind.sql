CREATE FUNCTION durable.rewind(instance_id text, reason text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_rewind';
COMMENT ON FUNCTION durable.rewind(text, text) IS
'Lets a failed instance go on as if what made it fail had not happened, at commit. Activities and sub-orchestrations that failed run again, failed sub-orchestrations being rewound in their turn; a wait whose timeout was fatal begins anew. What completed is kept and not run again. A failure that the code had handled before, by doing anything durable after it, stays as it was. Where the orchestrator''s own code failed it is replayed with the function as it is now. May be repeated. The history keeps an ExecutionRewound event with the reason. OD001: no such instance; OD002: its status is not Failed. Differs from Durable Functions, which takes the failed events out of the history.';
