/*
 * instance_cache.h
 *	  The instances that a worker keeps in memory.
 */
#ifndef DURABLE_INSTANCE_CACHE_H
#define DURABLE_INSTANCE_CACHE_H

#include "engine/instance.h"

/* the instance in memory, which may be out of date; or NULL */
extern Instance *instance_cached(int64 key);
/* make it current if its history is the one of the locked row; false: it is useless */
extern bool instance_cache_renew(Instance *instance, const InstanceRow *row);
/* read the history of a locked row into memory; the cache must not have the instance */
extern Instance *instance_cache_fill(WorkerTransaction *txn, const InstanceRow *row);
extern void instance_cache_measure(Instance *instance);
extern void instance_forget(int64 key);
/* forget the least recently used instances until the cache is within durable.history_cache */
extern void instance_trim_cache(void);
/* events that this transaction appended in memory, compared with the row as read from the table */
extern int64 instance_unsaved_events(const InstanceRow *stored);

#endif
