/*
 * waiters.h
 *	  Requests that wait for the end of an instance.
 */
#ifndef WAITERS_H
#define WAITERS_H

#include "request.h"
#include "statements.h"

extern void waiters_start(void);

/* Call wake once: when request->instance_id has ended or does not exist, or at wait_until. */
extern void waiters_add(Request *request, void (*wake) (Request *request, bool ended));

/* Wake all, as if their time were over. */
extern void waiters_wake_all(void);

/*
 * Run a short statement on the connection for notifications.  If that is busy, queue the statement there, or without queue
 * return false; false as well if there is no connection.
 */
extern bool waiters_lend(Statement *statement, bool queue);

/* For /metrics. */
extern int	waiters_count(void);
extern bool waiters_listening(void);

extern int64_t waiters_next(void);
extern void waiters_tick(int64_t now);
extern void waiters_close(void);

#endif
