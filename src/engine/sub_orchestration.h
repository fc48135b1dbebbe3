/*
 * sub_orchestration.h
 *	  Sub-orchestrations: their options in history, their ids.  Nothing here runs
 *	  code of users; sub_orchestration_start.h does.
 */
#ifndef DURABLE_SUB_ORCHESTRATION_H
#define DURABLE_SUB_ORCHESTRATION_H

#include "engine/instance.h"

typedef struct ChildOptions
{
	const char *instance_id;	/* NULL: one is derived */
	Datum		retry;			/* a durable.retry_policy, 0: none */
	const char *version;		/* NULL: the parent's */
	Jsonb	   *tags;			/* merged into the parent's; or NULL */
	bool		detached;		/* nobody awaits it */
} ChildOptions;

/* what history keeps of them; NULL if there is nothing to keep */
extern Jsonb *child_options(const ChildOptions *options);
/* the id of an attempt: the same on each replay */
extern char *child_id(Instance *parent, Task *task, int attempt);
/* UUID_LEN bytes that depend on the execution and some numbers */
extern void execution_hash(const Instance *instance, const uint32 *numbers, int count, uint8 *result);
/* whether nobody awaits it */
extern bool child_is_detached(const Task *task);
/* note that the instance of the task's current attempt is to be started in this round */
extern void child_note_start(Instance *parent, Task *task);

#endif
