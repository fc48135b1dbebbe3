/*
 * restart.c
 *	  durable.restart: starts an instance again.
 *
 * The new instance belongs to the owner of the old one, not to the caller.  If the
 * caller is the owner, the input is checked against the function.  This converts
 * the input, which may run code of the owner, such as CHECKs of domains.  In a
 * session of another role that code could do harm that a rollback does not undo.
 * There the function is only looked up in the catalogs, and an input that does not
 * fit fails the new instance in its first turn.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "call/function_call.h"
#include "call/function_lookup.h"
#include "client/client.h"
#include "common/arguments.h"
#include "common/failure.h"
#include "engine/instance_create.h"
#include "engine/quota.h"
#include "store/history_rows.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/runtime_status.h"

PG_FUNCTION_INFO_V1(durable_restart);

/*
 * Find a function as a role, for its "$user" and its privileges on schemas.  A
 * look-up runs no code of users.
 */
static Oid
look_up_as(Oid role, const char *name)
{
	Oid			user;
	int			context;
	Oid			function;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(role, context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	function = function_lookup(name);
	/* after an error, the end of the (sub)transaction does the same */
	SetUserIdAndSecContext(user, context);
	return function;
}

/*
 * Find the function of a request in the request's search_path; an error unless
 * the owner may execute it.  The worker of the owner checks the input: a check
 * here would run code of the owner in this session, and that code could take the
 * rights of the role that has logged in, after SET ROLE too.
 */
static void
resolve_as_owner(CreateRequest *request)
{
	int			level = NewGUCNestLevel();
	Oid			function;

	client_require_worker_role(request->owner);
	/* the check of the size comes before the conversion, which may be slow */
	failure_throw_any(quota_payload(request->owner, request->input));
	(void) set_config_option("search_path", request->search_path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	function = look_up_as(request->owner, request->name);
	function_check_execute(function, request->owner);
	request->function = function_signature(function);
	AtEOXact_GUC(false, level);
}

/*
 * Find the instance and the event that started its execution.  The instance may
 * continue as new between both reads, which deletes the event; then both are read
 * again.
 */
static void
find_restarted(Store *store, const char *instance_id, InstanceRow *row, HistoryRow *started)
{
	pg_uuid_t	tried = {0};

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!instance_find(store, instance_id, row) || !status_may_manage(row))
			client_no_instance(instance_id);
		if (history_get(store, row->key, row->first_seq + 1, started))
			return;
		if (memcmp(&tried, &row->execution_id, sizeof(tried)) == 0)
			elog(ERROR, "history of instance \"%s\" has no beginning", instance_id);
		tried = row->execution_id;
	}
}

/* The request for an instance like the given one. */
static void
fill_request(const InstanceRow *row, const HistoryRow *started, CreateRequest *request)
{
	request->name = row->name;
	request->version = row->version;
	request->search_path = row->search_path;
	request->tags = row->tags;
	request->owner = row->owner;
	request->now = GetCurrentTimestamp();
	request->input = started->input;
}

/* 42704: the owner does not exist. */
static void
require_owner(const InstanceRow *row)
{
	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(row->owner)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the owner of instance \"%s\", %s, does not exist", row->instance_id, owner_text(row->owner, row->absent)),
			 errhint("Call durable.reassign_owner, or durable.start_new.")));
}

/* OD002: the instance is live. */
static void
refuse_live(const InstanceRow *row)
{
	ereport(ERROR,
			(errcode(ERRCODE_DURABLE_WRONG_STATUS),
			 errmsg("cannot restart instance \"%s\" under its id because its status is %s",
					row->instance_id, status_name(status_of(row))),
			 errhint("Use durable.terminate first, or restart it under a new id.")));
}

/* durable.restart(instance_id, restart_with_new_instance_id) */
Datum
durable_restart(PG_FUNCTION_ARGS)
{
	CreateRequest request = {0};
	InstanceRow row;
	HistoryRow	started;
	Store	   *store;
	char	   *instance_id;
	bool		replace;

	client_begin("durable.restart");
	require_argument(fcinfo, 0, "instance_id", "durable.restart");
	require_argument(fcinfo, 1, "restart_with_new_instance_id", "durable.restart");
	instance_id = text_argument(fcinfo, 0);
	replace = !PG_GETARG_BOOL(1);

	store = client_open();
	find_restarted(store, instance_id, &row, &started);
	if (replace && !STATE_IS_TERMINAL(row.state))
		refuse_live(&row);
	require_owner(&row);
	fill_request(&row, &started, &request);
	resolve_as_owner(&request);
	if (replace)
	{
		request.instance_id = instance_id;
		request.dedupe = STATUS_LIVE;
	}
	/* another transaction may have replaced or deleted the instance */
	if (instance_create(store, &request) != CREATE_DONE)
	{
		if (instance_find(store, instance_id, &row) && status_may_manage(&row))
			refuse_live(&row);
		client_no_instance(instance_id);
	}
	client_close(store);
	PG_RETURN_TEXT_P(cstring_to_text(request.instance_id));
}
