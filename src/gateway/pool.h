/*
 * pool.h
 *	  The connections that run the statements of requests.
 */
#ifndef POOL_H
#define POOL_H

#include "statements.h"

extern void pool_start(int connections);

/*
 * Run a statement as soon as a connection is free.  If there is no connection to
 * the database, done is called before this returns.  After a serialization failure
 * or a deadlock the statement is run again.
 */
extern void pool_submit(Statement *statement);

/* The same for a statement of monitoring: it may overtake others on the connection for notifications. */
extern void pool_submit_watch(Statement *statement);

/* Whether there is a connection; whether each one has ended its first attempt. */
extern bool pool_up(void);
extern bool pool_tried(void);

/* For /metrics. */
extern int	pool_connected(void);
extern int	pool_busy(void);
extern int	pool_queued(void);
extern uint64_t pool_statements(void);

extern int64_t pool_next(void);
extern void pool_tick(int64_t now);
extern void pool_close(void);

#endif
