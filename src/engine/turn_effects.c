/*
 * turn_effects.c
 *	  Storing what a turn has newly asked for: activities into the queue, timers,
 *	  sub-orchestrations, events for others, and what was given up again.
 *
 * Each task is written into the history first and then set going; all of it
 * commits with the turn.  The functions are declared in instance.h.
 */
#include "postgres.h"

#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "engine/instance.h"
#include "engine/quota.h"
#include "engine/retry_policy.h"
#include "sched/commit_wakeup.h"
#include "shmem/function_durations.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* what running an activity after the turn takes besides its own time, in us */
#define RUN_TIME		13

/* what a fan-out may take with that for its own worker to run all of it */
#define OWN_FANOUT_TIME	(durable_batch_time * 1000 / 5)

/*
 * Let any worker run an activity that history says was scheduled.  If a worker
 * died running several of an instance itself, that counts for each of them; but
 * each is given to a worker once more.
 */
void
instance_queue_activity(Round *round, Instance *instance, Task *task, Lone lone)
{
	TaskRow		queued = {
		.key = instance->row.key,
		.task_id = task->id,
		.seq = task->scheduled_seq,
		.attempt = task->attempt,
		.rewinds = task->rewinds,
		.deliveries = Min(instance->row.deliveries, durable_max_activity_deliveries - 1)
	};

	task_insert(round->store, &queued);
	if (queued.deliveries > 0)
		lone = LONE_MUST;
	else if (lone == LONE_NO && duration_is_slow(instance->row.search_path, task->name))
		lone = LONE_MAY;
	wakeup_tasks(instance->row.owner, instance->row.key, task->id, task->id, lone);
}

/* Write down that the code gave up a task. */
static void
append_canceled(Round *round, Instance *instance, Task *task)
{
	bool		timer = task->kind == TASK_TIMER;
	HistoryRow	row = {
		.event = timer ? EVENT_TIMER_CANCELED : EVENT_TASK_CANCELED, .task_id = task->id, .name = timer ? NULL : task->name
	};

	instance_append(round, instance, &row);
}

/* Write down what the code asked for. */
static void
append_asked(Round *round, Instance *instance, Task *task)
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

	instance_append(round, instance, &row);
}

/*
 * Let any worker run an activity, or fail it at once if the owner has its quota
 * of pending ones: then *full is set, and the next ones fail, too.
 */
static void
emit_activity(Round *round, Instance *instance, Task *task, Lone lone, Jsonb **full)
{
	if (*full == NULL)
		*full = quota_take(round->store, instance->row.owner, QUOTA_PENDING);
	if (*full != NULL)
		instance_append_attempt(round, instance, task, EVENT_TASK_FAILED,
								failure_with_text(*full, "activity", task->name));
	else
		instance_queue_activity(round, instance, task, lone);
}

/*
 * Find who gets an event: the instance that the code was allowed to send to,
 * not another one that has taken its id meanwhile; or a child of this turn,
 * whose id may belong to somebody else, so that it could not be started.
 */
static bool
find_target(Round *round, Instance *instance, Task *task, InstanceRow *target)
{
	if (task->target != 0)
		return instance_get(round->store, task->target, target);
	return instance_find(round->store, task->name, target) && target->owner == instance->row.owner;
}

/* Send an event to another instance. */
static void
send_event(Round *round, Instance *instance, Task *task)
{
	InstanceRow target;
	MessageRow	message = {
		.kind = MESSAGE_EVENT,
		.time = round->now,
		.name = jsonb_member_text(task->input, "name"),
		.payload = jsonb_member(task->input, "data")
	};

	if (task->failed || !find_target(round, instance, task, &target))
		return;
	message.key = target.key;
	message_send(round->store, target.owner, &message);
	/* the next one is counted with it */
	if (quota_is_set(target.owner, QUOTA_HISTORY))
		store_flush(round->store);
}

/*
 * Write down what the code asked for, and set it going unless the code has given
 * it up since.  A sub-orchestration has been started by sub_orchestration_start.c, if it could be.
 */
static void
emit(Round *round, Instance *instance, Task *task, Lone lone, Jsonb **full)
{
	append_asked(round, instance, task);
	if (task->kind == TASK_SEND)
		send_event(round, instance, task);
	else if (task->unstartable != NULL)
		instance_append_attempt(round, instance, task, EVENT_CHILD_FAILED, task->unstartable);
	else if (task->canceled)
	{
		append_canceled(round, instance, task);
		task->halted = task->kind == TASK_ACTIVITY || task->kind == TASK_TIMER;
	}
	else if (task->kind == TASK_ACTIVITY)
		emit_activity(round, instance, task, lone, full);
	else if (task->kind == TASK_TIMER)
		timer_insert(round->store, instance->row.key, task->id, task->fire_at);
}

/*
 * Whether this worker is to run the new tasks itself: activities that the code
 * waits for and nothing else, either one, or several that together take less
 * time than it would take to hand them to other workers.  All others go to the
 * queue.  A crash is to be counted for the right one, so several are not run
 * after one.
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

/* Store what the last turn newly asked for, but for what this worker runs itself. */
void
instance_emit(Round *round, Instance *instance, int first_new)
{
	Jsonb	   *full = NULL;

	for (int i = first_new; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		if (!task->recorded && (instance->next_activity == NULL || task->id < instance->next_activity->id ||
								task->id > instance->last_activity))
			emit(round, instance, task, LONE_NO, &full);
	}
}

/*
 * The execution ends with this turn: send the events that it newly asked for.
 * History says nothing of them, as it starts afresh.
 */
void
instance_emit_last(Round *round, Instance *instance, int first_new)
{
	for (int i = first_new; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		if (task->kind == TASK_SEND)
			send_event(round, instance, task);
	}
}

/*
 * The code gave up a task that history knows as open.  A timer is stopped, an
 * activity that nobody has begun is not run; one that had been begun may be in
 * the queue again in a later turn.  What was stopped in this way is marked, for
 * the case that this turn fails and is rewound.
 */
void
instance_cancel(Round *round, Instance *instance, Task *task)
{
	ListCell   *cell;

	if (!task->cancel_recorded)
		append_canceled(round, instance, task);
	if (task->kind == TASK_TIMER)
		task->halted = timer_cancel(round->store, instance->row.key, task->id);
	else if (task->kind == TASK_ACTIVITY)
	{
		store_sync(round->store);
		foreach(cell, tasks_seize(round->store, instance->row.key, task->id, task->id))
		{
			task_delete(round->store, lfirst(cell));
			task->halted = true;
		}
	}
	/* the pause before the next attempt */
	if (task->kind != TASK_TIMER && (task->options != NULL || task->put_off_time != 0) &&
		timer_cancel(round->store, instance->row.key, task->id))
		task->halted = true;
}

/*
 * Let other workers, or this one later, run after all what this one was to run
 * before the next turn.  lone: of the first one, which may have been interrupted;
 * obstacle: what it has met, which will pass, or NULL.
 */
void
instance_defer_activities(Round *round, Instance *instance, Lone lone, Jsonb *obstacle)
{
	int			first = instance->next_activity->id;
	Jsonb	   *full = NULL;

	instance->next_activity = NULL;
	if (obstacle != NULL)
	{
		append_asked(round, instance, instance_task(instance, first));
		retry_put_off(round, instance, instance_task(instance, first), obstacle);
		first++;
	}
	for (int id = first; id <= instance->last_activity; id++)
		emit(round, instance, instance_task(instance, id), id == first ? lone : LONE_NO, &full);
	instance->row.deliveries = 0;
}
