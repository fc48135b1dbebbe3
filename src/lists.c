/*
 * lists.c
 *	  The queues of ready work and the slots of workers: what is in them, who
 *	  may take it, and who is told of it.
 */
#include "postgres.h"

#include "storage/shmem.h"

#include "database.h"
#include "lists.h"
#include "shared.h"

/*
 * A worker that advances instances comes back for more in a moment.  What it
 * can do in CHUNK_US is left to it rather than given to another, since a few
 * large transactions cost less than many small ones; unless it is away for
 * longer than BACK_SOON_US.
 */
#define CHUNK_US		2000
#define CHUNK_MAX		16
#define BACK_SOON_US	5000

Lists	   *lists = NULL;
HTAB	   *lists_entries = NULL;

/* Bytes of shared memory that the lists take. */
Size
lists_shmem_size(void)
{
	return add_size(MAXALIGN(sizeof(Lists)),
					hash_estimate_size(READY_ENTRIES, sizeof(Entry)));
}

/* Lay the lists out, empty. */
void
lists_shmem_init(void)
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
		dlist_init(&lists->queues[i].entries);
		dlist_init(&lists->queues[i].ranges);
	}
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		dlist_init(&lists->slots[i].claims);
}

/* The queue of a role, made if there is none; NULL when all are taken. */
Queue *
queue_get(Oid db, Oid role, bool create)
{
	Queue	   *free_queue = NULL;

	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &lists->queues[i];

		if (queue->db == db && queue->role == role)
			return queue;
		if (free_queue == NULL &&
			(queue->db == InvalidOid ||
			 (queue->workers == 0 && queue->queued == 0 && dlist_is_empty(&queue->ranges))))
			free_queue = queue;
	}
	if (!create || free_queue == NULL)
		return NULL;
	free_queue->db = db;
	free_queue->role = role;
	free_queue->workers = free_queue->idle = free_queue->advancing = 0;
	free_queue->step_us = 0;
	free_queue->left = free_queue->entries_left = free_queue->ranges_left = free_queue->unlisted = false;
	free_queue->retry_at = free_queue->needed_since = 0;
	return free_queue;
}

/* Whether there is anything in a queue. */
bool
queue_has_work(const Queue *queue)
{
	return queue->queued > 0 || !dlist_is_empty((dlist_head *) &queue->ranges);
}

/* Whether a queue has work and no worker at all, and might have one. */
bool
queue_starves(const Queue *queue)
{
	return queue->db != InvalidOid && queue->workers == 0 && queue_has_work(queue) &&
		queue->retry_at <= GetCurrentTimestamp();
}

/* How many queues starve. */
static int
queues_starving(void)
{
	int			count = 0;

	for (int i = 0; i < READY_QUEUES; i++)
		count += queue_starves(&lists->queues[i]);
	return count;
}

/* How many workers there are. */
int
slots_used(void)
{
	int			count = 0;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		count += lists->slots[i].state != WORKER_FREE;
	return count;
}

/* Whether a worker is idle, stays, and is not one of a queue. */
bool
slot_may_leave(const Slot *slot, const Queue *except)
{
	return slot->state == WORKER_IDLE && !slot->retire &&
		(except == NULL || slot->db != except->db || slot->role != except->role);
}

/* How many workers are idle and stay, but for those of a queue. */
int
slots_idle(const Queue *except)
{
	int			count = 0;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		count += slot_may_leave(&lists->slots[i], except);
	return count;
}

/*
 * Whether a queue that has a worker (NULL: any) may have another.  One, and as
 * many as are waited for, are for queues that have none at all, in any database;
 * an idle worker of another queue can make way for one.
 */
bool
queue_another_allowed(const Queue *queue)
{
	return durable_max_workers - slots_used() + slots_idle(queue) > Max(queues_starving(), 1);
}

/* Whether a queue may have another worker. */
bool
queue_may_have_more(const Queue *queue)
{
	return slots_used() < durable_max_workers && (queue->workers == 0 || queue_another_allowed(queue));
}

/* Whether it would get one if it needed it. */
static bool
queue_can_grow(const Queue *queue)
{
	return queue->retry_at <= GetCurrentTimestamp() && queue_may_have_more(queue);
}

/* How many workers of a queue run activities that may be slow. */
static int
queue_slow_workers(const Queue *queue)
{
	int			count = 0;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		const Slot *slot = &lists->slots[i];

		count += slot->state != WORKER_FREE && slot->db == queue->db && slot->role == queue->role &&
			slot->range.key != 0 && slot->range.slow;
	}
	return count;
}

/* Whether a worker of a queue is being started: it may be all that the queue needs. */
bool
queue_has_starting(const Queue *queue)
{
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		if (lists->slots[i].state == WORKER_STARTING && lists->slots[i].db == queue->db &&
			lists->slots[i].role == queue->role)
			return true;
	return false;
}

/* Whether one more worker of a queue may run what is slow. */
bool
queue_takes_slow(const Queue *queue)
{
	return queue->workers <= 1 || queue_slow_workers(queue) < queue->workers - 1 ||
		queue_can_grow(queue);
}

/* The first range that a worker of the queue may take now; NULL if there is none. */
Range *
queue_range(const Queue *queue)
{
	dlist_iter	iter;
	bool		slow_too;

	if (dlist_is_empty((dlist_head *) &queue->ranges))
		return NULL;
	slow_too = queue_takes_slow(queue);
	dlist_foreach(iter, (dlist_head *) &queue->ranges)
	{
		Range	   *range = dlist_container(Range, link, iter.cur);

		if (slow_too || !range->range.slow)
			return range;
	}
	return NULL;
}

/* Whether a worker of the queue would find something to do. */
bool
queue_has_work_now(const Queue *queue)
{
	return queue->queued > 0 || queue_range(queue) != NULL;
}

/* Whether all of a range is in work: a scan announces again what a worker runs. */
bool
range_in_work(const Range *range)
{
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		const Slot *slot = &lists->slots[i];

		if (slot->state != WORKER_FREE && slot->db == range->db && slot->range.key == range->range.key &&
			slot->range.low <= range->range.low && slot->range.high >= range->range.high)
			return true;
	}
	return false;
}

/* Whether a queue has work that is not in work already. */
static bool
queue_has_open_work(const Queue *queue)
{
	dlist_iter	iter;

	if (queue->queued > 0)
		return true;
	dlist_foreach(iter, (dlist_head *) &queue->ranges)
		if (!range_in_work(dlist_container(Range, link, iter.cur)))
			return true;
	return false;
}

/* Whether there is something in a queue that no idle worker of it may take. */
bool
queue_waits(const Queue *queue)
{
	return queue->db != InvalidOid && queue_has_open_work(queue) &&
		(queue->idle == 0 || !queue_has_work_now(queue));
}

/* How many instances one worker may as well take alone. */
int
queue_chunk(const Queue *queue)
{
	return queue->step_us == 0 ? 1 : Min(Max(CHUNK_US / queue->step_us, 1), CHUNK_MAX);
}

/* Whether a worker is back in time for all that a queue holds. */
bool
queue_can_wait(const Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();

	return queue->advancing > 0 && queue->queued <= queue_chunk(queue) &&
		queue_range(queue) == NULL &&
		queue->last_take <= now && now - queue->last_take < BACK_SOON_US;
}

/* Note whether a slot's worker advances instances. */
void
slot_set_advancing(Queue *queue, Slot *slot, bool advancing)
{
	queue->advancing += advancing - slot->advancing;
	slot->advancing = advancing;
	if (advancing)
		slot->taken = queue->last_take = GetCurrentTimestamp();
}

/*
 * See that somebody takes what a queue holds: a worker that is back soon, an
 * idle one if there is one, the scheduler otherwise, which decides whether to
 * start another.
 */
void
queue_wake(Queue *queue)
{
	if (!queue_has_work_now(queue))
	{
		/* what its workers leave to others, as it is slow, may need another worker */
		if (queue_has_work(queue) && queue->needed_since == 0)
			database_poke(queue->db);
		return;
	}
	if (queue_can_wait(queue))
	{
		/* should the worker not come, the scheduler will notice */
		if (!queue->left)
			database_poke(queue->db);
		queue->left = true;
		return;
	}
	if (queue->idle > 0)
	{
		for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		{
			Slot	   *slot = &lists->slots[i];

			if (slot->state == WORKER_IDLE && slot->db == queue->db && slot->role == queue->role)
			{
				slot->state = WORKER_BUSY;
				slot->since = GetCurrentTimestamp();
				/* it does not leave now; whoever wants its place will ask again when it is idle */
				slot->retire = false;
				queue->idle--;
				SetLatch(slot->latch);
				return;
			}
		}
	}
	database_poke(queue->db);
}

/* Put an entry at the end of its queue; at its head, where it was, if a worker has taken it and not got to it. */
void
entry_enqueue(Queue *queue, Entry *entry, int flags, bool solo, int late)
{
	entry->slot = -1;
	entry->flags = flags;
	entry->solo = solo;
	entry->late = late;
	entry->again = 0;
	if (late > 0)
		dlist_push_head(&queue->entries, &entry->link);
	else
		dlist_push_tail(&queue->entries, &entry->link);
	queue->queued++;
}

/* A range of a queue is no longer needed; it has been taken out of its list. */
void
range_free(Queue *queue, Range *range)
{
	dlist_push_tail(&lists->free_ranges, &range->link);
	lists->nfree_ranges++;
	queue->nranges--;
}

/* Drop all ranges of a queue. */
void
queue_drop_ranges(Queue *queue)
{
	while (!dlist_is_empty(&queue->ranges))
		range_free(queue, dlist_container(Range, link, dlist_pop_head_node(&queue->ranges)));
}

/* Announce a range of tasks, joined to one of the same instance if there is one. */
bool
range_push(Queue *queue, const ReadyRange *wanted)
{
	dlist_iter	iter;
	Range	   *range;

	dlist_foreach(iter, &queue->ranges)
	{
		range = dlist_container(Range, link, iter.cur);
		if (range->range.key == wanted->key && range->range.slow == wanted->slow)
		{
			range->range.low = Min(range->range.low, wanted->low);
			range->range.high = Max(range->range.high, wanted->high);
			return true;
		}
	}
	/* as with entries: no queue has more than is left */
	if (lists->nfree_ranges == 0 || queue->nranges > lists->nfree_ranges)
	{
		queue->ranges_left = true;
		return false;
	}
	range = dlist_container(Range, link, dlist_pop_head_node(&lists->free_ranges));
	lists->nfree_ranges--;
	queue->nranges++;
	range->db = queue->db;
	range->role = queue->role;
	range->range = *wanted;
	dlist_push_tail(&queue->ranges, &range->link);
	return true;
}

/* Set the state of a slot, keeping its queue's count of idle workers. */
void
slot_set_state(Slot *slot, WorkerState state)
{
	Queue	   *queue = queue_get(slot->db, slot->role, false);

	if (queue != NULL)
		queue->idle += (state == WORKER_IDLE) - (slot->state == WORKER_IDLE);
	slot->state = state;
	slot->since = GetCurrentTimestamp();
}
