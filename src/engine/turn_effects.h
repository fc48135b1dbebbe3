/*
 * turn_effects.h
 *	  Storing what a turn asked for.
 *
 * first_new is the index of the first task that the turn added.
 */
#ifndef DURABLE_TURN_EFFECTS_H
#define DURABLE_TURN_EFFECTS_H

#include "engine/instance.h"
#include "sched/ready_queue.h"

/* whether this worker runs the new tasks itself, between this turn and the next */
extern bool instance_runs_own(Instance *instance, int first_new);
/* store the new tasks, except those that this worker runs itself */
extern void instance_emit(WorkerTransaction *txn, Instance *instance, int first_new);
/* the same for a turn that continues as new: only its events for others are sent */
extern void instance_emit_last(WorkerTransaction *txn, Instance *instance, int first_new);
/* the code canceled a task that the history has as open */
extern void instance_cancel(WorkerTransaction *txn, Instance *instance, Task *task);
/* queue an activity that the history has, for any worker */
extern void instance_queue_activity(WorkerTransaction *txn, Instance *instance, Task *task, Lone lone);
/*
 * Queue the activities that this worker was to run itself.  lone is for the
 * first of them; obstacle is what postpones the first, or NULL.
 */
extern void instance_defer_activities(WorkerTransaction *txn, Instance *instance, Lone lone, Jsonb *obstacle);

#endif
