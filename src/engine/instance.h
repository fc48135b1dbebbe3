/*
 * instance.h
 *	  An instance in the memory of a worker: its row, its decoded history, and
 *	  what its orchestrator waits for.
 *
 * The history is decoded into *tasks* and *raised events*.  A task is what the
 * orchestrator asked for with one call; its number counts these calls.  The
 * files that work on an Instance are
 *
 *	instance_cache.c	which instances are in memory
 *	history_decode.c	events of the history become tasks and raised events
 *	inbox.c				loads an instance and applies its messages and timers
 *	turn.c, await.c		run the orchestrator
 *	turn_effects.c		store what a turn asked for
 *	lifecycle.c			appends events, changes the state, writes the row
 */
#ifndef DURABLE_INSTANCE_H
#define DURABLE_INSTANCE_H

#include "common/model.h"

#include "lib/ilist.h"

#include "store/store.h"
#include "store/instance_rows.h"

typedef enum TaskKind
{
	TASK_ACTIVITY,
	TASK_CHILD,					/* a sub-orchestration */
	TASK_TIMER,
	TASK_EVENT,					/* a subscription to an external event */
	TASK_SEND					/* an event for another instance; ends at once */
} TaskKind;

typedef struct Task
{
	int			id;
	TaskKind	kind;
	bool		recorded;		/* the history has the event that scheduled it */
	bool		canceled;		/* the code canceled it in this turn */
	bool		cancel_recorded;	/* the history has the cancellation */
	bool		failed;
	bool		handled;		/* the code caught its failure, so a rewind does not repeat the task */
	bool		expired;		/* a timeout that made the orchestrator fail */
	bool		halted;			/* open, but without a timer, queue entry or worker: canceled by the turn that
								 * failed, or waiting for its next attempt when the instance failed */
	int			attempt;		/* 1 for the first */
	int			rewinds;		/* how many rewinds have reopened it */
	const char *name;
	Jsonb	   *input;
	Jsonb	   *options;		/* retry policy, timeout; NULL: none */
	Jsonb	   *result;			/* or the failure */
	TimestampTz fire_at;		/* of a timer */
	int64		target;			/* key of the instance that gets a sent event; 0: a child that this turn starts */
	int			done_seq;		/* sequence number of the event that ended it; 0: open */
	TimestampTz done_time;		/* turn time at which the code could first see the end */
	bool		turn_consumed;	/* the code has seen the end in this turn */
	int			turn_step;		/* Turn.steps when the code saw the end */
	const char *event_name;		/* of a subscription: its name in lower case */
	int			turn_event;		/* index of the raised event that a subscription took in this turn, or -1 */
	Jsonb	   *unstartable;	/* why this turn could not start the child */
	bool		start_due;		/* this transaction must start the child's current attempt */
	TimestampTz put_off_time;	/* when a temporary obstacle first postponed this attempt; 0: not postponed */
	int			scheduled_seq;	/* sequence number of the event that scheduled it */
	TimestampTz scheduled_time;
} Task;

typedef struct RaisedEvent
{
	const char *name;			/* lower case */
	Jsonb	   *data;
	int			seq;
	TimestampTz time;			/* turn time at which the code could first see it */
	bool		taken;			/* a subscription took it in this turn */
} RaisedEvent;

typedef enum WaitMode
{
	WAIT_NONE,					/* a turn can run at once */
	WAIT_ANY,
	WAIT_ALL
} WaitMode;

typedef struct Instance
{
	int64		key;			/* hash key of the cache, must be first */
	dlist_node	link;			/* in the cache's list, least recently used first */
	MemoryContext context;		/* owns everything below */
	InstanceRow row;
	Jsonb	   *input;
	const char *parent_id;		/* id of the instance that started it, which may be deleted; or NULL */
	Task	  **tasks;			/* tasks[i] has the number row.first_task + i */
	int			ntasks;
	int			tasks_size;
	RaisedEvent *events;
	int			nevents;
	int			events_size;
	int			visible_from;	/* sequence number of the last suspension; 0: never suspended */
	WaitMode	wait_mode;		/* what the last turn waits for */
	int		   *waits;			/* numbers of the tasks that it waits for */
	int			nwaits;
	bool		failed;			/* it failed and was not rewound since */
	bool		events_new;		/* an event was raised since the last turn */
	int			open_timers;	/* at least as many as it has rows in the timers table */
	Task	   *next_activity;	/* this worker runs it before the next turn; or NULL */
	int			last_activity;	/* number of the last activity that it runs then */
	int			starts_due;		/* number of tasks that are start_due */
	bool		put_aside;		/* its last turn was undone, and TURN_TIMER will repeat it */
	bool		dirty;			/* instance_save must write the row */
	int			conflicts;		/* how many deadlocks its next activity was part of */
	bool		spent;			/* the worker forgets it after this transaction: it has ended, or its memory holds data of earlier executions */
	Size		size;			/* bytes of the context at the last instance_save */
} Instance;

/* The transaction in which a worker, or the scheduler, changes instances. */
typedef struct WorkerTransaction
{
	Store	   *store;
	Oid			owner;			/* it loads instances of this role only; InvalidOid in the scheduler, which loads none */
	TimestampTz now;			/* the time of all events that it appends */
} WorkerTransaction;

#endif
