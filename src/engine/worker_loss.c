/*
 * worker_loss.c
 *	  Counting the workers that died while they ran code of an instance.
 *
 * The scheduler finds in the crash notes what a dead worker was running.  For a
 * queued activity it increases the number of deliveries in the activity's row.
 * For a turn, or an activity that the worker ran between two turns, it sends the
 * instance a message, and the worker that applies the message increases the
 * number in the instance's row.  So the scheduler reads no history, which may be
 * larger than its memory, and waits for no lock of a row.
 */
#include "postgres.h"

#include "common/failure.h"
#include "common/guc.h"
#include "engine/lifecycle.h"
#include "engine/worker_loss.h"
#include "sched/commit_wakeup.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"

/*
 * Lock the row of the queued activity in a note; NULL if the row is gone, or if
 * another transaction has locked it (*locked).
 */
static TaskRow *
seize_task(Store *store, const CrashNote *note, bool *locked)
{
	List	   *tasks = tasks_seize(store, note->key, note->task_id, note->task_id);

	*locked = tasks == NIL && task_exists(store, note->key, note->task_id);
	return tasks != NIL ? linitial(tasks) : NULL;
}

/* A worker died while running a queued activity. */
static bool
count_task(Store *store, const CrashNote *note)
{
	bool		locked;
	TaskRow    *task = seize_task(store, note, &locked);
	Oid			owner;

	if (task == NULL)
		return !locked;
	task_set_deliveries(store, task, task->deliveries + 1);
	/* queued again, because a worker may have skipped the row while it was locked */
	if (instance_owner(store, note->key, &owner))
		wakeup_tasks(owner, task->key, task->task_id, task->task_id, LONE_MUST);
	return true;
}

/* An activity has ignored its timeout, and its worker was ended for that: the activity fails. */
static bool
fail_overdue_task(Store *store, const CrashNote *note)
{
	bool		locked;
	TaskRow    *task = seize_task(store, note, &locked);
	Oid			owner;
	MessageRow	message = {
		.key = note->key, .kind = MESSAGE_TASK_FAILED, .time = GetCurrentTimestamp(), .task_id = note->task_id
	};

	if (task == NULL || !instance_owner(store, note->key, &owner) ||
		(message.name = history_name(store, task->key, task->seq, task->task_id)) == NULL)
		return !locked;
	message.attempt = task->attempt;
	message.payload = failure_of_activity(failure_timed_out(message.name, "It handled the cancellation and went on, so its worker was ended."),
										  message.name, task->task_id, task->attempt);
	message_send(store, owner, &message);
	task_delete(store, task);
	return true;
}

/* A worker died while running a turn, or an activity between two turns. */
static void
tell_instance(Store *store, const CrashNote *note)
{
	Oid			owner;
	MessageRow	message = {
		.key = note->key,
		.kind = note->overdue ? MESSAGE_TURN_OVERDUE : MESSAGE_WORKER_LOST,
		.time = GetCurrentTimestamp(),
		.task_id = note->task_id
	};

	if (instance_owner(store, note->key, &owner))
		message_send(store, owner, &message);
}

bool
worker_loss_count(Store *store, const CrashNote *note)
{
	if (note->queued)
		return note->overdue ? fail_overdue_task(store, note) : count_task(store, note);
	tell_instance(store, note);
	return true;
}

/* The failure of an orchestrator whose turn has ignored durable.turn_timeout. */
static Jsonb *
overdue_turn(void)
{
	return failure_make(ERRCODE_QUERY_CANCELED,
						psprintf("a turn of the orchestrator took longer than durable.turn_timeout (%d ms)",
								 durable_turn_timeout),
						"It handled the cancellation and went on, so its worker was ended.",
						"Do not handle query_canceled in an orchestrator: durable uses it to leave the code.");
}

/* Count a worker that died running the instance.  durable.max_activity_deliveries deaths in a turn fail the instance. */
void
worker_loss_receive(WorkerTransaction *txn, Instance *instance, const MessageRow *message)
{
	InstanceRow *row = &instance->row;

	row->deliveries++;
	instance->dirty = true;
	if (message->kind == MESSAGE_TURN_OVERDUE)
		instance_fail_whole(txn, instance, overdue_turn());
	else if (message->task_id == 0 && row->deliveries >= durable_max_activity_deliveries)
		instance_fail_whole(txn, instance,
							failure_make(ERRCODE_DURABLE_ACTIVITY_LOST,
										 psprintf("orchestrator %s was lost: %d workers died while running it",
												  row->name, row->deliveries),
										 NULL,
										 "Look into the server's log for what the process died of."));
}
