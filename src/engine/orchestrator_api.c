/*
 * orchestrator_api.c
 *	  The SQL functions that orchestrators call, and the few for activities.
 *
 * Each reads its arguments and calls turn.c or await.c; nothing here has a state.
 * A durable.task, the handle of a task in SQL, has the number of the task.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/syscache.h"

#include "common/arguments.h"
#include "common/call_context.h"
#include "common/jsonb_util.h"
#include "engine/await.h"
#include "engine/retry_policy.h"
#include "engine/sub_orchestration.h"
#include "engine/turn.h"

/* A timer; name: that of the event for whose wait it is the timeout, or NULL. */
static Task *
timer_task(TimestampTz fire_at, const char *name)
{
	char		text[MAXDATELEN + 1];
	Task	   *task;

	JsonEncodeDateTime(text, TimestampTzGetDatum(fire_at), TIMESTAMPTZOID, NULL);
	task = turn_task(TASK_TIMER, name, jsonb_from_text(text), NULL);
	if (!task->recorded)
		task->fire_at = fire_at;
	return task;
}

/* The time at which a timer fires; an error if it is infinite. */
static TimestampTz
require_finite(TimestampTz fire_at, const char *argument)
{
	if (TIMESTAMP_NOT_FINITE(fire_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be finite", argument)));
	return fire_at;
}

/* The time of the turn plus an interval; argument: its name for errors. */
static TimestampTz
after(Interval *interval, const char *argument)
{
	return require_finite(DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														  TimestampTzGetDatum(turn_now()),
														  IntervalPGetDatum(interval))), argument);
}

/* Wait for one task and return its result. */
static Jsonb *
await(Task *task)
{
	turn_await_any(&task, 1);
	turn_note_failures(&task, 1);
	return turn_result(task);
}

/* Error unless an orchestrator runs and the argument is not null. */
static void
turn_require_argument(FunctionCallInfo fcinfo, int number, const char *name, const char *function)
{
	turn_require(function);
	if (PG_ARGISNULL(number))
		require_argument(fcinfo, number, name, psprintf("durable.%s", function));
}

static Datum
return_jsonb(FunctionCallInfo fcinfo, Jsonb *value)
{
	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(value);
}

PG_FUNCTION_INFO_V1(durable_call_activity);
PG_FUNCTION_INFO_V1(durable_schedule_activity);
PG_FUNCTION_INFO_V1(durable_call_sql);
PG_FUNCTION_INFO_V1(durable_schedule_sql);
PG_FUNCTION_INFO_V1(durable_call_sub_orchestrator);
PG_FUNCTION_INFO_V1(durable_schedule_sub_orchestrator);
PG_FUNCTION_INFO_V1(durable_start_sub_orchestrator);
PG_FUNCTION_INFO_V1(durable_create_timer_after);
PG_FUNCTION_INFO_V1(durable_create_timer_at);
PG_FUNCTION_INFO_V1(durable_subscribe_event);
PG_FUNCTION_INFO_V1(durable_await);
PG_FUNCTION_INFO_V1(durable_when_all);
PG_FUNCTION_INFO_V1(durable_when_any);
PG_FUNCTION_INFO_V1(durable_cancel_task);
PG_FUNCTION_INFO_V1(durable_send_event);
PG_FUNCTION_INFO_V1(durable_sleep);
PG_FUNCTION_INFO_V1(durable_sleep_until);
PG_FUNCTION_INFO_V1(durable_wait_for_external_event);
PG_FUNCTION_INFO_V1(durable_continue_as_new);
PG_FUNCTION_INFO_V1(durable_set_own_custom_status);
PG_FUNCTION_INFO_V1(durable_instance_id);
PG_FUNCTION_INFO_V1(durable_parent_instance_id);
PG_FUNCTION_INFO_V1(durable_execution_id);
PG_FUNCTION_INFO_V1(durable_instance_version);
PG_FUNCTION_INFO_V1(durable_instance_tags);
PG_FUNCTION_INFO_V1(durable_now);
PG_FUNCTION_INFO_V1(durable_new_guid);
PG_FUNCTION_INFO_V1(durable_is_replaying);
PG_FUNCTION_INFO_V1(durable_log);
PG_FUNCTION_INFO_V1(durable_task_id);
PG_FUNCTION_INFO_V1(durable_attempt);
PG_FUNCTION_INFO_V1(durable_idempotency_key);

static Datum
return_task(FunctionCallInfo fcinfo, Task *task)
{
	TupleDesc	desc;
	Datum		value = Int32GetDatum(task->id);
	bool		null = false;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "durable.task is not a composite type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &null)));
}

/* The task of a handle. */
static Task *
task_of(Datum handle)
{
	bool		null;
	Datum		id = GetAttributeByNum(DatumGetHeapTupleHeader(handle), 1, &null);

	if (null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("task must not be null")));
	return turn_find_task(DatumGetInt32(id));
}

/* The tasks of an array of handles.  The form of the function without VARIADIC takes anyarray, so the array may be of another type. */
static Task **
tasks_of(FunctionCallInfo fcinfo, const char *function, int *count)
{
	Oid			type;
	ArrayType  *array;
	Datum	   *values;
	bool	   *nulls;
	Task	  **tasks;

	turn_require_argument(fcinfo, 0, "tasks", function);
	array = PG_GETARG_ARRAYTYPE_P(0);
	type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("task"),
						   ObjectIdGetDatum(get_namespace_oid(DURABLE_SCHEMA, false)));
	if (ARR_ELEMTYPE(array) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("durable.%s takes an array of durable.task, not of %s", function, format_type_be(ARR_ELEMTYPE(array)))));
	deconstruct_array(array, type, -1, false, TYPALIGN_DOUBLE,
					  &values, &nulls, count);
	tasks = palloc((*count + 1) * sizeof(Task *));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("tasks of durable.%s must not be null", function)));
		tasks[i] = task_of(values[i]);
	}
	return tasks;
}

/* The activity that call_activity and schedule_activity ask for. */
static Task *
activity_task(FunctionCallInfo fcinfo, const char *function)
{
	turn_require_argument(fcinfo, 0, "name", function);
	return turn_task(TASK_ACTIVITY, text_to_cstring(PG_GETARG_TEXT_PP(0)),
					 PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1),
					 retry_options(PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2),
								   PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3)));
}

/* call_activity(name, input, retry, timeout): schedule and await */
Datum
durable_call_activity(PG_FUNCTION_ARGS)
{
	return return_jsonb(fcinfo, await(activity_task(fcinfo, "call_activity")));
}

/* schedule_activity(name, input, retry, timeout) */
Datum
durable_schedule_activity(PG_FUNCTION_ARGS)
{
	return return_task(fcinfo, activity_task(fcinfo, "schedule_activity"));
}

/* The activity durable.run_sql that call_sql and schedule_sql ask for. */
static Task *
sql_task(FunctionCallInfo fcinfo, const char *function)
{
	static const char *const names[] = {"statement", "parameters"};
	Jsonb	   *values[2];

	turn_require_argument(fcinfo, 0, "statement", function);
	values[0] = jsonb_from_text(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[1] = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	turn_check_parts(2, values);
	return turn_task(TASK_ACTIVITY, "durable.run_sql", jsonb_from_members(2, names, values),
					 retry_options(PG_ARGISNULL(2) ? 0 : PG_GETARG_DATUM(2),
								   PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3)));
}

/* call_sql(statement, parameters, retry, timeout) */
Datum
durable_call_sql(PG_FUNCTION_ARGS)
{
	return return_jsonb(fcinfo, await(sql_task(fcinfo, "call_sql")));
}

/* schedule_sql(statement, parameters, retry, timeout) */
Datum
durable_schedule_sql(PG_FUNCTION_ARGS)
{
	return return_task(fcinfo, sql_task(fcinfo, "schedule_sql"));
}

/* The child that the functions for sub-orchestrations ask for. */
static Task *
sub_orchestration_task(FunctionCallInfo fcinfo, const char *function, bool detached)
{
	SubOrchestrationOptions options = {
		.instance_id = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.retry = PG_ARGISNULL(3) ? 0 : PG_GETARG_DATUM(3),
		.version = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4)),
		.tags = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5),
		.detached = detached
	};

	turn_require_argument(fcinfo, 0, "name", function);
	return turn_task(TASK_CHILD, text_to_cstring(PG_GETARG_TEXT_PP(0)),
					 PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), sub_orchestration_options(&options));
}

/* call_sub_orchestrator(name, input, instance_id, retry, version, tags) */
Datum
durable_call_sub_orchestrator(PG_FUNCTION_ARGS)
{
	return return_jsonb(fcinfo, await(sub_orchestration_task(fcinfo, "call_sub_orchestrator", false)));
}

/* schedule_sub_orchestrator(name, input, instance_id, retry, version, tags) */
Datum
durable_schedule_sub_orchestrator(PG_FUNCTION_ARGS)
{
	return return_task(fcinfo, sub_orchestration_task(fcinfo, "schedule_sub_orchestrator", false));
}

/* start_sub_orchestrator(name, input, instance_id, retry, version, tags): the id of the child */
Datum
durable_start_sub_orchestrator(PG_FUNCTION_ARGS)
{
	Task	   *task = sub_orchestration_task(fcinfo, "start_sub_orchestrator", true);

	PG_RETURN_TEXT_P(cstring_to_text(sub_orchestration_id(turn_instance(), task, 1)));
}

/* create_timer(delay interval) */
Datum
durable_create_timer_after(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "delay", "create_timer");
	return return_task(fcinfo, timer_task(after(PG_GETARG_INTERVAL_P(0), "delay"), NULL));
}

/* create_timer(fire_at timestamptz) */
Datum
durable_create_timer_at(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "fire_at", "create_timer");
	return return_task(fcinfo, timer_task(require_finite(PG_GETARG_TIMESTAMPTZ(0), "fire_at"), NULL));
}

/* subscribe_event(name) */
Datum
durable_subscribe_event(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "name", "subscribe_event");
	return return_task(fcinfo, turn_task(TASK_EVENT, event_name_argument(fcinfo, 0), NULL, NULL));
}

/* await(task) */
Datum
durable_await(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "task", "await");
	return return_jsonb(fcinfo, await(task_of(PG_GETARG_DATUM(0))));
}

/* when_all(variadic task[]): results in the order of the arguments */
Datum
durable_when_all(PG_FUNCTION_ARGS)
{
	int			count;
	Task	  **tasks = tasks_of(fcinfo, "when_all", &count);
	Datum	   *values;
	bool	   *nulls;
	int			lower = 1;

	if (count == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(JSONBOID));
	turn_await_all(tasks, count);
	turn_note_failures(tasks, count);
	values = palloc(count * sizeof(Datum));
	nulls = palloc(count * sizeof(bool));
	for (int i = 0; i < count; i++)
	{
		Jsonb	   *result = turn_result(tasks[i]);

		values[i] = JsonbPGetDatum(result);
		nulls[i] = result == NULL;
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(values, nulls, 1, &count, &lower,
											 JSONBOID, -1, false, TYPALIGN_INT));
}

/* when_any(variadic task[]): the first to end */
Datum
durable_when_any(PG_FUNCTION_ARGS)
{
	int			count;
	Task	  **tasks = tasks_of(fcinfo, "when_any", &count);

	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("durable.when_any needs at least one task")));
	return return_task(fcinfo, turn_await_any(tasks, count));
}

/* cancel_task(task) */
Datum
durable_cancel_task(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "task", "cancel_task");
	turn_cancel(task_of(PG_GETARG_DATUM(0)));
	PG_RETURN_VOID();
}

/* send_event(instance_id, event_name, event_data) */
Datum
durable_send_event(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "data"};
	Jsonb	   *values[2];
	Task	   *task;

	turn_require_argument(fcinfo, 0, "instance_id", "send_event");
	turn_require_argument(fcinfo, 1, "event_name", "send_event");
	values[0] = jsonb_from_text(event_name_argument(fcinfo, 1));
	values[1] = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	turn_check_parts(2, values);
	task = turn_task(TASK_SEND, text_to_cstring(PG_GETARG_TEXT_PP(0)), jsonb_from_members(2, names, values), NULL);
	if (!task->recorded)
		turn_send(task);
	(void) turn_result(task);
	PG_RETURN_VOID();
}

/* sleep(interval) */
Datum
durable_sleep(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "delay", "sleep");
	await(timer_task(after(PG_GETARG_INTERVAL_P(0), "delay"), NULL));
	PG_RETURN_VOID();
}

/* sleep_until(timestamptz) */
Datum
durable_sleep_until(PG_FUNCTION_ARGS)
{
	turn_require_argument(fcinfo, 0, "fire_at", "sleep_until");
	await(timer_task(require_finite(PG_GETARG_TIMESTAMPTZ(0), "fire_at"), NULL));
	PG_RETURN_VOID();
}

/* wait_for_external_event(name, timeout, default_value) */
Datum
durable_wait_for_external_event(PG_FUNCTION_ARGS)
{
	Task	   *tasks[2];
	Task	   *first;

	turn_require_argument(fcinfo, 0, "name", "wait_for_external_event");
	tasks[0] = turn_task(TASK_EVENT, event_name_argument(fcinfo, 0), NULL, NULL);
	if (PG_ARGISNULL(1))
		return return_jsonb(fcinfo, await(tasks[0]));
	tasks[1] = timer_task(after(PG_GETARG_INTERVAL_P(1), "timeout"), tasks[0]->name);
	first = turn_await_any(tasks, 2);
	turn_cancel(first == tasks[0] ? tasks[1] : tasks[0]);
	if (first == tasks[0])
		return return_jsonb(fcinfo, turn_result(first));
	turn_note_failures(&tasks[1], 1);
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_TIMED_OUT),
				 errmsg("no event \"%s\" came in time", tasks[0]->name),
				 errhint("Give wait_for_external_event a default_value, or handle SQLSTATE OD006.")));
	PG_RETURN_DATUM(PG_GETARG_DATUM(2));
}

/* continue_as_new(input, preserve_unprocessed_events, version) */
Datum
durable_continue_as_new(PG_FUNCTION_ARGS)
{
	turn_require("continue_as_new");
	turn_continue_as_new(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0),
						 PG_ARGISNULL(1) || PG_GETARG_BOOL(1),
						 PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)));
	PG_RETURN_VOID();
}

/* set_custom_status(jsonb) */
Datum
durable_set_own_custom_status(PG_FUNCTION_ARGS)
{
	turn_require("set_custom_status");
	turn_set_status(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0));
	PG_RETURN_VOID();
}

/* instance_id(): in orchestrators and activities */
Datum
durable_instance_id(PG_FUNCTION_ARGS)
{
	if (current_activity != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(current_activity->instance_id));
	turn_require("instance_id");
	PG_RETURN_TEXT_P(cstring_to_text(turn_instance()->row.instance_id));
}

/* parent_instance_id(): null for an instance that no other has started */
Datum
durable_parent_instance_id(PG_FUNCTION_ARGS)
{
	turn_require("parent_instance_id");
	if (turn_instance()->parent_id == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(turn_instance()->parent_id));
}

/* execution_id(): in orchestrators and activities */
Datum
durable_execution_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (current_activity == NULL)
		turn_require("execution_id");
	*id = current_activity != NULL ? current_activity->execution_id : turn_instance()->row.execution_id;
	PG_RETURN_UUID_P(id);
}

/* instance_version(): null if none was given at the start */
Datum
durable_instance_version(PG_FUNCTION_ARGS)
{
	turn_require("instance_version");
	if (turn_instance()->row.version == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(turn_instance()->row.version));
}

/* instance_tags(): an object, empty if none were given */
Datum
durable_instance_tags(PG_FUNCTION_ARGS)
{
	turn_require("instance_tags");
	PG_RETURN_JSONB_P(turn_instance()->row.tags != NULL ? turn_instance()->row.tags : jsonb_parse("{}"));
}

/* now(): when the last event that the code has consumed became visible */
Datum
durable_now(PG_FUNCTION_ARGS)
{
	turn_require("now");
	PG_RETURN_TIMESTAMPTZ(turn_now());
}

/* new_guid(): version 5, of the execution's id and a counter */
Datum
durable_new_guid(PG_FUNCTION_ARGS)
{
	uint32		number;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	turn_require("new_guid");
	number = turn_next_guid();
	execution_hash(turn_instance(), &number, 1, id->data);
	id->data[6] = (id->data[6] & 0x0f) | 0x50;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
	PG_RETURN_UUID_P(id);
}

/* is_turn_replaying() */
Datum
durable_is_replaying(PG_FUNCTION_ARGS)
{
	turn_require("is_replaying");
	PG_RETURN_BOOL(turn_replaying());
}

/* The message level of a name; an error if there is none. */
static int
level_by_name(const char *name)
{
	static const struct
	{
		const char *name;
		int			level;
	}			levels[] = {
		{"debug", DEBUG1}, {"log", LOG}, {"info", INFO}, {"notice", NOTICE}, {"warning", WARNING}
	};

	for (int i = 0; i < lengthof(levels); i++)
		if (pg_strcasecmp(levels[i].name, name) == 0)
			return levels[i].level;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown level \"%s\"", name),
			 errhint("Levels are debug, log, info, notice and warning.")));
	pg_unreachable();
}

/* log(level, message): to the server's log, once and not on replays */
Datum
durable_log(PG_FUNCTION_ARGS)
{
	int			level;

	turn_require_argument(fcinfo, 0, "level", "log");
	turn_require_argument(fcinfo, 1, "message", "log");
	level = level_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!turn_replaying())
		ereport(level,
				(errmsg_internal("%s", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errdetail_internal("Logged by instance \"%s\" of %s.",
									turn_instance()->row.instance_id, turn_instance()->row.name),
				 errhidecontext(true), errhidestmt(true)));
	PG_RETURN_VOID();
}

/* Error unless an activity runs. */
static void
require_activity(const char *function)
{
	if (current_activity == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_NOT_IN_ORCHESTRATOR),
				 errmsg("durable.%s can only be called by a running activity", function)));
}

/* task_id(): the number of the activity that runs */
Datum
durable_task_id(PG_FUNCTION_ARGS)
{
	require_activity("task_id");
	PG_RETURN_INT32(current_activity->task_id);
}

/* attempt(): 1 for the first one */
Datum
durable_attempt(PG_FUNCTION_ARGS)
{
	require_activity("attempt");
	PG_RETURN_INT32(current_activity->attempt);
}

/* idempotency_key(): of the execution, the task, and how many rewinds have reopened the task */
Datum
durable_idempotency_key(PG_FUNCTION_ARGS)
{
	char	   *key;

	require_activity("idempotency_key");
	key = psprintf("%s/%d", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&current_activity->execution_id))),
				   current_activity->task_id);
	if (current_activity->rewinds > 0)
		key = psprintf("%s/%d", key, current_activity->rewinds);
	PG_RETURN_TEXT_P(cstring_to_text(key));
}
