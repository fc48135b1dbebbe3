/*
 * failure_log.h
 *	  Tells the server's log of instances that fail.
 */
#ifndef DURABLE_FAILURE_LOG_H
#define DURABLE_FAILURE_LOG_H

#include "common/model.h"

#include "storage/lwlock.h"

#include "store/store.h"

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

/*
 * A text of anybody's for one line of the log: cut to so many bytes, without
 * control characters and what else may look like a line of its own; quoted: in
 * quotation marks, which it cannot end.
 */
#define LOG_NAME	200			/* bytes of an id or a name */
#define LOG_MESSAGE	1000
extern char *log_text(const char *text, int max, bool quoted);

/* the name of a database, quoted so */
extern char *log_database(Oid db);
/* the same of a role, or its OID if it has none */
extern char *log_role(Oid role);
/* whether so many ms have passed since the log was last told of something; if so, that is noted as now */
extern bool log_again(TimestampTz *last, int pause_ms);

#endif
