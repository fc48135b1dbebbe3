-- Orchestrator API: tasks that are scheduled first and awaited later.

CREATE TYPE durable.task AS (id integer);
COMMENT ON TYPE durable.task IS
'The handle of something that an orchestrator has scheduled and may await: an activity, a sub-orchestration, a timer or a wait for an event. Handles can be compared. A handle means nothing outside the execution that made it.';
COMMENT ON COLUMN durable.task.id IS 'The number of the task in the execution.';

CREATE FUNCTION durable.schedule_activity(name text, input jsonb DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, timeout interval DEFAULT NULL)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_schedule_activity';
COMMENT ON FUNCTION durable.schedule_activity(text, jsonb, durable.retry_policy, interval) IS
'For orchestrators: schedules an activity as durable.call_activity does, but does not wait. Returns a task for durable.await, durable.when_all or durable.when_any. `ARRAY(SELECT durable.schedule_activity(''f'', to_jsonb(x)) FROM … ORDER BY …)` fans out; the order of the rows must be the same on each replay.
name, input, retry, timeout: as for durable.call_activity.
Errors:
OD004, OD005, 22004, 22023, 53400, 54000: as for durable.call_activity. Failures of the activity are raised where the task is awaited.
Durable Functions: CallActivityAsync, not awaited.';

CREATE FUNCTION durable.call_sql(statement text, parameters jsonb DEFAULT '[]', retry durable.retry_policy DEFAULT NULL, timeout interval DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_call_sql';
COMMENT ON FUNCTION durable.call_sql(text, jsonb, durable.retry_policy, interval) IS
'For orchestrators: runs one SQL statement as an activity, with the function durable.run_sql, and waits for its result: `{"row_count": n, "rows": [{…}, …]}`. For a statement that returns no rows, rows is empty.
statement: one SQL statement with $1, $2 …
parameters: an array of the values of $1, $2 … NULL: none.
retry, timeout: as for durable.call_activity.
Errors:
OD004, OD005, OD006, OD007, 22004, 22023, 53400, 54000: as for durable.call_activity.
0A000, 42601, 42P18: as for durable.run_sql.
Errors of the statement are raised with their own SQLSTATE.
Durable Functions has no such function.';

CREATE FUNCTION durable.schedule_sql(statement text, parameters jsonb DEFAULT '[]', retry durable.retry_policy DEFAULT NULL, timeout interval DEFAULT NULL)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_schedule_sql';
COMMENT ON FUNCTION durable.schedule_sql(text, jsonb, durable.retry_policy, interval) IS
'For orchestrators: schedules an SQL statement as durable.call_sql does, but does not wait. Returns a task.
statement, parameters, retry, timeout: as for durable.call_sql.
Errors:
OD004, OD005, 22004, 22023, 53400, 54000: as for durable.call_activity. Failures of the statement are raised where the task is awaited.
Durable Functions has no such function.';

CREATE FUNCTION durable.call_sub_orchestrator(name text, input jsonb DEFAULT NULL, instance_id text DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, version text DEFAULT NULL, tags jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_call_sub_orchestrator';
COMMENT ON FUNCTION durable.call_sub_orchestrator(text, jsonb, text, durable.retry_policy, text, jsonb) IS
'For orchestrators: runs another orchestrator as a child, an instance of its own with the same owner, and returns its output.
name: the orchestrator. The search_path of the instance finds it unless the name has a schema.
input: what the function gets, by the rules of durable.start_new.
instance_id: the id of the child. NULL: an id that depends only on the execution and the task.
retry: a policy made by the function durable.retry_policy. NULL: one attempt. Each attempt is an instance of its own. A child that has failed is tried again. A child that cannot be started, because there is no such function or the id is in use, is a failure that is not tried again.
version: NULL: the parent''s.
tags: a JSON object, merged into the parent''s tags.
While another transaction starts or removes an instance of the id, nothing fails: the turn runs again half a second later, then after longer pauses of up to 10 seconds. The same holds for other obstacles that pass (55P03 and the SQLSTATE classes 40, 53, 57 and 58).
Errors:
OD003: a live instance has the id.
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
OD008: the child was terminated or replaced.
22004: name is NULL.
22023: instance_id, tags, the input or a value of retry is not allowed.
42883, 42725, 42501, 42809: the function is none that durable.start_new takes.
53400: a quota of the owner is exceeded.
54000: a text is longer than durable.max_payload. The instance fails, whatever the code handles.
The failure of a child is raised with its own SQLSTATE.
Durable Functions: CallSubOrchestratorAsync.';

CREATE FUNCTION durable.schedule_sub_orchestrator(name text, input jsonb DEFAULT NULL, instance_id text DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, version text DEFAULT NULL, tags jsonb DEFAULT NULL)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_schedule_sub_orchestrator';
COMMENT ON FUNCTION durable.schedule_sub_orchestrator(text, jsonb, text, durable.retry_policy, text, jsonb) IS
'For orchestrators: starts a child as durable.call_sub_orchestrator does, but does not wait. Returns a task.
name, input, instance_id, retry, version, tags: as for durable.call_sub_orchestrator.
Errors:
OD004, OD005, 22004, 22023, 54000: as for durable.call_sub_orchestrator. Failures of the child are raised where the task is awaited.
Durable Functions: CallSubOrchestratorAsync, not awaited.';

CREATE FUNCTION durable.start_sub_orchestrator(name text, input jsonb DEFAULT NULL, instance_id text DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, version text DEFAULT NULL, tags jsonb DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_start_sub_orchestrator';
COMMENT ON FUNCTION durable.start_sub_orchestrator(text, jsonb, text, durable.retry_policy, text, jsonb) IS
'For orchestrators: starts a child that nobody awaits, and returns the id of the child. How the child ends does not concern the parent, which may end before the child. A recursive durable.terminate of the parent terminates the child too.
name, input, instance_id, retry, version, tags: as for durable.call_sub_orchestrator.
Errors:
OD004, OD005, 22004, 22023, 54000: as for durable.call_sub_orchestrator.
Durable Functions: StartNewOrchestration.';

CREATE FUNCTION durable.create_timer(delay interval)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_create_timer_after';
COMMENT ON FUNCTION durable.create_timer(interval) IS
'For orchestrators: returns a task that ends after a delay, counted from durable.now(). There is no upper limit. An open timer does not keep a finished orchestrator Running.
delay: how long. A delay that is not positive ends at once. Write the type, as in `durable.create_timer(interval ''1 hour'')`, since there are two functions of this name.
Errors:
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
22004: delay is NULL.
22023: delay is infinite.
Durable Functions: CreateTimer, whose open timers keep an orchestration Running.';

CREATE FUNCTION durable.create_timer(fire_at timestamptz)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_create_timer_at';
COMMENT ON FUNCTION durable.create_timer(timestamptz) IS
'For orchestrators: returns a task that ends at a time.
fire_at: when. A time in the past ends at once.
Errors:
OD004, OD005: as for the other form.
22004: fire_at is NULL.
22023: fire_at is infinite.';

CREATE FUNCTION durable.subscribe_event(name text)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_subscribe_event';
COMMENT ON FUNCTION durable.subscribe_event(text) IS
'For orchestrators: returns a task that ends with the next event of a name that no earlier wait gets. The result of the task is the data of the event. See durable.wait_for_external_event.
name: of the event, 1 to 256 characters. Upper and lower case are the same.
Errors:
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
22004: name is NULL.
22023: name is too short or too long.
Durable Functions: WaitForExternalEvent, not awaited.';

CREATE FUNCTION durable.await(task durable.task)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_await';
COMMENT ON FUNCTION durable.await(durable.task) IS
'For orchestrators: waits for a task and returns its result, or raises its failure. The result of a timer is NULL. The call may be repeated for the same task.
task: what to wait for.
Errors:
OD005: the caller is not a running orchestrator.
22004: task is NULL.
22023: the task is of another execution.
55000: the task was canceled.
The failure of the task is raised with its own SQLSTATE.
Durable Functions: await of a task.';

CREATE FUNCTION durable.when_all(VARIADIC tasks durable.task[])
RETURNS jsonb[] LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_all';
COMMENT ON FUNCTION durable.when_all(durable.task[]) IS
'For orchestrators: waits for all tasks. Then it returns their results in the order of the arguments, or raises the first failure in that order. Without tasks the result is an empty array.
tasks: what to wait for.
Errors:
OD005: the caller is not a running orchestrator.
22004: tasks, or one of them, is NULL.
22023: a task is of another execution.
55000: a task was canceled.
The failure of a task is raised with its own SQLSTATE.
Durable Functions: Task.WhenAll.';

-- Any array, since one of tasks is what the function with VARIADIC has already; another is an error.
CREATE FUNCTION durable.when_all(tasks anyarray)
RETURNS jsonb[] LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_all';
COMMENT ON FUNCTION durable.when_all(anyarray) IS
'The same for an array of tasks, so that `durable.when_all(tasks)` is `durable.when_all(VARIADIC tasks)`.
tasks: an array of durable.task.
Errors:
42804: tasks is an array of another type.
OD005, 22004, 22023, 55000: as for the other form.';

CREATE FUNCTION durable.when_any(VARIADIC tasks durable.task[])
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_any';
COMMENT ON FUNCTION durable.when_any(durable.task[]) IS
'For orchestrators: waits until one of the tasks has ended, with a result or a failure, and returns the task. It is the same task on each replay. durable.await gives the result. The other tasks go on; durable.cancel_task gives up the tasks that are not needed.
tasks: what to wait for, one at least.
Errors:
OD005: the caller is not a running orchestrator.
22004: tasks, or one of them, is NULL.
22023: there is no task, or a task is of another execution.
55000: a task was canceled.
Durable Functions: Task.WhenAny.';

CREATE FUNCTION durable.when_any(tasks anyarray)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_any';
COMMENT ON FUNCTION durable.when_any(anyarray) IS
'The same for an array of tasks, so that `durable.when_any(tasks)` is `durable.when_any(VARIADIC tasks)`.
tasks: an array of durable.task.
Errors:
42804: tasks is an array of another type.
OD005, 22004, 22023, 55000: as for the other form.';

CREATE FUNCTION durable.cancel_task(task durable.task)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_cancel_task';
COMMENT ON FUNCTION durable.cancel_task(durable.task) IS
'For orchestrators: gives up a task whose end the orchestrator has not seen. A timer stops. A wait for an event takes no event any more. An activity that no worker has begun does not run; of an activity that runs the result is dropped. A sub-orchestration goes on without being awaited. Nothing is tried again if it fails. The history says TimerCanceled or TaskCanceled.
task: what to give up. To await the task afterwards is an error (55000).
Errors:
OD005: the caller is not a running orchestrator.
22004: task is NULL.
22023: the task is of another execution.
55000: the task was canceled already.
Durable Functions cancels timers only, with a CancellationToken.';

CREATE FUNCTION durable.send_event(instance_id text, event_name text, event_data jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_send_event';
COMMENT ON FUNCTION durable.send_event(text, text, jsonb) IS
'For orchestrators: sends an event to another instance, exactly once. An instance that has ended drops the event.
instance_id: the other instance.
event_name: 1 to 256 characters. Upper and lower case are the same.
event_data: what durable.wait_for_external_event returns there.
Errors:
OD001: there is no such instance, or the owner of the sender is neither its owner nor a member of the owning role.
OD004: the code does not repeat what its history says. The instance fails.
OD005: the caller is not a running orchestrator.
22004: instance_id or event_name is NULL.
22023: event_name is too short or too long.
53400: the event exceeds a quota of the owner of the other instance.
22021, 54000: event_data has a text that is not valid, or is longer than durable.max_payload. The sender fails, whatever its code handles.
Durable Functions: SendEvent.';
