/*
 * turn_state.h
 *	  The state of a turn while it runs.
 */
#ifndef DURABLE_TURN_STATE_H
#define DURABLE_TURN_STATE_H

#include "common/model.h"

#include "engine/instance.h"

typedef struct Turn
{
	MemoryContext context;		/* lives as long as the turn */
	Round	   *round;
	Instance   *instance;
	int			next;			/* index of the next task */
	int			known;			/* tasks that were there when the turn began */
	int			position;		/* last event of history that the code has consumed */
	int			seen;			/* events up to this one were seen by earlier turns */
	TimestampTz now;
	bool		stopped;		/* no durable call is possible any more */
	Jsonb	   *misuse;			/* failure that counts whatever the code makes of it */
	bool		continued;		/* stopped by continue_as_new */
	Jsonb	   *new_input;
	bool		keep_events;
	char	   *new_version;
	bool		status_set;
	Jsonb	   *status;
	int			guids;			/* new_guid calls so far */
	bool		wrote;			/* the code tried to */
	bool		raising;		/* a task's failure is being raised */
	Jsonb	   *raised;			/* the failure of a task that was raised last */
	Task	  **raised_tasks;	/* the tasks that this was about */
	int			nraised;
	int			raised_at;		/* steps of the code until then */
	int			steps;			/* tasks asked for and ends seen so far */
	List	   *canceled;		/* open tasks of history that the code gave up, as far as that is to be stored */
} Turn;

#endif
