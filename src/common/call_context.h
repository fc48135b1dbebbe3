/*
 * call_context.h
 *	  What runs now: the kind of this process, and the orchestrator or the
 *	  activity whose code makes a call.
 */
#ifndef DURABLE_CALL_CONTEXT_H
#define DURABLE_CALL_CONTEXT_H

#include "common/model.h"

/* the kind of this process; a process that the engine did not start is a session */
typedef enum ProcessKind
{
	PROCESS_SESSION,
	PROCESS_LAUNCHER,
	PROCESS_SCHEDULER,
	PROCESS_WORKER
} ProcessKind;

extern ProcessKind process_kind;

/*
 * Call this before code of users runs: before a function look-up, a conversion
 * of an input, or a call.  It raises an error if this process must not run
 * code of users, or if the current user is not this role.
 */
extern void process_require_role(Oid role);
/* whether this process belongs to the engine */
extern bool process_is_engine(void);

/* the activity that runs, for instance_id(), execution_id(), task_id(), attempt(), idempotency_key() */
typedef struct ActivityContext
{
	const char *instance_id;
	pg_uuid_t	execution_id;
	int			task_id;
	int			attempt;
	int			rewinds;
	bool		obstructed;		/* the activity tried to use an id that another transaction holds */
} ActivityContext;

/* NULL where no activity runs */
extern ActivityContext *current_activity;

/*
 * makes the running turn fail with this failure, even if its code catches the
 * error; NULL where no orchestrator runs
 */
extern void (*current_orchestrator_refuse) (Jsonb *failure);

/* error OD009 if an orchestrator runs: it must not call this function */
extern void orchestrator_forbid(const char *function);

#endif
