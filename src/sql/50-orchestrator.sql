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
'For orchestrators: runs a function as an activity and returns the result as jsonb. The result of a void function is NULL, a set is an array, and a text has JSON''s quotes, which `#>> ''{}''` takes off. What the activity writes commits in one transaction with the fact that the activity ran.
name: the function. The search_path of the instance finds it unless the name has a schema.
input: what the function gets, by the rules of durable.start_new.
retry: a policy made by the function durable.retry_policy. NULL: one attempt.
timeout: an attempt that runs for longer is interrupted, after 1 ms at the least. So with 0 an activity that is quicker completes. NULL: only the role''s statement_timeout limits the attempt.
Errors:
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
OD006: the last attempt did not end within timeout.
OD007: a worker died too often while it ran the activity, see the setting durable.max_activity_deliveries.
22004: name is NULL.
22023: timeout, or a value of retry, is out of range.
53400: a quota of the owner is exceeded.
54000: a text is longer than durable.max_payload. Such a result fails the activity. Such an input fails the instance, whatever the code handles.
The error of an activity is raised with the activity''s SQLSTATE, message, detail and hint, so that handlers work as if the function had been called directly.
Durable Functions: CallActivityAsync, which raises one exception for all failures and has no timeout.';

CREATE FUNCTION durable.sleep(delay interval) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_sleep';
COMMENT ON FUNCTION durable.sleep(interval) IS
'For orchestrators: waits for as long as delay says, counted from durable.now(). There is no upper limit. A sleeping instance keeps no process.
delay: how long. A delay that is not positive ends at once.
Errors:
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
22004: delay is NULL.
22023: delay is infinite.
Durable Functions: CreateTimer, awaited.';

CREATE FUNCTION durable.sleep_until(fire_at timestamptz) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_sleep_until';
COMMENT ON FUNCTION durable.sleep_until(timestamptz) IS
'For orchestrators: waits until a time. Take the time from durable.now(), not from the clock.
fire_at: until when. A time in the past does not wait.
Errors:
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
22004: fire_at is NULL.
22023: fire_at is infinite.
Durable Functions: CreateTimer, awaited.';

CREATE FUNCTION durable.wait_for_external_event(
    name text,
    timeout interval DEFAULT NULL,
    default_value jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_wait_for_external_event';
COMMENT ON FUNCTION durable.wait_for_external_event(text, interval, jsonb) IS
'For orchestrators: waits for an event that durable.raise_event or durable.send_event sends, and returns the data of the event. Events that came before are kept and served first, in the order in which they came.
name: of the event, 1 to 256 characters. Upper and lower case are the same.
timeout: how long to wait. NULL: for ever. A wait with a timeout is two tasks, the event and a timer; durable.tasks and durable.explain list both.
default_value: what to return at the timeout. NULL: the timeout is an error.
Errors:
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
OD006: the timeout has passed, and default_value is NULL.
22004: name is NULL.
22023: timeout is infinite, or name is too short or too long.
Durable Functions: WaitForExternalEvent.';

CREATE FUNCTION durable.set_custom_status(custom_status jsonb) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_set_own_custom_status';
COMMENT ON FUNCTION durable.set_custom_status(jsonb) IS
'For orchestrators: sets the custom status of the instance, which durable.get_status shows from the next wait on.
custom_status: any JSON value. NULL removes the status.
Errors:
OD005: the caller is not a running orchestrator.
53400, 54000: the status is larger than a quota of the owner or durable.max_payload allows. The instance fails, whatever the code handles.
Durable Functions: SetCustomStatus, which is limited to 16 kB.';

CREATE FUNCTION durable.continue_as_new(
    input jsonb DEFAULT NULL,
    preserve_unprocessed_events boolean DEFAULT true,
    version text DEFAULT NULL
) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_continue_as_new';
COMMENT ON FUNCTION durable.continue_as_new(jsonb, boolean, text) IS
'For orchestrators: ends this execution and begins a new one of the same instance, with a new input and an empty history. The function does not return. What the execution has left open is given up. The instance is Running meanwhile.
input: the input of the new execution.
preserve_unprocessed_events: true: events that nobody has waited for are kept. false: they are dropped. NULL is true.
version: what durable.instance_version() returns from then on. NULL: unchanged.
Errors:
OD005: the caller is not a running orchestrator.
53400, 54000: input or version is larger than a quota of the owner or durable.max_payload allows. The instance fails, whatever the code handles.
Durable Functions: ContinueAsNew, which returns, and where the code has to end by itself.';

CREATE FUNCTION durable.instance_id() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_instance_id';
COMMENT ON FUNCTION durable.instance_id() IS
'For orchestrators and activities: returns the id of the instance.
Errors:
OD005: neither an orchestrator nor an activity calls.
Durable Functions: InstanceId.';

CREATE FUNCTION durable.parent_instance_id() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_parent_instance_id';
COMMENT ON FUNCTION durable.parent_instance_id() IS
'For orchestrators: returns the id of the instance that started this instance as a sub-orchestration. NULL if there is none.
Errors:
OD005: the caller is not a running orchestrator.
Durable Functions: ParentInstanceId.';

CREATE FUNCTION durable.execution_id() RETURNS uuid
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_execution_id';
COMMENT ON FUNCTION durable.execution_id() IS
'For orchestrators and activities: returns the id of this execution of the instance. durable.continue_as_new changes the id. An instance that takes the place of another under the same instance id has another execution id. durable.rewind keeps the id.
Errors:
OD005: neither an orchestrator nor an activity calls.';

CREATE FUNCTION durable.instance_version() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_instance_version';
COMMENT ON FUNCTION durable.instance_version() IS
'For orchestrators: returns the version that durable.start_new or durable.continue_as_new was given. NULL if none was given.
Errors:
OD005: the caller is not a running orchestrator.
Durable Functions: Version.';

CREATE FUNCTION durable.instance_tags() RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_instance_tags';
COMMENT ON FUNCTION durable.instance_tags() IS
'For orchestrators: returns the tags of the instance, a JSON object. Without tags the object is empty.
Errors:
OD005: the caller is not a running orchestrator.';

CREATE FUNCTION durable.now() RETURNS timestamptz
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_now';
COMMENT ON FUNCTION durable.now() IS
'For orchestrators: returns the current time, the same on every replay. It is the time of the event that the code has last waited for.
Errors:
OD005: the caller is not a running orchestrator.
Durable Functions: CurrentUtcDateTime.';

CREATE FUNCTION durable.new_guid() RETURNS uuid
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_new_guid';
COMMENT ON FUNCTION durable.new_guid() IS
'For orchestrators: returns a new UUID of version 5, the same on every replay.
Errors:
OD005: the caller is not a running orchestrator.
Durable Functions: NewGuid.';

CREATE FUNCTION durable.is_replaying() RETURNS boolean
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_is_replaying';
COMMENT ON FUNCTION durable.is_replaying() IS
'For orchestrators: returns whether the code at this point only repeats what an earlier turn has done. The result is not for decisions.
Errors:
OD005: the caller is not a running orchestrator.
Durable Functions: IsReplaying.';

CREATE FUNCTION durable.log(level text, message text) RETURNS void
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_log';
COMMENT ON FUNCTION durable.log(text, text) IS
'For orchestrators: writes to the server''s log, once and not on replays. Nothing goes to a client.
level: debug, info, notice, warning or log. Only the last two get to the log with the default log_min_messages.
message: the text. The detail of the log''s message has the id and the name of the instance.
Errors:
OD005: the caller is not a running orchestrator.
22004: an argument is NULL.
22023: level is another word.
Durable Functions: CreateReplaySafeLogger.';

CREATE FUNCTION durable.task_id() RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_task_id';
COMMENT ON FUNCTION durable.task_id() IS
'For activities: returns the number of the call within its instance. The number is the same in every attempt. Use durable.idempotency_key() to tell the world outside that a call is a repetition.
Errors:
OD005: the caller is not a running activity.';

CREATE FUNCTION durable.attempt() RETURNS integer
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_attempt';
COMMENT ON FUNCTION durable.attempt() IS
'For activities: returns which attempt under its retry policy this is, from 1.
Errors:
OD005: the caller is not a running activity.';

CREATE FUNCTION durable.idempotency_key() RETURNS text
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_idempotency_key';
COMMENT ON FUNCTION durable.idempotency_key() IS
'For activities: returns a key by which a service outside the database knows that a call repeats an earlier call: durable.execution_id(), a slash and durable.task_id(). The key is the same in all attempts of the activity, and when the activity runs again after a crash. No other call has the key: neither another call of the same orchestrator, nor the same call after durable.restart or durable.continue_as_new, nor a call of an instance that has replaced or follows a purged instance under the same id.
When durable.rewind has an activity run again, a slash and the number of such rewinds are added, so that the service does not answer with the failure that it remembers. Find out before the rewind whether the failed call had an effect. Where the effect must not happen twice even then, use a key of your own, such as the number of an order.
Errors:
OD005: the caller is not a running activity.
Durable Functions has no such function.';
