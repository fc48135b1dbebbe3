/*
 * activity_runner.c
 *	  A worker runs queued activities: ranges of an instance's task ids.
 *
 * One transaction locks the rows of some activities in durable_internal.tasks,
 * runs them, sends the results to the instance as messages, and deletes the rows.
 * Another worker may hold the instance meanwhile.
 *
 *	an activity keeps		its savepoint is rolled back, the transaction commits
 *	others waiting			without it, and it is queued for a long place
 *	the transaction fails	its first activity is run in a transaction of its own
 *	that fails, too			the activity fails, or is queued again if the error
 *							passes
 */
#include "postgres.h"

#include "miscadmin.h"

#include "common/failure.h"
#include "common/guc.h"
#include "common/log_text.h"
#include "engine/activity.h"
#include "engine/retry_policy.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "shmem/function_durations.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "worker/activity_runner.h"
#include "worker/bgworkers.h"
#include "worker/worker_transaction.h"

/* an activity that waited for a lock is tried in a batch place again after this, unless it gets a long place before */
#define TRY_PAUSE		USECS_PER_SEC

static int	my_slot;

/* Run one queued activity with name and input of its event in the history.  If it ends, send the result and delete the row. */
static ActivityOutcome
run_task(const InstanceRow *instance, TaskRow *task, const HistoryRow *scheduled, bool single, int tries, Interruption *interruption)
{
	MessageRow	message = {.key = task->key, .task_id = task->task_id, .attempt = task->attempt};
	ActivityOutcome outcome = ACTIVITY_FAILED;
	ActivityRun run = {
		.instance = instance,
		.task_id = task->task_id,
		.attempt = task->attempt,
		.rewinds = task->rewinds,
		.queued = true,
		.alone = single,
		.tries = tries
	};

	message.name = run.name = scheduled->name;
	run.input = scheduled->input;
	run.timeout = retry_timeout(scheduled->result);
	if (task->deliveries >= durable_max_activity_deliveries)
		run.result = activity_lost(&run, task->deliveries);
	else
		outcome = activity_run(&run);
	*interruption = run.interruption;
	worker_transaction_ran(run.wrote);
	if (outcome == ACTIVITY_AGAIN || outcome == ACTIVITY_INTERRUPTED)
		return outcome;
	message.kind = outcome == ACTIVITY_COMPLETED ? MESSAGE_TASK_COMPLETED :
		outcome == ACTIVITY_PUT_OFF ? MESSAGE_TASK_PUT_OFF : MESSAGE_TASK_FAILED;
	message.time = GetCurrentTimestamp();
	message.payload = run.result;
	message_send(worker_transaction.store, instance->owner, &message);
	task_delete(worker_transaction.store, task);
	return outcome;
}

/* Announce queued activities of an instance for any worker of this role. */
static void
push_tasks(int64 key, int low, int high, Lone lone, TimestampTz try_at)
{
	ReadyHint	hint = {
		.role = GetSessionUserId(), .key = key, .low = low, .high = high, .lone = lone, .try_at = try_at
	};

	if (!ready_push(MyDatabaseId, &hint, 1))
		database_request_scan(MyDatabaseId);
}

/* Announce the rest of a range for other workers, and keep the first activity. */
static void
share_rest(ReadyRange *range)
{
	if (range->low < range->high)
	{
		ready_range_narrow(my_slot, range->low);
		push_tasks(range->key, range->low + 1, range->high, range->lone, range->try_at);
		range->high = range->low;
	}
}

/*
 * Whether an activity should rather run in a long place: it may have killed a
 * worker, or its function took long lately.
 */
static Lone
better_alone(const InstanceRow *instance, const ReadyRange *range, const TaskRow *task, const char *function)
{
	if (task->deliveries > 0)
		return LONE_MUST;
	return range->lone == LONE_NO && duration_is_slow(instance->search_path, function) ? LONE_MAY : LONE_NO;
}

/* activities that the transaction has locked, by task id, and the events that scheduled them */
typedef struct LockedActivities
{
	List	   *tasks;			/* TaskRow */
	List	   *events;			/* HistoryRow; may lack some */
} LockedActivities;

/* Lock the activities of a range and read their events, with one index scan for each of both. */
static LockedActivities
lock_activities(const ReadyRange *range)
{
	LockedActivities batch = {.tasks = tasks_lock(worker_transaction.store, range->key, range->low, range->high)};
	int			first = PG_INT32_MAX;
	int			last = 0;
	ListCell   *cell;

	foreach(cell, batch.tasks)
	{
		first = Min(first, ((TaskRow *) lfirst(cell))->seq);
		last = Max(last, ((TaskRow *) lfirst(cell))->seq);
	}
	/* the events of one fan-out are neighbours in the history */
	if (batch.tasks != NIL && last - first < 4 * MAX_BATCH_ACTIVITIES)
		batch.events = history_between(worker_transaction.store, range->key, first, last);
	return batch;
}

/* The first locked activity with this task id or a larger one; NULL if there is none. */
static TaskRow *
next_task(const LockedActivities *batch, int task_id)
{
	ListCell   *cell;

	foreach(cell, batch->tasks)
		if (((TaskRow *) lfirst(cell))->task_id >= task_id)
			return lfirst(cell);
	return NULL;
}

/* The event that scheduled an activity; false if the history does not have it any more. */
static bool
find_scheduled(const LockedActivities *batch, const TaskRow *task, HistoryRow *scheduled)
{
	ListCell   *cell;

	foreach(cell, batch->events)
		if (((HistoryRow *) lfirst(cell))->seq == task->seq)
		{
			*scheduled = *(HistoryRow *) lfirst(cell);
			return scheduled->task_id == task->task_id;
		}
	return history_get(worker_transaction.store, task->key, task->seq, scheduled) && scheduled->task_id == task->task_id;
}

/*
 * Run one transaction with activities of a range, and move range->low past those
 * that have ended.  in_long_place: the range is one activity in a long place.
 * tries: how many transactions in a row have not got past the first activity; if
 * not 0, that has the transaction for itself, and other workers get the rest.
 * Returns activities for which the caller must request a long place after the
 * commit, which unlocks their rows; lone is LONE_NO if there are none.
 */
static ReadyRange
run_range_part(ReadyRange *range, bool in_long_place, int tries)
{
	ReadyRange	aside = {.key = range->key, .lone = LONE_NO};
	InstanceRow instance;
	LockedActivities batch;
	bool		found;
	int			count = 0;

	worker_transaction_begin(0, in_long_place);
	found = instance_get(worker_transaction.store, range->key, &instance);
	if (found && instance.owner != GetSessionUserId())
	{
		/* it got another owner after it was announced */
		wakeup_tasks(instance.owner, range->key, range->low, range->high, range->lone);
		range->low = range->high + 1;
	}
	if (tries > 0)
		share_rest(range);
	if (range->low <= range->high)
		batch = lock_activities(range);
	while (range->low <= range->high && !worker_transaction_full())
	{
		TaskRow    *task = next_task(&batch, range->low);
		HistoryRow	scheduled;
		ActivityOutcome outcome;
		Interruption interruption;

		range->low = task != NULL ? task->task_id : range->high + 1;
		if (task == NULL)
			break;
		if (!found || instance.state == STATE_TERMINATED || !find_scheduled(&batch, task, &scheduled))
		{
			/* the instance was terminated, or has continued as new */
			task_delete(worker_transaction.store, task);
			range->low++;
			continue;
		}
		aside.lone = in_long_place ? LONE_NO : better_alone(&instance, range, task, scheduled.name);
		aside.low = range->low;
		if (aside.lone != LONE_NO)
		{
			aside.high = aside.lone == LONE_MAY ? range->high : range->low;
			range->low = aside.high + 1;
			break;
		}
		outcome = run_task(&instance, task, &scheduled, count == 0, tries, &interruption);
		if (outcome == ACTIVITY_AGAIN)
			break;
		count++;
		range->low++;
		if (outcome == ACTIVITY_INTERRUPTED)
		{
			aside.lone = interruption == INTERRUPTION_LOCK ? LONE_MAY : LONE_MUST;
			aside.try_at = GetCurrentTimestamp() + TRY_PAUSE;
			aside.high = aside.low;
			break;
		}
	}
	worker_transaction_commit();
	return aside;
}

/* Fail the first activity of a range, whose result could not be stored. */
static void
fail_task(const ReadyRange *range, ErrorData *error)
{
	InstanceRow instance;
	ListCell   *cell;
	MessageRow	message = {
		.key = range->key,
		.kind = MESSAGE_TASK_FAILED,
		.time = GetCurrentTimestamp(),
		.task_id = range->low
	};

	worker_transaction_begin(0, false);
	foreach(cell, tasks_lock(worker_transaction.store, range->key, range->low, range->low))
	{
		TaskRow    *task = lfirst(cell);

		message.attempt = task->attempt;
		message.payload = failure_from_error(error);
		if (instance_get(worker_transaction.store, range->key, &instance))
			message_send(worker_transaction.store, instance.owner, &message);
		task_delete(worker_transaction.store, task);
	}
	worker_transaction_commit();
}

/* The same.  If that fails, too, the scheduler's next scan finds the activity again. */
static void
try_fail_task(const ReadyRange *range, ErrorData *error)
{
	PG_TRY();
	{
		fail_task(range, error);
	}
	PG_CATCH();
	{
		if (worker_transaction_report())
			push_tasks(range->key, range->low, range->low, range->lone, 0);
	}
	PG_END_TRY();
}

/*
 * A transaction with activities of a range has failed.  If it had only the first
 * one (alone), that fails, or is queued again if the error passes.
 */
static void
range_failed(ReadyRange *range, bool alone)
{
	ErrorData  *error = worker_transaction_failure();

	if (alone)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("durable could not store the end of an activity: %s", log_text(error->message, LOG_MESSAGE, false))));
		if (sqlstate_is_passing(error->sqlerrcode))
		{
			bgworker_wait(200);
			push_tasks(range->key, range->low, range->low, range->lone, 0);
		}
		else
			try_fail_task(range, error);
		range->low++;
	}
	worker_transaction_clear();
}

void
activity_runner_run(int slot, ReadyRange *range, bool in_long_place)
{
	volatile int tries = 0;		/* of the first activity, in a transaction of its own */

	my_slot = slot;
	while (range->low <= range->high)
	{
		int			before = range->low;

		bgworker_handle_interrupts();
		PG_TRY();
		{
			ReadyRange	aside = run_range_part(range, in_long_place, tries);

			if (aside.lone != LONE_NO)
				push_tasks(aside.key, aside.low, aside.high, aside.lone, aside.try_at);
		}
		PG_CATCH();
		{
			range->low = before;
			range_failed(range, in_long_place || tries > 0);
		}
		PG_END_TRY();
		tries = range->low == before ? tries + 1 : 0;
	}
	ready_range_done(my_slot);
}
