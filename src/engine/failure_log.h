/*
 * failure_log.h
 *	  Tells the server's log of instances that fail.
 */
#ifndef DURABLE_FAILURE_LOG_H
#define DURABLE_FAILURE_LOG_H

#include "common/model.h"

#include "storage/lwlock.h"

#include "store/store.h"
#include "store/instance_rows.h"

extern void failure_log_register(void);

/* of a transaction: at its begin; when an instance fails in it; when it has committed */
extern void failure_log_begin(void);
extern void failure_log_add(const InstanceRow *row, bool told, Jsonb *failure);
extern void failure_log_commit(void);

/* the scheduler's side: tell of those that were too many, once their minute is over */
extern void failure_log_sum_up(Oid db);
extern void failure_log_forget(Oid db);
/* whether some are still to be told of */
extern bool failure_log_pending(Oid db);

#endif
