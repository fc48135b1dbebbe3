/*
 * lifecycle_notify.h
 *	  Lifecycle events: NOTIFY on the channel of an instance's owner when the
 *	  public status of the instance changes and durable.notify asks for it.
 */
#ifndef DURABLE_LIFECYCLE_NOTIFY_H
#define DURABLE_LIFECYCLE_NOTIFY_H

#include "common/model.h"

#include "store/runtime_status.h"
#include "store/instance_rows.h"

/* the instance has a new status; reason: of a termination, a failure and so on, or NULL */
extern void lifecycle_notify(const InstanceRow *row, RuntimeStatus status,
							 const char *reason, TimestampTz time);
/* the same with the status that the row has */
extern void lifecycle_notify_status(const InstanceRow *row, const char *reason, TimestampTz time);

#endif
