/*
 * lists.h
 *	  What ready.c, slot.c and need.c share: queues, entries and slots in
 *	  shared memory.
 *
 * One hash table holds an entry for each instance that is queued or claimed;
 * queued ones are linked into the queue of their (database, role), claimed
 * ones into the list of their worker's slot.  A crash of the server empties
 * everything and the schedulers fill it again from the tables.  shared_lock
 * guards all of it; whoever calls one of these functions holds it, but for the
 * two at the server's start.
 */
#ifndef DURABLE_LISTS_H
#define DURABLE_LISTS_H

#include "durable.h"

#include "lib/ilist.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/hsearch.h"

#include "ready.h"
#include "settings.h"
#include "slot.h"

#define READY_ENTRIES	65536
#define READY_RANGES	4096
#define READY_QUEUES	512

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
	bool		unlisted;		/* the last look into the tables has left something out, of whatever queue */
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
	PGPROC	   *proc;			/* its process's, as long as pid is not 0 */
	TimestampTz taken;			/* when it last took instances to advance */
	TimestampTz since;			/* of the state */
	TimestampTz started;
	dlist_head	claims;
	int			nclaims;
	ReadyRange	range;			/* in work; key 0: none */
	bool		served;			/* has been given something to do */
	bool		advancing;		/* instances, and back soon */
	bool		retire;			/* idle, and its place is wanted */
} Slot;

typedef struct Lists
{
	int			entries;		/* in the hash table */
	dlist_head	free_ranges;
	int			nfree_ranges;
	int			starving;		/* queues that found no slot */
	bool		needy;			/* some queue was found to need a worker; see need_wake */
	Queue		queues[READY_QUEUES];
	Slot		slots[DURABLE_WORKERS_LIMIT];
	Range		ranges[READY_RANGES];
} Lists;

extern Lists *lists;
extern HTAB *lists_entries;		/* Entry by EntryKey */

extern Size lists_shmem_size(void);
extern void lists_shmem_init(void);

extern Queue *queue_get(Oid db, Oid role, bool create);
extern bool queue_has_work(const Queue *queue);
extern bool queue_starves(const Queue *queue);
extern int	slots_used(void);
extern bool slot_may_leave(const Slot *slot, const Queue *except);
extern int	slots_idle(const Queue *except);
extern bool queue_another_allowed(const Queue *queue);
extern bool queue_may_have_more(const Queue *queue);
extern bool queue_has_starting(const Queue *queue);
extern bool queue_takes_slow(const Queue *queue);
extern Range *queue_range(const Queue *queue);
extern bool queue_has_work_now(const Queue *queue);
extern bool queue_waits(const Queue *queue);
extern int	queue_chunk(const Queue *queue);
extern bool queue_can_wait(const Queue *queue);
extern void slot_set_advancing(Queue *queue, Slot *slot, bool advancing);
extern void queue_wake(Queue *queue);
extern void entry_enqueue(Queue *queue, Entry *entry, int flags, bool solo, int late);
extern bool range_in_work(const Range *range);
extern void range_free(Queue *queue, Range *range);
extern void queue_drop_ranges(Queue *queue);
extern bool range_push(Queue *queue, const ReadyRange *wanted);
extern void slot_set_state(Slot *slot, WorkerState state);

#endif
