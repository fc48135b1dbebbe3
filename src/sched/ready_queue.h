/*
 * ready_queue.h
 *	  The ready queues: which instances have work, and which worker holds which.
 *
 * An instance with work is *queued* in the queue of its (database, role) or
 * *claimed* by one worker, never both and never twice.  What happens to a
 * claimed instance is added to the `again` flags of its entry, which its
 * worker reads before its next transaction.
 *
 * Activities that any worker may take (fan-out) are queued as *ranges* of task
 * numbers; row locks keep two workers from running the same activity.  Work
 * that runs alone waits in lists of its own for a long place (places.h).
 *
 * The queues are advice: if they are full, the scheduler's scan of the tables
 * finds the rest.  Each function takes shared_lock itself.
 */
#ifndef DURABLE_READY_QUEUE_H
#define DURABLE_READY_QUEUE_H

#include "common/model.h"

/*
 * Orchestrators are divided by name into this many groups, which take turns
 * among the instances of a role.  Instances whose name is not known are one
 * group.
 */
#define READY_NAMES		8

/* why an instance is ready; bits */
#define READY_RUN		0x01	/* its state is Ready */
#define READY_MESSAGE	0x02	/* it has messages */
#define READY_TIMER		0x04	/* one of its timers is due */
#define READY_ALL		(READY_RUN | READY_MESSAGE | READY_TIMER)

/* whether a turn or an activity runs alone, in a long place */
typedef enum Lone
{
	LONE_NO,
	LONE_MAY,					/* it was slow lately, or waited for a lock: alone if a long place is free, else with patience */
	LONE_MUST					/* it was interrupted */
} Lone;

/* an instance that is queued or claimed */
typedef struct ReadyItem
{
	int64		key;
	int			flags;
	bool		solo;			/* it needs a transaction of its own; the flag stays when the instance is queued again */
	Lone		lone;			/* how its next turn runs; this stays, too */
	int			late;			/* transactions in a row that did not get to it; the time in the queue counts as one */
	int			rounds;			/* transactions that did get to it since the worker claimed it */
} ReadyItem;

/* queued activities of an instance: task numbers low..high */
typedef struct ReadyRange
{
	int64		key;
	int			low;
	int			high;
	Lone		lone;
	TimestampTz try_at;			/* with LONE_MAY: not tried with patience before this */
} ReadyRange;

/* work to be queued */
typedef struct ReadyHint
{
	Oid			role;
	int64		key;
	int			flags;			/* 0: a range of tasks; else an instance */
	uint8		name;			/* group of the orchestrator's name, see ready_name; 0: unknown */
	int			low;
	int			high;
	Lone		lone;			/* of a range */
	TimestampTz try_at;			/* of a range */
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
	int			instances;		/* ready, and claimed by no worker */
	int			claimed;		/* claimed by workers */
	int			activities;		/* queued, and taken by no worker */
	int			alone;			/* instances and activities that wait for a long place; a range of activities counts as one */
	bool		complete;		/* the tables contain no more ready work */
	int			workers;
	bool		pausing;		/* no worker is started for the moment */
	bool		lacking;		/* the server had no process for this role */
	QueueWait	for_batch;		/* batch work that no worker takes; pid is 0 */
	QueueWait	for_long;		/* work that runs alone; pid is 0 */
	QueueWait	for_function;	/* claimed instances, while their worker runs a function of another instance */
	QueueWait	for_lock;		/* a worker that waits for a lock */
} QueueInfo;

/* the group of an orchestrator's name */
extern uint8 ready_name(const char *name);

/* queue work; false if some of it did not fit */
extern bool ready_push(Oid db, const ReadyHint *hints, int count);

/* for the worker in a slot */
extern int	ready_take(int slot, ReadyItem *items, int held, int max, int step_us, bool *yield);
extern bool ready_take_range(int slot, int max, ReadyRange *range);
/* work that runs alone, with a long place for it */
typedef enum LoneWork
{
	LONE_NOTHING,
	LONE_TURN,
	LONE_ACTIVITY
} LoneWork;
extern LoneWork ready_take_lone(int slot, ReadyItem *item, ReadyRange *range);
extern void ready_range_narrow(int slot, int task_id);
extern void ready_range_done(int slot);
/* whether instances wait in this worker's queue */
extern bool ready_queued(int slot);
extern void ready_release(int slot, const ReadyItem *items, int count, bool away);

/* for the scheduler */
extern void ready_scan_begins(Oid db);
extern void ready_leave_out(Oid db, Oid role);
extern void ready_all_listed(Oid db, bool all);
extern bool ready_drained(Oid db);
/* drop what is queued in a database; true if there was something */
extern bool ready_forget(Oid db);
/* drop what is queued for a role that does not exist any more */
extern void ready_drop(Oid db, Oid role);
/* what the next turn of an instance waits for */
typedef enum TurnState
{
	TURN_UNLISTED,				/* it has nothing to do, or the queue was full */
	TURN_QUEUED,
	TURN_ALONE,					/* queued, and waits for a long place */
	TURN_HELD					/* claimed by a worker */
} TurnState;
extern TurnState ready_turn_state(Oid db, Oid role, int64 key);
/* activities of a database that wait for a long place, palloc'd */
extern int	ready_lone_ranges(Oid db, ReadyRange **ranges);
/* the queues of a database, palloc'd */
extern int	queue_list(Oid db, QueueInfo **infos);
/* the beginning of the longest wait, 0: nothing waits */
extern TimestampTz queue_waiting_since(const QueueInfo *info);

#endif
