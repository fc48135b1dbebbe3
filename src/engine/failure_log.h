/*
 * failure_log.h
 *	  Messages in the server's log about instances that fail.
 */
#ifndef DURABLE_FAILURE_LOG_H
#define DURABLE_FAILURE_LOG_H

#include "common/model.h"

#include "storage/lwlock.h"

#include "store/store.h"
#include "store/instance_rows.h"

extern void failure_log_register(void);

/*
 * For the transaction of a worker or scheduler: when it begins, when an instance
 * fails in it (parent_told: a live parent gets the failure), when it has committed.
 */
extern void failure_log_begin(void);
extern void failure_log_add(const InstanceRow *row, bool parent_told, Jsonb *failure);
extern void failure_log_commit(void);

/* for the scheduler, in a transaction: log how many failures were not logged, for minutes that are over */
extern void failure_log_sum_up(Oid db);
/* the engine stops in a database */
extern void failure_log_forget(Oid db);
/* whether failure_log_sum_up will have something to log */
extern bool failure_log_pending(Oid db);

#endif
