/*
 * worker_slots.c
 *	  The slots of workers: each worker's state, and what it holds.
 *
 * A worker that ends in whatever way gives back what it holds (worker_slot_detach, an
 * on_shmem_exit callback).
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

/* Take over a reserved slot: this process is the worker now. */
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

/* The process has connected and can work now. */
void
worker_slot_connected(int index)
{
	WorkerSlot *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker_slot_set_state(slot, WORKER_BUSY);
	/* a batch place is kept for a while from now on */
	slot->placed = GetCurrentTimestamp();
	LWLockRelease(shared_lock);
}

/* Drop all that a slot holds, for the scheduler to find it again; lock held. */
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

/* Return all that a slot holds to its queue and free it; lock held. */
static void
worker_slot_free(WorkerSlot *slot)
{
	Queue	   *queue = slot->queue;
	bool		idle;

	/* one that could not even connect is not replaced at once */
	if (slot->state == WORKER_STARTING)
		queue->retry_at = GetCurrentTimestamp() + FAILED_START_PAUSE;
	idle = slot->state == WORKER_IDLE;
	place_leave(queue, slot);
	/* a batch place that was lent */
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
	/* the scheduler reads the black box, but for one that was idle */
	if (!idle)
		database_poke(queue->db);
	slot->queue = NULL;
	slot->pid = 0;
	(void) places_give(InvalidOid);
}

/*
 * Give up the slot when the process ends, whatever the reason; unless it left
 * already, when the slot may be another's.  If to_scheduler, no other worker
 * takes what it held before the scheduler has read the black box.
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

/* The place that this process has.  No lock: others change it only for code that does not come back, and that is seen at the next look. */
Place
worker_slot_place(int index)
{
	return lists->slots[index].place;
}

/* What the worker has run alone is done. */
void
worker_slot_return(int index)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (slot->place == PLACE_LONG)
	{
		/* what waits for a lock a second at a time waits all the time */
		if (!patience_gave_way())
			queue->gave_way_since = 0;
		else if (queue->gave_way_since == 0)
			queue->gave_way_since = GetCurrentTimestamp();
		place_leave(queue, slot);
		(void) places_give(InvalidOid);
		/* a batch place that is still free saves a switch of processes */
		if (slot->place == PLACE_NONE && queue_has_work(queue))
			(void) place_take_batch(queue, slot);
	}
	LWLockRelease(shared_lock);
}

/* Give the batch place to who has waited longest. */
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

/* Go idle and give up the place, unless there is work for it. */
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
		/* one that was lent as well */
		place_leave(queue, slot);
		worker_slot_set_state(slot, WORKER_IDLE);
		(void) places_give(InvalidOid);
		places_seek(queue);
	}
	idle = slot->state == WORKER_IDLE;
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether nobody has woken an idle worker yet. */
bool
worker_slot_is_idle(int index)
{
	bool		idle;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	idle = lists->slots[index].state == WORKER_IDLE;
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether an idle worker is to leave for another role's. */
bool
worker_slot_unwanted(int index)
{
	return lists->slots[index].retire;
}

/* Leave for good, unless somebody has just woken this worker. */
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

/* Free a reserved slot whose process never came, or ended without a trace. */
void
worker_slot_unreserve(int index, uint32 generation)
{
	WorkerSlot *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (slot->generation == generation && slot->state != WORKER_FREE)
		worker_slot_free(slot);
	LWLockRelease(shared_lock);
}

/* The scheduler of a database ends. */
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
