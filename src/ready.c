/*
 * ready.c
 *	  Announces work, and gives it to workers and takes it back from them.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "database.h"
#include "lists.h"
#include "places.h"
#include "ready.h"
#include "shared.h"

/* hints for which the lock is held */
#define PUSHED_AT_ONCE	64

/* The group of an orchestrator's name. */
uint8
ready_name(const char *name)
{
	return 1 + hash_bytes((const unsigned char *) name, strlen(name)) % (READY_NAMES - 1);
}

/* How many entries the hash table has room for. */
static int
entries_free(void)
{
	return READY_ENTRIES - hash_get_num_entries(lists_entries);
}

/* Announce one instance; false when it does not fit. */
static bool
push_entry(Queue *queue, const ReadyHint *hint)
{
	EntryKey	tag = {.db = queue->db, .role = queue->role, .key = hint->key};
	bool		found;
	Entry	   *entry = hash_search(lists_entries, &tag, HASH_ENTER_NULL, &found);

	if (entry == NULL || (!found && queue->queued + queue->lone > entries_free()))
	{
		/* no queue has more than is left, so that there is room for the others */
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
		/* a termination, say, does not wait for the place that the turn waits for */
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

/* Announce some of it. */
static bool
push_some(Oid db, const ReadyHint *hints, int count)
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
 * Announce work of one database and wake those who take it.  Hints of the same
 * role should be neighbours.  Returns false when something did not fit: the
 * caller then asks for a scan.  However much it is, others come to the lock.
 */
bool
ready_push(Oid db, const ReadyHint *hints, int count)
{
	bool		all = true;

	for (int i = 0; i < count; i += PUSHED_AT_ONCE)
		all &= push_some(db, &hints[i], Min(count - i, PUSHED_AT_ONCE));
	return all;
}

/* How many entries a worker takes: its share, so that others find some too. */
static int
fair_share(const Queue *queue, int max)
{
	int			sharers = queue->idle + 1;

	return Min(max, Max((queue->queued + sharers - 1) / sharers, queue_chunk(queue)));
}

/* Claim a queued instance for a worker. */
static ReadyItem
claim(Slot *slot, Queue *queue, Entry *entry)
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
 * Add to the flags of the `held` instances, which the worker still claims, what
 * has come for them, and claim others up to `max`.  Returns how many items there are now.  *yield is
 * set when the worker is to give its place to a role that has none.  step_us is
 * what an instance took in the worker's last rounds, 0 if it does not know.
 */
int
ready_take(int index, ReadyItem *items, int held, int max, int step_us, bool *yield)
{
	Slot	   *slot = &lists->slots[index];
	Queue	   *queue = slot->queue;
	int			count = held;
	int			share;
	TimestampTz waits_since = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < held; i++)
	{
		EntryKey	tag = {.db = queue->db, .role = queue->role, .key = items[i].key};
		Entry	   *entry = hash_search(lists_entries, &tag, HASH_FIND, NULL);

		/* what a round that failed has given back is still to be taken */
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
	slot_set_advancing(queue, slot, count > 0);
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

/* Take up to max task numbers off a range. */
static ReadyRange
take_tasks(Slot *slot, Queue *queue, Range *range, int max)
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
	slot_set_advancing(queue, slot, false);
	queue_taken(queue, taken.lone != LONE_NO);
	places_seek(queue);
	return taken;
}

/* Take up to max task numbers off the first range of the worker's queue. */
bool
ready_take_range(int index, int max, ReadyRange *range)
{
	Slot	   *slot = &lists->slots[index];
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

/* Take something that is to run alone, and the long place for it if the worker has none. */
LoneWork
ready_take_lone(int index, ReadyItem *item, ReadyRange *range)
{
	Slot	   *slot = &lists->slots[index];
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
			slot_set_advancing(queue, slot, false);
			queue_taken(queue, true);
			places_seek(queue);
		}
		else
			*range = take_tasks(slot, queue, dlist_container(Range, link, dlist_head_node(&queue->lone_ranges)), 1);
	}
	LWLockRelease(shared_lock);
	return result;
}

/* Of the range last taken only this task is in work: the worker gives the others away. */
void
ready_range_narrow(int index, int task_id)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	lists->slots[index].range.low = lists->slots[index].range.high = task_id;
	LWLockRelease(shared_lock);
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
	bool		queued;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queued = lists->slots[index].queue->queued > 0;
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
	Queue	   *queue = slot->queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (away)
		slot_set_advancing(queue, slot, false);
	/* backwards, so that what goes to the head of the queue is in order there */
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
			/* what has come is taken in first */
			entry_enqueue(queue, entry, items[i].lone != LONE_NO && again == 0 && (flags & READY_MESSAGE) == 0);
		}
		else
			hash_search(lists_entries, &tag, HASH_REMOVE, NULL);
	}
	places_seek(queue);
	LWLockRelease(shared_lock);
}

/* A scan begins, which says anew of what it leaves something out. */
void
ready_scan_begins(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
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
	for (int i = 0; i < lists->nqueues; i++)
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
	/* if no queue tells, there was none for some role */
	return drained || !left;
}

/* Drop the instances of a list. */
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

/* Drop all that is queued in a queue; lock held. */
static void
drop_queued(Queue *queue)
{
	for (int name = 0; name < READY_NAMES; name++)
		drop_entries(queue, &queue->entries[name]);
	drop_entries(queue, &queue->lone_entries);
	queue_drop_ranges(queue);
	queue_came(queue);
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
	QueueWait		wait = {.pid = slot->pid};

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
	return longer_wait(longer_wait(longer_wait(info->for_batch, info->for_long), info->for_function), info->for_lock).since;
}

/* Whether all of a range is in work: a scan announces again what a worker runs. */
static bool
in_work(Oid db, const ReadyRange *range)
{
	for (int i = 0; i < lists->nslots; i++)
	{
		const Slot *slot = &lists->slots[i];

		if (slot->queue != NULL && slot->queue->db == db && slot->range.key == range->key &&
			slot->range.low <= range->low && slot->range.high >= range->high)
			return true;
	}
	return false;
}

/* How many activities of a list nobody has taken. */
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

/* What is queued for each role of a database, and how long some of it has waited. */
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

/* Which activities of a database wait for a long place. */
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
