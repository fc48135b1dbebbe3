/*
 * ready_queue.h
 *	  Which instances have work, which worker holds which: lists in shared
 *	  memory.
 *
 * An instance with work is *queued* in the queue of its (database, role) or
 * *claimed* by one worker, never both and never twice; what happens to a
 * claimed one is remembered in its `again` flags and seen by its holder before
 * the next round.  Activities that any worker may take (fan-out) are queued as
 * ranges of task numbers and guarded by row locks instead.  What is to run alone
 * waits in lists of its own, for a long place (places.h).  Lists are hints: when
 * they are full the work is left to the scheduler's scan.
 */
#ifndef DURABLE_READY_QUEUE_H
#define DURABLE_READY_QUEUE_H

#include "common/model.h"

/* so many groups of orchestrators, by name, take turns among the instances of a role; those of which no name is told are one */
#define READY_NAMES		8

/* why an instance is ready; bits */
#define READY_RUN		0x01	/* its row says so */
#define READY_MESSAGE	0x02	/* it has messages */
#define READY_TIMER		0x04	/* one of its timers is due */
#define READY_ALL		(READY_RUN | READY_MESSAGE | READY_TIMER)

/* whether a turn or an activity runs alone, in a long place */
typedef enum Lone
{
	LONE_NO,
	LONE_MAY,					/* it was long lately, or waited for a lock: if a place is free, else with patience */
	LONE_MUST					/* it was interrupted */
} Lone;

/* an instance that is queued or that a worker holds */
typedef struct ReadyItem
{
	int64		key;
	int			flags;
	bool		solo;			/* to have a transaction of its own; it stays with it when it goes back to the queue */
	Lone		lone;			/* likewise, of its next turn */
	int			late;			/* rounds in a row that have not got to it; that it waited in the queue counts as one */
	int			rounds;			/* that have, since the worker took it */
} ReadyItem;

/* queued activities of an instance: task numbers low..high */
typedef struct ReadyRange
{
	int64		key;
	int			low;
	int			high;
	Lone		lone;
	TimestampTz try_at;			/* with LONE_MAY: not tried with patience before */
} ReadyRange;

/* something to announce */
typedef struct ReadyHint
{
	Oid			role;
	int64		key;
	int			flags;			/* 0: a range of tasks */
	uint8		name;			/* group of the instance's orchestrator, see ready_name; 0: not told */
	int			low;
	int			high;
	Lone		lone;			/* of a range */
	TimestampTz try_at;			/* likewise */
} ReadyHint;

/* since when something waits, and for which worker */
typedef struct QueueWait
{
	TimestampTz since;			/* 0: nothing waits */
	pid_t		pid;
} QueueWait;

/* how much work a role of a database has */
typedef struct QueueInfo
{
	Oid			role;
	int			instances;		/* ready, and held by no worker */
	int			claimed;		/* held by workers */
	int			activities;		/* queued, and taken by no worker */
	int			alone;			/* how many of these and of the instances wait for a long place, some activities of an instance counting as one */
	bool		complete;		/* the tables have no more than that */
	int			workers;
	bool		pausing;		/* no worker is started for the moment */
	bool		lacking;		/* that is so because the server had no process */
	QueueWait		for_batch;		/* nobody takes what is queued; pid 0 */
	QueueWait		for_long;		/* what is to run alone; pid 0 */
	QueueWait		for_function;	/* instances that a worker holds, while it runs a function of another one */
	QueueWait		for_lock;		/* a worker, in the midst of something */
} QueueInfo;

/* the group of a name */
extern uint8 ready_name(const char *name);

/* announcing: false when something did not fit */
extern bool ready_push(Oid db, const ReadyHint *hints, int count);

/* the worker's side */
extern int	ready_take(int slot, ReadyItem *items, int held, int max, int step_us, bool *yield);
extern bool ready_take_range(int slot, int max, ReadyRange *range);
/* what is to run alone, with a long place for it */
typedef enum LoneWork
{
	LONE_NOTHING,
	LONE_TURN,
	LONE_ACTIVITY
} LoneWork;
extern LoneWork ready_take_lone(int slot, ReadyItem *item, ReadyRange *range);
extern void ready_range_narrow(int slot, int task_id);
extern void ready_range_done(int slot);
/* whether instances wait in the queue of this worker */
extern bool ready_queued(int slot);
extern void ready_release(int slot, const ReadyItem *items, int count, bool away);

/* the scheduler's side */
extern void ready_scan_begins(Oid db);
extern void ready_leave_out(Oid db, Oid role);
extern void ready_all_listed(Oid db, bool all);
extern bool ready_drained(Oid db);
/* true if there was something */
extern bool ready_forget(Oid db);
/* the same for one role, which does not exist any more */
extern void ready_drop(Oid db, Oid role);
/* what the next turn of an instance waits for */
typedef enum TurnState
{
	TURN_UNLISTED,				/* it has nothing to do, or the lists have not got it */
	TURN_QUEUED,
	TURN_ALONE,					/* queued, for a long place */
	TURN_HELD					/* a worker holds it */
} TurnState;
extern TurnState ready_turn_state(Oid db, Oid role, int64 key);
/* what waits for a long place in one database, palloc'd */
extern int	ready_lone_ranges(Oid db, ReadyRange **ranges);
/* of one database, palloc'd */
extern int	queue_list(Oid db, QueueInfo **infos);
/* the beginning of the longest wait, 0: nothing waits */
extern TimestampTz queue_waiting_since(const QueueInfo *info);

#endif
