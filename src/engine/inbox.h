/*
 * inbox.h
 *	  Loading an instance and applying the messages and timers that it has got.
 */
#ifndef DURABLE_INBOX_H
#define DURABLE_INBOX_H

#include "engine/instance.h"

/*
 * Lock the row of an instance for this transaction, read the instance into
 * memory, and apply its messages (flag READY_MESSAGE) and its due timers (flag
 * READY_TIMER).  Runs no code of users.  NULL if there is no instance to go on
 * with:
 *
 *	*result			reason
 *	FETCH_ABSENT	the instance was deleted
 *	FETCH_LOCKED	a transaction that is not a worker's has the row locked; it wakes the
 *					engine at its end (commit_wakeup.c)
 *	FETCH_FOREIGN	the instance has another owner, for whom it was queued
 *	FETCH_FOUND		the messages were applied without reading the history
 */
extern Instance *instance_load(WorkerTransaction *txn, int64 key, int flags, FetchResult *result);

#endif
