/*
 * worker_slots.h
 *	  A slot for each worker there can be, in shared memory.
 */
#ifndef DURABLE_WORKER_SLOTS_H
#define DURABLE_WORKER_SLOTS_H

#include "common/model.h"

typedef enum WorkerState
{
	WORKER_FREE,
	WORKER_WANTED,				/* reserved; the scheduler is to start its process */
	WORKER_STARTING,
	WORKER_BUSY,
	WORKER_IDLE
} WorkerState;

/* what a worker may do; see places.h */
typedef enum Place
{
	PLACE_NONE,
	PLACE_BATCH,
	PLACE_LONG
} Place;

/* what the scheduler and the views see of a worker */
typedef struct WorkerInfo
{
	int			slot;
	WorkerState state;
	Place		place;
	Oid			db;
	Oid			role;
	pid_t		pid;
	int			claims;
	TimestampTz since;			/* of the state */
} WorkerInfo;

/* the worker's side */
extern void worker_slot_attach(int slot);
extern void worker_slot_connected(int slot);
extern void worker_slot_detach(int slot, bool to_scheduler);
/* the place that it has */
extern Place worker_slot_place(int slot);
/* lone work is done: back into the batch place, or to none */
extern void worker_slot_return(int slot);
/* another role is to have its batch place */
extern void worker_slot_yield(int slot);
/* go idle, without a place; false when there is work after all */
extern bool worker_slot_rest(int slot);
extern bool worker_slot_is_idle(int slot);
extern bool worker_slot_unwanted(int slot);
extern bool worker_slot_leave(int slot);

/* the scheduler's side */
extern void worker_slot_unreserve(int slot, uint32 generation);
/* the scheduler of a database ends: what it has not started nobody will */
extern void worker_slots_forget_wanted(Oid db);
/* all in use; room for DURABLE_WORKERS_LIMIT */
extern int	worker_slot_list(WorkerInfo *infos);

#endif
