/*
 * completion_waiters.h
 *	  Sessions that wait for an instance to end are woken through shared memory.
 *
 * A waiting session calls completion_waiter_begin, reads the status of the
 * instance, calls completion_waiter_for with its key, and waits on its latch;
 * completion_waiter_end ends this.  No lock is needed.
 */
#ifndef DURABLE_COMPLETION_WAITERS_H
#define DURABLE_COMPLETION_WAITERS_H

#include "common/model.h"

extern void completion_waiters_register(void);

extern void completion_waiter_begin(void);
extern void completion_waiter_for(int64 key);
extern void completion_waiter_end(void);
/* wake the sessions that wait for one of these instances of the current database; sorts the keys */
extern void completion_waiter_wake(int64 *keys, int count);

#endif
