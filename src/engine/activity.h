/*
 * activity.h
 *	  Running one activity.
 */
#ifndef DURABLE_ACTIVITY_H
#define DURABLE_ACTIVITY_H

#include "engine/instance.h"
#include "sched/patience.h"
#include "store/instance_rows.h"

typedef enum ActivityOutcome
{
	ACTIVITY_COMPLETED,
	ACTIVITY_FAILED,
	ACTIVITY_PUT_OFF,			/* a temporary obstacle: the server takes no writes, or another transaction holds the id of an instance that it starts; result is the error */
	ACTIVITY_INTERRUPTED,		/* undone, because other work waited for the worker: it must run alone */
	ACTIVITY_AGAIN				/* a deadlock or serialization failure, perhaps due to other work in this transaction */
} ActivityOutcome;

typedef struct ActivityRun
{
	/* in */
	const InstanceRow *instance;
	int			task_id;
	int			attempt;
	int			rewinds;
	const char *name;
	Jsonb	   *input;
	int64		timeout;		/* ms, 0: none */
	bool		queued;			/* any worker could take it; false: its instance's worker runs it between two turns */
	bool		alone;			/* the transaction has no other work */
	int			tries;			/* how many conflicts it has met so far */
	/* out */
	Jsonb	   *result;			/* or the failure */
	bool		wrote;
	bool		canceled;		/* durable.terminate canceled it with its instance */
	Interruption interruption;	/* why it must run alone */
} ActivityRun;

/* for workers, in their transaction */
extern ActivityOutcome activity_run(ActivityRun *run);
/* the failure of an activity that so many workers have died of */
extern Jsonb *activity_lost(const ActivityRun *run, int deliveries);

#endif
