/*
 * user_call.c
 *	  The one place where a worker runs code of users: finding a function,
 *	  converting its input and running it.
 *
 * - Each call is a subtransaction, so that an error undoes the call alone.
 * - The session belongs to the role that the function runs for; user_call checks
 *	 this.  So no role is switched, and the code cannot switch back.
 * - A call that only checks a function is a call, too, because domains, casts and
 *	 input functions of users run in it.
 * - default_transaction_read_only applies to the call, not to the writes of the
 *	 engine.
 * - After a call, the worker removes what the call has left in the session:
 *	 settings, temporary tables, prepared statements, cursors, open large objects,
 *	 advisory locks, sequence state, the seed of random().
 * - Deferred constraints are checked inside the call, so that they fail the call
 *	 that broke them, and not the whole transaction.
 *
 * Code can handle the error of its timeout (WHEN query_canceled) and go on.  If
 * the call has not ended after a grace period, the process ends, which code cannot
 * handle.  The crash note says why, and the scheduler fails the call.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "call/function_call.h"
#include "call/function_lookup.h"
#include "call/user_call.h"
#include "common/call_context.h"
#include "common/failure.h"
#include "common/jsonb_util.h"
#include "common/pg_prng.h"
#include "shmem/crash_notes.h"
#include "libpq/be-fsstubs.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* the grace period in ms: as long as the timeout, but at least and at most */
#define USERCODE_GRACE_MIN INT64CONST(1000)
#define USERCODE_GRACE INT64CONST(10000)

/* a function that was found by "search_path/name" or "/signature" */
typedef struct Resolved
{
	char		name[NAMEDATALEN * 4];
	Oid			function;
} Resolved;

/* in this transaction only: the next one may find a schema closed */
static HTAB *resolved = NULL;
static bool resolved_valid = false;
static LocalTransactionId resolved_in;

/* ends the process when the grace period is over; MAX_TIMEOUTS: not registered yet */
static TimeoutId overdue_timeout = MAX_TIMEOUTS;

/* Syscache callback: a function, schema, type or role has changed. */
static void
forget_names(Datum arg, int cacheid, uint32 hashvalue)
{
	resolved_valid = false;
}

/* Register the invalidation callbacks once. */
static void
register_name_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(PROCOID, forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_names, (Datum) 0);
	registered = true;
}

/* Look a name up in the cache, or with the function lookup. */
static Oid
resolve(const char *path, const char *name, Oid (*lookup) (const char *name))
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN * 4, .entrysize = sizeof(Resolved)};
	char		tag[NAMEDATALEN * 4] = {0};
	Resolved   *entry;
	Oid			function;

	if (strlen(path) + strlen(name) + 2 > sizeof(tag))
		return lookup(name);
	snprintf(tag, sizeof(tag), "%s/%s", path, name);
	if (resolved != NULL && (!resolved_valid || resolved_in != compat_lxid()))
	{
		hash_destroy(resolved);
		resolved = NULL;
	}
	if (resolved == NULL)
		resolved = hash_create("durable names", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	resolved_valid = true;
	resolved_in = compat_lxid();
	entry = hash_search(resolved, tag, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->function;
	function = lookup(name);
	if (resolved_valid)
		((Resolved *) hash_search(resolved, tag, HASH_ENTER, NULL))->function = function;
	return function;
}

Oid
resolve_signature(const char *signature)
{
	return resolve("", signature, function_by_signature);
}

Oid
resolve_name(const char *name)
{
	return resolve(namespace_search_path, name, function_lookup);
}

/* Remove the session state that a rollback does not undo. */
static void
clean_process(bool sequences)
{
	DropAllPreparedStatements();
	/* a call must not be able to predict random() in the next one */
	DirectFunctionCall1(setseed, Float8GetDatum(pg_prng_double(&pg_global_prng_state)));
	LockReleaseSession(USER_LOCKMETHOD);
	if (sequences)
		ResetSequenceCaches();
}

/* Remove all session state of a call that succeeded, except settings. */
static void
clean_session(void)
{
	PortalHashTableDeleteAll();
	AtEOXact_LargeObject(true);
	clean_process(true);
	if (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE)
		ResetTempTableNamespace();
}

/* Give the function the search_path that its instance was started with. */
static void
set_search_path(const char *path)
{
	if (strcmp(namespace_search_path, path) != 0)
		(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/* The shorter of a call's timeout and statement_timeout; 0: none. */
int64
user_call_timeout(int64 timeout)
{
	if (timeout > 0 && (StatementTimeout == 0 || timeout < StatementTimeout))
		return timeout;
	return StatementTimeout;
}

/* The grace period is over: end the process at its next interrupt check. */
static void
overdue_handler(void)
{
	crash_note_overdue();
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Start the timeouts of a call.  They are points in time, because a delay in milliseconds is at most 24 days. */
static void
start_timeouts(const UserCall *call, TimestampTz start, int64 timeout)
{
	if (timeout > 0)
		enable_timeout_at(STATEMENT_TIMEOUT, start + timeout * 1000);
	if (call->timeout <= 0)
		return;
	if (overdue_timeout == MAX_TIMEOUTS)
		overdue_timeout = RegisterTimeout(USER_TIMEOUT, overdue_handler);
	enable_timeout_at(overdue_timeout, start + (call->timeout + Max(Min(call->timeout, USERCODE_GRACE), USERCODE_GRACE_MIN)) * 1000);
}

/* Stop the timeouts of a call. */
static void
stop_timeouts(const UserCall *call, int64 timeout)
{
	if (timeout > 0)
		disable_timeout(STATEMENT_TIMEOUT, false);
	if (call->timeout > 0)
		disable_timeout(overdue_timeout, false);
}

/* Call the function in the subtransaction that user_call has begun. */
static Jsonb *
call_inside(UserCall *call, MemoryContext context)
{
	int			nest_level = NewGUCNestLevel();
	Jsonb	   *result;

	set_search_path(call->search_path);
	XactReadOnly = call->read_only || DefaultXactReadOnly;
	PushActiveSnapshot(GetTransactionSnapshot());
	call->function = call->resolve(call->name);
	if (!call->read_only)
		patience_check(call->function);
	result = function_call(call->function, call->input, call->check_only);
	failure_throw_any(call->limit(call->owner, result));
	if (call->check_only)
		call->signature = MemoryContextStrdup(context, function_signature(call->function));
	/* deferred triggers are code of users, which must not run in the commit */
	if (!call->read_only)
		AfterTriggerFireDeferred();
	PopActiveSnapshot();
	result = jsonb_copy(context, result);
	clean_session();
	AtEOXact_GUC(false, nest_level);
	return result;
}

/*
 * Whether default_transaction_read_only is on for the server or the database,
 * which an administrator or a monitor of free disk space does for a while.  If
 * the setting is on for a role, the role must never write.
 */
static bool
server_takes_no_writes(void)
{
	GucSource	source = compat_setting_source("default_transaction_read_only");

	return DefaultXactReadOnly && source != PGC_S_USER && source != PGC_S_DATABASE_USER;
}

/*
 * Run a function in a subtransaction and store its result or error in the call.
 * A read-only call is rolled back even if it succeeds.
 */
void
user_call(UserCall *call)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int64 timeout = user_call_timeout(call->timeout);
	TimestampTz start = GetCurrentTimestamp();

	Assert(!call->check_only || call->read_only);
	process_require_role(call->owner);
	if (GetSessionUserId() != call->owner)
		elog(ERROR, "code of role %u was about to run in a session of role %u", call->owner, GetSessionUserId());
	register_name_callbacks();
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		start_timeouts(call, start, timeout);
		patience_call_begin(timeout > 0 || LockTimeout > 0, !call->read_only);
		call->result = call_inside(call, context);
		call->interruption = patience_call_end();
		stop_timeouts(call, timeout);
		call->wrote = TransactionIdIsValid(GetCurrentTransactionIdIfAny());
		if (call->read_only || call->interruption != INTERRUPTION_NONE)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		call->interruption = patience_call_end();
		stop_timeouts(call, timeout);
		MemoryContextSwitchTo(context);
		if (call->expected == NULL || !*call->expected)
			call->error = CopyErrorData();
		call->expired = timeout > 0 && call->error != NULL &&
			call->error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
			GetCurrentTimestamp() - start >= timeout * 1000;
		call->timed_out = call->expired && timeout == call->timeout;
		FlushErrorState();
		call->wrote = TransactionIdIsValid(GetCurrentTransactionIdIfAny());
		call->result = NULL;
		RollbackAndReleaseCurrentSubTransaction();
		clean_process(!call->read_only);
		call->refused = !call->read_only && call->error != NULL &&
			call->error->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION && server_takes_no_writes();
	}
	PG_END_TRY();
	if (call->interruption != INTERRUPTION_NONE)
	{
		call->result = NULL;
		call->error = NULL;
		call->timed_out = call->expired = call->refused = false;
	}
	/* a cancel request that came too late was for this call */
	QueryCancelPending = false;
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}
