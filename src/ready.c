/*
 * ready.c
 *	  Announces work, and gives it to workers and takes it back from them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "database.h"
#include "lists.h"
#include "ready.h"
#include "shared.h"

/* Announce one instance; false when it does not fit. */
static bool
push_entry(Queue *queue, const ReadyHint *hint)
{
	EntryKey	tag = {.db = queue->db, .role = queue->role, .key = hint->key};
	bool		found;
	Entry	   *entry = hash_search(lists_entries, &tag, HASH_ENTER_NULL, &found);

	if (entry == NULL || (!found && queue->queued > READY_ENTRIES - lists->entries))
	{
		/* no queue has more than is left, so that there is room for the others */
		if (entry != NULL)
			(void) hash_search(lists_entries, &tag, HASH_REMOVE, NULL);
		queue->entries_left = true;
		return false;
	}
	if (!found)
	{
		lists->entries++;
		entry_enqueue(queue, entry, hint->flags, false, 0);
	}
	else if (entry->slot >= 0)
		entry->again |= hint->flags;
	else
		entry->flags |= hint->flags;
	return true;
}

/*
 * Announce work of one database and wake those who take it.  Hints of the same
 * role should be neighbours.  Returns false when something did not fit: the
 * caller then asks for a scan.
 */
bool
ready_push(Oid db, const ReadyHint *hints, int count)
{
	Queue	   *queue = NULL;
	bool		all = true;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	/* where there is no scheduler nobody would take it, and the one that comes looks into the tables */
	if (!database_served(db))
	{
		database_poke(db);
		count = 0;
	}
	for (int i = 0; i < count; i++)
	{
		const ReadyHint *hint = &hints[i];

		/* what belongs to an absent role waits in the tables */
		if (!OidIsValid(hint->role))
			continue;
		if (queue == NULL || queue->role != hint->role)
		{
			if (queue != NULL)
				queue_wake(queue);
			queue = queue_get(db, hint->role, true);
		}
		if (queue == NULL)
			all = false;
		else if (hint->flags != 0)
			all &= push_entry(queue, hint);
		else
		{
			ReadyRange	range = {
				.key = hint->key, .low = hint->low, .high = hint->high, .slow = hint->slow
			};

			all &= range_push(queue, &range);
		}
	}
	if (queue != NULL)
		queue_wake(queue);
	LWLockRelease(shared_lock);
	return all;
}

/* How many entries a worker takes: its share, so that others find some too. */
static int
fair_share(const Queue *queue, int max)
{
	int			sharers = queue->idle + 1;

	return Min(max, Max((queue->queued + sharers - 1) / sharers, queue_chunk(queue)));
}

/*
 * Add to the flags of the `held` instances, which the worker still claims, what
 * has come for them, and claim others up to `max`.  Returns how many items there are now.  *retire is
 * set when the worker should make room for a role that has none.  step_us is
 * what an instance took in the worker's last rounds, 0 if it does not know.
 */
int
ready_take(int index, ReadyItem *items, int held, int max, int step_us, bool *retire)
{
	Slot	   *slot = &lists->slots[index];
	Queue	   *queue;
	int			count = held;
	int			share;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	for (int i = 0; i < held; i++)
	{
		EntryKey	tag = {.db = slot->db, .role = slot->role, .key = items[i].key};
		Entry	   *entry = hash_search(lists_entries, &tag, HASH_FIND, NULL);

		/* what a round that failed has given back is still to be taken */
		items[i].flags |= entry->again;
		entry->again = 0;
	}
	if (step_us > 0)
		queue->step_us = step_us;
	*retire = lists->starving > 0 && slot->served &&
		(queue->workers > 1 ||
		 TimestampDifferenceExceeds(slot->started, GetCurrentTimestamp(), 100));
	share = *retire ? 0 : fair_share(queue, max - held);
	while (share-- > 0 && queue->queued > 0)
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&queue->entries));

		queue->queued--;
		entry->slot = index;
		dlist_push_tail(&slot->claims, &entry->link);
		slot->nclaims++;
		items[count++] = (ReadyItem) {
			.key = entry->tag.key, .flags = entry->flags, .solo = entry->solo, .late = Max(entry->late, 1)
		};
	}
	slot_set_advancing(queue, slot, count > 0);
	if (count > held)
	{
		slot->served = true;
		queue_wake(queue);
	}
	LWLockRelease(shared_lock);
	return count;
}

/* Take up to max task numbers off the first range of the worker's queue that it may have. */
bool
ready_take_range(int index, int max, ReadyRange *range)
{
	Slot	   *slot = &lists->slots[index];
	Queue	   *queue;
	Range	   *first;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	first = queue_range(queue);
	if (first != NULL)
	{
		*range = first->range;
		dlist_delete(&first->link);
		if (range->high - range->low >= max)
		{
			range->high = range->low + max - 1;
			first->range.low = range->high + 1;
			dlist_push_tail(&queue->ranges, &first->link);
		}
		else
			range_free(queue, first);
		slot->range = *range;
		slot->served = true;
		slot_set_advancing(queue, slot, false);
		queue_wake(queue);
	}
	LWLockRelease(shared_lock);
	return first != NULL;
}

/* Of the range last taken only this task is in work: the worker gives the others away. */
void
ready_range_narrow(int index, int task_id)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	lists->slots[index].range.low = lists->slots[index].range.high = task_id;
	LWLockRelease(shared_lock);
}

/* What is in work of the range last taken may take long. */
void
ready_range_is_slow(int index)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	lists->slots[index].range.slow = true;
	LWLockRelease(shared_lock);
}

/* Whether a worker may run something slow out of the range last taken; if so, it counts as doing that. */
bool
ready_may_be_slow(int index)
{
	Slot	   *slot = &lists->slots[index];
	bool		may;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	may = queue_takes_slow(queue_get(slot->db, slot->role, false));
	slot->range.slow |= may;
	LWLockRelease(shared_lock);
	return may;
}

/* The range last taken is done. */
void
ready_range_done(int index)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	lists->slots[index].range.key = 0;
	LWLockRelease(shared_lock);
}

/* Whether instances wait in the queue of this worker. */
bool
ready_queued(int index)
{
	Queue	   *queue;
	bool		queued;

	LWLockAcquire(shared_lock, LW_SHARED);
	queue = queue_get(lists->slots[index].db, lists->slots[index].role, false);
	queued = queue->queued > 0;
	LWLockRelease(shared_lock);
	return queued;
}

/*
 * Let go of instances.  One whose flags are not zero, or to which something
 * happened meanwhile, goes back to the queue, to its head if it is late.
 * away: the worker turns to something that may take long.
 */
void
ready_release(int index, const ReadyItem *items, int count, bool away)
{
	Slot	   *slot = &lists->slots[index];
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	if (away)
		slot_set_advancing(queue, slot, false);
	/* backwards, so that what goes to the head of the queue is in order there */
	for (int i = count - 1; i >= 0; i--)
	{
		EntryKey	tag = {.db = slot->db, .role = slot->role, .key = items[i].key};
		Entry	   *entry = hash_search(lists_entries, &tag, HASH_FIND, NULL);
		int			flags = items[i].flags | entry->again;

		dlist_delete(&entry->link);
		slot->nclaims--;
		if (flags != 0)
			entry_enqueue(queue, entry, flags, items[i].solo, items[i].late);
		else
		{
			hash_search(lists_entries, &tag, HASH_REMOVE, NULL);
			lists->entries--;
		}
	}
	queue_wake(queue);
	LWLockRelease(shared_lock);
}

/* A scan begins, which says anew of what it leaves something out. */
void
ready_scan_begins(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < READY_QUEUES; i++)
		if (lists->queues[i].db == db)
			lists->queues[i].entries_left = lists->queues[i].ranges_left = false;
	LWLockRelease(shared_lock);
}

/* A scan has found so many instances of a role that it leaves out the rest. */
void
ready_leave_out(Oid db, Oid role)
{
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, false);
	if (queue != NULL)
		queue->entries_left = true;
	LWLockRelease(shared_lock);
}

/* Whether the scheduler's last look into the tables of a database has announced all that it found. */
void
ready_all_listed(Oid db, bool all)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < READY_QUEUES; i++)
		if (lists->queues[i].db == db)
			lists->queues[i].unlisted = !all;
	LWLockRelease(shared_lock);
}

/*
 * Whether a scan that did not fit may get further now: it comes first by what
 * is in the lists already, which is therefore to be the smaller part of what
 * some queue could have of which something was left out.
 */
bool
ready_drained(Oid db)
{
	bool		left = false;
	bool		drained = false;

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		const Queue *queue = &lists->queues[i];

		if (queue->db != db)
			continue;
		left |= queue->entries_left || queue->ranges_left;
		drained |= queue->entries_left && queue->queued < (READY_ENTRIES - lists->entries) / 2;
		drained |= queue->ranges_left && queue->nranges < lists->nfree_ranges / 2;
	}
	LWLockRelease(shared_lock);
	/* if no queue tells, there was none for some role */
	return drained || !left;
}

/* Drop all that is queued in a queue; lock held. */
static void
drop_queued(Queue *queue)
{
	while (!dlist_is_empty(&queue->entries))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&queue->entries));

		hash_search(lists_entries, &entry->tag, HASH_REMOVE, NULL);
		lists->entries--;
	}
	queue->queued = 0;
	queue_drop_ranges(queue);
}

/* Drop all that is queued for a role that does not exist any more. */
void
ready_drop(Oid db, Oid role)
{
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, false);
	if (queue != NULL)
		drop_queued(queue);
	LWLockRelease(shared_lock);
}

/* Drop all that is queued in a database that the scheduler has left; true if there was something. */
bool
ready_forget(Oid db)
{
	bool		some = false;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		if (lists->queues[i].db != db)
			continue;
		some |= queue_has_work(&lists->queues[i]);
		drop_queued(&lists->queues[i]);
	}
	LWLockRelease(shared_lock);
	return some;
}

/* The longer of two waits. */
static Wait
longer_wait(Wait a, Wait b)
{
	return a.since == 0 || (b.since != 0 && b.since < a.since) ? b : a;
}

/* Since when a worker has waited for a lock (a heavy one, as pg_locks shows them); 0: it does not. */
static TimestampTz
lock_wait(const Slot *slot)
{
	uint32		event = *(volatile uint32 *) &slot->proc->wait_event_info;

	return (event & 0xFF000000) == PG_WAIT_LOCK ? pg_atomic_read_u64(&slot->proc->waitStart) : 0;
}

/* Add a worker of the queue to what is known of it. */
static void
add_worker(QueueInfo *info, const Slot *slot)
{
	Wait		wait = {.pid = slot->pid};

	info->claimed += slot->nclaims;
	if (slot->pid == 0)
		return;
	wait.since = lock_wait(slot);
	info->for_lock = longer_wait(info->for_lock, wait);
	/* a round lasts no longer than durable.batch_time unless a function does */
	wait.since = slot->advancing && slot->nclaims > 1 ? slot->taken : 0;
	info->for_function = longer_wait(info->for_function, wait);
}

/* The beginning of the longest wait. */
TimestampTz
queue_waiting_since(const QueueInfo *info)
{
	return longer_wait(longer_wait(info->for_worker, info->for_function), info->for_lock).since;
}

/* What is queued for each role of a database, and how long some of it has waited. */
int
queue_list(Oid db, QueueInfo **infos)
{
	int			count = 0;
	TimestampTz now = GetCurrentTimestamp();

	*infos = palloc(READY_QUEUES * sizeof(QueueInfo));
	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &lists->queues[i];
		QueueInfo  *info = &(*infos)[count];
		dlist_iter	iter;

		if (queue->db != db)
			continue;
		*info = (QueueInfo)
		{
			.role = queue->role, .instances = queue->queued, .workers = queue->workers,
			.complete = !queue->entries_left && !queue->ranges_left && !queue->unlisted,
			.pausing = queue->retry_at > now
		};
		dlist_foreach(iter, &queue->ranges)
		{
			const Range *range = dlist_container(Range, link, iter.cur);

			if (!range_in_work(range))
				info->activities += range->range.high - range->range.low + 1;
		}
		for (int slot = 0; slot < DURABLE_WORKERS_LIMIT; slot++)
			if (lists->slots[slot].state != WORKER_FREE && lists->slots[slot].db == db &&
				lists->slots[slot].role == queue->role)
				add_worker(info, &lists->slots[slot]);
		if (info->instances > 0 || info->activities > 0)
			info->for_worker.since = queue->needed_since;
		count++;
	}
	LWLockRelease(shared_lock);
	return count;
}
