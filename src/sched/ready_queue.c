/*
 * ready_queue.c
 *	  Queues work, gives it to workers and takes it back from them.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "sched/database_slots.h"
#include "sched/places.h"
#include "sched/ready_lists.h"
#include "sched/ready_queue.h"
#include "shmem/shmem.h"

/* hints that are queued while the lock is held once */
#define PUSHED_AT_ONCE	64

/* The group of an orchestrator's name. */
uint8
ready_name(const char *name)
{
	return 1 + hash_bytes((const unsigned char *) name, strlen(name)) % (READY_NAMES - 1);
}

/* The number of free entries in the hash table. */
static int
entries_free(void)
{
	return READY_ENTRIES - hash_get_num_entries(lists_entries);
}

/* Queue an instance; false if it does not fit. */
static bool
push_entry(Queue *queue, const ReadyHint *hint)
{
	EntryKey	tag = {.db = queue->db, .role = queue->role, .key = hint->key};
	bool		found;
	Entry	   *entry = hash_search(lists_entries, &tag, HASH_ENTER_NULL, &found);

	if (entry == NULL || (!found && queue->queued + queue->lone > entries_free()))
	{
		/* a queue has no more entries than are free, so that others have room */
		if (entry != NULL)
			(void) hash_search(lists_entries, &tag, HASH_REMOVE, NULL);
		queue->entries_left = true;
		return false;
	}
	if (!found)
	{
		entry->item = (ReadyItem) {.key = hint->key, .flags = hint->flags};
		entry->name = hint->name;
		entry_enqueue(queue, entry, false);
	}
	else if (entry->slot >= 0)
		entry->again |= hint->flags;
	else
	{
		/* a message, such as a termination, does not wait for the long place that the turn waits for */
		bool		news = (hint->flags & ~entry->item.flags) != 0;

		entry->item.flags |= hint->flags;
		if (entry->aside && news)
		{
			entry_dequeue(queue, entry);
			entry_enqueue(queue, entry, false);
		}
	}
	return true;
}

/* Queue some hints while the lock is held once. */
static bool
push_some(Oid db, const ReadyHint *hints, int count)
{
	Queue	   *queue = NULL;
	bool		all = true;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	/* without a scheduler nobody starts workers, and a new scheduler scans the tables */
	if (!database_served(db))
	{
		database_poke(db);
		count = 0;
	}
	for (int i = 0; i < count; i++)
	{
		const ReadyHint *hint = &hints[i];

		/* work of an absent role waits in the tables */
		if (!OidIsValid(hint->role))
			continue;
		if (queue == NULL || queue->role != hint->role)
		{
			if (queue != NULL)
				places_seek(queue);
			queue = queue_get(db, hint->role, true);
		}
		if (queue == NULL)
			all = false;
		else if (hint->flags != 0)
			all &= push_entry(queue, hint);
		else
		{
			ReadyRange	range = {
				.key = hint->key, .low = hint->low, .high = hint->high, .lone = hint->lone, .try_at = hint->try_at
			};

			all &= range_push(queue, &range);
		}
	}
	if (queue != NULL)
		places_seek(queue);
	LWLockRelease(shared_lock);
	return all;
}

/*
 * Queue work of one database and wake workers for it.  Hints of the same role
 * should be neighbours.  Returns false if something did not fit: the caller
 * then asks for a scan.  The lock is released from time to time.
 */
bool
ready_push(Oid db, const ReadyHint *hints, int count)
{
	bool		all = true;

	for (int i = 0; i < count; i += PUSHED_AT_ONCE)
		all &= push_some(db, &hints[i], Min(count - i, PUSHED_AT_ONCE));
	return all;
}

/* The number of entries that a worker claims: its share, so that others find some, too. */
static int
fair_share(const Queue *queue, int max)
{
	int			sharers = queue->idle + 1;

	return Min(max, Max((queue->queued + sharers - 1) / sharers, queue_chunk(queue)));
}

/* Claim a queued instance for a worker. */
static ReadyItem
claim(WorkerSlot *slot, Queue *queue, Entry *entry)
{
	entry->item.late = Max(entry->item.late, 1);
	entry->item.rounds = 0;
	entry_dequeue(queue, entry);
	entry->slot = slot - lists->slots;
	dlist_push_tail(&slot->claims, &entry->link);
	slot->nclaims++;
	return entry->item;
}

/*
 * Add to the flags of the first `held` items, which the worker still claims,
 * what came for them, and claim others up to `max`.  Returns the number of
 * items.  *yield: the worker must give its place to a role that has none.
 * step_us: the time that an instance took in the worker's last transactions, 0
 * if unknown.
 */
int
ready_take(int index, ReadyItem *items, int held, int max, int step_us, bool *yield)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;
	int			count = held;
	int			share;
	TimestampTz waits_since = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < held; i++)
	{
		EntryKey	tag = {.db = queue->db, .role = queue->role, .key = items[i].key};
		Entry	   *entry = hash_search(lists_entries, &tag, HASH_FIND, NULL);

		/* the flags of a transaction that was rolled back are still set */
		items[i].flags |= entry->again;
		entry->again = 0;
	}
	if (step_us > 0)
		queue->step_us = step_us;
	*yield = place_is_due(queue, slot);
	share = *yield ? 0 : fair_share(queue, max - held);
	while (share-- > 0 && queue->queued > 0)
		items[count++] = claim(slot, queue, entry_next(queue));
	if (count == 0 && !*yield)
	{
		Entry	   *entry = places_may_try(queue) ? queue_entry_to_try(queue) : NULL;

		if (entry != NULL)
		{
			waits_since = queue_tries(queue, entry->item.lone);
			items[count] = claim(slot, queue, entry);
			items[count++].lone = LONE_MAY;
		}
	}
	worker_slot_set_advancing(queue, slot, count > 0);
	if (count > held)
	{
		queue_taken(queue, false);
		places_seek(queue);
	}
	/* what is only tried still waits for its long place */
	if (waits_since != 0)
		queue->lone_since = waits_since;
	LWLockRelease(shared_lock);
	return count;
}

/* Take up to max task numbers from a range. */
static ReadyRange
take_tasks(WorkerSlot *slot, Queue *queue, Range *range, int max)
{
	ReadyRange	taken = range->range;

	if (taken.high - taken.low >= max)
	{
		taken.high = taken.low + max - 1;
		range->range.low = taken.high + 1;
		dlist_delete(&range->link);
		dlist_push_tail(taken.lone != LONE_NO ? &queue->lone_ranges : &queue->ranges, &range->link);
	}
	else
		range_remove(queue, range);
	slot->range = taken;
	worker_slot_set_advancing(queue, slot, false);
	queue_taken(queue, taken.lone != LONE_NO);
	places_seek(queue);
	return taken;
}

/* Take up to max task numbers from the first range of the worker's queue. */
bool
ready_take_range(int index, int max, ReadyRange *range)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;
	Range	   *first;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	first = queue->nranges > 0 ? dlist_container(Range, link, dlist_head_node(&queue->ranges)) :
		places_may_try(queue) ? queue_range_to_try(queue) : NULL;
	if (first != NULL)
	{
		TimestampTz waits_since = queue_tries(queue, first->range.lone);

		*range = take_tasks(slot, queue, first, max);
		if (waits_since != 0)
			queue->lone_since = waits_since;
	}
	LWLockRelease(shared_lock);
	return first != NULL;
}

/* Take an instance or an activity that runs alone.  The worker gets a long place for it unless it has one. */
LoneWork
ready_take_lone(int index, ReadyItem *item, ReadyRange *range)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;
	LoneWork	result = LONE_NOTHING;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (queue->lone > 0 && place_go_long(queue, slot))
	{
		queue->lone_turn = dlist_is_empty(&queue->lone_ranges) ||
			(!queue->lone_turn && !dlist_is_empty(&queue->lone_entries));
		result = queue->lone_turn ? LONE_TURN : LONE_ACTIVITY;
		if (queue->lone_turn)
		{
			*item = claim(slot, queue, dlist_container(Entry, link, dlist_head_node(&queue->lone_entries)));
			worker_slot_set_advancing(queue, slot, false);
			queue_taken(queue, true);
			places_seek(queue);
		}
		else
			*range = take_tasks(slot, queue, dlist_container(Range, link, dlist_head_node(&queue->lone_ranges)), 1);
	}
	LWLockRelease(shared_lock);
	return result;
}

/* The worker runs only this task of its range; it queues the others again. */
void
ready_range_narrow(int index, int task_id)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	lists->slots[index].range.low = lists->slots[index].range.high = task_id;
	LWLockRelease(shared_lock);
}

/* The worker's range is done. */
void
ready_range_done(int index)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	lists->slots[index].range.key = 0;
	LWLockRelease(shared_lock);
}

/* Whether instances wait in this worker's queue. */
bool
ready_queued(int index)
{
	bool		queued;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queued = lists->slots[index].queue->queued > 0;
	LWLockRelease(shared_lock);
	return queued;
}

/*
 * End the worker's claim of instances.  An instance whose flags are not zero,
 * or for which something came meanwhile, is queued again, at the head if
 * `late` is set.  away: what the worker does next may take long.
 */
void
ready_release(int index, const ReadyItem *items, int count, bool away)
{
	WorkerSlot *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (away)
		worker_slot_set_advancing(queue, slot, false);
	/* backwards, so that instances at the head of the queue keep their order */
	for (int i = count - 1; i >= 0; i--)
	{
		EntryKey	tag = {.db = queue->db, .role = queue->role, .key = items[i].key};
		Entry	   *entry = hash_search(lists_entries, &tag, HASH_FIND, NULL);
		int			again = entry->again;
		int			flags = items[i].flags | again;

		dlist_delete(&entry->link);
		slot->nclaims--;
		if (flags != 0)
		{
			entry->item = items[i];
			entry->item.flags = flags;
			/* a message is taken in before the next turn runs alone */
			entry_enqueue(queue, entry, items[i].lone != LONE_NO && again == 0 && (flags & READY_MESSAGE) == 0);
		}
		else
			hash_search(lists_entries, &tag, HASH_REMOVE, NULL);
	}
	places_seek(queue);
	LWLockRelease(shared_lock);
}

/* A scan of the tables begins; it will report again what it leaves out. */
void
ready_scan_begins(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
		if (lists->queues[i].db == db)
			lists->queues[i].entries_left = lists->queues[i].ranges_left = false;
	LWLockRelease(shared_lock);
}

/* A scan leaves out the rest of a role's instances, since it has found so many. */
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

/* Set whether the last scan of a database listed everything that it found. */
void
ready_all_listed(Oid db, bool all)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
		if (lists->queues[i].db == db)
			lists->queues[i].unlisted = !all;
	LWLockRelease(shared_lock);
}

/*
 * Whether another scan may list more than the last one.  A scan finds first
 * what the queues have already, so some queue that lacks work must be less
 * than half as long as it may be.
 */
bool
ready_drained(Oid db)
{
	bool		left = false;
	bool		drained = false;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
	{
		const Queue *queue = &lists->queues[i];

		if (queue->db != db)
			continue;
		left |= queue->entries_left || queue->ranges_left;
		drained |= queue->entries_left && queue->queued < entries_free() / 2;
		drained |= queue->ranges_left && queue->nranges < lists->nfree_ranges / 2;
	}
	LWLockRelease(shared_lock);
	/* if no queue lacks work, some role got no queue */
	return drained || !left;
}

/* Drop the instances of a list; lock held. */
static void
drop_entries(Queue *queue, dlist_head *list)
{
	while (!dlist_is_empty(list))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_head_node(list));

		entry_dequeue(queue, entry);
		hash_search(lists_entries, &entry->tag, HASH_REMOVE, NULL);
	}
}

/* Drop all work of a queue; lock held. */
static void
drop_queued(Queue *queue)
{
	for (int name = 0; name < READY_NAMES; name++)
		drop_entries(queue, &queue->entries[name]);
	drop_entries(queue, &queue->lone_entries);
	queue_drop_ranges(queue);
	queue_came(queue);
}

/* Drop the queued work of a role that does not exist any more. */
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

/* Drop the queued work of a database that has no scheduler; true if there was some. */
bool
ready_forget(Oid db)
{
	bool		some = false;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
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
static QueueWait
longer_wait(QueueWait a, QueueWait b)
{
	return a.since == 0 || (b.since != 0 && b.since < a.since) ? b : a;
}

/* Since when a worker has waited for a heavyweight lock; 0: it does not wait. */
static TimestampTz
lock_wait(const WorkerSlot *slot)
{
	uint32		event = *(volatile uint32 *) &slot->proc->wait_event_info;

	return (event & 0xFF000000) == PG_WAIT_LOCK ? pg_atomic_read_u64(&slot->proc->waitStart) : 0;
}

/* Add a worker of the queue to the info. */
static void
add_worker(QueueInfo *info, const WorkerSlot *slot)
{
	QueueWait	wait = {.pid = slot->pid};

	info->claimed += slot->nclaims;
	if (slot->pid == 0)
		return;
	wait.since = lock_wait(slot);
	info->for_lock = longer_wait(info->for_lock, wait);
	/* a transaction lasts longer than durable.batch_time only because of a function */
	wait.since = slot->advancing && slot->nclaims > 1 ? slot->taken : 0;
	info->for_function = longer_wait(info->for_function, wait);
}

/* The beginning of the longest wait. */
TimestampTz
queue_waiting_since(const QueueInfo *info)
{
	return longer_wait(longer_wait(longer_wait(info->for_batch, info->for_long), info->for_function), info->for_lock).since;
}

/* Whether a worker runs all activities of a range.  A scan queues running activities again. */
static bool
in_work(Oid db, const ReadyRange *range)
{
	for (int i = 0; i < lists->nslots; i++)
	{
		const WorkerSlot *slot = &lists->slots[i];

		if (slot->queue != NULL && slot->queue->db == db && slot->range.key == range->key &&
			slot->range.low <= range->low && slot->range.high >= range->high)
			return true;
	}
	return false;
}

/* The number of activities in a list that no worker has taken. */
static int
activities_in(Oid db, dlist_head *ranges)
{
	dlist_iter	iter;
	int			count = 0;

	dlist_foreach(iter, ranges)
	{
		const ReadyRange *range = &dlist_container(Range, link, iter.cur)->range;

		if (!in_work(db, range))
			count += range->high - range->low + 1;
	}
	return count;
}

/* The queued work of each role of a database, and how long it has waited. */
int
queue_list(Oid db, QueueInfo **infos)
{
	int			count = 0;
	TimestampTz now = GetCurrentTimestamp();

	*infos = palloc(READY_QUEUES * sizeof(QueueInfo));
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
	{
		Queue	   *queue = &lists->queues[i];
		QueueInfo  *info = &(*infos)[count];
		dlist_iter	iter;

		if (queue->db != db)
			continue;
		*info = (QueueInfo)
		{
			.role = queue->role, .instances = queue->queued, .alone = queue->lone, .workers = queue->processes,
			.complete = !queue->entries_left && !queue->ranges_left && !queue->unlisted,
			.pausing = queue->retry_at > now, .lacking = queue->lacking
		};
		info->activities = activities_in(db, &queue->ranges) + activities_in(db, &queue->lone_ranges);
		dlist_foreach(iter, &queue->lone_entries)
			info->instances++;
		for (int slot = 0; slot < lists->nslots; slot++)
			if (lists->slots[slot].queue == queue)
				add_worker(info, &lists->slots[slot]);
		if (info->for_lock.since != 0 && queue->gave_way_since != 0)
			info->for_lock.since = Min(info->for_lock.since, queue->gave_way_since);
		if (queue->batch == 0)
			info->for_batch.since = queue->batch_since;
		info->for_long.since = queue->lone_since;
		count++;
	}
	LWLockRelease(shared_lock);
	return count;
}

/* What the next turn of an instance waits for. */
TurnState
ready_turn_state(Oid db, Oid role, int64 key)
{
	EntryKey	tag = {.db = db, .role = role, .key = key};
	TurnState	state = TURN_UNLISTED;
	Entry	   *entry;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	entry = hash_search(lists_entries, &tag, HASH_FIND, NULL);
	if (entry != NULL)
		state = entry->slot >= 0 ? TURN_HELD : entry->aside ? TURN_ALONE : TURN_QUEUED;
	LWLockRelease(shared_lock);
	return state;
}

/* The activities of a database that wait for a long place. */
int
ready_lone_ranges(Oid db, ReadyRange **ranges)
{
	int			count = 0;

	*ranges = palloc(READY_RANGES * sizeof(ReadyRange));
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
	{
		dlist_iter	iter;

		if (lists->queues[i].db == db)
			dlist_foreach(iter, &lists->queues[i].lone_ranges)
				(*ranges)[count++] = dlist_container(Range, link, iter.cur)->range;
	}
	LWLockRelease(shared_lock);
	return count;
}
