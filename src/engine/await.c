/*
 * await.c
 *	  What the code of an orchestrator waits for: the ends of tasks.
 *
 * Which task ends first is decided by the sequence numbers of the events that
 * ended them, so each replay sees the same order.
 */
#include "postgres.h"

#include "lib/qunique.h"

#include "common/failure.h"
#include "engine/await.h"
#include "engine/turn.h"

/*
 * The event that an open subscription gets: earlier subscriptions to the same
 * name get the first events that are not taken, this one gets the next.
 */
static RaisedEvent *
event_for(Task *task)
{
	Instance   *instance = current_turn->instance;
	int			ahead = 0;

	for (int i = 0; i < task->id - instance->row.first_task; i++)
	{
		Task	   *other = instance->tasks[i];

		if (other->kind == TASK_EVENT && other->turn_event < 0 && !other->canceled &&
			strcmp(other->event_name, task->event_name) == 0)
			ahead++;
	}
	for (int i = 0; i < instance->nevents; i++)
	{
		RaisedEvent *event = &instance->events[i];

		if (!event->taken && strcmp(event->name, task->event_name) == 0 && ahead-- == 0)
			return event;
	}
	return NULL;
}

/* The sequence number at which a task ended, 0 if it is open. */
static int
task_done(Task *task)
{
	RaisedEvent *event;

	if (task->canceled)
		return 0;
	if (task->kind != TASK_EVENT)
		return task->done_seq;
	if (task->turn_event >= 0)
		return current_turn->instance->events[task->turn_event].seq;
	event = event_for(task);
	return event ? event->seq : 0;
}

/* The code sees the end of a task: the turn's position and time advance. */
static void
consume(Task *task)
{
	int			seq = task->done_seq;
	TimestampTz time = task->done_time;

	if (task->kind == TASK_EVENT)
	{
		RaisedEvent *event = task->turn_event >= 0 ?
			&current_turn->instance->events[task->turn_event] : event_for(task);

		event->taken = true;
		task->turn_event = event - current_turn->instance->events;
		seq = event->seq;
		time = event->time;
	}
	/* only the first time counts as a step */
	if (!task->turn_consumed)
		task->turn_step = ++current_turn->steps;
	task->turn_consumed = true;
	current_turn->position = Max(current_turn->position, seq);
	current_turn->now = Max(current_turn->now, time);
}

/* Order of task numbers. */
static int
compare_numbers(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/* Stop the turn until one, or all, of these tasks end. */
_Noreturn static void
stop_for(Task **tasks, int count, WaitMode mode)
{
	Instance   *instance = current_turn->instance;

	instance->wait_mode = mode;
	instance->nwaits = 0;
	if (instance->waits != NULL)
		pfree(instance->waits);
	instance->waits = MemoryContextAlloc(instance->context, count * sizeof(int));
	for (int i = 0; i < count; i++)
		if (!tasks[i]->turn_consumed && task_done(tasks[i]) == 0)
			instance->waits[instance->nwaits++] = tasks[i]->id;
	/* the code may name a task twice */
	qsort(instance->waits, instance->nwaits, sizeof(int), compare_numbers);
	instance->nwaits = qunique(instance->waits, instance->nwaits, sizeof(int), compare_numbers);
	turn_stop();
}

Task *
turn_await_any(Task **tasks, int count)
{
	Task	   *first = NULL;
	int			first_seq = 0;

	for (int i = 0; i < count; i++)
	{
		int			seq = task_done(tasks[i]);

		if (seq != 0 && (first == NULL || seq < first_seq))
		{
			first = tasks[i];
			first_seq = seq;
		}
	}
	if (first != NULL)
		consume(first);
	else
		stop_for(tasks, count, WAIT_ANY);
	return first;
}

void
turn_await_all(Task **tasks, int count)
{
	int			before = current_turn->steps;

	for (int i = 0; i < count; i++)
		if (!tasks[i]->turn_consumed && task_done(tasks[i]) == 0)
			stop_for(tasks, count, WAIT_ALL);
	for (int i = 0; i < count; i++)
		consume(tasks[i]);
	/* the code sees all of them in one step */
	for (int i = 0; i < count; i++)
		if (tasks[i]->turn_step > before)
			tasks[i]->turn_step = current_turn->steps;
}

/* The failure of a task, with a detail that names the task. */
static Jsonb *
failure_of_task(Task *task)
{
	char	   *detail = failure_get(task->result, "detail");
	char	   *which;

	if (task->kind == TASK_SEND)
		return task->result;
	which = psprintf("It is the failure of %s \"%s\", task %d, attempt %d.",
					 task->kind == TASK_CHILD ? "sub-orchestration" : "activity",
					 task->name, task->id, task->attempt);
	return failure_with_text(task->result, "detail",
							 detail ? psprintf("%s\n%s", detail, which) : which);
}

/*
 * Remember the tasks whose failures are raised now.  If the code fails before
 * its next step, these tasks are the reason, and a rewind repeats them.  Tasks
 * whose end the code saw in an earlier step are not.
 */
void
turn_note_failures(Task **tasks, int count)
{
	current_turn->raised_tasks = MemoryContextAlloc(current_turn->context, Max(count, 1) * sizeof(Task *));
	current_turn->nraised = 0;
	for (int i = 0; i < count; i++)
		if ((tasks[i]->failed || tasks[i]->kind == TASK_TIMER) && tasks[i]->turn_step == current_turn->steps)
			current_turn->raised_tasks[current_turn->nraised++] = tasks[i];
	current_turn->raised_at = current_turn->steps;
}

Jsonb *
turn_result(Task *task)
{
	if (task->kind == TASK_EVENT)
		return current_turn->instance->events[task->turn_event].data;
	if (task->failed)
	{
		current_turn->raised = task->result;
		current_turn->raising = true;
		failure_throw(failure_of_task(task));
	}
	return task->result;
}

/*
 * Cancel a task.  The code never sees the end of a canceled task, so a replay
 * does not depend on when the end came.
 */
void
turn_cancel(Task *task)
{
	if (task->canceled || task->turn_consumed)
		return;
	task->canceled = true;
	if (task->recorded && task->done_seq == 0 && (!task->cancel_recorded || task->kind == TASK_ACTIVITY))
	{
		MemoryContext old = MemoryContextSwitchTo(current_turn->context);

		current_turn->canceled = lappend(current_turn->canceled, task);
		MemoryContextSwitchTo(old);
	}
}
