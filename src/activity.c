/*
 * activity.c
 *	  Running one activity, in the transaction that stores its end: its effects
 *	  in the database and its completion commit together or not at all.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"

#include "activity.h"
#include "blackbox.h"
#include "failure.h"
#include "replay.h"
#include "settings.h"
#include "stats.h"
#include "timing.h"
#include "usercode.h"

/*
 * A deadlock or serialization failure may be due to what the transactions of
 * workers hold besides the activity, so it is tried that often before it counts.
 */
#define MAX_CONFLICTS 5

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

/* Whether an error may be due to what else is in the transaction. */
static bool
is_conflict(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* Run an activity. */
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
		.owner = run->instance->owner,
		.resolve = resolve_name,
		.name = run->name,
		.input = run->input,
		.search_path = run->instance->search_path,
		.timeout = run->timeout
	};
	instr_time	start;
	int64		time;
	BlackboxCancel asked;

	INSTR_TIME_SET_CURRENT(start);
	current_activity = &context;
	debug_query_string = run->name;
	pgstat_report_activity(STATE_RUNNING, run->name);
	blackbox_write(run->instance->key, run->task_id, run->queued);
	if (!run->queued && run->wanted())
	{
		(void) blackbox_clear();
		current_activity = NULL;
		debug_query_string = NULL;
		return ACTIVITY_YIELDS;
	}
	user_call(&call);
	asked = blackbox_clear();
	run->canceled = asked == CANCEL_END;
	debug_query_string = NULL;
	current_activity = NULL;
	run->wrote = call.wrote;
	if (call.error != NULL && (!run->alone || run->tries < MAX_CONFLICTS) && is_conflict(call.error))
		return ACTIVITY_AGAIN;
	time = timing_since(start);
	timing_add(run->instance->search_path, run->name, time,
			   call.error != NULL && call.error->sqlerrcode == ERRCODE_QUERY_CANCELED);
	if (call.refused || (context.obstructed && call.error != NULL && call.error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE))
	{
		run->result = failure_of_activity(failure_from_error(call.error), run->name, run->task_id, run->attempt);
		return ACTIVITY_PUT_OFF;
	}
	/* whatever it made of the interruption */
	if (call.error != NULL && asked == CANCEL_YIELD)
		return ACTIVITY_YIELDS;
	stats_call(STATS_ACTIVITY, run->name, time * 1000, call.error != NULL);
	stats_count(STATS_ACTIVITIES, 1);
	stats_count(STATS_QUEUED, run->queued);
	run->result = call.result;
	if (call.error == NULL)
		return ACTIVITY_COMPLETED;
	if (call.timed_out)
		run->result = failure_timed_out(run->name, NULL);
	else
		run->result = failure_from_error(call.error);
	run->result = failure_of_activity(run->result, run->name, run->task_id, run->attempt);
	return ACTIVITY_FAILED;
}
