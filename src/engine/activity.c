/*
 * activity.c
 *	  Running one activity, in the transaction that stores its end: its effects
 *	  in the database and its completion commit together or not at all.
 */
#include "postgres.h"

#include "tcop/tcopprot.h"
#include "utils/backend_status.h"

#include "call/user_call.h"
#include "common/call_context.h"
#include "common/failure.h"
#include "engine/activity.h"
#include "engine/quota.h"
#include "shmem/crash_notes.h"
#include "shmem/function_durations.h"
#include "shmem/stats.h"

/*
 * A deadlock or serialization failure may be due to locks that the worker's
 * transaction holds besides the activity.  After so many conflicts it counts as
 * a failure of the activity.
 */
#define MAX_CONFLICTS 20

/* The failure of an activity whose workers died too often. */
Jsonb *
activity_lost(const ActivityRun *run, int deliveries)
{
	return failure_of_activity(failure_make(ERRCODE_DURABLE_ACTIVITY_LOST,
									 psprintf("activity \"%s\" was lost: %d workers died while running it",
											  run->name, deliveries),
									 NULL,
									 "Look into the server's log for what the process died of; durable.max_activity_deliveries says how often it is tried."),
						run->name, run->task_id, run->attempt);
}

/* Whether an error may be due to other work in the transaction. */
static bool
is_conflict(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* The failure of a call, NULL if it has succeeded. */
static Jsonb *
failure_of(const ActivityRun *run, const UserCall *call)
{
	Jsonb	   *failure;

	/* interrupted, and canceled with its instance */
	if (call->interruption != INTERRUPTION_NONE)
		failure = failure_make(ERRCODE_QUERY_CANCELED, "the activity was canceled", NULL, NULL);
	else if (call->error == NULL)
		return NULL;
	else
		failure = call->timed_out ? failure_timed_out(run->name, NULL) : failure_from_error(call->error);
	return failure_of_activity(failure, run->name, run->task_id, run->attempt);
}

ActivityOutcome
activity_run(ActivityRun *run)
{
	ActivityContext context = {
		.instance_id = run->instance->instance_id,
		.execution_id = run->instance->execution_id,
		.task_id = run->task_id,
		.attempt = run->attempt,
		.rewinds = run->rewinds
	};
	UserCall	call = {
		.limit = quota_payload,
		.owner = run->instance->owner,
		.resolve = resolve_name,
		.name = run->name,
		.input = run->input,
		.search_path = run->instance->search_path,
		.timeout = run->timeout
	};
	instr_time	start;
	int64		time;
	Jsonb	   *failure;

	INSTR_TIME_SET_CURRENT(start);
	current_activity = &context;
	debug_query_string = run->name;
	pgstat_report_activity(STATE_RUNNING, run->name);
	crash_note_write(run->instance->key, run->task_id, run->queued);
	user_call(&call);
	run->canceled = crash_note_clear();
	debug_query_string = NULL;
	current_activity = NULL;
	run->wrote = call.wrote;
	if (call.error != NULL && (!run->alone || run->tries < MAX_CONFLICTS) && is_conflict(call.error))
		return ACTIVITY_AGAIN;
	time = duration_since_ns(start);
	if (patience_outside())
		duration_alone(run->instance->search_path, run->name);
	else if (call.interruption != INTERRUPTION_PLACE)
		duration_add(run->instance->search_path, run->name, time / 1000,
				   call.error != NULL && call.error->sqlerrcode == ERRCODE_QUERY_CANCELED);
	/* an activity that was canceled with its instance is not repeated */
	run->interruption = call.interruption;
	if (call.interruption != INTERRUPTION_NONE && !run->canceled)
		return ACTIVITY_INTERRUPTED;
	failure = failure_of(run, &call);
	run->result = failure != NULL ? failure : call.result;
	if (call.refused || (context.obstructed && call.error != NULL && call.error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE))
		return ACTIVITY_PUT_OFF;
	stats_call(STATS_ACTIVITY, run->name, time, failure != NULL);
	stats_count(STATS_ACTIVITIES, 1);
	stats_count(STATS_QUEUED, run->queued);
	return failure != NULL ? ACTIVITY_FAILED : ACTIVITY_COMPLETED;
}
