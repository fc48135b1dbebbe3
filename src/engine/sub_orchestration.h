/*
 * sub_orchestration.h
 *	  Sub-orchestrations (children): their options in the history, and their ids.
 *	  Nothing here runs code of users; sub_orchestration_start.h does.
 */
#ifndef DURABLE_SUB_ORCHESTRATION_H
#define DURABLE_SUB_ORCHESTRATION_H

#include "engine/instance.h"

typedef struct SubOrchestrationOptions
{
	const char *instance_id;	/* NULL: derived from the parent's execution */
	Datum		retry;			/* a durable.retry_policy, 0: none */
	const char *version;		/* NULL: the parent's */
	Jsonb	   *tags;			/* merged into the parent's; or NULL */
	bool		detached;		/* the parent does not await its end */
} SubOrchestrationOptions;

/* the options as the history keeps them; NULL: all have their defaults */
extern Jsonb *sub_orchestration_options(const SubOrchestrationOptions *options);
/* the id of the instance that runs an attempt: the same on each replay */
extern char *sub_orchestration_id(Instance *parent, Task *task, int attempt);
/* whether the parent does not await the end of the child */
extern bool sub_orchestration_is_detached(const Task *task);
/* this transaction must start the current attempt; the worker calls start_due_child */
extern void sub_orchestration_note_start(Instance *parent, Task *task);
/* UUID_LEN bytes of a hash of the execution's id and some numbers */
extern void execution_hash(const Instance *instance, const uint32 *numbers, int count, uint8 *result);

#endif
