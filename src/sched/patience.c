/*
 * patience.c
 *	  Interrupts user code that makes others wait.
 *
 * A timer checks every TICK_MS how long the call has run, and how long its
 * process has waited for a heavyweight lock.  The timer interrupts the call
 * like a cancellation.  The caller of patience_call_end goes by the
 * interruption, not by the result of the code: code that handles the
 * cancellation is interrupted again at each tick, and after HANDLED of them
 * its process ends.  Its crash note then counts as a call that has killed its
 * worker, and such a call runs alone.
 *
 * PL/pgSQL can call functions whose effects a rollback does not undo: a
 * volatile function in C (dblink, http), code in an untrusted language, COPY
 * TO PROGRAM.  With patience the call is interrupted before this, so that the
 * effect happens once.  Functions of pg_catalog and of this extension do not
 * count.
 *
 * A call that runs alone is interrupted only if it has waited for a lock for
 * ALONE_LOCK while other work waits for its place, has done nothing that a
 * rollback does not undo, and has no timeout, which would begin again.  While
 * it waits, the timer checks for deadlocks at each tick, so that the engine,
 * which tries again, becomes the victim and not a client.  Once code outside
 * PostgreSQL may run, the timer is off: its signal would interrupt a sleep of
 * that code.
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
/* the longest wait for a lock, of a call with patience and of one that runs alone */
#define LOCK_TIME		(10 * INT64CONST(1000))
#define ALONE_LOCK		USECS_PER_SEC
/* a call that was cancelled and still runs after this ends its process */
#define CANCEL_GRACE	(10 * USECS_PER_SEC)
/* a call may handle this many interruptions */
#define HANDLED			20

static TimeoutId timer = MAX_TIMEOUTS;
static bool ticking = false;
static bool constraints_set = false;	/* the call ran SET CONSTRAINTS */
static bool alone = false;		/* the worker's transaction runs a call alone */
static fmgr_hook_type next_fmgr_hook = NULL;
static needs_fmgr_hook_type next_needs_fmgr_hook = NULL;
static ProcessUtility_hook_type next_utility_hook = NULL;

/* read and written by the timer's handler */
static volatile sig_atomic_t calling = false;
static volatile sig_atomic_t interruption = INTERRUPTION_NONE;
static volatile sig_atomic_t outside = false;	/* the call has done something that a rollback does not undo */
static bool guarded = false;	/* the call may have effects outside; a turn may not, and is replayed anyway */
static bool limited = false;	/* the call has a timeout, which would begin again */
static volatile TimestampTz call_start;
static volatile TimestampTz cancelled_at;	/* when the call was found to be cancelled; 0: it was not */
static volatile sig_atomic_t interruptions; /* interruptions that the process has noticed during the call, plus one */

/* How long this process has waited for a heavyweight lock, in microseconds. */
static int64
lock_time(TimestampTz now)
{
	TimestampTz since;

	if (MyProc->waitLock == NULL)
		return 0;
	since = pg_atomic_read_u64(&MyProc->waitStart);
	return since == 0 ? 0 : now - since;
}

/* Why the call must be interrupted now. */
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

/* Leave the call, which must run alone. */
static void
leave_to_run_alone(void)
{
	interruption = INTERRUPTION_OUTSIDE;
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg_internal("the function must run alone")));
}

/* Turn the timer off until the next call. */
static void
be_silent(void)
{
	if (ticking)
		disable_timeout(timer, false);
	ticking = false;
}

/* The call is about to do something that a rollback does not undo. */
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

/* Whether functions of a language may do anything. */
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

/* Whether a function has durable.run_alone in its SET clauses. */
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

/* Whether a function may have effects that a rollback does not undo. */
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

/* The same for a function that may have been dropped. */
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

/*
 * fmgr hook: whether function_called wants to know of a function's calls.
 * Asked at the look-up of the function.
 */
static bool
needs_hook(Oid function)
{
	return (next_needs_fmgr_hook != NULL && next_needs_fmgr_hook(function)) ||
		(IsTransactionState() && function_is_outside(function));
}

/* fmgr hook: a function is called, perhaps one that another library's hook asked for. */
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

/* ProcessUtility hook. */
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

/* Install the hooks and the timer, before the worker looks up any function. */
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
	/* each deadlock check would log the wait; the scheduler logs long waits */
	SetConfigOption("log_lock_waits", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/* A transaction of the worker begins. */
void
patience_begin(bool runs_alone)
{
	patience_end();
	alone = runs_alone;
}

/* The transaction ends. */
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

/* A call ended, with or without an error. */
Interruption
patience_call_end(void)
{
	calling = false;
	return interruption;
}

/* The call is of this function. */
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
	/* patience_outside reports this, so that the caller remembers it for the function's next call */
	if (begins_alone)
		outside = true;
	if (untrusted)
		be_silent();
}

/*
 * Whether the last call did something that a rollback does not undo, or is of
 * a function that must run alone.
 */
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

/* Whether the last call ran SET CONSTRAINTS. */
bool
patience_constraints_set(void)
{
	return constraints_set;
}
