/*
 * sub_orchestration_start.h
 *	  Starting sub-orchestrations, which runs code of users: for workers only.
 */
#ifndef DURABLE_SUB_ORCHESTRATION_START_H
#define DURABLE_SUB_ORCHESTRATION_START_H

#include "engine/instance.h"

/* how an attempt to start a child has ended */
typedef enum StartResult
{
	START_DONE,
	START_FAILED,
	START_OBSTRUCTED,			/* by something that passes */
	START_INTERRUPTED			/* it kept others waiting: to be tried again alone */
} StartResult;

/*
 * Start the children that a turn has asked for, tasks from this index on: all of
 * them, and the tasks of those that failed say so; or none, as one met an obstacle
 * or was interrupted.
 */
extern StartResult start_new_children(Round *round, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle);
/* start one of those that are due, or put it off; false: it was interrupted, and is still due */
extern bool start_due_child(Round *round, Instance *parent);
/* the round ends: have those that are still due come again */
extern void start_put_back(Round *round, Instance *parent);

#endif
