/*
 * inbox.c
 *	  Loading an instance and applying the messages and timers that it has got.
 *
 * Only a worker of the owner's comes here.  Nothing here runs code of users:
 * what must be started is marked in the tasks (sub_orchestration_note_start).
 */
#include "postgres.h"

#include "common/jsonb_util.h"
#include "engine/history_decode.h"
#include "engine/inbox.h"
#include "engine/instance_cache.h"
#include "engine/lifecycle.h"
#include "engine/retry_policy.h"
#include "engine/rewind.h"
#include "engine/sub_orchestration.h"
#include "engine/turn_effects.h"
#include "engine/worker_loss.h"
#include "sched/commit_wakeup.h"
#include "sched/ready_queue.h"
#include "shmem/stats.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* The event for a message that a task has ended, if it is not tried again; 0 for other messages. */
static int
done_event(int kind)
{
	switch ((MessageKind) kind)
	{
		case MESSAGE_TASK_COMPLETED:
			return EVENT_TASK_COMPLETED;
		case MESSAGE_TASK_FAILED:
		case MESSAGE_TASK_PUT_OFF:
			return EVENT_TASK_FAILED;
		case MESSAGE_CHILD_COMPLETED:
			return EVENT_CHILD_COMPLETED;
		case MESSAGE_CHILD_FAILED:
			return EVENT_CHILD_FAILED;
		default:
			return 0;
	}
}

/* The same as a row of the history. */
static HistoryRow
done_row(const MessageRow *message)
{
	return (HistoryRow) {
		.event = done_event(message->kind),
		.task_id = message->task_id,
		.attempt = message->attempt,
		.name = message->name,
		.result = message->payload
	};
}

/*
 * Another worker or a child tells that an attempt of a task has ended, or that
 * a temporary obstacle postpones the attempt.  Only a task that the code may
 * still wait for is tried again.
 */
static void
receive_done(WorkerTransaction *txn, Instance *instance, const MessageRow *message)
{
	Task	   *task = instance_task(instance, message->task_id);
	HistoryRow	row = done_row(message);
	bool		failed = row.event == EVENT_TASK_FAILED || row.event == EVENT_CHILD_FAILED;

	/* the task is of an earlier execution, or has ended */
	if (task == NULL || task->done_seq != 0)
		return;
	if (!failed || instance->row.state == STATE_FAILED || task->cancel_recorded)
		instance_append(txn, instance, &row);
	else if (message->kind == MESSAGE_TASK_PUT_OFF)
		retry_put_off(txn, instance, task, message->payload);
	else if (!retry_task(txn, instance, task, message->payload))
		instance_append(txn, instance, &row);
}

/* Apply a message. */
static void
receive_message(WorkerTransaction *txn, Instance *instance, const MessageRow *message)
{
	HistoryRow	raised = {.event = EVENT_EVENT_RAISED, .result = message->payload};

	switch ((MessageKind) message->kind)
	{
		case MESSAGE_TASK_COMPLETED:
		case MESSAGE_TASK_FAILED:
		case MESSAGE_CHILD_COMPLETED:
		case MESSAGE_CHILD_FAILED:
		case MESSAGE_TASK_PUT_OFF:
			receive_done(txn, instance, message);
			break;
		case MESSAGE_EVENT:
			raised.name = message->name;
			instance_append(txn, instance, &raised);
			break;
		case MESSAGE_TERMINATE:
			instance_terminate(txn, instance, message->payload);
			break;
		case MESSAGE_SUSPEND:
		case MESSAGE_RESUME:
			instance_suspend(txn, instance, message->kind == MESSAGE_SUSPEND,
							 jsonb_member_text(message->payload, "reason"));
			break;
		case MESSAGE_CUSTOM_STATUS:
			instance_set_custom_status(txn, instance, message->payload);
			break;
		case MESSAGE_REWIND:
			rewind_receive(txn, instance, message->payload);
			break;
		case MESSAGE_WORKER_LOST:
		case MESSAGE_TURN_OVERDUE:
			worker_loss_receive(txn, instance, message);
			break;
	}
}

/*
 * Whether a message is applied.  A failed instance may be rewound, so the ends
 * of its tasks and raised events still go into its history.
 */
static bool
is_relevant(const Instance *instance, const MessageRow *message)
{
	if (instance->row.state == STATE_FAILED)
		return done_event(message->kind) != 0 || message->kind == MESSAGE_EVENT || message->kind == MESSAGE_REWIND;
	return !STATE_IS_TERMINAL(instance->row.state);
}

/* A timer of the instance is due. */
static void
receive_timer(WorkerTransaction *txn, Instance *instance, const TimerRow *timer)
{
	Task	   *task = instance_task(instance, timer->task_id);
	HistoryRow	row = {.event = EVENT_TIMER_FIRED, .task_id = timer->task_id};

	/* the delay counts from the creation of a timer that was due already then */
	stats_timer(Max(timer->fire_at, task != NULL ? task->scheduled_time : instance->row.created_time), txn->now);
	if (timer->task_id == 0 || timer->task_id == TURN_TIMER)
	{
		instance->open_timers -= timer->task_id == TURN_TIMER;
		if (instance->row.state == STATE_WAITING)
			instance->row.state = STATE_READY;
		instance->dirty = true;
	}
	else if (task == NULL || task->done_seq != 0)
		return;
	else if (task->kind == TASK_TIMER && !task->cancel_recorded)
		instance_append(txn, instance, &row);
	else if (task->kind == TASK_ACTIVITY || task->kind == TASK_CHILD)
	{
		/* the time for the next attempt has come */
		instance->open_timers--;
		if (task->kind == TASK_CHILD)
			sub_orchestration_note_start(instance, task);
		else
			instance_queue_activity(txn, instance, task, LONE_NO);
	}
}

/* Apply due timers and messages, until the instance has ended. */
static void
receive(WorkerTransaction *txn, Instance *instance, List *messages, int flags)
{
	ListCell   *cell;

	if (flags & READY_TIMER)
		foreach(cell, timers_take(txn->store, instance->row.key, txn->now))
			if (!STATE_IS_TERMINAL(instance->row.state))
				receive_timer(txn, instance, lfirst(cell));
	foreach(cell, messages)
		if (is_relevant(instance, lfirst(cell)))
			receive_message(txn, instance, lfirst(cell));
}

/*
 * Apply messages without reading the history, so that a fan-out of thousands is
 * not read again by each worker that brings a result.  This is possible if all
 * messages are ends of tasks and the orchestrator awaits more ends than there
 * are messages.  The failure of a child may not be its last end, as the child may
 * be rewound; a postponed activity has not ended.
 */
static bool
receive_unread(WorkerTransaction *txn, InstanceRow *row, List *messages)
{
	ListCell   *cell;

	if (row->state != STATE_WAITING || list_length(messages) >= row->awaiting)
		return false;
	foreach(cell, messages)
	{
		int			kind = ((MessageRow *) lfirst(cell))->kind;

		if (done_event(kind) == 0 || kind == MESSAGE_CHILD_FAILED || kind == MESSAGE_TASK_PUT_OFF)
			return false;
	}
	foreach(cell, messages)
	{
		HistoryRow	event = done_row(lfirst(cell));

		if (event.task_id < row->first_task)
			continue;			/* a task of an earlier execution */
		event.key = row->key;
		event.seq = ++row->last_seq;
		event.event_time = txn->now;
		history_append(txn->store, &event);
		row->awaiting--;
	}
	row->last_updated_time = txn->now;
	instance_update(txn->store, row);
	return true;
}

/* Load an instance and apply what has happened to it. */
Instance *
instance_load(WorkerTransaction *txn, int64 key, int flags, FetchResult *result)
{
	Instance   *instance;
	InstanceRow row;
	List	   *messages = NIL;

	instance = instance_cached(key);
	if (instance != NULL)
		row.root = instance->row.root;
	else
		ItemPointerSetInvalid(&row.root);
	*result = instance_claim(txn->store, key, txn->owner, &row);
	if (*result != FETCH_FOUND)
	{
		instance_forget(key);
		if (*result == FETCH_FOREIGN)
			wakeup_instance(row.owner, key, NULL, READY_ALL);
		return NULL;
	}
	if (flags & READY_MESSAGE)
		messages = messages_take(txn->store, key);
	if (instance == NULL || !instance_cache_renew(instance, &row))
	{
		instance_forget(key);
		if (row.awaiting > 0 && flags == READY_MESSAGE &&
			receive_unread(txn, &row, messages))
			return NULL;
		instance = instance_cache_fill(txn, &row);
	}
	receive(txn, instance, messages, flags);
	return instance;
}
