/*
 * instance_delete.h
 *	  Removing an instance with all that belongs to it.
 */
#ifndef DURABLE_INSTANCE_DELETE_H
#define DURABLE_INSTANCE_DELETE_H

#include "store/store.h"
#include "store/instance_rows.h"

/*
 * Remove a locked instance and its ended descendants; live children of a live
 * instance are told to terminate.  Returns how many instances went: 0 if
 * another transaction holds one of them and it must not be waited for.
 */
extern int64 instance_remove(Store *store, const InstanceRow *row, bool wait, TimestampTz now);

#endif
