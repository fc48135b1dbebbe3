/*
 * restart.c
 *	  durable.restart: an instance once more.
 *
 * The new instance has the owner of the old one, not the caller.  Only the owner
 * has the input checked against the function here, as that converts the input,
 * which may run code of the owner (conditions of domains).  In a session of
 * somebody else this code could do harm that no rollback undoes, with whatever
 * rights it ran.  There the function is looked up in the catalogs and nothing
 * else, and an input that does not fit fails the new instance in its first turn.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "call.h"
#include "client.h"
#include "create.h"
#include "owner.h"
#include "quota.h"
#include "status.h"

PG_FUNCTION_INFO_V1(durable_restart);

/*
 * Find a function as a role, whose "$user" and rights on schemas count.  Nothing
 * of users runs when a name is looked up.
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
	/* after an error the end of the transaction does this */
	SetUserIdAndSecContext(user, context);
	return function;
}

/*
 * Find the function of a request by the search_path of its owner, who must be
 * allowed to execute it.  Whether it takes the input is for the owner's worker to
 * see: to look at that here would run the owner's code in this session, where it
 * could take the rights of whoever has logged in, after SET ROLE too.
 */
static void
resolve_function(CreateRequest *request)
{
	int			level = NewGUCNestLevel();
	Oid			function;

	client_require_worker_role(request->owner);
	/* before it is converted */
	quota_require(quota_payload(request->owner, request->input));
	(void) set_config_option("search_path", request->search_path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	function = look_up_as(request->owner, request->name);
	function_check_execute(function, request->owner);
	request->function = function_signature(function);
	AtEOXact_GUC(false, level);
}

/*
 * Find the instance and the event that began its execution.  Both are read as
 * of now, one after the other, and in between the instance may have continued
 * as new, which removes that event.
 */
static void
find_instance(Store *store, const char *instance_id, InstanceRow *row, HistoryRow *started)
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

/* 42704: there is nobody to whom the new one could belong. */
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

/* OD002: it is live. */
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
	client_require(fcinfo, 0, "instance_id", "durable.restart");
	client_require(fcinfo, 1, "restart_with_new_instance_id", "durable.restart");
	instance_id = client_text(fcinfo, 0);
	replace = !PG_GETARG_BOOL(1);

	store = client_open();
	find_instance(store, instance_id, &row, &started);
	if (replace && !STATE_IS_TERMINAL(row.state))
		refuse_live(&row);
	require_owner(&row);
	fill_request(&row, &started, &request);
	resolve_function(&request);
	if (replace)
	{
		request.instance_id = instance_id;
		request.dedupe = STATUS_LIVE;
	}
	/* somebody else may have replaced it a moment ago */
	if (instance_create(store, &request) != CREATE_DONE)
	{
		if (instance_find(store, instance_id, &row) && status_may_manage(&row))
			refuse_live(&row);
		client_no_instance(instance_id);
	}
	client_close(store);
	PG_RETURN_TEXT_P(cstring_to_text(request.instance_id));
}
