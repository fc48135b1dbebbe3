/*
 * lists.h
 *	  What ready.c, slot.c and places.c share: queues, entries and slots in
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
	ReadyItem	item;			/* as it is queued; its worker has its own meanwhile */
	int			again;			/* what came while it was claimed */
	bool		aside;			/* it is queued in lone_entries */
	uint8		name;			/* in which of the queue's entries else */
	dlist_node	link;			/* in one of a queue's lists or a worker's claims */
} Entry;

typedef struct Range
{
	ReadyRange	range;
	dlist_node	link;			/* in one of a queue's lists or the free list */
} Range;

typedef struct Queue
{
	Oid			db;				/* InvalidOid: free */
	Oid			role;
	dlist_head	entries[READY_NAMES];	/* of orchestrators of different names, which take turns */
	dlist_head	ranges;
	dlist_head	lone_entries;	/* what is to run alone */
	dlist_head	lone_ranges;
	int			queued;			/* length of all entries */
	int			next_name;		/* whose turn it is */
	int			nranges;		/* length of ranges */
	int			lone;			/* length of lone_entries and lone_ranges */
	int			may;			/* how many of these may be tried with patience */
	bool		lone_turn;		/* which of the two lists comes next */
	bool		entries_left;	/* some did not fit, or a scan left them out; see ready_drained */
	bool		ranges_left;
	bool		unlisted;		/* the last look into the tables has left something out, of whatever queue */
	int			processes;		/* slots of this queue */
	int			batch;			/* of which have a batch place that they have not lent */
	int			longs;			/* of which have a long place */
	int			idle;			/* of which are idle */
	int			starting;		/* of which are to be started, or are being */
	int			advancing;		/* of which advance instances and will be back soon */
	int			step_us;		/* what one instance took lately in such a round */
	TimestampTz last_take;		/* when such a round was begun last */
	bool		watched;		/* the scheduler looks at it again soon */
	TimestampTz retry_at;		/* no process is started before */
	TimestampTz must_at;		/* what was interrupted is not tried with patience before */
	bool		lacking;		/* that is so because there was no process */
	TimestampTz backlog_since;	/* some batch work has been there all the time; 0: there is none */
	TimestampTz batch_since;	/* when batch work was last taken, or came */
	TimestampTz lone_since;		/* when lone work was last taken, or came */
	TimestampTz gave_way_since; /* some of it has given way to others, as it waited for a lock, and none has ended since then; 0: not so */
} Queue;

typedef struct Slot
{
	WorkerState state;
	Place		place;
	bool		lends;			/* it has a long place, and its batch place is for whoever needs one */
	bool		overdue;		/* it has a long place as its code did not leave the batch place that it had */
	uint32		generation;		/* grows with each reservation */
	Queue	   *queue;			/* of its role; NULL: it is free */
	pid_t		pid;
	Latch	   *latch;
	PGPROC	   *proc;			/* its process's, as long as pid is not 0 */
	TimestampTz taken;			/* when it last took instances to advance */
	TimestampTz since;			/* of the state */
	TimestampTz placed;			/* it has its place since then */
	dlist_head	claims;
	int			nclaims;
	ReadyRange	range;			/* in work; key 0: none */
	bool		advancing;		/* instances, and back soon */
	bool		retire;			/* idle, and to leave */
} Slot;

typedef struct Lists
{
	dlist_head	free_ranges;
	int			nfree_ranges;
	int			nqueues;		/* queues beyond these have never been used */
	int			nslots;			/* nor slots */
	int			batch_used;		/* places */
	int			long_used;
	bool		crowded;		/* some role may wait for its first batch place */
	volatile bool long_wanted;	/* some lone work waits for a place; read without the lock by who has one */
	TimestampTz no_process;		/* when the server last had none; 0: not so since one was started */
	Queue		queues[READY_QUEUES];
	Slot		slots[DURABLE_WORKERS_LIMIT];
	Range		ranges[READY_RANGES];
} Lists;

extern Lists *lists;
extern HTAB *lists_entries;		/* Entry by EntryKey */

extern Size lists_shmem_size(void);
extern void lists_shmem_init(void);

extern Queue *queue_get(Oid db, Oid role, bool create);
extern bool queue_has_batch(const Queue *queue);
extern bool queue_has_work(const Queue *queue);
extern int	queue_chunk(const Queue *queue);
extern bool queue_can_wait(const Queue *queue);
extern void queue_came(Queue *queue);
extern void queue_taken(Queue *queue, bool lone);
extern void slot_set_advancing(Queue *queue, Slot *slot, bool advancing);
extern void slot_set_state(Slot *slot, WorkerState state);
extern void entry_enqueue(Queue *queue, Entry *entry, bool aside);
extern void entry_dequeue(Queue *queue, Entry *entry);
extern Entry *entry_next(Queue *queue);
extern TimestampTz queue_tries(Queue *queue, Lone lone);
extern Range *queue_range_to_try(Queue *queue);
extern Entry *queue_entry_to_try(Queue *queue);
extern void range_remove(Queue *queue, Range *range);
extern void queue_drop_ranges(Queue *queue);
extern bool range_push(Queue *queue, const ReadyRange *wanted);

#endif
