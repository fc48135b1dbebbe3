-- Functions for orchestrators, and for the activities that they call.

CREATE FUNCTION durable.call_activity(
    name text,
    input jsonb DEFAULT NULL,
    retry durable.retry_policy DEFAULT NULL,
    timeout interval DEFAULT NULL
) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_call_activity';
COMMENT ON FUNCTION durable.call_activity(text, jsonb, durable.retry_policy, interval) IS
'In an orchestrator: run the function name as an activity and return its result as jsonb (void: NULL, a set: an array). What the activity writes commits in one transaction with the fact that it ran.
name: found by the instance''s search_path unless it has a schema. input: given to the function by the rule of durable.start_new. retry: a durable.retry_policy; NULL: one attempt. timeout: after how long an attempt that still runs is interrupted, 1 ms at the least, so that with 0 one that is quicker completes; NULL: without limit but statement_timeout.
Errors: what the activity raised, with its SQLSTATE, message, detail and hint, so that EXCEPTION WHEN works; OD006 when the last attempt ran into the timeout; OD007 when its worker died too often while running it; OD004 if the code does not do what its history says; OD005 outside an orchestrator; 22023 for a negative timeout; 22004 if name is NULL. The text of an input or a result that is longer than durable.max_payload is 54000: a result fails the activity, an input the orchestrator, whatever it handles.';

CREATE FUNCTION durable.sleep(delay interval) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_sleep';
COMMENT ON FUNCTION durable.sleep(interval) IS
'In an orchestrator: wait for this long, counted from durable.now(). There is no upper limit, and a sleeping instance costs nothing.
Errors: OD004 if the code does not do what its history says; OD005 outside an orchestrator; 22004 if delay is NULL; 22023 if it is infinite (PostgreSQL 17).';

CREATE FUNCTION durable.sleep_until(fire_at timestamptz) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_sleep_until';
COMMENT ON FUNCTION durable.sleep_until(timestamptz) IS
'In an orchestrator: wait until this time; one in the past does not wait. Take the time from durable.now(), not from the clock.
Errors: OD004 if the code does not do what its history says; OD005 outside an orchestrator; 22004 if fire_at is NULL; 22023 if it is infinite.';

CREATE FUNCTION durable.wait_for_external_event(
    name text,
    timeout interval DEFAULT NULL,
    default_value jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_wait_for_external_event';
COMMENT ON FUNCTION durable.wait_for_external_event(text, interval, jsonb) IS
'In an orchestrator: wait for an event that durable.raise_event sends and return its data. Events that came before are kept and served first.
name: upper and lower case are the same. timeout: how long to wait; NULL: for ever. default_value: what to return at the timeout; NULL: none, then the timeout is an error. With a timeout it is two tasks, the event and a timer, which durable.tasks and durable.explain list both.
Errors: OD006 at the timeout when there is no default; OD004 if the code does not do what its history says; OD005 outside an orchestrator; 22004 if name is NULL; 22023 if timeout is infinite (PostgreSQL 17).';

CREATE FUNCTION durable.set_custom_status(custom_status jsonb) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_set_own_custom_status';
COMMENT ON FUNCTION durable.set_custom_status(jsonb) IS
'In an orchestrator: set its custom status, any JSON value, which durable.get_status shows from the next await on. NULL removes it.
Errors: OD005 outside an orchestrator. One whose text is longer than durable.max_payload fails the orchestrator (54000).';

CREATE FUNCTION durable.continue_as_new(
    input jsonb DEFAULT NULL,
    preserve_unprocessed_events boolean DEFAULT true,
    version text DEFAULT NULL
) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_continue_as_new';
COMMENT ON FUNCTION durable.continue_as_new(jsonb, boolean, text) IS
'In an orchestrator: end this execution and begin a new one of the same instance with this input and an empty history. Does not return; what the execution has left open is given up. preserve_unprocessed_events: events that nobody has waited for are kept. version: what durable.instance_version() returns from then on; NULL: unchanged.
Errors: OD005 outside an orchestrator. An input or a version whose text is longer than durable.max_payload fails the orchestrator (54000).';

CREATE FUNCTION durable.instance_id() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_instance_id';
COMMENT ON FUNCTION durable.instance_id() IS
'In an orchestrator or an activity: the id of the instance. Errors: OD005 elsewhere.';

CREATE FUNCTION durable.parent_instance_id() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_parent_instance_id';
COMMENT ON FUNCTION durable.parent_instance_id() IS
'In an orchestrator: the id of the instance that called this one as a sub-orchestration, else NULL. Errors: OD005 outside an orchestrator.';

CREATE FUNCTION durable.execution_id() RETURNS uuid
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_execution_id';
COMMENT ON FUNCTION durable.execution_id() IS
'In an orchestrator or an activity: the id of this execution of the instance. continue_as_new changes the id, and an instance that takes the place of another with the same instance id has another execution id; rewind keeps it. Errors: OD005 elsewhere.';

CREATE FUNCTION durable.instance_version() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_instance_version';
COMMENT ON FUNCTION durable.instance_version() IS
'In an orchestrator: the version given to durable.start_new or continue_as_new, NULL if none was. Errors: OD005 outside an orchestrator.';

CREATE FUNCTION durable.instance_tags() RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_instance_tags';
COMMENT ON FUNCTION durable.instance_tags() IS
'In an orchestrator: the tags of the instance, a JSON object. Errors: OD005 outside an orchestrator.';

CREATE FUNCTION durable.now() RETURNS timestamptz
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_now';
COMMENT ON FUNCTION durable.now() IS
'In an orchestrator: the current time, the same on every replay: the time of the event that the code has last waited for. Errors: OD005 outside an orchestrator.';

CREATE FUNCTION durable.new_guid() RETURNS uuid
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_new_guid';
COMMENT ON FUNCTION durable.new_guid() IS
'In an orchestrator: a new version-5 UUID, the same on every replay. Errors: OD005 outside an orchestrator.';

CREATE FUNCTION durable.is_replaying() RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_is_replaying';
COMMENT ON FUNCTION durable.is_replaying() IS
'In an orchestrator: whether the code at this point only repeats what an earlier turn has done. Errors: OD005 outside an orchestrator.';

CREATE FUNCTION durable.log(level text, message text) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_log';
COMMENT ON FUNCTION durable.log(text, text) IS
'In an orchestrator: write to the server''s log, once and not on replays. level: debug, info, notice, warning or log; only the last two get there with the default log_min_messages. Nothing goes to a client.
Errors: OD005 outside an orchestrator; 22023 for another level; 22004 if an argument is NULL.';

CREATE FUNCTION durable.task_id() RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_task_id';
COMMENT ON FUNCTION durable.task_id() IS
'In an activity: the number of the call within its instance. It is the same in every attempt. For a key by which the world outside knows a repetition use durable.idempotency_key(). Errors: OD005 elsewhere.';

CREATE FUNCTION durable.attempt() RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_attempt';
COMMENT ON FUNCTION durable.attempt() IS
'In an activity: which attempt under its retry policy this is, from 1. Errors: OD005 elsewhere.';

CREATE FUNCTION durable.idempotency_key() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_idempotency_key';
COMMENT ON FUNCTION durable.idempotency_key() IS
'In an activity: a key by which a service outside the database knows that a call repeats an earlier one: durable.execution_id(), a slash and durable.task_id(). The key is the same in all attempts of the activity and when the activity is run again after a crash. No other call has that key: a call of the same orchestrator does not, nor does the same call after durable.restart, after continue_as_new, or in an instance that has replaced or follows a purged one under the same id.
When durable.rewind has an activity run again, a slash and the number of such rewinds are added, so that the service does not answer with the failure that it remembers. Whether the failed call had an effect is to be found out before the rewind; where it must not happen twice even then, use a key of your own, such as the number of an order. Durable Functions has no such function.
Errors: OD005 elsewhere.';
