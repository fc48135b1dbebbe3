/*
 * instance_delete.h
 *	  Deleting an instance with everything that belongs to it.
 */
#ifndef DURABLE_INSTANCE_DELETE_H
#define DURABLE_INSTANCE_DELETE_H

#include "store/store.h"
#include "store/instance_rows.h"

/*
 * Delete an instance, whose row the caller has locked, and its ended descendants.
 * If the instance is live, its live children get a message to terminate.  Returns
 * the number of deleted instances: 0 if wait is false and another transaction has
 * locked one of them.
 */
extern int64 instance_remove(Store *store, const InstanceRow *row, bool wait, TimestampTz now);

#endif
