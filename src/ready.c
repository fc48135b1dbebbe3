/*
 * ready.c
 *	  The lists of ready instances, and the slots of the workers.
 *
 * One hash table holds an entry for each instance that is queued or claimed;
 * queued ones are linked into the queue of their (database, role), claimed
 * ones into the list of their worker's slot.  A worker that ends in whatever
 * way gives back what it holds (worker_slot_detach, an on_shmem_exit
 * callback); a crash of the server empties everything and the schedulers fill
 * it again from the tables.  shared_lock guards all of it.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#include "database.h"
#include "ready.h"
#include "settings.h"
#include "shared.h"

#define READY_ENTRIES	65536
#define READY_RANGES	4096
#define READY_QUEUES	512

/*
 * A worker that advances instances comes back for more in a moment.  What it
 * can do in CHUNK_US is left to it rather than given to another, since a few
 * large transactions cost less than many small ones; unless it is away for
 * longer than BACK_SOON_US.
 */
#define CHUNK_US		2000
#define CHUNK_MAX		16
#define BACK_SOON_US	5000

#define FAILED_START_PAUSE	(5 * USECS_PER_SEC)
#define LONGEST_PAUSE	(10 * USECS_PER_SEC)

typedef struct EntryKey
{
	Oid			db;
	Oid			role;
	int64		key;
} EntryKey;

typedef struct Entry
{
	EntryKey	tag;			/* hash key, must be first */
	int			slot;			/* claiming worker, or -1: queued */
	int			flags;			/* why it is queued */
	int			again;			/* what came while it was claimed */
	bool		solo;			/* it is to be run alone */
	int			late;			/* rounds in a row that have not got to it */
	dlist_node	link;			/* in a queue's entries or a worker's claims */
} Entry;

typedef struct Range
{
	Oid			db;
	Oid			role;
	ReadyRange	range;
	dlist_node	link;			/* in a queue's ranges or the free list */
} Range;

typedef struct Queue
{
	Oid			db;				/* InvalidOid: free */
	Oid			role;
	dlist_head	entries;
	dlist_head	ranges;
	int			queued;			/* length of entries */
	int			nranges;		/* length of ranges */
	bool		entries_left;	/* some did not fit, or a scan left them out; see ready_drained */
	bool		ranges_left;
	int			workers;		/* slots reserved for this queue */
	int			idle;			/* of which idle */
	int			advancing;		/* of which advance instances and will be back soon */
	int			step_us;		/* what one instance took lately in such a round */
	TimestampTz last_take;		/* when such a round was begun last */
	bool		left;			/* something was left to those, and the scheduler looks after it */
	TimestampTz retry_at;		/* no worker is started before */
	TimestampTz needed_since;	/* work and no idle worker; 0: not so */
} Queue;

typedef struct Slot
{
	WorkerState state;
	uint32		generation;		/* grows with each reservation */
	Oid			db;
	Oid			role;
	pid_t		pid;
	Latch	   *latch;
	TimestampTz since;			/* of the state */
	TimestampTz started;
	dlist_head	claims;
	int			nclaims;
	ReadyRange	range;			/* in work; key 0: none */
	bool		served;			/* has been given something to do */
	bool		advancing;		/* instances, and back soon */
	bool		retire;			/* idle, and its place is wanted */
} Slot;

typedef struct ReadyShared
{
	int			entries;		/* in the hash table */
	dlist_head	free_ranges;
	int			nfree_ranges;
	int			starving;		/* queues that found no slot */
	bool		needy;			/* some queue was found to need a worker; see wake_needy */
	Queue		queues[READY_QUEUES];
	Slot		slots[DURABLE_WORKERS_LIMIT];
	Range		ranges[READY_RANGES];
} ReadyShared;

static ReadyShared *shared = NULL;
static HTAB *entries = NULL;

/* Bytes of shared memory that the lists take. */
Size
ready_shmem_size(void)
{
	return add_size(MAXALIGN(sizeof(ReadyShared)),
					hash_estimate_size(READY_ENTRIES, sizeof(Entry)));
}

/* Lay the lists out, empty. */
void
ready_shmem_init(void)
{
	bool		found;
	HASHCTL		ctl = {.keysize = sizeof(EntryKey), .entrysize = sizeof(Entry)};

	shared = ShmemInitStruct("durable ready lists", sizeof(ReadyShared), &found);
	entries = compat_shmem_init_hash("durable ready entries", READY_ENTRIES, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	if (found)
		return;
	memset(shared, 0, sizeof(ReadyShared));
	dlist_init(&shared->free_ranges);
	for (int i = 0; i < READY_RANGES; i++)
		dlist_push_tail(&shared->free_ranges, &shared->ranges[i].link);
	shared->nfree_ranges = READY_RANGES;
	for (int i = 0; i < READY_QUEUES; i++)
	{
		dlist_init(&shared->queues[i].entries);
		dlist_init(&shared->queues[i].ranges);
	}
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		dlist_init(&shared->slots[i].claims);
}

/* The queue of a role, made if there is none; NULL when all are taken. */
static Queue *
queue_get(Oid db, Oid role, bool create)
{
	Queue	   *free_queue = NULL;

	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &shared->queues[i];

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
	free_queue->left = free_queue->entries_left = free_queue->ranges_left = false;
	free_queue->retry_at = free_queue->needed_since = 0;
	return free_queue;
}

/* Whether there is anything in a queue. */
static bool
queue_has_work(const Queue *queue)
{
	return queue->queued > 0 || !dlist_is_empty((dlist_head *) &queue->ranges);
}

/* Whether a queue has work and no worker at all, and might have one. */
static bool
queue_starves(const Queue *queue)
{
	return queue->db != InvalidOid && queue->workers == 0 && queue_has_work(queue) &&
		queue->retry_at <= GetCurrentTimestamp();
}

/* How many queues starve. */
static int
count_starving(void)
{
	int			count = 0;

	for (int i = 0; i < READY_QUEUES; i++)
		count += queue_starves(&shared->queues[i]);
	return count;
}

/* How many workers there are. */
static int
count_used(void)
{
	int			count = 0;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		count += shared->slots[i].state != WORKER_FREE;
	return count;
}

/* Whether a worker is idle, stays, and is not one of a queue. */
static bool
slot_is_idle(const Slot *slot, const Queue *except)
{
	return slot->state == WORKER_IDLE && !slot->retire &&
		(except == NULL || slot->db != except->db || slot->role != except->role);
}

/* How many workers are idle and stay, but for those of a queue. */
static int
count_idle(const Queue *except)
{
	int			count = 0;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		count += slot_is_idle(&shared->slots[i], except);
	return count;
}

/*
 * Whether a queue that has a worker (NULL: any) may have another.  One, and as
 * many as are waited for, are for queues that have none at all, in any database;
 * an idle worker of another queue can make way for one.
 */
static bool
another_allowed(const Queue *queue)
{
	return durable_max_workers - count_used() + count_idle(queue) > Max(count_starving(), 1);
}

/* Whether a queue may have another worker. */
static bool
queue_may_have_more(const Queue *queue)
{
	return count_used() < durable_max_workers && (queue->workers == 0 || another_allowed(queue));
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
		const Slot *slot = &shared->slots[i];

		count += slot->state != WORKER_FREE && slot->db == queue->db && slot->role == queue->role &&
			slot->range.key != 0 && slot->range.slow;
	}
	return count;
}

/* Whether a worker of a queue is being started: it may be all that the queue needs. */
static bool
queue_has_starting(const Queue *queue)
{
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
		if (shared->slots[i].state == WORKER_STARTING && shared->slots[i].db == queue->db &&
			shared->slots[i].role == queue->role)
			return true;
	return false;
}

/* Whether one more worker of a queue may run what is slow. */
static bool
queue_takes_slow(const Queue *queue)
{
	return queue->workers <= 1 || queue_slow_workers(queue) < queue->workers - 1 ||
		queue_can_grow(queue);
}

/* The first range that a worker of the queue may take now; NULL if there is none. */
static Range *
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
static bool
queue_has_work_now(const Queue *queue)
{
	return queue->queued > 0 || queue_range(queue) != NULL;
}

/* Whether there is something in a queue that no idle worker of it may take. */
static bool
queue_waits(const Queue *queue)
{
	return queue->db != InvalidOid && queue_has_work(queue) &&
		(queue->idle == 0 || !queue_has_work_now(queue));
}

/* How many instances one worker may as well take alone. */
static int
queue_chunk(const Queue *queue)
{
	return queue->step_us == 0 ? 1 : Min(Max(CHUNK_US / queue->step_us, 1), CHUNK_MAX);
}

/* Whether a worker is back in time for all that a queue holds. */
static bool
queue_can_wait(const Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();

	return queue->advancing > 0 && queue->queued <= queue_chunk(queue) &&
		queue_range(queue) == NULL &&
		queue->last_take <= now && now - queue->last_take < BACK_SOON_US;
}

/* Note whether a slot's worker advances instances. */
static void
slot_set_advancing(Queue *queue, Slot *slot, bool advancing)
{
	queue->advancing += advancing - slot->advancing;
	slot->advancing = advancing;
	if (advancing)
		queue->last_take = GetCurrentTimestamp();
}

/*
 * See that somebody takes what a queue holds: a worker that is back soon, an
 * idle one if there is one, the scheduler otherwise, which decides whether to
 * start another.
 */
static void
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
			Slot	   *slot = &shared->slots[i];

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
static void
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

/* Announce one instance; false when it does not fit. */
static bool
push_entry(Queue *queue, const ReadyHint *hint)
{
	EntryKey	tag = {.db = queue->db, .role = queue->role, .key = hint->key};
	bool		found;
	Entry	   *entry = hash_search(entries, &tag, HASH_ENTER_NULL, &found);

	if (entry == NULL || (!found && queue->queued > READY_ENTRIES - shared->entries))
	{
		/* no queue has more than is left, so that there is room for the others */
		if (entry != NULL)
			(void) hash_search(entries, &tag, HASH_REMOVE, NULL);
		queue->entries_left = true;
		return false;
	}
	if (!found)
	{
		shared->entries++;
		entry_enqueue(queue, entry, hint->flags, false, 0);
	}
	else if (entry->slot >= 0)
		entry->again |= hint->flags;
	else
		entry->flags |= hint->flags;
	return true;
}

/* A range of a queue is no longer needed; it has been taken out of its list. */
static void
range_free(Queue *queue, Range *range)
{
	dlist_push_tail(&shared->free_ranges, &range->link);
	shared->nfree_ranges++;
	queue->nranges--;
}

/* Drop all ranges of a queue. */
static void
queue_drop_ranges(Queue *queue)
{
	while (!dlist_is_empty(&queue->ranges))
		range_free(queue, dlist_container(Range, link, dlist_pop_head_node(&queue->ranges)));
}

/* Announce a range of tasks, joined to one of the same instance if there is one. */
static bool
push_range(Queue *queue, const ReadyRange *wanted)
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
	if (shared->nfree_ranges == 0 || queue->nranges > shared->nfree_ranges)
	{
		queue->ranges_left = true;
		return false;
	}
	range = dlist_container(Range, link, dlist_pop_head_node(&shared->free_ranges));
	shared->nfree_ranges--;
	queue->nranges++;
	range->db = queue->db;
	range->role = queue->role;
	range->range = *wanted;
	dlist_push_tail(&queue->ranges, &range->link);
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
		count = 0;
	for (int i = 0; i < count; i++)
	{
		const ReadyHint *hint = &hints[i];

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

			all &= push_range(queue, &range);
		}
	}
	if (queue != NULL)
		queue_wake(queue);
	LWLockRelease(shared_lock);
	return all;
}

/* Set the state of a slot, keeping its queue's count of idle workers. */
static void
slot_set_state(Slot *slot, WorkerState state)
{
	Queue	   *queue = queue_get(slot->db, slot->role, false);

	if (queue != NULL)
		queue->idle += (state == WORKER_IDLE) - (slot->state == WORKER_IDLE);
	slot->state = state;
	slot->since = GetCurrentTimestamp();
}

/* Take over a reserved slot: this process is the worker now. */
void
worker_slot_attach(int index)
{
	Slot	   *slot = &shared->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot->pid = MyProcPid;
	slot->latch = MyLatch;
	LWLockRelease(shared_lock);
}

/* The process has connected and can work now. */
void
worker_slot_connected(int index)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot_set_state(&shared->slots[index], WORKER_BUSY);
	LWLockRelease(shared_lock);
}

/*
 * A worker has left or gone idle, so a queue that was refused one might get it
 * now: its scheduler looks again.  Nobody else would tell it.
 */
static void
wake_needy(void)
{
	if (!shared->needy)
		return;
	shared->needy = false;
	for (int i = 0; i < READY_QUEUES; i++)
		if (shared->queues[i].db != InvalidOid && shared->queues[i].needed_since != 0)
			database_poke(shared->queues[i].db);
}

/* Drop all that a slot holds, for the scheduler to find it again; lock held. */
static void
slot_drop_claims(Slot *slot)
{
	while (!dlist_is_empty(&slot->claims))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&slot->claims));

		(void) hash_search(entries, &entry->tag, HASH_REMOVE, NULL);
		shared->entries--;
	}
	slot->range.key = 0;
	database_request_scan(slot->db);
}

/* Return all that a slot holds to its queue and free it; lock held. */
static void
slot_free(Slot *slot)
{
	Queue	   *queue = queue_get(slot->db, slot->role, false);

	/* one that could not even connect is not replaced at once */
	if (slot->state == WORKER_STARTING)
		queue->retry_at = GetCurrentTimestamp() + FAILED_START_PAUSE;
	slot_set_state(slot, WORKER_FREE);
	slot_set_advancing(queue, slot, false);
	if (!database_served(slot->db))
		slot_drop_claims(slot);
	while (!dlist_is_empty(&slot->claims))
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&slot->claims));

		entry_enqueue(queue, entry, READY_ALL, false, 0);
	}
	slot->nclaims = 0;
	if (slot->range.key != 0 && !push_range(queue, &slot->range))
		database_request_scan(slot->db);
	slot->range.key = 0;
	queue->workers--;
	queue_wake(queue);
	/* the scheduler reads the black box; the slot goes to whoever waits for one, if any does */
	database_poke(slot->db);
	wake_needy();
	slot->db = slot->role = InvalidOid;
	slot->pid = 0;
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
	if (shared->slots[index].pid == MyProcPid)
	{
		if (to_scheduler)
			slot_drop_claims(&shared->slots[index]);
		slot_free(&shared->slots[index]);
	}
	LWLockRelease(shared_lock);
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
	Slot	   *slot = &shared->slots[index];
	Queue	   *queue;
	int			count = held;
	int			share;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	for (int i = 0; i < held; i++)
	{
		EntryKey	tag = {.db = slot->db, .role = slot->role, .key = items[i].key};
		Entry	   *entry = hash_search(entries, &tag, HASH_FIND, NULL);

		/* what a round that failed has given back is still to be taken */
		items[i].flags |= entry->again;
		entry->again = 0;
	}
	if (step_us > 0)
		queue->step_us = step_us;
	*retire = shared->starving > 0 && slot->served &&
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
	Slot	   *slot = &shared->slots[index];
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

/* What is in work of the range last taken may take long. */
void
ready_range_is_slow(int index)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->slots[index].range.slow = true;
	LWLockRelease(shared_lock);
}

/* Whether a worker may run something slow out of the range last taken; if so, it counts as doing that. */
bool
ready_may_be_slow(int index)
{
	Slot	   *slot = &shared->slots[index];
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
	shared->slots[index].range.key = 0;
	LWLockRelease(shared_lock);
}

/* Whether instances wait in the queue of this worker. */
bool
ready_queued(int index)
{
	Queue	   *queue;
	bool		queued;

	LWLockAcquire(shared_lock, LW_SHARED);
	queue = queue_get(shared->slots[index].db, shared->slots[index].role, false);
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
	Slot	   *slot = &shared->slots[index];
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	if (away)
		slot_set_advancing(queue, slot, false);
	/* backwards, so that what goes to the head of the queue is in order there */
	for (int i = count - 1; i >= 0; i--)
	{
		EntryKey	tag = {.db = slot->db, .role = slot->role, .key = items[i].key};
		Entry	   *entry = hash_search(entries, &tag, HASH_FIND, NULL);
		int			flags = items[i].flags | entry->again;

		dlist_delete(&entry->link);
		slot->nclaims--;
		if (flags != 0)
			entry_enqueue(queue, entry, flags, items[i].solo, items[i].late);
		else
		{
			hash_search(entries, &tag, HASH_REMOVE, NULL);
			shared->entries--;
		}
	}
	queue_wake(queue);
	LWLockRelease(shared_lock);
}

/* Go idle; false when there is work after all. */
bool
worker_slot_idle(int index)
{
	Slot	   *slot = &shared->slots[index];
	Queue	   *queue;
	bool		idle;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(slot->db, slot->role, false);
	slot_set_advancing(queue, slot, false);
	idle = !queue_has_work_now(queue);
	if (idle && slot->state != WORKER_IDLE)
	{
		slot_set_state(slot, WORKER_IDLE);
		if (shared->needy && another_allowed(NULL))
			wake_needy();
	}
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether nobody has woken an idle worker yet. */
bool
worker_slot_is_idle(int index)
{
	bool		idle;

	LWLockAcquire(shared_lock, LW_SHARED);
	idle = shared->slots[index].state == WORKER_IDLE;
	LWLockRelease(shared_lock);
	return idle;
}

/* Whether the place of an idle worker is wanted by another role. */
bool
worker_slot_unwanted(int index)
{
	return shared->slots[index].retire;
}

/* Leave for good, unless somebody has just woken this worker. */
bool
worker_slot_leave(int index)
{
	Slot	   *slot = &shared->slots[index];
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
worker_slot_reserve(Oid db, Oid role, uint32 *generation)
{
	int			result = -1;
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, true);
	if (queue != NULL && queue_may_have_more(queue))
		for (int i = 0; i < DURABLE_WORKERS_LIMIT && result < 0; i++)
			if (shared->slots[i].state == WORKER_FREE)
				result = i;
	if (result >= 0)
	{
		Slot	   *slot = &shared->slots[result];

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
worker_slot_unreserve(int index, uint32 generation)
{
	Slot	   *slot = &shared->slots[index];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (slot->generation == generation && slot->state != WORKER_FREE)
		slot_free(slot);
	LWLockRelease(shared_lock);
}

/* Tell one idle worker to leave, to make room, but none of a queue. */
static void
retire_idle(const Queue *except)
{
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		Slot	   *slot = &shared->slots[i];

		if (slot_is_idle(slot, except))
		{
			slot->retire = true;
			SetLatch(slot->latch);
			return;
		}
	}
}

/*
 * The roles of a database that have work and no worker who will take it; where
 * one is being started, that has them looked at again if it is not enough.
 * The starving count, which makes busy workers of other roles leave, is kept here.
 * *soon is set when something was left to a worker that should be back soon.
 */
int
ready_needs(Oid db, ReadyNeed *needs, int max, bool *soon)
{
	TimestampTz now = GetCurrentTimestamp();
	int			count = 0;
	int			used;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	used = count_used();
	shared->starving = 0;
	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &shared->queues[i];
		bool		lasts;

		if (queue->db == db && queue->left)
		{
			queue->left = queue_has_work(queue) && queue_can_wait(queue);
			if (queue->left)
				*soon = true;
			else
				queue_wake(queue);
		}
		/* another worker may have become possible, so that slow activities need not wait any more */
		if (queue->db == db && queue->idle > 0)
			queue_wake(queue);
		if (!queue_waits(queue))
			queue->needed_since = 0;
		else if (queue->needed_since == 0 || queue->needed_since > now)
			queue->needed_since = now;
		/* the clock may have been set back */
		queue->retry_at = Min(queue->retry_at, now + LONGEST_PAUSE);
		if (queue->needed_since == 0 || queue->retry_at > now)
			continue;
		shared->needy = true;
		if (queue_has_starting(queue))
			continue;
		lasts = now - queue->needed_since >= READY_BACKLOG_US;
		if (used >= durable_max_workers)
		{
			shared->starving += queue_starves(queue);
			if (queue->workers == 0 || (lasts && count_idle(queue) > 1))
				retire_idle(queue);
		}
		/* its idle ones are kept for quick work, and take what is slow once there is room for another */
		if (queue->idle > 0)
		{
			*soon |= queue->db == db && !lasts;
			continue;
		}
		if (queue->db == db && count < max)
			needs[count++] = (ReadyNeed)
		{
			.role = queue->role, .queued = queue->queued, .workers = queue->workers,
			.since = queue->needed_since
		};
	}
	LWLockRelease(shared_lock);
	return count;
}

/*
 * When the pause of some role of a database ends that has work and no worker
 * who will take it, 0 if there is none: nobody else wakes the scheduler then.
 */
TimestampTz
ready_retry_at(Oid db)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz first = 0;

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		const Queue *queue = &shared->queues[i];

		if (queue->db == db && queue->retry_at > now && queue_waits(queue) &&
			(first == 0 || queue->retry_at < first))
			first = queue->retry_at;
	}
	LWLockRelease(shared_lock);
	return first;
}

/* Have one idle worker leave: the server has no process left for another role. */
void
ready_retire_one(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	retire_idle(NULL);
	LWLockRelease(shared_lock);
}

/* Whether some role waits for a worker while all slots are taken. */
bool
ready_starving(void)
{
	return shared->starving > 0;
}

/* Start no worker for this role before the given time. */
void
ready_back_off(Oid db, Oid role, TimestampTz until)
{
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, false);
	if (queue != NULL)
		queue->retry_at = until;
	LWLockRelease(shared_lock);
}

/* A scan begins, which says anew of what it leaves something out. */
void
ready_scan_begins(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < READY_QUEUES; i++)
		if (shared->queues[i].db == db)
			shared->queues[i].entries_left = shared->queues[i].ranges_left = false;
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
		const Queue *queue = &shared->queues[i];

		if (queue->db != db)
			continue;
		left |= queue->entries_left || queue->ranges_left;
		drained |= queue->entries_left && queue->queued < (READY_ENTRIES - shared->entries) / 2;
		drained |= queue->ranges_left && queue->nranges < shared->nfree_ranges / 2;
	}
	LWLockRelease(shared_lock);
	/* if no queue tells, there was none for some role */
	return drained || !left;
}

/*
 * Take instances off the queue of a role that no worker can serve, because it
 * no longer exists; the scheduler deals with them.
 */
int
ready_take_unserved(Oid db, Oid role, int64 *keys, int max)
{
	Queue	   *queue;
	int			count = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, false);
	while (queue != NULL && queue->queued > 0 && count < max)
	{
		Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&queue->entries));

		keys[count++] = entry->tag.key;
		hash_search(entries, &entry->tag, HASH_REMOVE, NULL);
		shared->entries--;
		queue->queued--;
	}
	if (queue != NULL)
		queue_drop_ranges(queue);
	LWLockRelease(shared_lock);
	return count;
}

/* Drop all that is queued in a database whose extension has gone. */
void
ready_forget(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &shared->queues[i];

		if (queue->db != db)
			continue;
		while (!dlist_is_empty(&queue->entries))
		{
			Entry	   *entry = dlist_container(Entry, link, dlist_pop_head_node(&queue->entries));

			hash_search(entries, &entry->tag, HASH_REMOVE, NULL);
			shared->entries--;
		}
		queue->queued = 0;
		queue_drop_ranges(queue);
	}
	LWLockRelease(shared_lock);
}

/* All slots in use; infos has room for DURABLE_WORKERS_LIMIT. */
int
worker_list(WorkerInfo *infos)
{
	int			count = 0;

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		Slot	   *slot = &shared->slots[i];

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

/* What is queued for each role of a database. */
int
queue_list(Oid db, QueueInfo **infos)
{
	int			count = 0;

	*infos = palloc(READY_QUEUES * sizeof(QueueInfo));
	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &shared->queues[i];
		QueueInfo  *info = &(*infos)[count];
		dlist_iter	iter;

		if (queue->db != db)
			continue;
		*info = (QueueInfo)
		{
			.role = queue->role, .instances = queue->queued, .workers = queue->workers,
			.waiting_since = queue->needed_since
		};
		dlist_foreach(iter, &queue->ranges)
		{
			ReadyRange *range = &dlist_container(Range, link, iter.cur)->range;

			info->activities += range->high - range->low + 1;
		}
		for (int slot = 0; slot < DURABLE_WORKERS_LIMIT; slot++)
			if (shared->slots[slot].state != WORKER_FREE && shared->slots[slot].db == db &&
				shared->slots[slot].role == queue->role)
				info->claimed += shared->slots[slot].nclaims;
		count++;
	}
	LWLockRelease(shared_lock);
	return count;
}
