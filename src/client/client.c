/*
 * client.c
 *	  The functions with which a session starts instances and acts on them.
 *
 * Each is part of the caller's transaction and acts as the current user.
 * start_new stores the instance itself.  The others send the instance a message,
 * which the worker that runs the instance applies, so they never wait for the
 * engine.  All use the latest snapshot, whatever the isolation level.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "call/function_call.h"
#include "call/function_lookup.h"
#include "client/client.h"
#include "common/arguments.h"
#include "common/call_context.h"
#include "common/failure.h"
#include "common/jsonb_util.h"
#include "engine/instance_create.h"
#include "engine/quota.h"
#include "sched/commit_wakeup.h"
#include "shmem/shmem.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/runtime_status.h"

/* the transaction and 32 subtransactions in it */
#define MAX_NESTING		33

PG_FUNCTION_INFO_V1(durable_start_new);
PG_FUNCTION_INFO_V1(durable_terminate);
PG_FUNCTION_INFO_V1(durable_raise_event);
PG_FUNCTION_INFO_V1(durable_rewind);
PG_FUNCTION_INFO_V1(durable_suspend);
PG_FUNCTION_INFO_V1(durable_resume);
PG_FUNCTION_INFO_V1(durable_require_client);
PG_FUNCTION_INFO_V1(durable_set_custom_status);

void
client_begin(const char *function)
{
	shmem_require();
	orchestrator_forbid(function);
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	PreventCommandIfParallelMode(function);
	/* while the transaction is open, each visibility check of its rows walks up the levels of subtransactions */
	if (GetCurrentTransactionNestLevel() > MAX_NESTING)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("%s was called in %d nested subtransactions", function, GetCurrentTransactionNestLevel() - 1),
				 errdetail("At most %d may be open: savepoints and PL/pgSQL blocks with EXCEPTION are such.", MAX_NESTING - 1),
				 errhint("Release savepoints before you set others.")));
}

/* OD001: there is no such instance, or the caller may not see it. */
void
client_no_instance(const char *instance_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_DURABLE_NO_INSTANCE),
			 errmsg("instance \"%s\" does not exist", instance_id)));
	pg_unreachable();
}

void
client_require_worker_role(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		login = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!login)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" cannot own instances because it cannot log in",
						GetUserNameFromId(role, false)),
				 errdetail("The engine runs an instance in a process that is connected as its owner."),
				 errhint("Use ALTER ROLE ... LOGIN, or start it as a role that can log in. PostgreSQL 17 and later do not need this.")));
	if (compat_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot own instances because it cannot connect to this database",
						GetUserNameFromId(role, false)),
				 errdetail("The engine runs an instance in a process that is connected as its owner."),
				 errhint("GRANT CONNECT ON DATABASE to the role.")));
}

Store *
client_open(void)
{
	PushActiveSnapshot(GetLatestSnapshot());
	return store_open();
}

/* Write what the store has buffered, so that the caller's next command sees it. */
void
client_close(Store *store)
{
	store_close(store);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

/* Whether on_duplicate is "ignore" and not "error". */
static bool
ignore_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *word = text_argument(fcinfo, number);

	if (strcmp(word, "ignore") == 0)
		return true;
	if (strcmp(word, "error") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"on_duplicate\": \"%s\"", word),
				 errhint("Available values: error, ignore.")));
	return false;
}

/* Resolve the function as the caller would, and check that it will run. */
static void
resolve_function(CreateRequest *request)
{
	Oid			function;

	/* the check of the size comes before the conversion, which may be slow */
	failure_throw_any(quota_payload(request->owner, request->input));
	function = function_lookup(request->name);
	(void) function_call(function, request->input, true);
	request->function = function_signature(function);
	request->search_path = namespace_search_path;
}

/* Read the arguments of start_new. */
static void
read_request(FunctionCallInfo fcinfo, CreateRequest *request)
{
	require_argument(fcinfo, 0, "name", "durable.start_new");
	require_argument(fcinfo, 6, "dedupe_statuses", "durable.start_new");
	require_argument(fcinfo, 7, "on_duplicate", "durable.start_new");
	request->name = text_argument(fcinfo, 0);
	request->input = jsonb_argument(fcinfo, 1);
	request->instance_id = text_argument(fcinfo, 2);
	request->now = GetCurrentTimestamp();
	if (!PG_ARGISNULL(3))
	{
		request->start_at = PG_GETARG_TIMESTAMPTZ(3);
		if (TIMESTAMP_NOT_FINITE(request->start_at))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"start_at\" must be finite")));
	}
	request->version = text_argument(fcinfo, 4);
	request->tags = create_check_tags(jsonb_argument(fcinfo, 5));
	request->owner = GetUserId();
	if (request->instance_id != NULL)
	{
		create_check_id(request->instance_id);
		request->dedupe = status_set(PG_GETARG_ARRAYTYPE_P(6), "dedupe_statuses");
	}
}

/* durable.start_new(name, input, instance_id, start_at, version, tags, dedupe_statuses, on_duplicate) */
Datum
durable_start_new(PG_FUNCTION_ARGS)
{
	CreateRequest request = {0};
	CreateResult result;
	Store	   *store;
	bool		ignore;

	client_begin("durable.start_new");
	read_request(fcinfo, &request);
	ignore = ignore_argument(fcinfo, 7);
	client_require_worker_role(GetUserId());
	resolve_function(&request);

	store = client_open();
	result = instance_create(store, &request);
	client_close(store);
	if (result == CREATE_FOREIGN || (result == CREATE_EXISTS && !ignore))
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_INSTANCE_EXISTS),
				 errmsg("instance \"%s\" already exists", request.instance_id),
				 errhint("Choose another id, or see the parameters dedupe_statuses and on_duplicate of durable.start_new.")));
	PG_RETURN_TEXT_P(cstring_to_text(request.instance_id));
}

/* Find an instance that the caller may manage; OD001 if there is none. */
static void
find_instance(Store *store, const char *instance_id, InstanceRow *row)
{
	if (!instance_find(store, instance_id, row) || !status_may_manage(row))
		client_no_instance(instance_id);
}

/* OD002 if the instance has ended. */
static void
require_live(const InstanceRow *row, const char *action)
{
	if (STATE_IS_TERMINAL(row->state))
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_WRONG_STATUS),
				 errmsg("cannot %s instance \"%s\" because its status is %s",
						action, row->instance_id, status_name(status_of(row)))));
}

/* Send a message to a live instance that the caller may manage; action: for errors.  Returns the owner. */
static Oid
send_message(const char *instance_id, const char *action, MessageRow *message)
{
	InstanceRow row;
	Store	   *store;

	store = client_open();
	find_instance(store, instance_id, &row);
	require_live(&row, action);
	/* termination must always work; without a reason, its payload is small and not the caller's */
	if (message->kind != MESSAGE_TERMINATE || jsonb_member(message->payload, "reason") != NULL)
		failure_throw_any(quota_payload(row.owner, message->payload));
	message->key = row.key;
	message->time = GetCurrentTimestamp();
	message_send(store, row.owner, message);
	/* the quota of the history does not forbid to terminate or resume */
	if (message->kind != MESSAGE_TERMINATE && message->kind != MESSAGE_RESUME)
		quota_check_message(store, &row);
	client_close(store);
	return row.owner;
}

/*
 * Terminate the live descendants of an instance, and cancel their activities.
 * The worker that terminates the instance would do the same, but the activities
 * may occupy all workers.
 */
static void
cancel_descendants(const MessageRow *sent, Oid owner)
{
	int64		root = sent->key;
	List	   *keys = list_make1(&root);
	Store	   *store;
	ListCell   *cell;

	store = client_open();
	foreach(cell, keys)
	{
		MessageRow	message = {
			.key = *(int64 *) lfirst(cell), .kind = sent->kind, .time = sent->time, .payload = sent->payload
		};

		InstanceRow row;

		CHECK_FOR_INTERRUPTS();
		if (message.key != root && (!instance_get(store, message.key, &row) || STATE_IS_TERMINAL(row.state)))
			continue;
		keys = list_concat(keys, instance_children(store, message.key));
		if (message.key == root)
			continue;
		message_send(store, owner, &message);
		wakeup_cancel(message.key);
	}
	client_close(store);
}

Jsonb *
client_reason(FunctionCallInfo fcinfo, int number)
{
	static const char *const names[] = {"reason"};
	Jsonb	   *reason = jsonb_from_text(text_argument(fcinfo, number));

	return reason != NULL ? jsonb_from_members(1, names, &reason) : NULL;
}

/* durable.terminate(instance_id, reason, recursive, cancel_activities) */
Datum
durable_terminate(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"reason", "recursive", "cancelActivities"};
	Jsonb	   *values[3];
	MessageRow	message = {.kind = MESSAGE_TERMINATE};
	Oid			owner;

	client_begin("durable.terminate");
	require_argument(fcinfo, 0, "instance_id", "durable.terminate");
	require_argument(fcinfo, 2, "recursive", "durable.terminate");
	require_argument(fcinfo, 3, "cancel_activities", "durable.terminate");
	values[0] = jsonb_from_text(text_argument(fcinfo, 1));
	values[1] = jsonb_from_bool(PG_GETARG_BOOL(2));
	values[2] = jsonb_from_bool(PG_GETARG_BOOL(3));
	message.payload = jsonb_from_members(lengthof(values), names, values);
	owner = send_message(text_argument(fcinfo, 0), "terminate", &message);
	if (PG_GETARG_BOOL(3))
		wakeup_cancel(message.key);
	if (PG_GETARG_BOOL(2) && PG_GETARG_BOOL(3))
		cancel_descendants(&message, owner);
	PG_RETURN_VOID();
}

/* durable.raise_event(instance_id, event_name, event_data) */
Datum
durable_raise_event(PG_FUNCTION_ARGS)
{
	MessageRow	message = {.kind = MESSAGE_EVENT};

	client_begin("durable.raise_event");
	require_argument(fcinfo, 0, "instance_id", "durable.raise_event");
	require_argument(fcinfo, 1, "event_name", "durable.raise_event");
	message.name = event_name_argument(fcinfo, 1);
	message.payload = jsonb_argument(fcinfo, 2);
	send_message(text_argument(fcinfo, 0), "raise an event for", &message);
	PG_RETURN_VOID();
}

/* Suspend or resume an instance: what both functions do. */
static Datum
send_reason(FunctionCallInfo fcinfo, MessageKind kind, const char *function, const char *action)
{
	MessageRow	message = {.kind = kind};

	client_begin(function);
	require_argument(fcinfo, 0, "instance_id", function);
	message.payload = client_reason(fcinfo, 1);
	send_message(text_argument(fcinfo, 0), action, &message);
	PG_RETURN_VOID();
}

/* durable.suspend(instance_id, reason) */
Datum
durable_suspend(PG_FUNCTION_ARGS)
{
	return send_reason(fcinfo, MESSAGE_SUSPEND, "durable.suspend", "suspend");
}

/* durable.resume(instance_id, reason) */
Datum
durable_resume(PG_FUNCTION_ARGS)
{
	return send_reason(fcinfo, MESSAGE_RESUME, "durable.resume", "resume");
}

/* durable.rewind(instance_id, reason) */
Datum
durable_rewind(PG_FUNCTION_ARGS)
{
	char	   *instance_id;
	InstanceRow row;
	MessageRow	message = {.kind = MESSAGE_REWIND, .time = GetCurrentTimestamp()};
	Store	   *store;

	client_begin("durable.rewind");
	require_argument(fcinfo, 0, "instance_id", "durable.rewind");
	instance_id = text_argument(fcinfo, 0);
	store = client_open();
	if (!instance_find(store, instance_id, &row) || !status_may_manage(&row) ||
		instance_lock(store, row.key, true, &row) != FETCH_FOUND)
		client_no_instance(instance_id);
	if (row.state != STATE_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_WRONG_STATUS),
				 errmsg("cannot rewind instance \"%s\" because its status is %s",
						instance_id, status_name(status_of(&row))),
				 errhint("Only failed instances can be rewound.")));
	row.state = STATE_READY;
	row.completed_time = 0;
	row.last_updated_time = message.time;
	instance_update(store, &row);
	message.key = row.key;
	message.payload = client_reason(fcinfo, 1);
	failure_throw_any(quota_payload(row.owner, message.payload));
	message_send(store, row.owner, &message);
	wakeup_instance(row.owner, row.key, row.name, READY_RUN);
	client_close(store);
	PG_RETURN_VOID();
}

/* durable.require_client(function) */
Datum
durable_require_client(PG_FUNCTION_ARGS)
{
	orchestrator_forbid(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* durable.set_custom_status(instance_id, custom_status) */
Datum
durable_set_custom_status(PG_FUNCTION_ARGS)
{
	MessageRow	message = {.kind = MESSAGE_CUSTOM_STATUS};
	char	   *instance_id;
	InstanceRow row;
	Store	   *store;

	client_begin("durable.set_custom_status");
	require_argument(fcinfo, 0, "instance_id", "durable.set_custom_status");
	instance_id = text_argument(fcinfo, 0);
	message.payload = jsonb_argument(fcinfo, 1);

	store = client_open();
	find_instance(store, instance_id, &row);
	failure_throw_any(quota_payload(row.owner, message.payload));
	if (STATE_IS_TERMINAL(row.state) &&
		instance_lock(store, row.key, true, &row) != FETCH_FOUND)
		client_no_instance(instance_id);
	if (STATE_IS_TERMINAL(row.state))
	{
		/* no worker applies the messages of an ended instance, and its last event must be its end */
		row.custom_status = message.payload;
		row.last_updated_time = GetCurrentTimestamp();
		instance_update(store, &row);
	}
	else
	{
		message.key = row.key;
		message.time = GetCurrentTimestamp();
		message_send(store, row.owner, &message);
		quota_check_message(store, &row);
	}
	client_close(store);
	PG_RETURN_VOID();
}
