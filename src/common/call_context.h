/*
 * call_context.h
 *	  What runs now: the kind of this process, and the orchestrator or the
 *	  activity whose code makes a call.
 */
#ifndef DURABLE_CALL_CONTEXT_H
#define DURABLE_CALL_CONTEXT_H

#include "common/model.h"

/* what this process is; any process that the engine did not start is a session */
typedef enum ProcessKind
{
	PROCESS_SESSION,
	PROCESS_LAUNCHER,
	PROCESS_SCHEDULER,
	PROCESS_WORKER
} ProcessKind;

extern ProcessKind process_kind;

/*
 * To be called wherever code of users begins: a look-up of a function, a
 * conversion of an input, a call.  Error unless this process may run such code,
 * and unless it acts as the role whose code it is.
 */
extern void process_require_role(Oid role);
/* whether this is a process of the engine and not a session */
extern bool process_is_engine(void);

/* the activity that runs, for instance_id(), execution_id(), task_id(), attempt(), idempotency_key() */
typedef struct ActivityContext
{
	const char *instance_id;
	pg_uuid_t	execution_id;
	int			task_id;
	int			attempt;
	int			rewinds;
	bool		obstructed;		/* it wanted an id that another transaction holds */
} ActivityContext;

/* NULL where no activity runs */
extern ActivityContext *current_activity;

/* fails the turn that runs, whatever its code catches, by raising this failure; NULL where no orchestrator runs */
extern void (*current_orchestrator_refuse) (Jsonb *failure);

/* error if an orchestrator is running: it must not call this function */
extern void orchestrator_forbid(const char *function);

#endif
