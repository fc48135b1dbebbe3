/*
 * stall_log.h
 *	  What the scheduler writes to the server's log: that the engine runs, and
 *	  work that waits for long.
 */
#ifndef DURABLE_STALL_LOG_H
#define DURABLE_STALL_LOG_H

#include "common/model.h"

/* log once after the server's start that the engine runs; all: the database has no more ready instances than that */
extern void stall_log_running(int64 instances, bool all);
/* log that the extension was dropped, if stall_log_running was called before; in a transaction */
extern void stall_log_dropped(void);
/* log waits of STALL, and failures beyond the log's limit; returns when to call again, 0: at any time */
extern TimestampTz stall_log_look(Oid db);

#endif
