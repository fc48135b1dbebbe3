/*
 * places.h
 *	  Who works: places for processes, and the roles that wait for one.
 *
 * There are durable.max_workers batch places and durable.max_long_activities
 * long places in the server.  A process that works has one of them, an idle one
 * has none.  A worker that goes from its batch place into a long one lends the
 * former to whoever needs it; only once it has been there for LENT_TIME does
 * anybody take it, so that what is over in a moment wakes nobody.
 *
 * Code that does not look for interrupts cannot be undone.  After OVERDUE_TIME it
 * counts as long, whether a long place is free or not, and others take its batch
 * place.  A role gets a long place while more of them are free than it has.
 *
 * A place goes to the role that has waited longest, roles that have none first.
 * An idle process of the role gets it, else one is started.  shared_lock is held
 * by whoever calls these functions, but where said otherwise.
 */
#ifndef DURABLE_PLACES_H
#define DURABLE_PLACES_H

#include "common/model.h"

#include "replication/logicallauncher.h"

#include "sched/ready_lists.h"

/* processes of max_worker_processes that launchers have: that of the engine and that of logical replication, if the server has it */
#define LAUNCHERS	(1 + (max_logical_replication_workers > 0))
/* so many are left to schedulers at least, also where max_worker_processes is small */
#define SCHEDULERS	2

/* a process that a scheduler is to start, in a slot that has been reserved */
typedef struct WantedProcess
{
	int			slot;
	uint32		generation;
	Oid			role;
} WantedProcess;

/* give all places that are free to those who wait; whether to look again soon for a database */
extern bool places_give(Oid db);
/* the same for one queue, to which something has come */
extern void places_seek(Queue *queue);
/* take a place for a worker: back into a batch place, or out of one into a long one */
extern bool place_take_batch(Queue *queue, WorkerSlot *slot);
extern bool place_go_long(Queue *queue, WorkerSlot *slot);
extern void place_leave(Queue *queue, WorkerSlot *slot);
/* whether the worker is to give its batch place to a role that has none */
extern bool place_is_due(const Queue *queue, const WorkerSlot *slot);
/* whether its process is to leave as well, as the server has none for that role */
extern bool process_is_due(void);
/* whether some lone work of a queue may be tried in a batch place */
extern bool places_may_try(Queue *queue);

/* the scheduler's side; the lock is not held */
extern bool places_look(Oid db, WantedProcess *wanted, int max, int *count);
extern TimestampTz places_look_at(Oid db);
extern void places_back_off(Oid db, Oid role, TimestampTz until, bool lacking);
/* a process has ended, for which others may have waited */
extern void places_process_ended(void);
/* the server had no process: an idle one leaves for it; false if there is none */
extern bool places_make_room(void);

#endif
