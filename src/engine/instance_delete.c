/*
 * instance_delete.c
 *	  Deleting an instance: its row, history, messages, queued activities and
 *	  timers, and its sub-orchestrations that have ended.
 *
 * Live sub-orchestrations of a live instance are terminated with it.  Those of an
 * instance that has ended go on.
 *
 * A worker that runs an activity of a deleted instance sends its result to a key
 * that no longer exists; the engine drops such messages.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "common/failure.h"
#include "common/jsonb_util.h"
#include "engine/instance_delete.h"
#include "engine/lifecycle_notify.h"
#include "sched/commit_wakeup.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* Send the parent of a live instance a failure in place of the result. */
static void
tell_waiting_parent(Store *store, const InstanceRow *row, TimestampTz now)
{
	InstanceRow parent;
	MessageRow	message = {
		.key = row->parent_key,
		.kind = MESSAGE_CHILD_FAILED,
		.time = now,
		.task_id = row->parent_task
	};

	if (!instance_get_waiting_parent(store, row, &parent))
		return;
	message.payload = failure_make(ERRCODE_DURABLE_CHILD_TERMINATED,
								   psprintf("instance \"%s\" was terminated: replaced by another",
											row->instance_id), NULL, NULL);
	message.payload = failure_with_text(message.payload, "instance_id", row->instance_id);
	message_send(store, parent.owner, &message);
}

/* Send a live child of the deleted instance a message to terminate. */
static void
terminate_child(Store *store, const InstanceRow *child, TimestampTz now)
{
	MessageRow	message = {
		.key = child->key,
		.kind = MESSAGE_TERMINATE,
		.time = now,
		.payload = jsonb_parse("{\"reason\": \"the parent instance was removed\", \"recursive\": true}")
	};

	message_send(store, child->owner, &message);
}

/*
 * Lock the children of an instance that have ended and add them to the victims;
 * add the live children to another list.  Only the key, tid and owner of each row
 * stay in memory.  False if wait is false and another transaction has locked one.
 */
static bool
visit_children(Store *store, int64 key, bool wait, List **victims, List **live)
{
	List	   *keys = instance_children(store, key);
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(outer, "durable child", ALLOCSET_DEFAULT_SIZES);
	FetchResult result = FETCH_FOUND;

	for (int i = 0; i < list_length(keys) && result != FETCH_LOCKED; i++)
	{
		InstanceRow row = {0};
		InstanceRow *child;

		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		result = instance_get(store, *(int64 *) list_nth(keys, i), &row) ? FETCH_FOUND : FETCH_ABSENT;
		if (result == FETCH_FOUND && STATE_IS_TERMINAL(row.state))
			result = instance_lock(store, row.key, wait, &row);
		MemoryContextSwitchTo(outer);
		if (result != FETCH_FOUND)
			continue;
		child = palloc0(sizeof(InstanceRow));
		child->key = row.key;
		child->tid = row.tid;
		child->owner = row.owner;
		if (STATE_IS_TERMINAL(row.state))
			*victims = lappend(*victims, child);
		else
			*live = lappend(*live, child);
	}
	MemoryContextDelete(context);
	return result != FETCH_LOCKED;
}

/* Delete one instance. */
static void
remove_one(Store *store, const InstanceRow *row)
{
	history_delete(store, row->key, 0);
	messages_delete(store, row->key);
	tasks_delete(store, row->key);
	timers_delete(store, row->key);
	instance_delete(store, row);
}

int64
instance_remove(Store *store, const InstanceRow *row, bool wait, TimestampTz now)
{
	List	   *victims = list_make1(unconstify(InstanceRow *, row));
	List	   *live = NIL;
	ListCell   *cell;

	/* visit_children appends to the list */
	for (int i = 0; i < list_length(victims); i++)
	{
		InstanceRow *victim = list_nth(victims, i);

		CHECK_FOR_INTERRUPTS();
		if (!visit_children(store, victim->key, wait, &victims, &live))
			return 0;
	}
	if (!STATE_IS_TERMINAL(row->state))
	{
		tell_waiting_parent(store, row, now);
		wakeup_ended(row->key);
		lifecycle_notify(row, STATUS_TERMINATED, "replaced by another", now);
		foreach(cell, live)
			terminate_child(store, lfirst(cell), now);
	}
	foreach(cell, victims)
		remove_one(store, lfirst(cell));
	return list_length(victims);
}
