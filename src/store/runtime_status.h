/*
 * runtime_status.h
 *	  What clients may know of an instance: its public status, and who may see
 *	  or manage it.
 */
#ifndef DURABLE_RUNTIME_STATUS_H
#define DURABLE_RUNTIME_STATUS_H

#include "common/model.h"

#include "access/tupdesc.h"
#include "utils/array.h"

#include "store/store.h"
#include "store/instance_rows.h"

/* durable.runtime_status, in the order of the enum; ContinuedAsNew is never stored */
typedef enum RuntimeStatus
{
	STATUS_PENDING,
	STATUS_RUNNING,
	STATUS_SUSPENDED,
	STATUS_CONTINUED_AS_NEW,
	STATUS_COMPLETED,
	STATUS_FAILED,
	STATUS_TERMINATED
} RuntimeStatus;

#define STATUS_BIT(s)	(1 << (s))
#define STATUS_LIVE		(STATUS_BIT(STATUS_PENDING) | STATUS_BIT(STATUS_RUNNING) | STATUS_BIT(STATUS_SUSPENDED))

extern RuntimeStatus status_of(const InstanceRow *row);
extern const char *status_name(RuntimeStatus status);
/* a durable.runtime_status[] as a set of STATUS_BITs; a null element is an error */
extern int	status_set(ArrayType *statuses, const char *parameter);

/*
 * A durable.orchestration_status without history; desc is its row type.  The
 * row must have been read with the store's snapshot.
 */
extern Datum status_record(Store *store, const InstanceRow *row, TupleDesc desc);

/* whether the current user is, or is a member of, the owner; members of pg_monitor may see, too */
extern bool status_may_manage(const InstanceRow *row);
extern bool status_may_see(const InstanceRow *row);

#endif
