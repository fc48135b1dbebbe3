/*
 * ready_lists.h
 *	  The queues, entries and slots in shared memory that ready_queue.c,
 *	  worker_slots.c and places.c share.
 *
 * One hash table holds an entry for each instance that is queued or claimed.
 * A queued entry is linked into the queue of its (database, role), a claimed
 * entry into the list of its worker's slot.  A crash of the server resets all
 * this and the schedulers fill the queues again from the tables.
 *
 * shared_lock guards everything.  The caller of each function holds the lock,
 * except that of ready_lists_register.
 */
#ifndef DURABLE_READY_LISTS_H
#define DURABLE_READY_LISTS_H

#include "common/model.h"

#include "lib/ilist.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/hsearch.h"

#include "common/guc.h"
#include "sched/ready_queue.h"
#include "sched/worker_slots.h"

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
	int			slot;			/* slot of the worker that claims it, or -1: queued */
	ReadyItem	item;			/* as it was queued; the worker changes a copy of its own */
	int			again;			/* flags that came while the entry was claimed */
	bool		aside;			/* queued in lone_entries */
	uint8		name;			/* otherwise: queued in entries[name] */
	dlist_node	link;			/* in a list of a queue or in a worker's claims */
} Entry;

typedef struct Range
{
	ReadyRange	range;
	dlist_node	link;			/* in a list of a queue or in the free list */
} Range;

typedef struct Queue
{
	Oid			db;				/* InvalidOid: free */
	Oid			role;
	dlist_head	entries[READY_NAMES];	/* by group of orchestrator names; the groups take turns */
	dlist_head	ranges;
	dlist_head	lone_entries;	/* instances whose next turn runs alone */
	dlist_head	lone_ranges;
	int			queued;			/* number of instances in entries */
	int			next_name;		/* the group whose turn was last */
	int			nranges;		/* length of ranges */
	int			lone;			/* length of lone_entries and lone_ranges together */
	int			may;			/* how many of these are LONE_MAY */
	bool		lone_turn;		/* an entry of the two lists was taken last, not a range */
	bool		entries_left;	/* some entries did not fit, or a scan left them out; see ready_drained */
	bool		ranges_left;
	bool		unlisted;		/* the last scan of the database did not list everything that it found */
	int			processes;		/* slots of this queue */
	int			batch;			/* slots with a batch place that is not lent */
	int			longs;			/* slots with a long place */
	int			idle;			/* idle workers */
	int			starting;		/* workers that are reserved or starting */
	int			advancing;		/* workers that advance instances and come back for more soon */
	int			step_us;		/* time that one instance took lately */
	TimestampTz last_take;		/* when instances were taken last */
	bool		watched;		/* its scheduler looks at this queue again soon */
	TimestampTz retry_at;		/* no process is started before this */
	TimestampTz must_at;		/* work that was interrupted is not tried with patience before this */
	bool		lacking;		/* the server had no process for this queue */
	TimestampTz backlog_since;	/* since then there was always batch work; 0: there is none */
	TimestampTz batch_since;	/* when batch work was last taken, or came */
	TimestampTz lone_since;		/* when work that runs alone was last taken, or came */
	TimestampTz gave_way_since; /* a call that runs alone has given its place to others while it waited for a lock, and none has ended since; 0: no */
} Queue;

typedef struct WorkerSlot
{
	WorkerState state;
	Place		place;
	bool		lends;			/* it has a long place and lends its batch place */
	bool		overdue;		/* it has a long place because its code did not leave the batch place in time */
	uint32		generation;		/* grows with each reservation of the slot */
	Queue	   *queue;			/* queue of its role; NULL: the slot is free */
	pid_t		pid;
	Latch	   *latch;
	PGPROC	   *proc;			/* valid as long as pid is not 0 */
	TimestampTz taken;			/* when it last took instances to advance */
	TimestampTz since;			/* since when it has this state */
	TimestampTz placed;			/* since when it has this place */
	dlist_head	claims;
	int			nclaims;
	ReadyRange	range;			/* activities that it runs; key 0: none */
	bool		advancing;		/* it advances instances and comes back for more soon */
	bool		retire;			/* it is idle and must leave */
} WorkerSlot;

typedef struct Lists
{
	dlist_head	free_ranges;
	int			nfree_ranges;
	int			nqueues;		/* queues beyond these were never used */
	int			nslots;			/* slots beyond these were never used */
	int			batch_used;		/* places in use */
	int			long_used;
	bool		crowded;		/* some role may wait for its first batch place */
	volatile bool long_wanted;	/* some work waits for a long place; a worker that has one reads this without the lock */
	TimestampTz no_process;		/* when the server last had no process; 0: not within NO_PROCESS_TIME */
	Queue		queues[READY_QUEUES];
	WorkerSlot	slots[DURABLE_WORKERS_LIMIT];
	Range		ranges[READY_RANGES];
} Lists;

extern Lists *lists;
extern HTAB *lists_entries;		/* Entry by EntryKey */

extern void ready_lists_register(void);

extern Queue *queue_get(Oid db, Oid role, bool create);
extern bool queue_has_batch(const Queue *queue);
extern bool queue_has_work(const Queue *queue);
extern int	queue_chunk(const Queue *queue);
extern bool queue_can_wait(const Queue *queue);
extern void queue_came(Queue *queue);
extern void queue_taken(Queue *queue, bool lone);
extern void worker_slot_set_advancing(Queue *queue, WorkerSlot *slot, bool advancing);
extern void worker_slot_set_state(WorkerSlot *slot, WorkerState state);
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
