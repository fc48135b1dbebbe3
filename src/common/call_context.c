/*
 * call_context.c
 *	  What runs now: the kind of this process, and the orchestrator or the
 *	  activity whose code makes a call.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "common/call_context.h"
#include "common/failure.h"

ProcessKind process_kind = PROCESS_SESSION;
ActivityContext *current_activity = NULL;
void		(*current_orchestrator_refuse) (Jsonb *failure) = NULL;

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

/* Check that this process may run code of a role. */
void
process_require_role(Oid role)
{
	if (process_kind == PROCESS_LAUNCHER || process_kind == PROCESS_SCHEDULER)
		elog(ERROR, "a trusted process was about to run code of a user");
	if (GetUserId() != role)
		elog(ERROR, "code of role %u was about to run as role %u", role, GetUserId());
}

bool
process_is_engine(void)
{
	return process_kind != PROCESS_SESSION;
}
