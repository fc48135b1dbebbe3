/*
 * stall_log.h
 *	  What a scheduler tells the server's log of its database.
 */
#ifndef DURABLE_STALL_LOG_H
#define DURABLE_STALL_LOG_H

#include "common/model.h"

/* the engine runs, said at the first time since the server's start; all: there are no more instances than that to be run */
extern void stall_log_running(int64 instances, bool all);
/* the extension is not there; in a transaction */
extern void stall_log_dropped(void);
/* work that waits for long, failures that were too many; tells when to look again, 0: whenever */
extern TimestampTz stall_log_look(Oid db);

#endif
