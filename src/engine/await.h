/*
 * await.h
 *	  What the code of an orchestrator waits for: the ends of tasks.
 *
 * Only for the functions that orchestrators call, after turn_require.
 */
#ifndef DURABLE_AWAIT_H
#define DURABLE_AWAIT_H

#include "engine/instance.h"

/* the first of some tasks to end; leaves the orchestrator while all are open */
extern Task *turn_await_any(Task **tasks, int count);
/* leaves the orchestrator while one of the tasks is open */
extern void turn_await_all(Task **tasks, int count);
/* call it before the failures of these tasks, or the expiry of a timeout, are raised */
extern void turn_note_failures(Task **tasks, int count);
/* the result of a task whose end was awaited; raises its failure */
extern Jsonb *turn_result(Task *task);
extern void turn_cancel(Task *task);

#endif
