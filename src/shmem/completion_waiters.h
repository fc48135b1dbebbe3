/*
 * completion_waiters.h
 *	  Sessions that wait for an instance to end, woken through shared memory.
 */
#ifndef DURABLE_COMPLETION_WAITERS_H
#define DURABLE_COMPLETION_WAITERS_H

#include "common/model.h"

extern void completion_waiters_register(void);

extern void completion_waiter_begin(void);
extern void completion_waiter_for(int64 key);
extern void completion_waiter_end(void);
/* set the latches of all who wait for one of these instances of this database; sorts the keys */
extern void completion_waiter_wake(int64 *keys, int count);

#endif
