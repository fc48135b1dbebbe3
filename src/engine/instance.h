/*
 * instance.h
 *	  An instance in a worker's memory: its row, its decoded history, and what
 *	  it waits for.
 *
 * The history is decoded into *tasks* (what the code asked for, by number)
 * and *raised events*.  instance_append is the one way to add to the history:
 * it writes the row and decodes it, so that memory and table agree whether an
 * event has just happened or was read after a restart.
 */
#ifndef DURABLE_INSTANCE_H
#define DURABLE_INSTANCE_H

#include "common/model.h"

#include "lib/ilist.h"

#include "sched/ready_queue.h"
#include "store/store.h"
#include "store/instance_rows.h"
#include "store/history_rows.h"

typedef enum TaskKind
{
	TASK_ACTIVITY,
	TASK_CHILD,
	TASK_TIMER,
	TASK_EVENT,
	TASK_SEND					/* done as soon as it is asked for */
} TaskKind;

typedef struct Task
{
	int			id;
	TaskKind	kind;
	bool		recorded;		/* history says that it was scheduled */
	bool		canceled;		/* given up by the code in this turn */
	bool		cancel_recorded;	/* history says so */
	bool		failed;
	bool		handled;		/* the code dealt with its failure: rewind leaves it */
	bool		expired;		/* a timeout that made the orchestrator fail */
	bool		halted;			/* open, and nothing goes on with it: given up by the turn that failed, or in a pause then */
	int			attempt;		/* 1 for the first */
	int			rewinds;		/* how often a rewind has begun it anew */
	const char *name;
	Jsonb	   *input;
	Jsonb	   *options;		/* retry policy, timeout; NULL: none */
	Jsonb	   *result;			/* or the failure */
	TimestampTz fire_at;		/* of a timer */
	int64		target;			/* of an event that this turn sends: key of who gets it; 0: a child that it starts */
	int			done_seq;		/* event that ended it; 0: open */
	TimestampTz done_time;		/* when the code could see that first */
	bool		turn_consumed;	/* the code has seen the end in this turn */
	int			turn_step;		/* and as which of its steps */
	const char *event_name;		/* of a subscription: the name in lower case */
	int			turn_event;		/* and the event that it took in this turn, or -1 */
	Jsonb	   *unstartable;	/* why this turn could not start a child */
	bool		start_due;		/* a child whose next attempt this round is to start */
	TimestampTz put_off_time;	/* since when something that passes keeps this attempt from being made; 0: nothing does */
	int			scheduled_seq;	/* event that scheduled it */
	TimestampTz scheduled_time;
} Task;

typedef struct RaisedEvent
{
	const char *name;			/* lower case */
	Jsonb	   *data;
	int			seq;
	TimestampTz time;			/* when the code could see it first */
	bool		taken;			/* in this turn */
} RaisedEvent;

typedef enum WaitMode
{
	WAIT_NONE,					/* nothing: it can go on */
	WAIT_ANY,
	WAIT_ALL
} WaitMode;

typedef struct Instance
{
	int64		key;			/* hash key of the cache, must be first */
	dlist_node	link;			/* in the cache's order of use */
	MemoryContext context;		/* owns all that follows */
	InstanceRow row;
	Jsonb	   *input;
	const char *parent_id;		/* of the instance that started it, which may be gone; or NULL */
	Task	  **tasks;			/* tasks[i] has number row.first_task + i */
	int			ntasks;
	int			tasks_size;
	RaisedEvent *events;
	int			nevents;
	int			events_size;
	int			visible_from;	/* first event, task ends included, that came while suspended; 0: none */
	WaitMode	wait_mode;		/* what the last turn stopped for */
	int		   *waits;			/* task numbers */
	int			nwaits;
	bool		failed;			/* its last end was a failure that was not rewound */
	bool		events_new;		/* an event was raised since the last turn */
	int			open_timers;	/* rows in the timers table */
	Task	   *next_activity;	/* to be run by this worker before the next turn */
	int			last_activity;	/* and those after it up to this number */
	int			starts_due;		/* tasks that are start_due */
	bool		put_aside;		/* its last turn was, and is run again when TURN_TIMER fires */
	bool		dirty;			/* the row is to be written */
	int			conflicts;		/* how often its next activity met a deadlock */
	bool		spent;			/* ended, or its memory holds earlier executions: to be forgotten */
	Size		size;			/* bytes of the context, as last counted */
} Instance;

/* the round in which a worker advances instances: one transaction */
typedef struct Round
{
	Store	   *store;
	Oid			owner;			/* whose instances it may load; InvalidOid in the scheduler, which loads none */
	TimestampTz now;			/* turn time of all that happens in it */
} Round;

/* flags: what has happened to it, READY_* */
extern Instance *instance_load(Round *round, int64 key, int flags, FetchResult *result);
extern void instance_forget(int64 key);
/* by how much the round at hand has made the history longer than its row, as read from the table, says */
extern int64 instance_unsaved_events(const InstanceRow *stored);
extern void instance_trim_cache(void);

extern Task *instance_task(Instance *instance, int task_id);
extern Task *instance_new_task(Instance *instance, TaskKind kind, const char *name, Jsonb *input);
/* row->seq: 0, or 2 for an event that stands for two; the data are copied */
extern void instance_append(Round *round, Instance *instance, HistoryRow *row);
/* an event about an attempt of a task */
extern void instance_append_attempt(Round *round, Instance *instance, Task *task, EventType event, Jsonb *result);

/* whether a turn can get further than the last one did */
extern bool instance_can_turn(Instance *instance);
/* whether the worker is to run what a turn has newly asked for itself, tasks from this index on */
extern bool instance_runs_own(Instance *instance, int first_new);
/* store what a turn has newly asked for, tasks from this index on */
extern void instance_emit(Round *round, Instance *instance, int first_new);
/* the same for a turn that continues as new: nobody will await what it asked for */
extern void instance_emit_last(Round *round, Instance *instance, int first_new);
/* let any worker run an activity that history knows */
extern void instance_queue_activity(Round *round, Instance *instance, Task *task, Lone lone);
/* the end of an activity that this worker ran between two turns */
extern void instance_activity_done(Round *round, Instance *instance, Task *task,
								   bool failed, Jsonb *result);
/* give that activity, and those after it, to the queue instead; the first is put off if there is an obstacle */
extern void instance_defer_activities(Round *round, Instance *instance, Lone lone, Jsonb *obstacle);
/* a task that history knows as open was given up */
extern void instance_cancel(Round *round, Instance *instance, Task *task);
extern void instance_set_custom_status(Round *round, Instance *instance, Jsonb *status);
extern void instance_complete(Round *round, Instance *instance, Jsonb *output);
/* tasks say what of them was handled; whole: nothing is known, so all of it was */
extern void instance_fail_whole(Round *round, Instance *instance, Jsonb *failure);
/* the same for one whose row is locked and whose history is not to be read */
extern void instance_fail_unread(Round *round, const InstanceRow *row, Jsonb *failure);
extern void instance_fail(Round *round, Instance *instance, Jsonb *failure);
extern void instance_continue_as_new(Round *round, Instance *instance, Jsonb *input,
									 bool keep_events, const char *version);
/* write the row if anything changed */
extern void instance_save(Round *round, Instance *instance);

#endif
