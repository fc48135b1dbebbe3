/*
 * runtime_status.c
 *	  The public status of an instance, derived from its row as the view
 *	  durable.instances does, and the rule who may see and manage it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

#include "common/jsonb_util.h"
#include "store/history_rows.h"
#include "store/instance_rows.h"
#include "store/runtime_status.h"

/* attributes of durable.orchestration_status */
enum
{
	ATTR_INSTANCE_ID, ATTR_NAME, ATTR_FUNCTION, ATTR_VERSION, ATTR_RUNTIME_STATUS, ATTR_INPUT, ATTR_OUTPUT,
	ATTR_CUSTOM_STATUS, ATTR_CREATED_TIME, ATTR_LAST_UPDATED_TIME, ATTR_COMPLETED_TIME, ATTR_SCHEDULED_START_TIME,
	ATTR_EXECUTION_ID, ATTR_PARENT_INSTANCE_ID, ATTR_TAGS, ATTR_FAILURE, ATTR_OWNER, ATTR_HISTORY,
	ATTR_CONTINUATION_TOKEN, STATUS_ATTRIBUTES
};

static const char *const names[] = {
	[STATUS_PENDING] = "Pending",
	[STATUS_RUNNING] = "Running",
	[STATUS_SUSPENDED] = "Suspended",
	[STATUS_CONTINUED_AS_NEW] = "ContinuedAsNew",
	[STATUS_COMPLETED] = "Completed",
	[STATUS_FAILED] = "Failed",
	[STATUS_TERMINATED] = "Terminated",
};

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

/* Set an attribute of a status; NULL and 0 become SQL null. */
static void
set_text(Datum *values, bool *nulls, int attribute, const char *text)
{
	nulls[attribute] = text == NULL;
	if (text != NULL)
		values[attribute] = CStringGetTextDatum(text);
}

static void
set_jsonb(Datum *values, bool *nulls, int attribute, const Jsonb *json)
{
	nulls[attribute] = json == NULL;
	values[attribute] = PointerGetDatum(json);
}

static void
set_time(Datum *values, bool *nulls, int attribute, TimestampTz time)
{
	nulls[attribute] = time == 0;
	values[attribute] = TimestampTzGetDatum(time);
}

/*
 * The status of an instance, equal to that of durable.get_status, which reads
 * the view.  The view costs a waiter several times as much.
 */
Datum
status_record(Store *store, const InstanceRow *row, TupleDesc desc)
{
	Datum		values[STATUS_ATTRIBUTES] = {0};
	bool		nulls[STATUS_ATTRIBUTES];
	HistoryRow	event;
	InstanceRow parent;
	bool		failed = row->state == STATE_FAILED;

	if (desc->natts != STATUS_ATTRIBUTES)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("type durable.orchestration_status is of another version than the library of extension \"durable\""),
				 errhint(STORE_MISMATCH_HINT)));
	memset(nulls, true, sizeof(nulls));
	set_text(values, nulls, ATTR_INSTANCE_ID, row->instance_id);
	set_text(values, nulls, ATTR_NAME, row->name);
	set_text(values, nulls, ATTR_FUNCTION, row->function);
	set_text(values, nulls, ATTR_VERSION, row->version);
	values[ATTR_RUNTIME_STATUS] = DirectFunctionCall2(enum_in, CStringGetDatum(status_name(status_of(row))),
													  ObjectIdGetDatum(TupleDescAttr(desc, ATTR_RUNTIME_STATUS)->atttypid));
	nulls[ATTR_RUNTIME_STATUS] = false;
	if (history_get(store, row->key, row->first_seq + 1, &event))
		set_jsonb(values, nulls, ATTR_INPUT, event.input);
	if (STATE_IS_TERMINAL(row->state) && history_get(store, row->key, row->turn_seq, &event))
	{
		set_jsonb(values, nulls, ATTR_OUTPUT, failed ? jsonb_member(event.result, "message") : event.result);
		if (failed)
			set_jsonb(values, nulls, ATTR_FAILURE, event.result);
	}
	set_jsonb(values, nulls, ATTR_CUSTOM_STATUS, row->custom_status);
	set_time(values, nulls, ATTR_CREATED_TIME, row->created_time);
	set_time(values, nulls, ATTR_LAST_UPDATED_TIME, row->last_updated_time);
	set_time(values, nulls, ATTR_COMPLETED_TIME, row->completed_time);
	set_time(values, nulls, ATTR_SCHEDULED_START_TIME, row->scheduled_start_time);
	values[ATTR_EXECUTION_ID] = UUIDPGetDatum(&row->execution_id);
	nulls[ATTR_EXECUTION_ID] = false;
	if (row->parent_key != 0 && instance_get(store, row->parent_key, &parent))
		set_text(values, nulls, ATTR_PARENT_INSTANCE_ID, parent.instance_id);
	set_jsonb(values, nulls, ATTR_TAGS, row->tags != NULL ? row->tags : jsonb_from_members(0, NULL, NULL));
	values[ATTR_OWNER] = ObjectIdGetDatum(row->owner);
	nulls[ATTR_OWNER] = !OidIsValid(row->owner);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* Whether the current user may manage an instance. */
bool
status_may_manage(const InstanceRow *row)
{
	return row->owner == GetUserId() || is_member_of_role(GetUserId(), row->owner);
}

/* Whether the current user may see an instance; the views have the same rule. */
bool
status_may_see(const InstanceRow *row)
{
	return status_may_manage(row) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}
