/*
 * rewind.c
 *	  Rewinding failed instances.
 *
 * A rewound instance goes on as if the cause of its failure had not happened.
 *
 *	task						a rewind
 *	completed					keeps the result
 *	failed, code caught it		keeps the failure (mark "handled")
 *	failed, not caught			repeats the task
 *	timeout that was fatal		starts the timer again (mark "expired")
 *	open, canceled by the turn that failed, or in the pause before its next
 *	attempt						starts the task again (mark "halted")
 *
 * The ExecutionFailed event has the marks, as lists of task numbers, and
 * ExecutionRewound lists the tasks that are open again.  durable.rewind makes
 * the row live and sends a message; the worker that takes the message does the
 * rest here, and sends the message on to failed children.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "common/jsonb_util.h"
#include "engine/history_decode.h"
#include "engine/lifecycle.h"
#include "engine/lifecycle_notify.h"
#include "engine/quota.h"
#include "engine/rewind.h"
#include "engine/sub_orchestration.h"
#include "engine/turn_effects.h"
#include "sched/ready_queue.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* The numbers of the chosen tasks, as a text with commas; NULL if there are none. */
static Jsonb *
list_tasks(Instance *instance, bool (*chosen) (const Task *task))
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < instance->ntasks; i++)
		if (chosen(instance->tasks[i]))
			appendStringInfo(&text, "%s%d", text.len ? "," : "", instance->tasks[i]->id);
	return text.len ? jsonb_from_text(text.data) : NULL;
}

/* The tasks of such a list. */
static List *
listed_tasks(Instance *instance, Jsonb *lists, const char *name)
{
	char	   *text = jsonb_member_text(lists, name);
	List	   *tasks = NIL;

	for (char *number = text ? strtok(text, ",") : NULL; number; number = strtok(NULL, ","))
	{
		Task	   *task = instance_task(instance, atoi(number));

		if (task != NULL)
			tasks = lappend(tasks, task);
	}
	return tasks;
}

static bool
was_handled(const Task *task)
{
	return task->handled;
}

static bool
has_expired(const Task *task)
{
	return task->expired;
}

static bool
is_halted(const Task *task)
{
	return task->halted && task->done_seq == 0;
}

static bool
is_undone(const Task *task)
{
	return task->expired || is_halted(task) || (task->failed && !task->handled && task->kind != TASK_SEND);
}

/* Open a task again. */
static void
reopen(Instance *instance, Task *task)
{
	/* an upper bound: it may get a timer again */
	instance->open_timers += task->kind == TASK_TIMER || task->halted;
	task->done_seq = 0;
	task->failed = task->expired = task->halted = task->cancel_recorded = false;
	task->put_off_time = 0;
	task->result = NULL;
	task->rewinds++;
	if (task->kind == TASK_ACTIVITY)
		task->attempt = 1;
}

/* Mark the tasks that wait for their next attempt as halted. */
static void
mark_pauses(WorkerTransaction *txn, Instance *instance)
{
	ListCell   *cell;

	for (int i = 0; i < instance->ntasks; i++)
		instance->tasks[i]->halted |= instance->tasks[i]->start_due;
	if (instance->open_timers <= 0)
		return;
	foreach(cell, timers_tasks(txn->store, instance->row.key))
	{
		Task	   *task = instance_task(instance, lfirst_int(cell));

		if (task != NULL && task->kind != TASK_TIMER)
			task->halted = true;
	}
}

/* The marks of the tasks, for ExecutionFailed. */
Jsonb *
rewind_marks(WorkerTransaction *txn, Instance *instance)
{
	static const char *const names[] = {"handled", "expired", "halted"};
	Jsonb	   *values[3];

	mark_pauses(txn, instance);
	values[0] = list_tasks(instance, was_handled);
	values[1] = list_tasks(instance, has_expired);
	values[2] = list_tasks(instance, is_halted);
	return values[0] || values[1] || values[2] ? jsonb_from_members(3, names, values) : NULL;
}

/*
 * The same for an instance whose history is not read.  "whole": all failures
 * were handled.  "timers": the tasks that have a timer; those that are not timers
 * themselves wait for their next attempt.
 */
Jsonb *
rewind_marks_unread(Store *store, int64 key)
{
	static const char *const names[] = {"whole", "timers"};
	Jsonb	   *values[] = {jsonb_from_bool(true), NULL};
	StringInfoData timers;
	ListCell   *cell;

	initStringInfo(&timers);
	foreach(cell, timers_tasks(store, key))
		if (lfirst_int(cell) > 0)
			appendStringInfo(&timers, "%s%d", timers.len ? "," : "", lfirst_int(cell));
	if (timers.len > 0)
		values[1] = jsonb_from_text(timers.data);
	return jsonb_from_members(2, names, values);
}

/* Take the marks of an ExecutionFailed event into memory. */
void
rewind_decode_failed(Instance *instance, const HistoryRow *row)
{
	bool		whole = jsonb_member_bool(row->input, "whole", false);
	/* a client had asked for a rewind that no worker has done: the marks of the earlier failure still count */
	bool		again = whole && instance->failed;
	ListCell   *cell;

	instance->failed = true;
	for (int i = 0; i < instance->ntasks && !again; i++)
	{
		instance->tasks[i]->handled = whole && instance->tasks[i]->failed;
		instance->tasks[i]->expired = instance->tasks[i]->halted = false;
	}
	foreach(cell, listed_tasks(instance, row->input, "handled"))
		((Task *) lfirst(cell))->handled = true;
	foreach(cell, listed_tasks(instance, row->input, "expired"))
		((Task *) lfirst(cell))->expired = true;
	foreach(cell, listed_tasks(instance, row->input, "halted"))
		((Task *) lfirst(cell))->halted = true;
	foreach(cell, listed_tasks(instance, row->input, "timers"))
		((Task *) lfirst(cell))->halted = ((Task *) lfirst(cell))->kind != TASK_TIMER;
}

/* Open the tasks of an ExecutionRewound event again. */
void
rewind_decode(Instance *instance, const HistoryRow *row)
{
	ListCell   *cell;

	instance->failed = false;
	/* the code may not cancel these tasks this time; if it does, the cancellation is appended again */
	for (int i = 0; i < instance->ntasks; i++)
		if (instance->tasks[i]->kind != TASK_TIMER)
			instance->tasks[i]->cancel_recorded = false;
	foreach(cell, listed_tasks(instance, row->input, "tasks"))
		reopen(instance, lfirst(cell));
}

/* The time at which a timer fires, according to its event. */
static TimestampTz
timer_time(const Task *task)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(jsonb_to_text(task->input)),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* Take the result of a child that a client has rewound and that has completed. */
static void
take_result(WorkerTransaction *txn, Instance *instance, Task *task, const InstanceRow *child)
{
	HistoryRow	end;
	bool		found = history_get(txn->store, child->key, child->last_seq, &end);

	instance_append_attempt(txn, instance, task, EVENT_CHILD_COMPLETED, found ? end.result : NULL);
}

/*
 * Repeat a failed child: rewind its instance, or start a new one if it was
 * terminated.  A child that a client has rewound is not repeated.
 */
static void
redo_child(WorkerTransaction *txn, Instance *instance, Task *task, Jsonb *payload)
{
	InstanceRow child;
	MessageRow	message = {.kind = MESSAGE_REWIND, .time = txn->now, .payload = payload};

	if (instance_find(txn->store, sub_orchestration_id(instance, task, task->attempt), &child) &&
		child.parent_key == instance->row.key && child.parent_task == task->id &&
		child.state != STATE_TERMINATED)
	{
		message.key = child.key;
		if (child.state == STATE_FAILED)
			message_send(txn->store, child.owner, &message);
		else if (child.state == STATE_COMPLETED)
			take_result(txn, instance, task, &child);
		return;
	}
	sub_orchestration_note_start(instance, task);
}

/* Start a reopened task. */
static void
redo(WorkerTransaction *txn, Instance *instance, Task *task, Jsonb *payload)
{
	switch (task->kind)
	{
		case TASK_ACTIVITY:
			instance_queue_activity(txn, instance, task, LONE_NO);
			break;
		case TASK_CHILD:
			redo_child(txn, instance, task, payload);
			break;
		case TASK_TIMER:
			timer_insert(txn->store, instance->row.key, task->id,
						 txn->now + Max(timer_time(task) - task->scheduled_time, 0));
			break;
		case TASK_EVENT:
		case TASK_SEND:
			break;
	}
}

/* Set a timer again that was open, or canceled by the turn that failed, when the instance failed. */
static void
restore_timer(WorkerTransaction *txn, Instance *instance, Task *task)
{
	if (task->kind == TASK_TIMER && task->recorded && task->done_seq == 0 &&
		(!task->cancel_recorded || task->halted))
		timer_insert(txn->store, instance->row.key, task->id, timer_time(task));
}

void
rewind_receive(WorkerTransaction *txn, Instance *instance, Jsonb *payload)
{
	static const char *const names[] = {"tasks"};
	Jsonb	   *undone = list_tasks(instance, is_undone);
	List	   *tasks = NIL;
	ListCell   *cell;
	HistoryRow	row = {
		.event = EVENT_EXECUTION_REWOUND,
		.input = undone ? jsonb_from_members(1, names, &undone) : NULL,
		.result = jsonb_member(payload, "reason")
	};

	/* a client and the parent may have sent a message each */
	if (!instance->failed)
		return;
	for (int i = 0; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		if (is_undone(task) && !(task->kind == TASK_TIMER && is_halted(task)))
			tasks = lappend(tasks, task);
		else
			restore_timer(txn, instance, task);
	}
	instance_append(txn, instance, &row);
	instance->row.state = STATE_READY;
	instance->row.completed_time = 0;
	instance->wait_mode = WAIT_NONE;
	lifecycle_notify_status(&instance->row, jsonb_member_text(payload, "reason"), txn->now);
	foreach(cell, tasks)
		redo(txn, instance, lfirst(cell), payload);
}
