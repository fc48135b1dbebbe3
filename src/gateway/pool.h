/*
 * pool.h
 *	  The connections that run the statements of requests.
 */
#ifndef POOL_H
#define POOL_H

#include "statements.h"

extern void pool_start(int connections);

/*
 * Run a statement as soon as a connection is free. done may be called before
 * this returns, when the database is away. A transaction that the server
 * aborted for a conflict with others is run again.
 */
extern void pool_submit(Statement *statement);

/* The same for one that whoever watches the gateway waits for: it is not held up by others, if that can be. */
extern void pool_submit_watch(Statement *statement);

/* Whether there is a connection; whether each has had its first try. */
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
