/*
 * lifecycle.c
 *	  Changes of an instance: events appended to its history, and its states.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "common/failure.h"
#include "common/jsonb_util.h"
#include "engine/failure_log.h"
#include "engine/history_decode.h"
#include "engine/instance_cache.h"
#include "engine/instance_create.h"
#include "engine/lifecycle.h"
#include "engine/lifecycle_notify.h"
#include "engine/rewind.h"
#include "sched/commit_wakeup.h"
#include "shmem/stats.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

void
instance_append(WorkerTransaction *txn, Instance *instance, HistoryRow *row)
{
	row->key = instance->row.key;
	if (row->event_time == 0)
		row->event_time = txn->now;
	/* an event that stands for two takes two sequence numbers */
	instance->row.last_seq += row->seq == 0 ? 1 : row->seq;
	row->seq = instance->row.last_seq;
	if (row->name != NULL)
		row->name = MemoryContextStrdup(instance->context, row->name);
	row->input = jsonb_copy(instance->context, row->input);
	row->result = jsonb_copy(instance->context, row->result);
	history_decode(instance, row);
	history_append(txn->store, row);
	instance->dirty = true;
}

void
instance_append_attempt(WorkerTransaction *txn, Instance *instance, Task *task, EventType event, Jsonb *result)
{
	HistoryRow	row = {
		.event = event, .task_id = task->id, .attempt = task->attempt, .name = task->name, .result = result
	};

	instance_append(txn, instance, &row);
}

/* Send the parent, if there is one that awaits this instance, its result or failure. */
static void
tell_parent_result(WorkerTransaction *txn, Instance *instance, Jsonb *result)
{
	MessageRow	message = {
		.key = instance->row.parent_key,
		.kind = instance->row.state == STATE_COMPLETED ? MESSAGE_CHILD_COMPLETED : MESSAGE_CHILD_FAILED,
		.time = txn->now,
		.task_id = instance->row.parent_task,
		.name = instance->row.name,
		.payload = result
	};

	if (instance->row.parent_key != 0 && instance->row.parent_task != 0)
		message_send(txn->store, instance->row.owner, &message);
}

/* Whether all tasks of an instance have ended. */
static bool
has_no_open_task(const Instance *instance)
{
	for (int i = 0; i < instance->ntasks; i++)
		if (instance->tasks[i]->done_seq == 0)
			return false;
	return true;
}

/* Enter a terminal state: send the parent the result, and clients the reason, which may be NULL. */
static void
finish(WorkerTransaction *txn, Instance *instance, InstanceState state, Jsonb *result, const char *reason)
{
	stats_count(state == STATE_COMPLETED ? STATS_COMPLETED : state == STATE_FAILED ? STATS_FAILED : STATS_TERMINATED, 1);
	instance->row.state = state;
	instance->row.completed_time = txn->now;
	instance->row.turn_seq = instance->row.last_seq;
	instance->next_activity = NULL;
	instance->put_aside = false;
	for (int i = 0; i < instance->ntasks; i++)
		instance->tasks[i]->start_due = false;
	instance->starts_due = 0;
	instance->dirty = true;
	instance->spent = has_no_open_task(instance);
	if (instance->open_timers > 0 || instance->row.scheduled_start_time != 0)
		timers_delete(txn->store, instance->row.key);
	tell_parent_result(txn, instance, result);
	wakeup_ended(instance->row.key);
	lifecycle_notify_status(&instance->row, reason, txn->now);
}

/* The orchestrator returned. */
void
instance_complete(WorkerTransaction *txn, Instance *instance, Jsonb *output)
{
	HistoryRow	row = {.event = EVENT_EXECUTION_COMPLETED, .result = output};

	instance_append(txn, instance, &row);
	finish(txn, instance, STATE_COMPLETED, row.result, NULL);
}

/* Fail an instance.  marks: what a rewind must know of the tasks (rewind_marks). */
static void
fail_with_marks(WorkerTransaction *txn, Instance *instance, Jsonb *marks, Jsonb *failure)
{
	HistoryRow	row = {.event = EVENT_EXECUTION_FAILED, .input = marks, .result = failure};
	InstanceRow parent;

	instance_append(txn, instance, &row);
	failure_log_add(&instance->row, instance_get_waiting_parent(txn->store, &instance->row, &parent), row.result);
	finish(txn, instance, STATE_FAILED, failure_with_text(row.result, "instance_id", instance->row.instance_id),
		   failure_get(row.result, "message"));
}

/* The orchestrator failed. */
void
instance_fail(WorkerTransaction *txn, Instance *instance, Jsonb *failure)
{
	fail_with_marks(txn, instance, rewind_marks(txn, instance), failure);
}

void
instance_fail_whole(WorkerTransaction *txn, Instance *instance, Jsonb *failure)
{
	for (int i = 0; i < instance->ntasks; i++)
	{
		instance->tasks[i]->handled = instance->tasks[i]->failed;
		instance->tasks[i]->expired = instance->tasks[i]->halted = false;
	}
	instance_fail(txn, instance, failure);
}

/*
 * Fail an instance that is not in memory and whose row is locked.  The scheduler
 * does this, and reads no history, messages or tasks, because they may be larger
 * than its memory.  They stay for a rewind.
 */
void
instance_fail_unread(WorkerTransaction *txn, const InstanceRow *row, Jsonb *failure)
{
	Instance	instance = {.context = CurrentMemoryContext, .row = *row, .open_timers = 1};

	fail_with_marks(txn, &instance, rewind_marks_unread(txn->store, row->key), failure);
	instance.row.awaiting = 0;
	instance.row.last_updated_time = txn->now;
	instance_update(txn->store, &instance.row);
}

/* Terminate the live children, too. */
static void
terminate_children(WorkerTransaction *txn, Instance *instance, Jsonb *payload)
{
	ListCell   *cell;

	foreach(cell, instance_children(txn->store, instance->row.key))
	{
		MessageRow	message = {
			.key = *(int64 *) lfirst(cell),
			.kind = MESSAGE_TERMINATE,
			.time = txn->now,
			.payload = payload
		};

		message_send(txn->store, instance->row.owner, &message);
	}
}

/* Terminate the instance, and with it what the payload of the request names. */
void
instance_terminate(WorkerTransaction *txn, Instance *instance, Jsonb *payload)
{
	char	   *reason = jsonb_member_text(payload, "reason");
	HistoryRow	row = {.event = EVENT_EXECUTION_TERMINATED, .result = jsonb_from_text(reason)};
	char	   *text = reason != NULL ?
		psprintf("instance \"%s\" was terminated: %s", instance->row.instance_id, reason) :
		psprintf("instance \"%s\" was terminated", instance->row.instance_id);

	instance_append(txn, instance, &row);
	tasks_delete(txn->store, instance->row.key);
	if (jsonb_member_bool(payload, "cancelActivities", false))
		wakeup_cancel(instance->row.key);
	if (jsonb_member_bool(payload, "recursive", true))
		terminate_children(txn, instance, payload);
	finish(txn, instance, STATE_TERMINATED,
		   failure_with_text(failure_make(ERRCODE_DURABLE_CHILD_TERMINATED, text, NULL, NULL),
							 "instance_id", instance->row.instance_id), reason);
}

/* Suspend or resume the instance. */
void
instance_suspend(WorkerTransaction *txn, Instance *instance, bool suspend, const char *reason)
{
	HistoryRow	row = {
		.event = suspend ? EVENT_EXECUTION_SUSPENDED : EVENT_EXECUTION_RESUMED,
		.result = jsonb_from_text(reason)
	};

	if (suspend == (instance->row.state == STATE_SUSPENDED))
		return;
	instance_append(txn, instance, &row);
	if (suspend)
		instance->row.state = STATE_SUSPENDED;
	else if (instance->row.started_time == 0 && instance->row.scheduled_start_time > txn->now)
		instance->row.state = STATE_WAITING;
	else
		instance->row.state = STATE_READY;
	lifecycle_notify_status(&instance->row, reason, txn->now);
}

/* Append the end of an activity that this worker ran between two turns: one event says that the activity was scheduled and how it ended. */
void
instance_activity_done(WorkerTransaction *txn, Instance *instance, Task *task, bool failed, Jsonb *result)
{
	HistoryRow	row = {
		.event = failed ? EVENT_TASK_FAILED : EVENT_TASK_COMPLETED,
		.event_time = txn->now,
		.seq = 2,
		.task_id = task->id,
		.attempt = task->attempt,
		.name = task->name,
		.input = task->input,
		.result = result
	};
	static const JsonbValue null_value = {.type = jbvNull};

	instance->next_activity = task->id < instance->last_activity ? instance_task(instance, task->id + 1) : NULL;
	instance->row.deliveries = 0;
	if (row.input == NULL)
		row.input = JsonbValueToJsonb(unconstify(JsonbValue *, &null_value));
	instance_append(txn, instance, &row);
}

/* Set the custom status in the row, and append an event, if the status changes. */
void
instance_set_custom_status(WorkerTransaction *txn, Instance *instance, Jsonb *status)
{
	HistoryRow	row = {.event = EVENT_CUSTOM_STATUS_SET, .result = status};
	Jsonb	   *before = instance->row.custom_status;

	if (before == status ||
		(before != NULL && status != NULL && VARSIZE(before) == VARSIZE(status) &&
		 memcmp(before, status, VARSIZE(before)) == 0))
		return;
	instance_append(txn, instance, &row);
	instance->row.custom_status = row.result;
}

/* The first number of a new execution; numbers wrap around after a thousand million. */
static int
next_number(int number)
{
	return number < 1000000000 ? number : 1;
}

/*
 * Begin a new execution: delete the history, all timers and queued activities,
 * and start a new history, with the raised events that the old execution has not
 * taken if keep_events is set.  Its tasks have higher numbers, so results for
 * tasks of the old execution are ignored.
 */
void
instance_continue_as_new(WorkerTransaction *txn, Instance *instance, Jsonb *input,
						 bool keep_events, const char *version)
{
	HistoryRow	started = {
		.event = EVENT_EXECUTION_STARTED, .name = instance->row.name, .input = input,
		.result = jsonb_from_text(instance->parent_id)
	};
	RaisedEvent *events = instance->events;
	int			nevents = instance->nevents;

	history_delete(txn->store, instance->row.key, instance->row.first_seq);
	if (instance->open_timers > 0)
		timers_delete(txn->store, instance->row.key);
	tasks_delete(txn->store, instance->row.key);

	instance->row.first_task = next_number(instance->row.first_task + instance->ntasks);
	instance->row.first_seq = instance->row.last_seq = next_number(instance->row.last_seq);
	instance->row.turn_seq = 0;
	instance->row.started_time = txn->now;
	instance->row.execution_id = create_uuid();
	if (version != NULL)
		instance->row.version = unconstify(char *, version);
	instance->ntasks = instance->nevents = instance->events_size = 0;
	instance->events = NULL;
	instance->open_timers = 0;
	instance->wait_mode = WAIT_NONE;
	instance->visible_from = 0;
	instance->spent = true;
	instance_append(txn, instance, &started);
	for (int i = 0; keep_events && i < nevents; i++)
	{
		HistoryRow	raised = {
			.event = EVENT_EVENT_RAISED, .name = events[i].name, .result = events[i].data
		};

		if (!events[i].taken)
			instance_append(txn, instance, &raised);
	}
}

bool
instance_can_turn(Instance *instance)
{
	int			done = 0;

	if (STATE_IS_TERMINAL(instance->row.state) || instance->row.state == STATE_SUSPENDED)
		return false;
	if (instance->row.started_time == 0 && instance->row.state == STATE_WAITING)
		return false;
	if (instance->wait_mode == WAIT_NONE)
		return true;
	for (int i = 0; i < instance->nwaits; i++)
	{
		Task	   *task = instance_task(instance, instance->waits[i]);

		if (task->kind == TASK_EVENT ? instance->events_new : task->done_seq != 0)
		{
			if (instance->wait_mode == WAIT_ANY)
				return true;
			done++;
		}
		else if (instance->wait_mode == WAIT_ALL)
			return false;
	}
	return instance->wait_mode == WAIT_ALL && done == instance->nwaits;
}

/*
 * How many ends of tasks must come before a turn can get further, for
 * receive_unread; 0 if a count cannot tell.
 */
static int
count_awaited(Instance *instance)
{
	int			count = 0;

	if (instance->row.state != STATE_WAITING || instance->wait_mode != WAIT_ALL)
		return 0;
	for (int i = 0; i < instance->nwaits; i++)
	{
		Task	   *task = instance_task(instance, instance->waits[i]);

		if (task->kind != TASK_ACTIVITY && task->kind != TASK_CHILD)
			return 0;
		/* a task may end in the turn that asks for it */
		count += task->done_seq == 0;
	}
	for (int i = 0; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		/* a failed attempt does not end a task with a retry policy; a failed child may be rewound and end again */
		if (task->done_seq == 0 ? task->options != NULL :
			task->kind == TASK_CHILD && (task->failed || task->attempt > 1))
			return 0;
	}
	return count;
}

void
instance_save(WorkerTransaction *txn, Instance *instance)
{
	instance_cache_measure(instance);
	if (!STATE_IS_TERMINAL(instance->row.state) && instance->row.state != STATE_SUSPENDED)
	{
		char		state = instance->next_activity != NULL || instance_can_turn(instance) ?
			STATE_READY : STATE_WAITING;

		instance->dirty |= state != instance->row.state;
		instance->row.state = state;
	}
	if (!instance->dirty)
		return;
	if (!instance->put_aside)
		instance->row.awaiting = count_awaited(instance);
	instance->row.last_updated_time = txn->now;
	instance_update(txn->store, &instance->row);
	instance->dirty = false;
}
