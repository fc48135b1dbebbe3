/*
 * lifecycle_notify.h
 *	  Lifecycle events: NOTIFY durable when an instance's public status changes,
 *	  as far as durable.notify asks.
 */
#ifndef DURABLE_LIFECYCLE_NOTIFY_H
#define DURABLE_LIFECYCLE_NOTIFY_H

#include "common/model.h"

#include "store/runtime_status.h"
#include "store/instance_rows.h"

/* goes out if the transaction commits; reason: of a termination, a failure … or NULL */
extern void notify_lifecycle(const InstanceRow *row, RuntimeStatus status,
							 const char *reason, TimestampTz time);
/* the same with the status that the row has */
extern void notify_status(const InstanceRow *row, const char *reason, TimestampTz time);

#endif
