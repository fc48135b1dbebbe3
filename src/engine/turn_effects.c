/*
 * turn_effects.c
 *	  Storing what a turn asked for: queued activities, timers, events for other
 *	  instances, and cancellations.
 *
 * Each new task is appended to the history first, and started then; both commit
 * with the turn.  sub_orchestration_start.c has started the children before.
 */
#include "postgres.h"

#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "engine/history_decode.h"
#include "engine/instance.h"
#include "engine/lifecycle.h"
#include "engine/quota.h"
#include "engine/retry_policy.h"
#include "engine/turn_effects.h"
#include "sched/commit_wakeup.h"
#include "shmem/function_durations.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* the overhead of an activity that the worker runs itself, in us */
#define RUN_TIME		13

/* the longest fan-out that the worker runs itself, in us, overhead included */
#define OWN_FANOUT_TIME	(durable_batch_time * 1000 / 5)

/*
 * Queue an activity that the history has.  If a worker died while running
 * several activities of the instance itself, the death counts for each of them,
 * but each gets at least one more attempt.
 */
void
instance_queue_activity(WorkerTransaction *txn, Instance *instance, Task *task, Lone lone)
{
	TaskRow		queued = {
		.key = instance->row.key,
		.task_id = task->id,
		.seq = task->scheduled_seq,
		.attempt = task->attempt,
		.rewinds = task->rewinds,
		.deliveries = Min(instance->row.deliveries, durable_max_activity_deliveries - 1)
	};

	task_insert(txn->store, &queued);
	if (queued.deliveries > 0)
		lone = LONE_MUST;
	else if (lone == LONE_NO && duration_is_slow(instance->row.search_path, task->name))
		lone = LONE_MAY;
	wakeup_tasks(instance->row.owner, instance->row.key, task->id, task->id, lone);
}

/* Append the cancellation of a task to the history. */
static void
append_canceled(WorkerTransaction *txn, Instance *instance, Task *task)
{
	bool		timer = task->kind == TASK_TIMER;
	HistoryRow	row = {
		.event = timer ? EVENT_TIMER_CANCELED : EVENT_TASK_CANCELED, .task_id = task->id, .name = timer ? NULL : task->name
	};

	instance_append(txn, instance, &row);
}

/* Append a new task to the history. */
static void
append_asked(WorkerTransaction *txn, Instance *instance, Task *task)
{
	static const EventType events[] = {
		[TASK_ACTIVITY] = EVENT_TASK_SCHEDULED, [TASK_CHILD] = EVENT_CHILD_CREATED,
		[TASK_TIMER] = EVENT_TIMER_CREATED, [TASK_EVENT] = EVENT_EVENT_SUBSCRIBED, [TASK_SEND] = EVENT_EVENT_SENT
	};
	HistoryRow	row = {
		.event = events[task->kind],
		.task_id = task->id,
		.name = task->name,
		.input = task->input,
		.result = task->kind == TASK_SEND ? task->result : task->options
	};

	instance_append(txn, instance, &row);
}

/*
 * Queue an activity, or fail it if the owner's quota of pending activities is
 * used up: then *full is set to the failure, with which the next ones fail, too.
 */
static void
emit_activity(WorkerTransaction *txn, Instance *instance, Task *task, Lone lone, Jsonb **full)
{
	if (*full == NULL)
		*full = quota_take(txn->store, instance->row.owner, QUOTA_PENDING);
	if (*full != NULL)
		instance_append_attempt(txn, instance, task, EVENT_TASK_FAILED,
								failure_with_text(*full, "activity", task->name));
	else
		instance_queue_activity(txn, instance, task, lone);
}

/*
 * Find the instance that gets an event.  turn_send has found it by its key, so
 * an instance that has taken the same id since is not meant.  A child of this
 * turn is found by its id; if it could not be started because an instance of
 * another owner has the id, the event is dropped.
 */
static bool
find_target(WorkerTransaction *txn, Instance *instance, Task *task, InstanceRow *target)
{
	if (task->target != 0)
		return instance_get(txn->store, task->target, target);
	return instance_find(txn->store, task->name, target) && target->owner == instance->row.owner;
}

/* Send an event to another instance. */
static void
send_event(WorkerTransaction *txn, Instance *instance, Task *task)
{
	InstanceRow target;
	MessageRow	message = {
		.kind = MESSAGE_EVENT,
		.time = txn->now,
		.name = jsonb_member_text(task->input, "name"),
		.payload = jsonb_member(task->input, "data")
	};

	if (task->failed || !find_target(txn, instance, task, &target))
		return;
	message.key = target.key;
	message_send(txn->store, target.owner, &message);
	/* a quota counts the messages in the table */
	if (quota_is_set(target.owner, QUOTA_HISTORY))
		store_flush(txn->store);
}

/* Append a new task to the history and start it, unless the code has canceled it in the same turn. */
static void
emit(WorkerTransaction *txn, Instance *instance, Task *task, Lone lone, Jsonb **full)
{
	append_asked(txn, instance, task);
	if (task->kind == TASK_SEND)
		send_event(txn, instance, task);
	else if (task->unstartable != NULL)
		instance_append_attempt(txn, instance, task, EVENT_CHILD_FAILED, task->unstartable);
	else if (task->canceled)
	{
		append_canceled(txn, instance, task);
		task->halted = task->kind == TASK_ACTIVITY || task->kind == TASK_TIMER;
	}
	else if (task->kind == TASK_ACTIVITY)
		emit_activity(txn, instance, task, lone, full);
	else if (task->kind == TASK_TIMER)
		timer_insert(txn->store, instance->row.key, task->id, task->fire_at);
}

/*
 * Whether this worker runs the new tasks itself: activities without options, for
 * all of which, and for nothing else, the code waits.  Either there is one, or
 * they take less time together than queueing them for other workers would take.
 * After a crash each activity must run alone, so that the next crash counts for
 * the right one.
 */
bool
instance_runs_own(Instance *instance, int first_new)
{
	int			count = instance->ntasks - first_new;
	int64		time = 0;

	if (count == 0 || instance->nwaits != count ||
		(count > 1 && (instance->wait_mode != WAIT_ALL || instance->row.deliveries > 0 ||
					   durable_max_activity_deliveries == 1)))
		return false;
	for (int i = 0; i < count; i++)
	{
		Task	   *task = instance->tasks[first_new + i];

		if (task->kind != TASK_ACTIVITY || task->options != NULL || task->canceled ||
			instance->waits[i] != task->id)
			return false;
		if (count > 1)
		{
			int64		mean = duration_mean(instance->row.search_path, task->name);

			if (mean < 0)
				return false;
			time += mean + RUN_TIME;
		}
	}
	return time <= OWN_FANOUT_TIME;
}

void
instance_emit(WorkerTransaction *txn, Instance *instance, int first_new)
{
	Jsonb	   *full = NULL;

	for (int i = first_new; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		if (!task->recorded && (instance->next_activity == NULL || task->id < instance->next_activity->id ||
								task->id > instance->last_activity))
			emit(txn, instance, task, LONE_NO, &full);
	}
}

/*
 * The execution ends with this turn: send its new events.  They are not appended
 * to the history, which is about to be deleted.
 */
void
instance_emit_last(WorkerTransaction *txn, Instance *instance, int first_new)
{
	for (int i = first_new; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		if (task->kind == TASK_SEND)
			send_event(txn, instance, task);
	}
}

/*
 * Cancel a task that the history has as open: delete its timer or its queued
 * activity.  A worker that runs the activity goes on, and may queue it again, so
 * a later turn cancels it once more.  A task whose timer or queue entry was deleted
 * is marked as halted, in case this turn fails and is rewound.
 */
void
instance_cancel(WorkerTransaction *txn, Instance *instance, Task *task)
{
	ListCell   *cell;

	if (!task->cancel_recorded)
		append_canceled(txn, instance, task);
	if (task->kind == TASK_TIMER)
		task->halted = timer_cancel(txn->store, instance->row.key, task->id);
	else if (task->kind == TASK_ACTIVITY)
	{
		store_sync(txn->store);
		foreach(cell, tasks_seize(txn->store, instance->row.key, task->id, task->id))
		{
			task_delete(txn->store, lfirst(cell));
			task->halted = true;
		}
	}
	/* the timer for the next attempt */
	if (task->kind != TASK_TIMER && (task->options != NULL || task->put_off_time != 0) &&
		timer_cancel(txn->store, instance->row.key, task->id))
		task->halted = true;
}

/*
 * Queue the activities that this worker was to run before the next turn.  The
 * first may have been interrupted (lone) or met a temporary obstacle.
 */
void
instance_defer_activities(WorkerTransaction *txn, Instance *instance, Lone lone, Jsonb *obstacle)
{
	int			first = instance->next_activity->id;
	Jsonb	   *full = NULL;

	instance->next_activity = NULL;
	if (obstacle != NULL)
	{
		append_asked(txn, instance, instance_task(instance, first));
		retry_put_off(txn, instance, instance_task(instance, first), obstacle);
		first++;
	}
	for (int id = first; id <= instance->last_activity; id++)
		emit(txn, instance, instance_task(instance, id), id == first ? lone : LONE_NO, &full);
	instance->row.deliveries = 0;
}
