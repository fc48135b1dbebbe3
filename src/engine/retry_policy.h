/*
 * retry_policy.h
 *	  Retry policies and timeouts of activities and sub-orchestrations.
 */
#ifndef DURABLE_RETRY_POLICY_H
#define DURABLE_RETRY_POLICY_H

#include "engine/instance.h"

/* what history keeps of a durable.retry_policy (0: none) and a timeout; NULL for neither */
extern Jsonb *retry_options(Datum policy, Interval *timeout);
/* the timeout in such options in ms, 0 if there is none */
extern int64 retry_timeout(Jsonb *options);

/* a failed attempt: true if another one was arranged */
extern bool retry_task(Round *round, Instance *instance, Task *task, Jsonb *failure);
/* try the same attempt again later, since it met an obstacle that passes */
extern void retry_put_off(Round *round, Instance *instance, Task *task, Jsonb *obstacle);
/* log, now and then, that something of an instance is put off */
extern void retry_log(const Instance *instance, const char *what, Jsonb *obstacle);

#endif
