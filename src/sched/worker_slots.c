/*
 * worker_slots.c
 *	  The slots of workers: the state of each worker, and what it holds.
 *
 * A worker gives back what it holds when it ends, for whatever reason: an
 * on_shmem_exit callback calls worker_slot_detach.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "sched/database_slots.h"
#include "sched/patience.h"
#include "sched/places.h"
#include "sched/ready_lists.h"
#include "sched/worker_slots.h"
#include "shmem/shmem.h"

#define FAILED_START_PAUSE	(5 * USECS_PER_SEC)

/* This process becomes the worker of a reserved slot. */
void
worker_slot_attach(int index)
{
	WorkerSlot *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->proc = MyProc;
	LWLockRelease(shared_lock);
}

/* The process has connected and can work. */
void
worker_slot_connected(int index)
{
	WorkerSlot *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker_slot_set_state(slot, WORKER_BUSY);
	/* the role keeps a batch place for a while, counted from now */
	slot->placed = GetCurrentTimestamp();
	LWLockRelease(shared_lock);
}

/* Drop what a slot holds, so that the scheduler's scan finds it again; lock held. */
static void
worker_slot_drop_claims(WorkerSlot *slot)
{
	while (!dlist_is_empty(&slot->claims))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&slot->claims));

		(void) hash_search(lists_entries, &entry->tag, HASH_REMOVE, NULL);
	}
	slot->range.key = 0;
	database_request_scan(slot->queue->db);
}

/* Return what a slot holds to its queue and free the slot; lock held. */
static void
worker_slot_free(WorkerSlot *slot)
{
	Queue	   *queue = slot->queue;
	bool		idle;

	/* after a process that could not connect the next one is started after a pause */
	if (slot->state == WORKER_STARTING)
		queue->retry_at = GetCurrentTimestamp() + FAILED_START_PAUSE;
	idle = slot->state == WORKER_IDLE;
	place_leave(queue, slot);
	/* the batch place that was lent */
	place_leave(queue, slot);
	worker_slot_set_advancing(queue, slot, false);
	if (!database_served(queue->db) && (slot->nclaims > 0 || slot->range.key != 0))
		worker_slot_drop_claims(slot);
	while (!dlist_is_empty(&slot->claims))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&slot->claims));

		entry->item = (ReadyItem) {.key = entry->tag.key, .flags = READY_ALL, .lone = entry->item.lone};
		entry_enqueue(queue, entry, false);
	}
	slot->nclaims = 0;
	if (slot->range.key != 0 && !range_push(queue, &slot->range))
		database_request_scan(queue->db);
	slot->range.key = 0;
	worker_slot_set_state(slot, WORKER_FREE);
	queue_came(queue);
	/* the scheduler reads the crash notes; an idle worker has none */
	if (!idle)
		database_poke(queue->db);
	slot->queue = NULL;
	slot->pid = 0;
	(void) places_give(InvalidOid);
}

/*
 * Give up the slot when the process ends, for whatever reason.  The worker may
 * have left the slot before, and another may have it.  to_scheduler: no worker
 * takes what this one held before the scheduler has read the crash notes.
 */
void
worker_slot_detach(int index, bool to_scheduler)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (lists->slots[index].pid == MyProcPid)
	{
		if (to_scheduler)
			worker_slot_drop_claims(&lists->slots[index]);
		worker_slot_free(&lists->slots[index]);
	}
	LWLockRelease(shared_lock);
}

/*
 * The place of this process.  No lock: others change the place only of a
 * worker whose code does not check for interrupts, and the worker sees this at
 * its next check.
 */
Place
worker_slot_place(int index)
{
	return lists->slots[index].place;
}

/* What the worker ran alone is done: give up the long place. */
void
worker_slot_return(int index)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (slot->place == PLACE_LONG)
	{
		/* a call that gives way, waits for a lock and gives way again has waited all the time */
		if (!patience_gave_way())
			queue->gave_way_since = 0;
		else if (queue->gave_way_since == 0)
			queue->gave_way_since = GetCurrentTimestamp();
		place_leave(queue, slot);
		(void) places_give(InvalidOid);
		/* if a batch place is free, the worker goes on and no other process must be woken */
		if (slot->place == PLACE_NONE && queue_has_work(queue))
			(void) place_take_batch(queue, slot);
	}
	LWLockRelease(shared_lock);
}

/* Give the batch place to the role that has waited longest. */
void
worker_slot_yield(int index)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue_taken(queue, false);
	worker_slot_set_advancing(queue, slot, false);
	place_leave(queue, slot);
	worker_slot_set_state(slot, WORKER_IDLE);
	slot->retire = process_is_due();
	if (slot->retire)
		SetLatch(slot->latch);
	(void) places_give(InvalidOid);
	LWLockRelease(shared_lock);
}

/* Go idle and give up the place, unless there is work for it.  Returns whether the worker is idle. */
bool
worker_slot_rest(int index)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;
	bool		idle;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker_slot_set_advancing(queue, slot, false);
	if (slot->state != WORKER_IDLE &&
		!(slot->place == PLACE_BATCH && (queue_has_batch(queue) || places_may_try(queue))))
	{
		place_leave(queue, slot);
		/* the batch place that was lent */
		place_leave(queue, slot);
		worker_slot_set_state(slot, WORKER_IDLE);
		(void) places_give(InvalidOid);
		places_seek(queue);
	}
	idle = slot->state == WORKER_IDLE;
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether an idle worker has not been woken yet. */
bool
worker_slot_is_idle(int index)
{
	bool		idle;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	idle = lists->slots[index].state == WORKER_IDLE;
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether an idle worker must leave for a process of another role. */
bool
worker_slot_unwanted(int index)
{
	return lists->slots[index].retire;
}

/* Leave for good, unless the worker has just been woken; returns whether it leaves. */
bool
worker_slot_leave(int index)
{
	WorkerSlot *slot = &lists->slots[index];
	bool		leave;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	leave = slot->state == WORKER_IDLE;
	if (leave)
		worker_slot_free(slot);
	LWLockRelease(shared_lock);
	return leave;
}

/* Free a reserved slot whose process never came, or ended before it attached. */
void
worker_slot_unreserve(int index, uint32 generation)
{
	WorkerSlot *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (slot->generation == generation && slot->state != WORKER_FREE)
		worker_slot_free(slot);
	LWLockRelease(shared_lock);
}

/* The scheduler of a database ends: free the slots whose processes it has not started. */
void
worker_slots_forget_wanted(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nslots; i++)
		if (lists->slots[i].state == WORKER_WANTED && lists->slots[i].queue->db == db)
			worker_slot_free(&lists->slots[i]);
	LWLockRelease(shared_lock);
}

/* All slots in use; infos has room for DURABLE_WORKERS_LIMIT. */
int
worker_slot_list(WorkerInfo *infos)
{
	int			count = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nslots; i++)
	{
		WorkerSlot *slot = &lists->slots[i];

		if (slot->state != WORKER_FREE)
			infos[count++] = (WorkerInfo)
		{
			.slot = i, .state = slot->state, .place = slot->place, .db = slot->queue->db, .role = slot->queue->role,
			.pid = slot->pid, .claims = slot->nclaims, .since = slot->since
		};
	}
	LWLockRelease(shared_lock);
	return count;
}
