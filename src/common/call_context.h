/*
 * call_context.h
 *	  What runs now: the orchestrator or the activity whose code makes a call.
 */
#ifndef DURABLE_CALL_CONTEXT_H
#define DURABLE_CALL_CONTEXT_H

#include "common/model.h"

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
