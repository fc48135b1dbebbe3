/*
 * turn_state.h
 *	  A turn: running an orchestrator against the history of its instance.
 *
 * The orchestrator runs from its beginning.  Each durable call takes the next
 * task number: what the history knows is compared and answered from it, what
 * it does not know is noted as new.  Where the code awaits something open, the
 * turn is *stopped*: an error that handlers do not catch unwinds the code, and
 * should they catch it all the same, every further durable call raises it again
 * and what the function returns does not count.
 */
#ifndef DURABLE_TURN_H
#define DURABLE_TURN_H

#include "engine/instance.h"

typedef enum TurnOutcome
{
	TURN_WAITING,
	TURN_COMPLETED,
	TURN_FAILED,
	TURN_CONTINUED,
	TURN_INTERRUPTED			/* it kept others waiting, and is to run alone */
} TurnOutcome;

typedef enum TurnRun
{
	TURN_RUN_GOES_ON,
	TURN_RUN_STOPS,				/* the instance has ended, or the turn was put aside */
	TURN_RUN_INTERRUPTED		/* nothing came of it: it is to be run alone */
} TurnRun;

/* run a turn and store what came of it */
extern TurnRun turn_run(Round *round, Instance *instance);

/*
 * For the functions that orchestrators call.  turn_require comes first; the
 * others may be called after it only.
 */
extern void turn_require(const char *function);
/* the next task of the code: known to history, or new; the arguments are copied */
extern Task *turn_task(TaskKind kind, const char *name, Jsonb *input, Jsonb *options);
/* before that: error if a part of its input or options is too large */
extern void turn_check_parts(int count, Jsonb *const *parts);
extern Task *turn_find_task(int task_id);
/* these leave the orchestrator while what they wait for is open */
extern Task *turn_await_any(Task **tasks, int count);
extern void turn_await_all(Task **tasks, int count);
extern Jsonb *turn_result(Task *task);
/* before failures of these tasks, or the expiry of a timer, are raised */
extern void turn_note_failures(Task **tasks, int count);
extern void turn_cancel(Task *task);
extern void turn_send(Task *task);
extern Instance *turn_instance(void);
extern TimestampTz turn_now(void);
extern bool turn_replaying(void);
extern uint32 turn_next_guid(void);
extern void turn_set_status(Jsonb *status);
extern void turn_continue_as_new(Jsonb *input, bool keep_events, const char *version);

/* after an error that left a turn or an activity in the middle */
extern void replay_reset(void);

#endif
