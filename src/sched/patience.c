/*
 * patience.c
 *	  Interrupts user code that keeps others waiting.
 *
 * A timer looks, every TICK_MS, how long the call has run, and how long its
 * process has waited for a heavyweight lock.  It interrupts as a cancellation
 * does; but that it did counts, not what the code made of it.  Code that
 * handles the cancellation is interrupted again at each tick, and when it has
 * handled HANDLED of them its process ends: the note in the black box then counts
 * it as a call that has killed its worker, and such a one runs alone.
 *
 * PL/pgSQL can call what no rollback takes back: a volatile function in C (dblink,
 * http), code in an untrusted language, COPY TO PROGRAM.  With patience such a call
 * is stopped before it happens, so that it happens once.  Functions of pg_catalog
 * and of this extension do not count.
 *
 * A call that runs alone is interrupted only where it has waited for a lock for
 * ALONE_LOCK while others wait for its place, has done nothing that no rollback
 * takes back, and has no timeout, which would begin anew.  While the call waits
 * it looks for deadlocks at each tick, so that the engine, which tries again, is
 * the victim and no client is.  Once the call has left PostgreSQL the timer is
 * silent: a signal would end the pause of other code.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/proclang.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "common/compat.h"
#include "common/guc.h"
#include "sched/patience.h"
#include "sched/ready_lists.h"
#include "shmem/crash_notes.h"

#define TICK_MS			5
#define TICK_ALONE_MS	20
/* a lock for which a call with patience waits, and one that runs alone */
#define LOCK_TIME		(10 * INT64CONST(1000))
#define ALONE_LOCK		USECS_PER_SEC
/* a call that was cancelled and goes on ends its process after this */
#define CANCEL_GRACE	(10 * USECS_PER_SEC)
/* interruptions that a call handles and goes on */
#define HANDLED			20

static TimeoutId timer = MAX_TIMEOUTS;
static bool ticking = false;
static bool constraints_set = false;	/* the call has set when constraints are checked */
static bool alone = false;		/* the round is that of something that runs alone */
static fmgr_hook_type next_fmgr_hook = NULL;
static needs_fmgr_hook_type next_needs_fmgr_hook = NULL;
static ProcessUtility_hook_type next_utility_hook = NULL;

/* read and written by the timer's handler */
static volatile sig_atomic_t calling = false;
static volatile sig_atomic_t interruption = INTERRUPTION_NONE;
static volatile sig_atomic_t outside = false;	/* the call has done what no rollback takes back */
static bool guarded = false;	/* the call may write, and so reach outside; a turn may not, and is replayed anyway */
static bool limited = false;	/* the call has a timeout, which would begin anew */
static volatile TimestampTz call_start;
static volatile TimestampTz cancelled_at;	/* the call was found to be cancelled; 0: it was not */
static volatile sig_atomic_t interruptions; /* that the process has noticed during the call, and one more */

/* How long this process has waited for a heavyweight lock, us. */
static int64
lock_time(TimestampTz now)
{
	TimestampTz since;

	if (MyProc->waitLock == NULL)
		return 0;
	since = pg_atomic_read_u64(&MyProc->waitStart);
	return since == 0 ? 0 : now - since;
}

/* Why the call is to be interrupted now. */
static Interruption
reason(TimestampTz now)
{
	int64		waited = lock_time(now);

	if (alone)
	{
		if (waited > 0)
			CheckDeadLockAlert();
		return waited >= ALONE_LOCK && lists->long_wanted && !outside && !limited ? INTERRUPTION_PLACE : INTERRUPTION_NONE;
	}
	if (now - call_start >= durable_batch_time * INT64CONST(1000))
		return INTERRUPTION_TIME;
	return waited >= LOCK_TIME ? INTERRUPTION_LOCK : INTERRUPTION_NONE;
}

/* The timer's handler. */
static void
tick(void)
{
	TimestampTz now;

	if (!calling || MyProc == NULL || proc_exit_inprogress)
		return;
	now = GetCurrentTimestamp();
	if (crash_note_is_cancelled())
	{
		if (cancelled_at == 0)
			cancelled_at = now;
		else if (now - cancelled_at >= CANCEL_GRACE)
		{
			ProcDiePending = InterruptPending = true;
			SetLatch(MyLatch);
			return;
		}
	}
	if (interruption == INTERRUPTION_NONE)
		interruption = reason(now);
	if (interruption == INTERRUPTION_NONE)
		return;
	if (!QueryCancelPending && interruptions++ >= HANDLED)
		ProcDiePending = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Leave the call, which is to run alone. */
static void
leave_to_run_alone(void)
{
	interruption = INTERRUPTION_OUTSIDE;
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg_internal("the function is to run alone")));
}

/* The timer is silent until the next call. */
static void
be_silent(void)
{
	if (ticking)
		disable_timeout(timer, false);
	ticking = false;
}

/* The call is about to do something that no rollback takes back. */
static void
go_outside(void)
{
	if (!calling)
		return;
	if (!alone)
		leave_to_run_alone();
	outside = true;
	be_silent();
}

/* Whether a language is one whose functions may do anything. */
static bool
language_is_untrusted(Oid language)
{
	HeapTuple	tuple;
	bool		untrusted;

	if (language == INTERNALlanguageId || language == ClanguageId || language == SQLlanguageId)
		return false;
	tuple = SearchSysCache1(LANGOID, ObjectIdGetDatum(language));
	if (!HeapTupleIsValid(tuple))
		return false;
	untrusted = !((Form_pg_language) GETSTRUCT(tuple))->lanpltrusted;
	ReleaseSysCache(tuple);
	return untrusted;
}

/* Whether a function has durable.run_alone. */
static bool
wants_to_be_alone(HeapTuple function)
{
	bool		isnull;
	Datum		config = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_proconfig, &isnull);
	ArrayType  *array;
	ArrayIterator iterator;
	Datum		element;
	bool		result = false;

	if (isnull)
		return false;
	array = DatumGetArrayTypeP(config);
	iterator = array_create_iterator(array, 0, NULL);
	while (array_iterate(iterator, &element, &isnull))
	{
		char	   *setting = isnull ? NULL : TextDatumGetCString(element);

		if (setting != NULL && strncmp(setting, RUN_ALONE_SETTING "=", strlen(RUN_ALONE_SETTING "=")) == 0)
			(void) parse_bool(setting + strlen(RUN_ALONE_SETTING "="), &result);
	}
	array_free_iterator(iterator);
	return result;
}

/* Whether a function is one that may do what no rollback takes back, or is said to be one. */
static bool
tuple_is_outside(HeapTuple tuple)
{
	Form_pg_proc function = (Form_pg_proc) GETSTRUCT(tuple);
	char	   *schema;

	if (wants_to_be_alone(tuple))
		return true;
	if (function->prolang != ClanguageId)
		return language_is_untrusted(function->prolang);
	if (function->provolatile != PROVOLATILE_VOLATILE || function->pronamespace == PG_CATALOG_NAMESPACE)
		return false;
	schema = get_namespace_name(function->pronamespace);
	return schema == NULL || (strcmp(schema, DURABLE_SCHEMA) != 0 && strcmp(schema, DURABLE_INTERNAL_SCHEMA) != 0);
}

/* The same of a function that may have been dropped. */
static bool
function_is_outside(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = tuple_is_outside(tuple);
	ReleaseSysCache(tuple);
	return result;
}

/* Whether calls of a function are to be told of: asked when the function is looked up. */
static bool
needs_hook(Oid function)
{
	return (next_needs_fmgr_hook != NULL && next_needs_fmgr_hook(function)) ||
		(IsTransactionState() && function_is_outside(function));
}

/* Such a function is called, or another that some other module wants to know of. */
static void
function_called(FmgrHookEventType event, FmgrInfo *info, Datum *arg)
{
	if (event == FHET_START && calling && guarded && function_is_outside(info->fn_oid))
		go_outside();
	if (next_fmgr_hook != NULL)
		next_fmgr_hook(event, info, arg);
}

/* Whether a command runs a program, or code in an untrusted language. */
static bool
command_is_outside(Node *statement)
{
	ListCell   *cell;

	if (IsA(statement, CopyStmt))
		return ((CopyStmt *) statement)->is_program;
	if (!IsA(statement, DoStmt))
		return false;
	foreach(cell, ((DoStmt *) statement)->args)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "language") == 0)
			return language_is_untrusted(get_language_oid(strVal(option->arg), true));
	}
	return false;
}

/* A command is run. */
static void
patience_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (calling && guarded && command_is_outside(pstmt->utilityStmt))
		go_outside();
	constraints_set |= calling && IsA(pstmt->utilityStmt, ConstraintsSetStmt);
	if (next_utility_hook != NULL)
		next_utility_hook(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/* Get ready in a worker, before it has looked any function up. */
void
patience_install(void)
{
	timer = RegisterTimeout(USER_TIMEOUT, tick);
	next_fmgr_hook = fmgr_hook;
	fmgr_hook = function_called;
	next_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = patience_process_utility;
	/* each look for a deadlock would say so; what waits for long the scheduler tells */
	SetConfigOption("log_lock_waits", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/* A round begins. */
void
patience_begin(bool runs_alone)
{
	patience_end();
	alone = runs_alone;
}

/* It has ended. */
void
patience_end(void)
{
	calling = false;
	be_silent();
}

/* A call begins. */
void
patience_call_begin(bool has_limit, bool may_write)
{
	int			every = alone ? TICK_ALONE_MS : TICK_MS;

	call_start = GetCurrentTimestamp();
	interruption = INTERRUPTION_NONE;
	interruptions = 0;
	cancelled_at = 0;
	limited = has_limit;
	guarded = may_write;
	outside = constraints_set = false;
	calling = true;
	if (!ticking)
		enable_timeout_every(timer, TimestampTzPlusMilliseconds(call_start, every), every);
	ticking = true;
}

/* It has ended, one way or the other. */
Interruption
patience_call_end(void)
{
	calling = false;
	return interruption;
}

/* The call is one of this function. */
void
patience_check(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		untrusted;
	bool		begins_alone;

	if (!HeapTupleIsValid(tuple))
		return;
	untrusted = language_is_untrusted(((Form_pg_proc) GETSTRUCT(tuple))->prolang);
	begins_alone = untrusted || wants_to_be_alone(tuple);
	ReleaseSysCache(tuple);
	if (begins_alone && !alone)
		leave_to_run_alone();
	/* remembered for the next call of it */
	if (begins_alone)
		outside = true;
	if (untrusted)
		be_silent();
}

/* Whether the last call did what no rollback takes back, or is one that begins alone. */
bool
patience_outside(void)
{
	return outside || interruption == INTERRUPTION_OUTSIDE;
}

/* Whether the last call was rolled back because others wait for its place. */
bool
patience_gave_way(void)
{
	return interruption == INTERRUPTION_PLACE;
}

/* Whether the last call has set when constraints are checked, which lasts until the end of the transaction. */
bool
patience_constraints_set(void)
{
	return constraints_set;
}
