/*
 * sub_orchestration_start.h
 *	  Starting sub-orchestrations.  This runs code of users: for workers only.
 */
#ifndef DURABLE_SUB_ORCHESTRATION_START_H
#define DURABLE_SUB_ORCHESTRATION_START_H

#include "engine/instance.h"

typedef enum StartResult
{
	START_DONE,
	START_FAILED,				/* for good */
	START_OBSTRUCTED,			/* by a temporary obstacle */
	START_INTERRUPTED			/* other work waited for this worker: the start must run alone */
} StartResult;

/*
 * Start the children that a turn has asked for, from task index first_new on.
 * START_DONE: all were started, or failed for good, which Task.unstartable says.
 * START_OBSTRUCTED (*obstacle says why), START_INTERRUPTED: none was started.
 */
extern StartResult start_new_children(WorkerTransaction *txn, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle);
/* start one child that is due, or postpone it; false: it was interrupted, and is still due */
extern bool start_due_child(WorkerTransaction *txn, Instance *parent);
/* at the end of the transaction: set timers that make the children due again that it has not started */
extern void start_put_back(WorkerTransaction *txn, Instance *parent);

#endif
