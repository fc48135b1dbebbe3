/*
 * status.c
 *	  Public status of an instance, derived from its row as the view
 *	  durable.instances does, and the rule of who may see and manage it.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "status.h"

static const char *const names[] = {
	[STATUS_PENDING] = "Pending",
	[STATUS_RUNNING] = "Running",
	[STATUS_SUSPENDED] = "Suspended",
	[STATUS_CONTINUED_AS_NEW] = "ContinuedAsNew",
	[STATUS_COMPLETED] = "Completed",
	[STATUS_FAILED] = "Failed",
	[STATUS_TERMINATED] = "Terminated",
};

/* The public status of an instance. */
RuntimeStatus
status_of(const InstanceRow *row)
{
	switch ((InstanceState) row->state)
	{
		case STATE_READY:
		case STATE_WAITING:
			return row->started_time == 0 ? STATUS_PENDING : STATUS_RUNNING;
		case STATE_SUSPENDED:
			return STATUS_SUSPENDED;
		case STATE_COMPLETED:
			return STATUS_COMPLETED;
		case STATE_FAILED:
			return STATUS_FAILED;
		case STATE_TERMINATED:
			return STATUS_TERMINATED;
	}
	elog(ERROR, "instance \"%s\" has unknown state \"%c\"", row->instance_id, row->state);
}

/* Its name in the enum. */
const char *
status_name(RuntimeStatus status)
{
	return names[status];
}

/* Turn an array of the enum into a set of bits; a null element is an error. */
int
status_set(ArrayType *statuses, const char *parameter)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			set = 0;

	deconstruct_array(statuses, ARR_ELEMTYPE(statuses), sizeof(Oid), true, TYPALIGN_INT,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char	   *name;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("parameter \"%s\" must not contain nulls", parameter)));
		name = DatumGetCString(DirectFunctionCall1(enum_out, elements[i]));
		for (int status = 0; status < lengthof(names); status++)
			if (strcmp(name, names[status]) == 0)
				set |= STATUS_BIT(status);
	}
	return set;
}

/* Whether the current user may change an instance. */
bool
status_may_manage(const InstanceRow *row)
{
	return row->owner == GetUserId() || is_member_of_role(GetUserId(), row->owner);
}

/* Whether the current user may see it; the views have the same rule. */
bool
status_may_see(const InstanceRow *row)
{
	return status_may_manage(row) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}
