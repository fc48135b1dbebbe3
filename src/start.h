/*
 * start.h
 *	  Starting sub-orchestrations, which runs code of users: for workers only.
 */
#ifndef DURABLE_START_H
#define DURABLE_START_H

#include "instance.h"

typedef enum StartChildren
{
	CHILDREN_STARTED,			/* the tasks of those that failed say so */
	CHILDREN_OBSTRUCTED,		/* none was: one has to wait for an obstacle that will pass */
	CHILDREN_INTERRUPTED		/* none was: it kept others waiting, and the turn is to run alone */
} StartChildren;

/* start the children that a turn has asked for, tasks from this index on, all of them or none */
extern StartChildren start_new_children(Round *round, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle);
/* start one of those that are due, or put it off; false: it was interrupted, and is still due */
extern bool start_due_child(Round *round, Instance *parent);
/* the round ends: have those that are still due come again */
extern void start_put_back(Round *round, Instance *parent);

#endif
