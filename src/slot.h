/*
 * slot.h
 *	  A slot for each worker there can be, in shared memory.
 */
#ifndef DURABLE_SLOT_H
#define DURABLE_SLOT_H

#include "durable.h"

typedef enum WorkerState
{
	WORKER_FREE,
	WORKER_STARTING,
	WORKER_BUSY,
	WORKER_IDLE
} WorkerState;

/* what the scheduler and the views see of a worker */
typedef struct WorkerInfo
{
	int			slot;
	WorkerState state;
	Oid			db;
	Oid			role;
	pid_t		pid;
	int			claims;
	TimestampTz since;			/* of the state */
} WorkerInfo;

/* the worker's side */
extern void slot_attach(int slot);
extern void slot_connected(int slot);
extern void slot_detach(int slot, bool to_scheduler);
extern bool slot_idle(int slot);
extern bool slot_is_idle(int slot);
extern bool slot_unwanted(int slot);
extern bool slot_leave(int slot);

/* the scheduler's side */
extern int	slot_reserve(Oid db, Oid role, uint32 *generation);
extern void slot_unreserve(int slot, uint32 generation);
/* all in use; room for DURABLE_WORKERS_LIMIT */
extern int	slot_list(WorkerInfo *infos);

#endif
