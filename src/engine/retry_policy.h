/*
 * retry_policy.h
 *	  Retry policies and timeouts of activities and sub-orchestrations.
 */
#ifndef DURABLE_RETRY_POLICY_H
#define DURABLE_RETRY_POLICY_H

#include "engine/instance.h"

/* a durable.retry_policy (0: none) and a timeout as the history keeps them; NULL if there are neither */
extern Jsonb *retry_options(Datum policy, Interval *timeout);
/* the timeout in such options in ms, 0 if there is none */
extern int64 retry_timeout(Jsonb *options);

/* set the timer for the next attempt of a failed task; false: its policy allows none */
extern bool retry_task(WorkerTransaction *txn, Instance *instance, Task *task, Jsonb *failure);
/* postpone the attempt because of a temporary obstacle */
extern void retry_put_off(WorkerTransaction *txn, Instance *instance, Task *task, Jsonb *obstacle);
/* log that something of an instance is postponed, at most once in 10 seconds */
extern void retry_log(const Instance *instance, const char *what, Jsonb *obstacle);

#endif
