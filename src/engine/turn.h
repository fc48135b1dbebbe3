/*
 * turn.h
 *	  A turn: running an orchestrator against the history of its instance.
 *
 * The orchestrator runs from its beginning.  Each durable call takes the next
 * task number.  A task that the history has is compared with the call and
 * answered from the history; any other is a new task.  Where the code awaits an
 * open task, the turn is *stopped*: an error of a class that exception handlers
 * normally do not catch unwinds the code.  If a handler catches the error all
 * the same, every further durable call raises it again, and the value that the
 * function returns is ignored.
 */
#ifndef DURABLE_TURN_H
#define DURABLE_TURN_H

#include "engine/instance.h"

typedef enum TurnOutcome
{
	TURN_WAITING,
	TURN_COMPLETED,
	TURN_FAILED,
	TURN_CONTINUED,				/* as new */
	TURN_INTERRUPTED			/* other work waited for its worker: it must run alone */
} TurnOutcome;

typedef enum TurnRun
{
	TURN_RUN_GOES_ON,
	TURN_RUN_STOPS,				/* the instance has ended, or the turn was put aside */
	TURN_RUN_INTERRUPTED		/* the turn was undone and must run alone */
} TurnRun;

/* the state of a turn while it runs; for turn.c and await.c */
typedef struct Turn
{
	MemoryContext context;		/* lives as long as the turn */
	WorkerTransaction *txn;
	Instance   *instance;
	int			next;			/* index of the next task */
	int			known;			/* number of tasks when the turn began */
	int			position;		/* sequence number of the last event that the code has consumed */
	int			seen;			/* sequence number of the last event before this turn */
	TimestampTz now;			/* what durable.now returns */
	bool		stopped;		/* durable calls raise the error again */
	Jsonb	   *misuse;			/* the turn fails with it, whatever the code does */
	bool		continued;		/* stopped by continue_as_new */
	Jsonb	   *new_input;
	bool		keep_events;
	char	   *new_version;
	bool		status_set;
	Jsonb	   *status;
	int			guids;			/* calls of new_guid */
	bool		wrote;			/* the code tried to write */
	bool		raising;		/* the failure of a task is being raised */
	Jsonb	   *raised;			/* the failure of a task that was raised last */
	Task	  **raised_tasks;	/* the tasks of turn_note_failures */
	int			nraised;
	int			raised_at;		/* steps at that call */
	int			steps;			/* tasks asked for and ends of tasks seen */
	List	   *canceled;		/* open tasks of the history whose cancellation must be stored */
} Turn;

/* the turn that runs in this process, or NULL */
extern Turn *current_turn;

/* run a turn and store its effects; for workers */
extern TurnRun turn_run(WorkerTransaction *txn, Instance *instance);
/* forget the turn or activity that an error ended; after the rollback */
extern void replay_reset(void);

/*
 * For the functions that orchestrators call.  turn_require comes first and
 * raises an error unless an orchestrator runs and may make calls.
 */
extern void turn_require(const char *function);
/* raises an error if a part of the next task's input or options is too large */
extern void turn_check_parts(int count, Jsonb *const *parts);
/* the next task of the code, known to the history or new; the arguments are copied */
extern Task *turn_task(TaskKind kind, const char *name, Jsonb *input, Jsonb *options);
/* the task of a number that the code was given, or an error */
extern Task *turn_find_task(int task_id);
/* the event of a new task: find its target, or fail the task */
extern void turn_send(Task *task);
extern Instance *turn_instance(void);
extern TimestampTz turn_now(void);
/* whether an earlier turn has done what the code does now */
extern bool turn_replaying(void);
/* 1, 2, ... within a turn */
extern uint32 turn_next_guid(void);
/* stored at the end of the turn */
extern void turn_set_status(Jsonb *status);
/* these two leave the orchestrator */
extern void turn_continue_as_new(Jsonb *input, bool keep_events, const char *version);
_Noreturn extern void turn_stop(void);

#endif
