/*
 * rewind.c
 *	  Rewinding failed instances.
 *
 * A failed instance goes on as if what made it fail had not happened: tasks
 * that failed are done again, but for those whose failure the code had dealt
 * with; a wait that timed out begins anew; what completed stays.  When an
 * instance fails, its ExecutionFailed event says which failures were handled,
 * which timeout was fatal, and which open tasks were halted: in the pause before
 * another attempt, or given up by the turn that failed, which may come out
 * otherwise; ExecutionRewound says which tasks are open again.  The client's
 * rewind makes the row live and sends a message; the worker does the rest, and
 * passes the message on to failed children.
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

/* Task numbers as a text with commas; NULL if there are none. */
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
	/* it has a timer again, or may have */
	instance->open_timers += task->kind == TASK_TIMER || task->halted;
	task->done_seq = 0;
	task->failed = task->expired = task->halted = task->cancel_recorded = false;
	task->put_off_time = 0;
	task->result = NULL;
	task->rewinds++;
	if (task->kind == TASK_ACTIVITY)
		task->attempt = 1;
}

/* Mark what is in the pause before another attempt, or at the end of that pause; it ends with the instance. */
static void
mark_pauses(Round *round, Instance *instance)
{
	ListCell   *cell;

	for (int i = 0; i < instance->ntasks; i++)
		instance->tasks[i]->halted |= instance->tasks[i]->start_due;
	if (instance->open_timers <= 0)
		return;
	foreach(cell, timers_tasks(round->store, instance->row.key))
	{
		Task	   *task = instance_task(instance, lfirst_int(cell));

		if (task != NULL && task->kind != TASK_TIMER)
			task->halted = true;
	}
}

/* What ExecutionFailed keeps of the tasks' marks. */
Jsonb *
rewind_marks(Round *round, Instance *instance)
{
	static const char *const names[] = {"handled", "expired", "halted"};
	Jsonb	   *values[3];

	mark_pauses(round, instance);
	values[0] = list_tasks(instance, was_handled);
	values[1] = list_tasks(instance, has_expired);
	values[2] = list_tasks(instance, is_halted);
	return values[0] || values[1] || values[2] ? jsonb_from_members(3, names, values) : NULL;
}

/*
 * The same for an instance whose history is not read: all that had failed was
 * handled, and what has a timer, but is none, is in a pause.
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
	/* its client had asked for a rewind that no worker has made: what made it fail then is still to be undone */
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
	/* what failed after it had given up a wait may come out otherwise now; if not, it gives that up again */
	for (int i = 0; i < instance->ntasks; i++)
		if (instance->tasks[i]->kind != TASK_TIMER)
			instance->tasks[i]->cancel_recorded = false;
	foreach(cell, listed_tasks(instance, row->input, "tasks"))
		reopen(instance, lfirst(cell));
}

/* When a timer is to fire, as its event in history says. */
static TimestampTz
timer_time(const Task *task)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(jsonb_to_text(task->input)),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* Take the result of a child that has completed after all. */
static void
take_result(Round *round, Instance *instance, Task *task, const InstanceRow *child)
{
	HistoryRow	end;
	bool		found = history_get(round->store, child->key, child->last_seq, &end);

	instance_append_attempt(round, instance, task, EVENT_CHILD_COMPLETED, found ? end.result : NULL);
}

/*
 * Do a failed child again: rewind its instance, or start one anew if it was
 * terminated.  If somebody has rewound it by itself it is not done once more.
 */
static void
redo_child(Round *round, Instance *instance, Task *task, Jsonb *payload)
{
	InstanceRow child;
	MessageRow	message = {.kind = MESSAGE_REWIND, .time = round->now, .payload = payload};

	if (instance_find(round->store, sub_orchestration_id(instance, task, task->attempt), &child) &&
		child.parent_key == instance->row.key && child.parent_task == task->id &&
		child.state != STATE_TERMINATED)
	{
		message.key = child.key;
		if (child.state == STATE_FAILED)
			message_send(round->store, child.owner, &message);
		else if (child.state == STATE_COMPLETED)
			take_result(round, instance, task, &child);
		return;
	}
	sub_orchestration_note_start(instance, task);
}

/* Do a reopened task again. */
static void
redo(Round *round, Instance *instance, Task *task, Jsonb *payload)
{
	switch (task->kind)
	{
		case TASK_ACTIVITY:
			instance_queue_activity(round, instance, task, LONE_NO);
			break;
		case TASK_CHILD:
			redo_child(round, instance, task, payload);
			break;
		case TASK_TIMER:
			timer_insert(round->store, instance->row.key, task->id,
						 round->now + Max(timer_time(task) - task->scheduled_time, 0));
			break;
		case TASK_EVENT:
		case TASK_SEND:
			break;
	}
}

/* Set a timer again that was open when the instance failed, or given up as it did. */
static void
restore_timer(Round *round, Instance *instance, Task *task)
{
	if (task->kind == TASK_TIMER && task->recorded && task->done_seq == 0 &&
		(!task->cancel_recorded || task->halted))
		timer_insert(round->store, instance->row.key, task->id, timer_time(task));
}

/* Undo what made the instance fail. */
void
rewind_receive(Round *round, Instance *instance, Jsonb *payload)
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

	/* a client and the parent may have rewound it at once */
	if (!instance->failed)
		return;
	for (int i = 0; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		if (is_undone(task) && !(task->kind == TASK_TIMER && is_halted(task)))
			tasks = lappend(tasks, task);
		else
			restore_timer(round, instance, task);
	}
	instance_append(round, instance, &row);
	instance->row.state = STATE_READY;
	instance->row.completed_time = 0;
	instance->wait_mode = WAIT_NONE;
	lifecycle_notify_status(&instance->row, jsonb_member_text(payload, "reason"), round->now);
	foreach(cell, tasks)
		redo(round, instance, lfirst(cell), payload);
}
