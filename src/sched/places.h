/*
 * places.h
 *	  Places, which limit how many processes work, and the roles that wait for
 *	  one.
 *
 * There are durable.max_workers *batch places* and durable.max_long_activities
 * *long places* in the server.  In a batch place a worker runs many short
 * calls in one transaction, with patience (patience.h); in a long place it
 * runs one call alone.  A worker that works has one place, an idle worker has
 * none.
 *
 * A worker that goes from its batch place into a long place *lends* the batch
 * place.  Others may take it after LENT_TIME, so that a call that ends in a
 * moment wakes no process; until then the worker gets it back.
 *
 * Code that does not check for interrupts cannot be interrupted.  After
 * OVERDUE_TIME in a batch place its worker counts as having a long place, even
 * if none is free, and others may take its batch place.
 *
 * A role gets a long place while more of them are free than the role has.  A
 * place goes to the role that has waited longest, but first to a role without
 * such a place.  An idle process of the role gets it; if there is none, one is
 * started.
 *
 * The caller holds shared_lock unless a function says otherwise.
 */
#ifndef DURABLE_PLACES_H
#define DURABLE_PLACES_H

#include "common/model.h"

#include "replication/logicallauncher.h"

#include "sched/ready_lists.h"

/*
 * processes of max_worker_processes that launchers take: the engine's, and
 * that of logical replication if the server has it
 */
#define LAUNCHERS	(1 + (max_logical_replication_workers > 0))
/* so many processes are left to schedulers, even if max_worker_processes is small */
#define SCHEDULERS	2

/* a process that a scheduler must start, for a slot that is reserved */
typedef struct WantedProcess
{
	int			slot;
	uint32		generation;
	Oid			role;
} WantedProcess;

/* give all free places to the roles that wait; returns whether to look again soon for a database */
extern bool places_give(Oid db);
/* the same for one queue, which got work */
extern void places_seek(Queue *queue);
/*
 * Give a place to a worker: a batch place, or a long place instead of its
 * batch place.  place_leave takes the place away.  false: there is no such
 * place.
 */
extern bool place_take_batch(Queue *queue, WorkerSlot *slot);
extern bool place_go_long(Queue *queue, WorkerSlot *slot);
extern void place_leave(Queue *queue, WorkerSlot *slot);
/* whether the worker must give its batch place to a role that has none */
extern bool place_is_due(const Queue *queue, const WorkerSlot *slot);
/* whether its process must leave, too, since the server has no process for that role */
extern bool process_is_due(void);
/* whether some work that should run alone may be tried with patience, in a batch place */
extern bool places_may_try(Queue *queue);

/* for the scheduler, which does not hold shared_lock */
extern bool places_look(Oid db, WantedProcess *wanted, int max, int *count);
extern TimestampTz places_look_at(Oid db);
extern void places_back_off(Oid db, Oid role, TimestampTz until, bool lacking);
/* a process has ended; roles may have waited for one */
extern void places_process_ended(void);
/* the server had no process: an idle worker leaves; false if there is none */
extern bool places_make_room(void);

#endif
