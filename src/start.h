/*
 * start.h
 *	  Starting sub-orchestrations, which runs code of users: for workers only.
 */
#ifndef DURABLE_START_H
#define DURABLE_START_H

#include "instance.h"

/*
 * Start the children that a turn has asked for, tasks from this index on, all of
 * them or none.  NULL, or the obstacle that will pass for which one has to wait.
 * The tasks of those that failed say so.
 */
extern Jsonb *start_new_children(Round *round, Instance *parent, int first_new, bool detached_only);
/* start one of those that are due, or put it off */
extern void start_due_child(Round *round, Instance *parent);
/* the round ends: have those that are still due come again */
extern void start_put_back(Round *round, Instance *parent);

#endif
