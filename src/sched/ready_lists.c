/*
 * ready_lists.c
 *	  The queues of ready work: counts, entries and ranges.
 *
 * The caller of each function holds shared_lock.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "sched/ready_lists.h"
#include "shmem/shmem.h"

/*
 * A worker that advances instances comes back for more soon.  Instances that
 * it can advance in CHUNK_US are left to it and not given to another worker,
 * since a few large transactions cost less than many small ones.  This holds
 * until the worker has been away for BACK_SOON_US.
 */
#define CHUNK_US		2000
#define CHUNK_MAX		16
#define BACK_SOON_US	5000
#define LONGEST_TRY_PAUSE	(10 * USECS_PER_SEC)
#define MUST_PAUSE		USECS_PER_SEC

Lists	   *lists = NULL;
HTAB	   *lists_entries = NULL;

/* Bytes of shared memory that the lists take. */
static Size
ready_lists_size(void)
{
	return add_size(MAXALIGN(sizeof(Lists)),
					hash_estimate_size(READY_ENTRIES, sizeof(Entry)));
}

static void
ready_lists_init(LWLock *own_lock)
{
	bool		found;
	HASHCTL		ctl = {.keysize = sizeof(EntryKey), .entrysize = sizeof(Entry)};

	lists = ShmemInitStruct("durable ready lists", sizeof(Lists), &found);
	lists_entries = compat_shmem_init_hash("durable ready entries", READY_ENTRIES, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	if (found)
		return;
	memset(lists, 0, sizeof(Lists));
	dlist_init(&lists->free_ranges);
	for (int i = 0; i < READY_RANGES; i++)
		dlist_push_tail(&lists->free_ranges, &lists->ranges[i].link);
	lists->nfree_ranges = READY_RANGES;
	for (int i = 0; i < READY_QUEUES; i++)
	{
		for (int name = 0; name < READY_NAMES; name++)
			dlist_init(&lists->queues[i].entries[name]);
		dlist_init(&lists->queues[i].ranges);
		dlist_init(&lists->queues[i].lone_entries);
		dlist_init(&lists->queues[i].lone_ranges);
	}
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		dlist_init(&lists->slots[i].claims);
}

void
ready_lists_register(void)
{
	shmem_add(ready_lists_size, ready_lists_init);
}

/* The queue of a role.  If there is none and create is set, one is made; NULL if all are in use. */
Queue *
queue_get(Oid db, Oid role, bool create)
{
	Queue	   *free_queue = NULL;

	for (int i = 0; i < lists->nqueues; i++)
	{
		Queue	   *queue = &lists->queues[i];

		if (queue->db == db && queue->role == role)
			return queue;
		if (free_queue == NULL &&
			(queue->db == InvalidOid || (queue->processes == 0 && !queue_has_work(queue))))
			free_queue = queue;
	}
	if (!create)
		return NULL;
	if (free_queue == NULL && lists->nqueues < READY_QUEUES)
		free_queue = &lists->queues[lists->nqueues++];
	if (free_queue == NULL)
		return NULL;
	free_queue->db = db;
	free_queue->role = role;
	free_queue->step_us = 0;
	free_queue->watched = free_queue->entries_left = free_queue->ranges_left = free_queue->unlisted = free_queue->lacking = false;
	free_queue->retry_at = free_queue->must_at = free_queue->backlog_since = free_queue->gave_way_since = 0;
	return free_queue;
}

/* Whether a queue has batch work.  Work that may be tried with patience does not count. */
bool
queue_has_batch(const Queue *queue)
{
	return queue->queued > 0 || queue->nranges > 0;
}

bool
queue_has_work(const Queue *queue)
{
	return queue_has_batch(queue) || queue->lone > 0;
}

/* The number of instances that are left to one worker. */
int
queue_chunk(const Queue *queue)
{
	return queue->step_us == 0 ? 1 : Min(Max(CHUNK_US / queue->step_us, 1), CHUNK_MAX);
}

/* Whether a worker comes back in time for all instances of a queue. */
bool
queue_can_wait(const Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();

	return queue->advancing > 0 && queue->queued <= queue_chunk(queue) && queue->nranges == 0 &&
		queue->last_take <= now && now - queue->last_take < BACK_SOON_US;
}

/* A queue may have got work: update the times since when its work waits. */
void
queue_came(Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!queue_has_batch(queue))
		queue->backlog_since = queue->batch_since = 0;
	else if (queue->backlog_since == 0)
		queue->backlog_since = queue->batch_since = now;
	if (queue->lone == 0)
		queue->lone_since = 0;
	else if (queue->lone_since == 0)
		queue->lone_since = now;
}

/* Work was taken from a queue: the waiting time of the rest begins again. */
void
queue_taken(Queue *queue, bool lone)
{
	TimestampTz now = GetCurrentTimestamp();

	if (lone)
		queue->lone_since = now;
	else
		queue->batch_since = now;
	queue_came(queue);
}

/* Set whether a slot's worker advances instances. */
void
worker_slot_set_advancing(Queue *queue, WorkerSlot *slot, bool advancing)
{
	queue->advancing += advancing - slot->advancing;
	slot->advancing = advancing;
	if (advancing)
		slot->taken = queue->last_take = GetCurrentTimestamp();
}

/* Set the state of a slot and update the counts of its queue. */
void
worker_slot_set_state(WorkerSlot *slot, WorkerState state)
{
	Queue	   *queue = slot->queue;

	queue->idle += (state == WORKER_IDLE) - (slot->state == WORKER_IDLE);
	queue->starting += (state == WORKER_WANTED || state == WORKER_STARTING) -
		(slot->state == WORKER_WANTED || slot->state == WORKER_STARTING);
	queue->processes += (state != WORKER_FREE) - (slot->state != WORKER_FREE);
	slot->state = state;
	slot->since = GetCurrentTimestamp();
}

/*
 * Put an entry into its queue: at the end, or at the head if a worker claimed
 * the entry and did not get to it.  aside: into lone_entries.
 */
void
entry_enqueue(Queue *queue, Entry *entry, bool aside)
{
	dlist_head *list = aside ? &queue->lone_entries : &queue->entries[entry->name];

	entry->slot = -1;
	entry->aside = aside;
	entry->again = 0;
	if (entry->item.late > 0 && !aside)
		dlist_push_head(list, &entry->link);
	else
		dlist_push_tail(list, &entry->link);
	if (aside)
	{
		queue->lone++;
		queue->may += entry->item.lone == LONE_MAY;
	}
	else
		queue->queued++;
}

/* Take an entry out of its queue. */
void
entry_dequeue(Queue *queue, Entry *entry)
{
	dlist_delete(&entry->link);
	if (entry->aside)
	{
		queue->lone--;
		queue->may -= entry->item.lone == LONE_MAY;
	}
	else
		queue->queued--;
	entry->aside = false;
}

/* The next entry for a worker with a batch place; the queue has one.  The groups of names take turns. */
Entry *
entry_next(Queue *queue)
{
	do
		queue->next_name = (queue->next_name + 1) % READY_NAMES;
	while (dlist_is_empty(&queue->entries[queue->next_name]));
	return dlist_container(Entry, link, dlist_head_node(&queue->entries[queue->next_name]));
}

/* Take a range out of its queue and put it on the free list. */
void
range_remove(Queue *queue, Range *range)
{
	dlist_delete(&range->link);
	dlist_push_tail(&lists->free_ranges, &range->link);
	lists->nfree_ranges++;
	if (range->range.lone != LONE_NO)
	{
		queue->lone--;
		queue->may -= range->range.lone == LONE_MAY;
	}
	else
		queue->nranges--;
}

void
queue_drop_ranges(Queue *queue)
{
	while (!dlist_is_empty(&queue->ranges))
		range_remove(queue, dlist_container(Range, link, dlist_head_node(&queue->ranges)));
	while (!dlist_is_empty(&queue->lone_ranges))
		range_remove(queue, dlist_container(Range, link, dlist_head_node(&queue->lone_ranges)));
}

/*
 * Whether the role may try work that was interrupted with patience again,
 * although the work waits for a long place.  On a busy machine, quick code may
 * take long once: this code does not wait for code that sleeps for hours.
 */
static bool
may_try_interrupted(const Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();

	/* the clock may have been set back */
	return queue->must_at <= now || queue->must_at > now + MUST_PAUSE;
}

/*
 * A worker tries work with patience.  If the work was interrupted before, the
 * role tries such work again after MUST_PAUSE; returns since when the work waits
 * for a long place then, else 0.
 */
TimestampTz
queue_tries(Queue *queue, Lone lone)
{
	if (lone != LONE_MUST)
		return 0;
	queue->must_at = GetCurrentTimestamp() + MUST_PAUSE;
	return queue->lone_since;
}

/* The first range that may be tried with patience now; NULL: none. */
Range *
queue_range_to_try(Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		interrupted = may_try_interrupted(queue);
	dlist_iter	iter;

	if (queue->may == 0 && !interrupted)
		return NULL;
	dlist_foreach(iter, &queue->lone_ranges)
	{
		Range	   *range = dlist_container(Range, link, iter.cur);

		/* the clock may have been set back */
		if (range->range.lone == LONE_MAY ?
			range->range.try_at <= now || range->range.try_at > now + LONGEST_TRY_PAUSE : interrupted)
			return range;
	}
	return NULL;
}

/* The first instance that may be tried with patience; NULL: none. */
Entry *
queue_entry_to_try(Queue *queue)
{
	bool		interrupted = may_try_interrupted(queue);
	dlist_iter	iter;

	if (queue->may == 0 && !interrupted)
		return NULL;
	dlist_foreach(iter, &queue->lone_entries)
	{
		Entry	   *entry = dlist_container(Entry, link, iter.cur);

		if (entry->item.lone == LONE_MAY || interrupted)
			return entry;
	}
	return NULL;
}

/* Whether a range is in lone_ranges already; a scan finds it again. */
static bool
is_lone_already(Queue *queue, const ReadyRange *wanted)
{
	dlist_iter	iter;

	dlist_foreach(iter, &queue->lone_ranges)
	{
		const ReadyRange *range = &dlist_container(Range, link, iter.cur)->range;

		if (range->key == wanted->key && range->low <= wanted->low && range->high >= wanted->high)
			return true;
	}
	return false;
}

/*
 * Queue a range of tasks.  It is joined with a range of the same instance;
 * with LONE_MAY or LONE_MUST, only if they touch.
 */
bool
range_push(Queue *queue, const ReadyRange *wanted)
{
	dlist_head *list = wanted->lone != LONE_NO ? &queue->lone_ranges : &queue->ranges;
	dlist_iter	iter;
	Range	   *range;

	if (wanted->lone != LONE_MUST && is_lone_already(queue, wanted))
		return true;
	dlist_foreach(iter, list)
	{
		range = dlist_container(Range, link, iter.cur);
		if (range->range.key == wanted->key && range->range.lone == wanted->lone &&
			(wanted->lone == LONE_NO ||
			 (wanted->low <= range->range.high + 1 && range->range.low <= wanted->high + 1)))
		{
			range->range.low = Min(range->range.low, wanted->low);
			range->range.high = Max(range->range.high, wanted->high);
			range->range.try_at = Max(range->range.try_at, wanted->try_at);
			return true;
		}
	}
	/* as in push_entry: a queue has no more ranges than are free, so that others have room */
	if (lists->nfree_ranges == 0 || queue->nranges + queue->lone > lists->nfree_ranges)
	{
		queue->ranges_left = true;
		return false;
	}
	range = dlist_container(Range, link, dlist_pop_head_node(&lists->free_ranges));
	lists->nfree_ranges--;
	range->range = *wanted;
	dlist_push_tail(list, &range->link);
	if (wanted->lone != LONE_NO)
	{
		queue->lone++;
		queue->may += wanted->lone == LONE_MAY;
	}
	else
		queue->nranges++;
	return true;
}
