/*
 * slot.c
 *	  The slots of workers: each worker's state, and what it holds.
 *
 * A worker that ends in whatever way gives back what it holds (slot_detach, an
 * on_shmem_exit callback).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "database.h"
#include "lists.h"
#include "need.h"
#include "shared.h"
#include "slot.h"

#define FAILED_START_PAUSE	(5 * USECS_PER_SEC)

/* Take over a reserved slot: this process is the worker now. */
void
slot_attach(int index)
{
	Slot	   *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	slot->proc = MyProc;
	LWLockRelease(shared_lock);
}

/* The process has connected and can work now. */
void
slot_connected(int index)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot_set_state(&lists->slots[index], WORKER_BUSY);
	LWLockRelease(shared_lock);
}

/* Drop all that a slot holds, for the scheduler to find it again; lock held. */
static void
slot_drop_claims(Slot *slot)
{
	while (!dlist_is_empty(&slot->claims))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&slot->claims));

		(void) hash_search(lists_entries, &entry->tag, HASH_REMOVE, NULL);
		lists->entries--;
	}
	slot->range.key = 0;
	database_request_scan(slot->db);
}

/* Return all that a slot holds to its queue and free it; lock held. */
static void
slot_free(Slot *slot)
{
	Queue	   *queue = queue_get(slot->db, slot->role, false);
	bool		idle;

	/* one that could not even connect is not replaced at once */
	if (slot->state == WORKER_STARTING)
		queue->retry_at = GetCurrentTimestamp() + FAILED_START_PAUSE;
	idle = slot->state == WORKER_IDLE;
	slot_set_state(slot, WORKER_FREE);
	slot_set_advancing(queue, slot, false);
	if (!database_served(slot->db) && (slot->nclaims > 0 || slot->range.key != 0))
		slot_drop_claims(slot);
	while (!dlist_is_empty(&slot->claims))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&slot->claims));

		entry_enqueue(queue, entry, READY_ALL, false, 0);
	}
	slot->nclaims = 0;
	if (slot->range.key != 0 && !range_push(queue, &slot->range))
		database_request_scan(slot->db);
	slot->range.key = 0;
	queue->workers--;
	queue_wake(queue);
	/* the scheduler reads the black box, but for one that was idle; the slot goes to whoever waits for one, if any does */
	if (!idle)
		database_poke(slot->db);
	need_wake();
	slot->db = slot->role = InvalidOid;
	slot->pid = 0;
}

/*
 * Give up the slot when the process ends, whatever the reason; unless it left
 * already, when the slot may be another's.  If to_scheduler, no other worker
 * takes what it held before the scheduler has read the black box.
 */
void
slot_detach(int index, bool to_scheduler)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (lists->slots[index].pid == MyProcPid)
	{
		if (to_scheduler)
			slot_drop_claims(&lists->slots[index]);
		slot_free(&lists->slots[index]);
	}
	LWLockRelease(shared_lock);
}

/* Go idle; false when there is work after all. */
bool
slot_idle(int index)
{
	Slot	   *slot = &lists->slots[index];
	Queue	   *queue;
	bool		idle;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	slot_set_advancing(queue, slot, false);
	idle = !queue_has_work_now(queue);
	if (idle && slot->state != WORKER_IDLE)
	{
		slot_set_state(slot, WORKER_IDLE);
		if (lists->needy && queue_another_allowed(NULL))
			need_wake();
	}
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether nobody has woken an idle worker yet. */
bool
slot_is_idle(int index)
{
	bool		idle;

	LWLockAcquire(shared_lock, LW_SHARED);
	idle = lists->slots[index].state == WORKER_IDLE;
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether the place of an idle worker is wanted by another role. */
bool
slot_unwanted(int index)
{
	return lists->slots[index].retire;
}

/* Leave for good, unless somebody has just woken this worker. */
bool
slot_leave(int index)
{
	Slot	   *slot = &lists->slots[index];
	bool		leave;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	leave = slot->state == WORKER_IDLE;
	if (leave)
		slot_free(slot);
	LWLockRelease(shared_lock);
	return leave;
}

/* Reserve a slot for a worker to be started; -1 when there is none for this role. */
int
slot_reserve(Oid db, Oid role, uint32 *generation)
{
	int			result = -1;
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, true);
	if (queue != NULL && queue_may_have_more(queue))
		for (int i = 0; i < DURABLE_WORKERS_LIMIT && result < 0; i++)
			if (lists->slots[i].state == WORKER_FREE)
				result = i;
	if (result >= 0)
	{
		Slot	   *slot = &lists->slots[result];

		slot->db = db;
		slot->role = role;
		slot->pid = 0;
		slot->served = slot->retire = false;
		slot->started = GetCurrentTimestamp();
		*generation = ++slot->generation;
		queue->workers++;
		slot_set_state(slot, WORKER_STARTING);
	}
	LWLockRelease(shared_lock);
	return result;
}

/* Free a reserved slot whose process never came, or ended without a trace. */
void
slot_unreserve(int index, uint32 generation)
{
	Slot	   *slot = &lists->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (slot->generation == generation && slot->state != WORKER_FREE)
		slot_free(slot);
	LWLockRelease(shared_lock);
}

/* All slots in use; infos has room for DURABLE_WORKERS_LIMIT. */
int
slot_list(WorkerInfo *infos)
{
	int			count = 0;

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		Slot	   *slot = &lists->slots[i];

		if (slot->state != WORKER_FREE)
			infos[count++] = (WorkerInfo)
		{
			.slot = i, .state = slot->state, .db = slot->db, .role = slot->role,
			.pid = slot->pid, .claims = slot->nclaims, .since = slot->since
		};
	}
	LWLockRelease(shared_lock);
	return count;
}
