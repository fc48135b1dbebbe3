-- Orchestrator API: tasks that are scheduled first and awaited later.

CREATE TYPE durable.task AS (id integer);
COMMENT ON TYPE durable.task IS
'Handle of something that an orchestrator has scheduled and may await: an activity, a sub-orchestration, a timer or a wait for an event. It is the number of the task in the execution; handles can be compared. It means nothing outside the orchestrator that made it.';

CREATE FUNCTION durable.schedule_activity(name text, input jsonb DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, timeout interval DEFAULT NULL)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_schedule_activity';
COMMENT ON FUNCTION durable.schedule_activity(text, jsonb, durable.retry_policy, interval) IS
'Like durable.call_activity, but does not wait: returns a task for durable.await, when_all or when_any. ARRAY(SELECT durable.schedule_activity(''f'', to_jsonb(x)) FROM ... ORDER BY ...) fans out; the order of the rows must be the same on each replay.';

CREATE FUNCTION durable.call_sql(statement text, parameters jsonb DEFAULT '[]', retry durable.retry_policy DEFAULT NULL, timeout interval DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_call_sql';
COMMENT ON FUNCTION durable.call_sql(text, jsonb, durable.retry_policy, interval) IS
'Runs one SQL statement as an activity, with $1, $2 ... bound from the array of parameters, and waits for its result: {"row_count": n, "rows": [{...}, ...]}; rows is empty for a statement that returns none. Errors are raised with the statement''s own SQLSTATE. retry and timeout as for durable.call_activity. Durable Functions has no such function.';

CREATE FUNCTION durable.schedule_sql(statement text, parameters jsonb DEFAULT '[]', retry durable.retry_policy DEFAULT NULL, timeout interval DEFAULT NULL)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_schedule_sql';
COMMENT ON FUNCTION durable.schedule_sql(text, jsonb, durable.retry_policy, interval) IS
'Like durable.call_sql, but does not wait: returns a task.';

CREATE FUNCTION durable.call_sub_orchestrator(name text, input jsonb DEFAULT NULL, instance_id text DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, version text DEFAULT NULL, tags jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_call_sub_orchestrator';
COMMENT ON FUNCTION durable.call_sub_orchestrator(text, jsonb, text, durable.retry_policy, text, jsonb) IS
'Runs another orchestrator as a child instance of the same owner and waits for its output. Without instance_id the child gets one that depends only on the execution and the task. The version is the parent''s unless given, tags are merged into the parent''s. The child''s failure is raised with its own SQLSTATE; OD008 if it was terminated, OD003 if a live instance has that id. Each attempt of a retry policy is an instance of its own; one that cannot be started, as there is no such function or the id is in use, is a failure that is not tried again. While another transaction is starting or removing an instance of the id, or anything else that passes stands in the way (SQLSTATE classes 40, 53, 57 and 58, 55P03), nothing fails: the turn is run again half a second later, then after longer pauses of up to 10 seconds.';

CREATE FUNCTION durable.schedule_sub_orchestrator(name text, input jsonb DEFAULT NULL, instance_id text DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, version text DEFAULT NULL, tags jsonb DEFAULT NULL)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_schedule_sub_orchestrator';
COMMENT ON FUNCTION durable.schedule_sub_orchestrator(text, jsonb, text, durable.retry_policy, text, jsonb) IS
'Like durable.call_sub_orchestrator, but does not wait: returns a task.';

CREATE FUNCTION durable.start_sub_orchestrator(name text, input jsonb DEFAULT NULL, instance_id text DEFAULT NULL, retry durable.retry_policy DEFAULT NULL, version text DEFAULT NULL, tags jsonb DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_start_sub_orchestrator';
COMMENT ON FUNCTION durable.start_sub_orchestrator(text, jsonb, text, durable.retry_policy, text, jsonb) IS
'Starts a child instance that nobody awaits and returns its id. How it ends does not concern the parent, which may end before it; terminating the parent recursively terminates it too.';

CREATE FUNCTION durable.create_timer(delay interval)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_create_timer_after';
COMMENT ON FUNCTION durable.create_timer(interval) IS
'A task that ends after the delay, counted from durable.now(). No upper limit; a delay that is not positive ends at once. An open timer does not hold a finished orchestrator open, unlike in Durable Functions.';

CREATE FUNCTION durable.create_timer(fire_at timestamptz)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_create_timer_at';
COMMENT ON FUNCTION durable.create_timer(timestamptz) IS
'A task that ends at the given time, at once if that is past. 22023 if it is infinite. See create_timer(interval).';

CREATE FUNCTION durable.subscribe_event(name text)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_subscribe_event';
COMMENT ON FUNCTION durable.subscribe_event(text) IS
'A task that ends with the next event of that name (case-insensitive) that no earlier waiter gets; its result is the event''s data. See durable.wait_for_external_event.';

CREATE FUNCTION durable.await(task durable.task)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_await';
COMMENT ON FUNCTION durable.await(durable.task) IS
'Waits for a task and returns its result (null for a timer) or raises its failure. May be called again for the same task. 55000 for a task that was canceled, 22023 for one of another execution.';

CREATE FUNCTION durable.when_all(VARIADIC tasks durable.task[])
RETURNS jsonb[] LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_all';
COMMENT ON FUNCTION durable.when_all(durable.task[]) IS
'Waits for all tasks, then returns their results in the order of the arguments, or raises the first failure in that order. No tasks: an empty array.';

-- Any array, since one of tasks is what the function with VARIADIC has already; another is an error.
CREATE FUNCTION durable.when_all(tasks anyarray)
RETURNS jsonb[] LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_all';
COMMENT ON FUNCTION durable.when_all(anyarray) IS
'The same for an array of tasks, so that when_all(tasks) is when_all(VARIADIC tasks). 42804 for any other array.';

CREATE FUNCTION durable.when_any(VARIADIC tasks durable.task[])
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_any';
COMMENT ON FUNCTION durable.when_any(durable.task[]) IS
'Waits until one of the tasks has ended, well or not, and returns it; the same one on each replay. The others go on; use durable.cancel_task for those that are not wanted any more. durable.await gives the result. 22023 without any task.';

CREATE FUNCTION durable.when_any(tasks anyarray)
RETURNS durable.task LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_when_any';
COMMENT ON FUNCTION durable.when_any(anyarray) IS
'The same for an array of tasks, so that when_any(tasks) is when_any(VARIADIC tasks). 42804 for any other array.';

CREATE FUNCTION durable.cancel_task(task durable.task)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_cancel_task';
COMMENT ON FUNCTION durable.cancel_task(durable.task) IS
'Gives up a task whose end the orchestrator has not seen: a timer is stopped, a wait for an event no longer takes one, an activity that no worker has begun is not run and a running one''s result is dropped, a sub-orchestration goes on unawaited; neither is tried again if it fails. The history says so: TimerCanceled or TaskCanceled. Awaiting it afterwards is an error (55000).';

CREATE FUNCTION durable.send_event(instance_id text, event_name text, event_data jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'durable_send_event';
COMMENT ON FUNCTION durable.send_event(text, text, jsonb) IS
'Raises an event in another instance, exactly once. OD001 if there is no such instance that the owner may manage; an instance that has ended drops it. 53400 if the event exceeds a quota of the owner of that instance; event data whose text is longer than durable.max_payload fail the orchestrator (54000).';
