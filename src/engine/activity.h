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
	ACTIVITY_PUT_OFF,			/* the server takes no writes for the time being, or another transaction holds the id of an instance that it was to start; result is the error */
	ACTIVITY_INTERRUPTED,		/* it kept others waiting, and is undone: it is to run alone */
	ACTIVITY_AGAIN				/* a deadlock or the like with what else is in this transaction */
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
	bool		queued;			/* it comes from the queue */
	bool		alone;			/* nothing else is in this transaction */
	int			tries;			/* how often it met a conflict so far */
	/* out */
	Jsonb	   *result;			/* or the failure */
	bool		wrote;
	bool		canceled;		/* with its instance */
	Interruption interruption;	/* why it is to run alone */
} ActivityRun;

extern ActivityOutcome activity_run(ActivityRun *run);
/* the failure of an activity whose workers died too often */
extern Jsonb *activity_lost(const ActivityRun *run, int deliveries);

#endif
