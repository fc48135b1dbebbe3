/*
 * activity_runner.c
 *	  A worker runs activities of the queue: ranges of an instance's tasks.
 *
 * They are found by their rows in the table of tasks, locked in the transaction
 * that runs them and sends their ends to the instance, which any worker may hold
 * meanwhile.  What goes wrong together is undone and tried one by one; what goes
 * wrong by itself is the activity's failure.  One that keeps the others waiting is
 * undone, what is done is committed, and it is queued to run alone.
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

/* what has waited for a lock is tried again with patience after this, if it has not come to run alone before */
#define TRY_PAUSE		USECS_PER_SEC

static int	my_slot;

/* Run one queued activity, as its history has it, and send its end to the instance, if it comes to one. */
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
	round_ran(run.wrote);
	if (outcome == ACTIVITY_AGAIN || outcome == ACTIVITY_INTERRUPTED)
		return outcome;
	message.kind = outcome == ACTIVITY_COMPLETED ? MESSAGE_TASK_COMPLETED :
		outcome == ACTIVITY_PUT_OFF ? MESSAGE_TASK_PUT_OFF : MESSAGE_TASK_FAILED;
	message.time = GetCurrentTimestamp();
	message.payload = run.result;
	message_send(this_round.store, instance->owner, &message);
	task_delete(this_round.store, task);
	return outcome;
}

/* Announce queued activities of an instance, for any worker of this role. */
static void
push_tasks(int64 key, int low, int high, Lone lone, TimestampTz try_at)
{
	ReadyHint	hint = {
		.role = GetSessionUserId(), .key = key, .low = low, .high = high, .lone = lone, .try_at = try_at
	};

	if (!ready_push(MyDatabaseId, &hint, 1))
		database_request_scan(MyDatabaseId);
}

/* Give the rest of a range to other workers while this one is busy with its first task. */
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
 * How an activity is to be run that is about to be run together with others:
 * what was long lately is left to who has a long place, with what comes after it.
 */
static Lone
better_alone(const InstanceRow *instance, const ReadyRange *range, const TaskRow *task, const char *function)
{
	if (task->deliveries > 0)
		return LONE_MUST;
	return range->lone == LONE_NO && duration_is_slow(instance->search_path, function) ? LONE_MAY : LONE_NO;
}

/* Activities that a round has locked, by number, and the events that have scheduled them. */
typedef struct Batch
{
	List	   *tasks;			/* TaskRow */
	List	   *events;			/* HistoryRow */
} Batch;

/* Lock the activities of a range, with two scans of indexes rather than two for each. */
static Batch
lock_batch(const ReadyRange *range)
{
	Batch		batch = {.tasks = tasks_lock(this_round.store, range->key, range->low, range->high)};
	int			first = PG_INT32_MAX;
	int			last = 0;
	ListCell   *cell;

	foreach(cell, batch.tasks)
	{
		first = Min(first, ((TaskRow *) lfirst(cell))->seq);
		last = Max(last, ((TaskRow *) lfirst(cell))->seq);
	}
	/* those of one fan-out are neighbours in the history */
	if (batch.tasks != NIL && last - first < 4 * ROUND_ACTIVITIES)
		batch.events = history_between(this_round.store, range->key, first, last);
	return batch;
}

/* The first of them that is not before a number; NULL if there is none. */
static TaskRow *
next_task(const Batch *batch, int task_id)
{
	ListCell   *cell;

	foreach(cell, batch->tasks)
		if (((TaskRow *) lfirst(cell))->task_id >= task_id)
			return lfirst(cell);
	return NULL;
}

/* The event that has scheduled a task; false if there is none any more. */
static bool
find_scheduled(const Batch *batch, const TaskRow *task, HistoryRow *scheduled)
{
	ListCell   *cell;

	foreach(cell, batch->events)
		if (((HistoryRow *) lfirst(cell))->seq == task->seq)
		{
			*scheduled = *(HistoryRow *) lfirst(cell);
			return scheduled->task_id == task->task_id;
		}
	return history_get(this_round.store, task->key, task->seq, scheduled) && scheduled->task_id == task->task_id;
}

/*
 * One transaction with activities of a range, from range->low on, which moves
 * past what is done.  alone: in a long place.  tries: how often the first one has
 * been tried by itself, or is to be now; then others get the rest.  Returns what is
 * to be queued to run alone once that is committed, and its rows are free.
 */
static ReadyRange
run_range_round(ReadyRange *range, bool alone, int tries)
{
	ReadyRange	aside = {.key = range->key, .lone = LONE_NO};
	InstanceRow instance;
	Batch		batch;
	bool		found;
	int			count = 0;

	round_begin(0, alone);
	found = instance_get(this_round.store, range->key, &instance);
	if (found && instance.owner != GetSessionUserId())
	{
		/* it was hinted to the wrong role */
		wakeup_tasks(instance.owner, range->key, range->low, range->high, range->lone);
		range->low = range->high + 1;
	}
	if (tries > 0)
		share_rest(range);
	if (range->low <= range->high)
		batch = lock_batch(range);
	while (range->low <= range->high && !round_full())
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
			/* the instance, or the execution that scheduled it, is over */
			task_delete(this_round.store, task);
			range->low++;
			continue;
		}
		aside.lone = alone ? LONE_NO : better_alone(&instance, range, task, scheduled.name);
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
			/* what is done is committed before anything else is run */
			aside.lone = interruption == INTERRUPTION_LOCK ? LONE_MAY : LONE_MUST;
			/* whoever has the lock may be done with it by then */
			aside.try_at = GetCurrentTimestamp() + TRY_PAUSE;
			aside.high = aside.low;
			break;
		}
	}
	round_commit();
	return aside;
}

/* Fail a queued activity whose end could not be stored. */
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

	round_begin(0, false);
	foreach(cell, tasks_lock(this_round.store, range->key, range->low, range->low))
	{
		TaskRow    *task = lfirst(cell);

		message.attempt = task->attempt;
		message.payload = failure_from_error(error);
		if (instance_get(this_round.store, range->key, &instance))
			message_send(this_round.store, instance.owner, &message);
		task_delete(this_round.store, task);
	}
	round_commit();
}

/* Fail it; if even that fails for good it is left to the scheduler's next look into the tables. */
static void
try_fail_task(const ReadyRange *range, ErrorData *error)
{
	PG_TRY();
	{
		fail_task(range, error);
	}
	PG_CATCH();
	{
		if (round_report())
			push_tasks(range->key, range->low, range->low, range->lone, 0);
	}
	PG_END_TRY();
}

/*
 * A transaction with activities of a range has failed: the first one is tried
 * alone, and fails if that does not help, unless the error will pass.
 */
static void
range_failed(ReadyRange *range, bool alone)
{
	ErrorData  *error = round_failure();

	if (alone)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("durable could not store the end of an activity: %s", log_text(error->message, LOG_MESSAGE, false))));
		if (sqlstate_is_passing(error->sqlerrcode))
		{
			process_wait(200);
			push_tasks(range->key, range->low, range->low, range->lone, 0);
		}
		else
			try_fail_task(range, error);
		range->low++;
	}
	round_clear();
}

/* Run the activities of a range that the worker has taken, as many in a transaction as is good, or the only one alone. */
void
queued_run(int slot, ReadyRange *range, bool alone)
{
	volatile int tries = 0;		/* of the first one by itself */

	my_slot = slot;
	while (range->low <= range->high)
	{
		int			before = range->low;

		process_handle_interrupts();
		PG_TRY();
		{
			ReadyRange	aside = run_range_round(range, alone, tries);

			if (aside.lone != LONE_NO)
				push_tasks(aside.key, aside.low, aside.high, aside.lone, aside.try_at);
		}
		PG_CATCH();
		{
			range->low = before;
			range_failed(range, alone || tries > 0);
		}
		PG_END_TRY();
		/* nothing went: the first one wants to be by itself */
		tries = range->low == before ? tries + 1 : 0;
	}
	ready_range_done(my_slot);
}
