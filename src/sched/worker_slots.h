/*
 * worker_slots.h
 *	  A slot in shared memory for each possible worker.
 *
 * Each function takes shared_lock itself, except worker_slot_place and
 * worker_slot_unwanted, which read one field.
 */
#ifndef DURABLE_WORKER_SLOTS_H
#define DURABLE_WORKER_SLOTS_H

#include "common/model.h"

typedef enum WorkerState
{
	WORKER_FREE,
	WORKER_WANTED,				/* reserved: the scheduler will start the process */
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
	TimestampTz since;			/* since when it has this state */
} WorkerInfo;

/* for the worker itself */
extern void worker_slot_attach(int slot);
extern void worker_slot_connected(int slot);
extern void worker_slot_detach(int slot, bool to_scheduler);
/* the place of the worker */
extern Place worker_slot_place(int slot);
/* what it ran alone is done: back into the batch place, or into none */
extern void worker_slot_return(int slot);
/* give the batch place to another role and go idle */
extern void worker_slot_yield(int slot);
/* go idle, without a place; false if there is work */
extern bool worker_slot_rest(int slot);
extern bool worker_slot_is_idle(int slot);
extern bool worker_slot_unwanted(int slot);
extern bool worker_slot_leave(int slot);

/* for the scheduler */
extern void worker_slot_unreserve(int slot, uint32 generation);
/* the scheduler of a database ends: free the slots whose processes it has not started */
extern void worker_slots_forget_wanted(Oid db);
/* all slots in use; infos has room for DURABLE_WORKERS_LIMIT */
extern int	worker_slot_list(WorkerInfo *infos);

#endif
