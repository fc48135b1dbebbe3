/*
 * history_decode.c
 *	  Events of the history become tasks and raised events in memory.
 *
 * instance_append decodes each event that it appends, and instance_cache_fill
 * those that it reads from the table.  So memory does not depend on whether an
 * event has just happened or was read after a restart.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "utils/formatting.h"
#include "utils/memutils.h"

#include "common/jsonb_util.h"
#include "engine/history_decode.h"
#include "engine/rewind.h"

Task *
instance_task(Instance *instance, int task_id)
{
	int			index = task_id - instance->row.first_task;

	return index >= 0 && index < instance->ntasks ? instance->tasks[index] : NULL;
}

Task *
instance_new_task(Instance *instance, TaskKind kind, const char *name, Jsonb *input)
{
	Task	   *task = MemoryContextAllocZero(instance->context, sizeof(Task));

	instance->tasks = grow(instance->context, instance->tasks, instance->ntasks, &instance->tasks_size, sizeof(Task *));
	task->id = instance->row.first_task + instance->ntasks;
	task->kind = kind;
	task->name = name;
	task->input = input;
	task->attempt = 1;
	task->turn_event = -1;
	if (kind == TASK_EVENT)
	{
		MemoryContext old = MemoryContextSwitchTo(instance->context);

		task->event_name = str_tolower(name, strlen(name), DEFAULT_COLLATION_OID);
		MemoryContextSwitchTo(old);
	}
	instance->tasks[instance->ntasks++] = task;
	return task;
}

/* The task that an event schedules: a new one, or the one that this turn has added. */
static Task *
decode_scheduled(Instance *instance, TaskKind kind, const HistoryRow *row)
{
	Task	   *task = instance_task(instance, row->task_id);

	if (task == NULL)
	{
		if (row->task_id != instance->row.first_task + instance->ntasks)
			elog(ERROR, "history of instance \"%s\" skips to task %d",
				 instance->row.instance_id, row->task_id);
		task = instance_new_task(instance, kind, row->name, row->input);
	}
	task->recorded = true;
	task->scheduled_seq = row->seq;
	task->scheduled_time = row->event_time;
	return task;
}

/* A task ended.  An event with an input stands for two: an activity was scheduled and ended. */
static void
decode_done(Instance *instance, const HistoryRow *row)
{
	Task	   *task = row->input != NULL ? decode_scheduled(instance, TASK_ACTIVITY, row) :
		instance_task(instance, row->task_id);

	/* only the first end counts */
	if (task == NULL || task->done_seq != 0)
		return;
	task->failed = row->event == EVENT_TASK_FAILED || row->event == EVENT_CHILD_FAILED;
	task->result = row->result;
	if (row->attempt != 0)
		task->attempt = row->attempt;
	task->done_seq = row->seq;
	task->done_time = row->event_time;
}

/* The execution started. */
static void
decode_started(Instance *instance, const HistoryRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(instance->context);

	instance->input = row->input;
	instance->parent_id = jsonb_to_text(row->result);
	MemoryContextSwitchTo(old);
}

/* An external event was raised. */
static void
decode_raised(Instance *instance, const HistoryRow *row)
{
	RaisedEvent *event;
	MemoryContext old = MemoryContextSwitchTo(instance->context);

	instance->events = grow(instance->context, instance->events, instance->nevents, &instance->events_size, sizeof(RaisedEvent));
	event = &instance->events[instance->nevents++];
	event->name = str_tolower(row->name, strlen(row->name), DEFAULT_COLLATION_OID);
	event->data = row->result;
	event->seq = row->seq;
	event->time = row->event_time;
	event->taken = false;
	instance->events_new = true;
	MemoryContextSwitchTo(old);
}

/* The code sees what came during a suspension at the time of the resumption. */
static void
decode_resumed(Instance *instance, const HistoryRow *row)
{
	for (int i = 0; i < instance->ntasks; i++)
		if (instance->tasks[i]->done_seq > instance->visible_from)
			instance->tasks[i]->done_time = row->event_time;
	for (int i = 0; i < instance->nevents; i++)
		if (instance->events[i].seq > instance->visible_from)
			instance->events[i].time = row->event_time;
}

/* A timer runs until the next attempt; row->attempt is one less than the current one if that was postponed. */
static void
decode_retried(Instance *instance, const HistoryRow *row)
{
	Task	   *task = instance_task(instance, row->task_id);

	instance->open_timers++;
	if (task == NULL)
		return;
	task->put_off_time = row->attempt < task->attempt ? row->event_time : 0;
	task->attempt = row->attempt + 1;
}

void
history_decode(Instance *instance, const HistoryRow *row)
{
	Task	   *task;

	switch ((EventType) row->event)
	{
		case EVENT_EXECUTION_STARTED:
			decode_started(instance, row);
			break;
		case EVENT_TASK_SCHEDULED:
			decode_scheduled(instance, TASK_ACTIVITY, row)->options = row->result;
			break;
		case EVENT_TASK_COMPLETED:
		case EVENT_TASK_FAILED:
		case EVENT_CHILD_COMPLETED:
		case EVENT_CHILD_FAILED:
			decode_done(instance, row);
			break;
		case EVENT_TASK_RETRIED:
			decode_retried(instance, row);
			break;
		case EVENT_CHILD_CREATED:
			decode_scheduled(instance, TASK_CHILD, row)->options = row->result;
			break;
		case EVENT_TIMER_CREATED:
			decode_scheduled(instance, TASK_TIMER, row);
			instance->open_timers++;
			break;
		case EVENT_TIMER_FIRED:
			decode_done(instance, row);
			instance->open_timers--;
			break;
		case EVENT_TIMER_CANCELED:
			instance->open_timers--;
			/* FALLTHROUGH */
		case EVENT_TASK_CANCELED:
			task = instance_task(instance, row->task_id);
			if (task != NULL)
				task->cancel_recorded = true;
			break;
		case EVENT_EVENT_SUBSCRIBED:
			decode_scheduled(instance, TASK_EVENT, row);
			break;
		case EVENT_EVENT_RAISED:
			decode_raised(instance, row);
			break;
		case EVENT_EVENT_SENT:
			task = decode_scheduled(instance, TASK_SEND, row);
			task->done_seq = row->seq;
			task->done_time = row->event_time;
			task->result = row->result;
			task->failed = row->result != NULL;
			break;
		case EVENT_EXECUTION_SUSPENDED:
			instance->visible_from = row->seq;
			break;
		case EVENT_EXECUTION_RESUMED:
			decode_resumed(instance, row);
			break;
		case EVENT_EXECUTION_REWOUND:
			rewind_decode(instance, row);
			break;
		case EVENT_EXECUTION_FAILED:
			rewind_decode_failed(instance, row);
			break;
		case EVENT_CUSTOM_STATUS_SET:
		case EVENT_CONTINUE_AS_NEW:
		case EVENT_EXECUTION_TERMINATED:
		case EVENT_EXECUTION_COMPLETED:
			break;
	}
}
