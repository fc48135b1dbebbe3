/*
 * call_context.c
 *	  What runs now: the orchestrator or the activity whose code makes a call.
 */
#include "postgres.h"

#include "common/call_context.h"
#include "common/failure.h"

ActivityContext *current_activity = NULL;
void		(*current_orchestrator_refuse) (Jsonb *failure) = NULL;

/* Raise OD009 if an orchestrator runs: clients' functions are not for it. */
void
orchestrator_forbid(const char *function)
{
	if (current_orchestrator_refuse == NULL)
		return;
	current_orchestrator_refuse(failure_make(ERRCODE_DURABLE_FORBIDDEN,
											 psprintf("an orchestrator cannot call %s", function),
											 "An orchestrator is replayed: it must have no effects of its own, and see the same each time.",
											 "Call it from an activity: durable.call_activity, or use the orchestrator's own functions such as durable.send_event."));
}
