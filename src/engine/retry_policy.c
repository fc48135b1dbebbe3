/*
 * retry_policy.c
 *	  Retry policies and timeouts of activities and sub-orchestrations.
 *
 * A policy is read once, when the code asks for the task, and the history keeps it
 * as {"retry": {"attempts", "first", "coefficient", "max", "total", "except"},
 * "timeout"} with times in milliseconds.  All attempts belong to one task.  The
 * history has an event TaskRetried for each failed attempt but the last, and a
 * timer with the task's number starts the next attempt.
 *
 * A temporary obstacle, such as a database that takes no writes for a while, is
 * not a failure of the attempt.  The same attempt is postponed by such a timer,
 * with or without a policy, until the obstacle is gone.  The history has one
 * TaskRetried for an obstacle, too, with the number of the attempt before.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_collation.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "common/failure.h"
#include "common/jsonb_util.h"
#include "common/log_text.h"
#include "engine/lifecycle.h"
#include "engine/retry_policy.h"
#include "store/history_rows.h"
#include "store/timer_rows.h"

/* columns of durable.retry_policy */
enum
{
	POLICY_ATTEMPTS = 1, POLICY_FIRST, POLICY_COEFFICIENT, POLICY_MAX, POLICY_TOTAL, POLICY_EXCEPT
};

/* us until a postponed attempt is repeated: a quarter of the time since the first try, but at least and at most */
#define PUT_OFF_FIRST	USECS_PER_SEC
#define PUT_OFF_LAST	(10 * USECS_PER_SEC)

/* the shortest time between two log messages of a process about postponed attempts */
#define LOG_INTERVAL_MS	10000

/* longest pause, so that times stay in range: about 100 years */
#define LONGEST_MS	(INT64CONST(100) * 366 * 24 * 3600 * 1000)

/* as in the function durable.retry_policy, which a user can bypass by making a row */
#define LARGEST_COEFFICIENT	1000000

/* An interval in milliseconds, months taken as 30 days; an error if it is negative. */
static int64
interval_ms(Interval *interval, const char *what)
{
	double		ms = (interval->month * 30.0 + interval->day) * 86400000.0 + interval->time / 1000.0;

	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", what)));
	return (int64) Min(ms, (double) LONGEST_MS);
}

/* An interval column of the policy as jsonb milliseconds, NULL if it is null. */
static Jsonb *
policy_interval(HeapTupleHeader policy, int column, const char *what)
{
	bool		null;
	Datum		value = GetAttributeByNum(policy, column, &null);

	return null ? NULL : jsonb_from_integer(interval_ms(DatumGetIntervalP(value), what));
}

/* The SQLSTATEs that are not retried, as one jsonb string with commas. */
static Jsonb *
policy_except(HeapTupleHeader policy)
{
	bool		null;
	Datum		value = GetAttributeByNum(policy, POLICY_EXCEPT, &null);

	if (null || ARR_NDIM(DatumGetArrayTypeP(value)) == 0)
		return NULL;
	return jsonb_from_text(TextDatumGetCString(OidFunctionCall2Coll(F_ARRAY_TO_STRING_ANYARRAY_TEXT,
																	DEFAULT_COLLATION_OID, value,
																	CStringGetTextDatum(","))));
}

/* The coefficient in thousandths: an integer is exact in jsonb. */
static Jsonb *
policy_coefficient(HeapTupleHeader policy)
{
	bool		null;
	Datum		value = GetAttributeByNum(policy, POLICY_COEFFICIENT, &null);
	double		coefficient = null ? 1 : DatumGetFloat8(value);

	if (!(coefficient >= 1 && coefficient <= LARGEST_COEFFICIENT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("backoff_coefficient of a retry policy must be between 1 and %d",
						LARGEST_COEFFICIENT)));
	return null ? NULL : jsonb_from_integer((int64) rint(coefficient * 1000));
}

/* A policy as the history keeps it. */
static Jsonb *
policy_json(HeapTupleHeader policy)
{
	static const char *const names[] = {"attempts", "first", "coefficient", "max", "total", "except"};
	Jsonb	   *values[6] = {0};
	bool		null;
	Datum		value = GetAttributeByNum(policy, POLICY_ATTEMPTS, &null);
	int			attempts = null ? 1 : DatumGetInt32(value);

	if (attempts < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_attempts of a retry policy must be at least 1")));
	values[0] = jsonb_from_integer(attempts);
	values[1] = policy_interval(policy, POLICY_FIRST, "first_interval of a retry policy");
	values[2] = policy_coefficient(policy);
	values[3] = policy_interval(policy, POLICY_MAX, "max_interval of a retry policy");
	values[4] = policy_interval(policy, POLICY_TOTAL, "retry_timeout of a retry policy");
	values[5] = policy_except(policy);
	return jsonb_from_members(lengthof(values), names, values);
}

Jsonb *
retry_options(Datum policy, Interval *timeout)
{
	static const char *const names[] = {"retry", "timeout"};
	Jsonb	   *values[2] = {0};

	if (policy != 0)
		values[0] = policy_json(DatumGetHeapTupleHeader(policy));
	if (timeout != NULL)
		values[1] = jsonb_from_integer(Max(interval_ms(timeout, "timeout"), 1));
	if (values[0] == NULL && values[1] == NULL)
		return NULL;
	return jsonb_from_members(lengthof(values), names, values);
}

int64
retry_timeout(Jsonb *options)
{
	return jsonb_member_integer(options, "timeout", 0);
}

/* Whether the policy excludes a retry after this failure. */
static bool
is_final(Jsonb *policy, Jsonb *failure)
{
	char	   *except = jsonb_member_text(policy, "except");
	char	   *state = unpack_sql_state(failure_sqlstate(failure));

	return except != NULL && strstr(except, state) != NULL;
}

/* The pause after a failed attempt in ms. */
static int64
pause_after(Jsonb *policy, int attempt)
{
	double		pause = jsonb_member_integer(policy, "first", 0);
	double		coefficient = jsonb_member_integer(policy, "coefficient", 1000) / 1000.0;

	/* 0 times an infinite power would not be a number */
	if (pause > 0)
		pause *= pow(coefficient, attempt - 1);
	pause = Min(pause, (double) jsonb_member_integer(policy, "max", LONGEST_MS));
	return (int64) Min(pause, (double) LONGEST_MS);
}

/* Set the timer for the next attempt of a failed task, if its policy allows one. */
bool
retry_task(WorkerTransaction *txn, Instance *instance, Task *task, Jsonb *failure)
{
	Jsonb	   *policy = jsonb_member(task->options, "retry");
	int64		pause;
	int64		total;

	if (policy == NULL || task->attempt >= jsonb_member_integer(policy, "attempts", 1) ||
		is_final(policy, failure))
		return false;
	pause = pause_after(policy, task->attempt);
	total = jsonb_member_integer(policy, "total", -1);
	if (total >= 0 && (txn->now - task->scheduled_time) / 1000 + pause > total)
		return false;
	instance_append_attempt(txn, instance, task, EVENT_TASK_RETRIED, failure);
	timer_insert(txn->store, instance->row.key, task->id, txn->now + pause * 1000);
	return true;
}

/* Log that a task or turn was postponed, and why. */
void
retry_log(const Instance *instance, const char *what, Jsonb *obstacle)
{
	static TimestampTz logged = 0;

	if (!log_again(&logged, LOG_INTERVAL_MS))
		return;
	ereport(LOG,
			(errcode(failure_sqlstate(obstacle)),
			 errmsg("durable puts off %s of instance %s: %s", what, log_text(instance->row.instance_id, LOG_NAME, true),
					log_text(failure_get(obstacle, "message"), LOG_MESSAGE, false)),
			 errdetail("It is tried again until that has passed.")));
}

void
retry_put_off(WorkerTransaction *txn, Instance *instance, Task *task, Jsonb *obstacle)
{
	HistoryRow	row = {
		.event = EVENT_TASK_RETRIED,
		.task_id = task->id,
		.attempt = task->attempt - 1,
		.name = task->name,
		.result = obstacle
	};
	int64		pause;

	if (task->put_off_time == 0)
		instance_append(txn, instance, &row);
	else
		instance->open_timers++;
	pause = Min(Max((txn->now - task->put_off_time) / 4, PUT_OFF_FIRST), PUT_OFF_LAST);
	timer_insert(txn->store, instance->row.key, task->id, txn->now + pause);
	retry_log(instance, psprintf("%s \"%s\"", task->kind == TASK_CHILD ? "sub-orchestration" : "activity", task->name), obstacle);
}
