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
/* the statuses of a durable.runtime_status[] as STATUS_BITs */
extern int	status_set(ArrayType *statuses, const char *parameter);

/* a durable.orchestration_status, of which desc is the row type, without history; read the row and this as of one moment */
extern Datum status_record(Store *store, const InstanceRow *row, TupleDesc desc);

/* for the current user: the owner and members of that role; to see, pg_monitor too */
extern bool status_may_manage(const InstanceRow *row);
extern bool status_may_see(const InstanceRow *row);

#endif
