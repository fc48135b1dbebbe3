/*
 * wait_for_completion.c
 *	  durable.wait_for_completion: a session sleeps until an instance ends.
 *
 * The worker that ends the instance sets the latch of the session after its commit
 * (completion_waiters.h).  Each time it wakes, the session looks at the instance
 * with the latest snapshot, whatever the isolation level.  It also looks after
 * LOOK_FIRST to LOOK_LAST ms, because COMMIT PREPARED of the end sets no latch.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "client/client.h"
#include "common/arguments.h"
#include "common/call_context.h"
#include "shmem/completion_waiters.h"
#include "shmem/shmem.h"
#include "store/instance_rows.h"
#include "store/runtime_status.h"
#include "store/table_access.h"

/* ms until it looks again without a latch: at first, doubled each time, and at most */
#define LOOK_FIRST		1000
#define LOOK_LAST		8000
#define DEFAULT_TIMEOUT (10 * USECS_PER_SEC)

PG_FUNCTION_INFO_V1(durable_wait_for_completion);

/* The end of the timeout. */
static TimestampTz
deadline_argument(FunctionCallInfo fcinfo, int number)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline;

	if (PG_ARGISNULL(number))
		return now + DEFAULT_TIMEOUT;
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(now),
													   PG_GETARG_DATUM(number)));
	if (deadline < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"timeout\" of durable.wait_for_completion must not be negative")));
	return deadline;
}

typedef struct Wait
{
	Store	   *store;
	const char *instance_id;
	TupleDesc	desc;			/* of the status */
	TimestampTz deadline;
	int64		key;			/* of the instance; 0 before the first look */
	bool		found;			/* the last look found it */
	Datum		status;			/* its status then */
} Wait;

/* Whether the current transaction wrote the row, so that no other process sees the row. */
static bool
is_uncommitted(Store *store, const InstanceRow *row)
{
	Table	   *table;
	ItemPointerData tid = row->tid;
	bool		isnull;
	bool		result = false;

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return false;
	table = table_get(store, TABLE_INSTANCES);
	if (table_tuple_fetch_row_version(table->rel, &tid, GetActiveSnapshot(), table->slot))
		result = TransactionIdIsCurrentTransactionId(
			DatumGetTransactionId(slot_getsysattr(table->slot, MinTransactionIdAttributeNumber,
												  &isnull)));
	ExecClearTuple(table->slot);
	return result;
}

/* Find the instance; an error unless the caller may see it and the engine can run it. */
static void
find_awaited(Wait *wait, InstanceRow *row)
{
	if (!instance_find(wait->store, wait->instance_id, row) || !status_may_see(row))
		client_no_instance(wait->instance_id);
	if (!STATE_IS_TERMINAL(row->state) && is_uncommitted(wait->store, row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for instance \"%s\" in the transaction that started it", wait->instance_id),
				 errdetail("The engine sees an instance when the transaction has been committed."),
				 errhint("COMMIT first.")));
	wait->key = row->key;
	wait->found = true;
	completion_waiter_for(row->key);
}

/* Look at the instance: true if it has ended or is gone.  If it has ended, or if this is the last look, store its status. */
static bool
look_at_instance(Wait *wait, bool last, MemoryContext status_context)
{
	InstanceRow row;
	bool		ended;

	PushActiveSnapshot(GetLatestSnapshot());
	store_use_snapshot(wait->store, GetActiveSnapshot());
	if (wait->key == 0)
		find_awaited(wait, &row);
	else
		wait->found = instance_get(wait->store, wait->key, &row);
	ended = !wait->found || STATE_IS_TERMINAL(row.state);
	if (wait->found && (ended || last))
	{
		MemoryContext old = MemoryContextSwitchTo(status_context);

		wait->status = status_record(wait->store, &row, wait->desc);
		MemoryContextSwitchTo(old);
	}
	store_use_snapshot(wait->store, NULL);
	PopActiveSnapshot();
	return ended;
}

/* Stop waiting, also when the session is terminated. */
static void
stop_waiting(int code, Datum arg)
{
	completion_waiter_end();
}

/* Sleep until the instance ends or the deadline comes. */
static void
sleep_until_end(Wait *wait)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "durable wait",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	long		pause = LOOK_FIRST;

	completion_waiter_begin();
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	{
		for (;;)
		{
			long		remaining = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait->deadline);

			if (look_at_instance(wait, remaining <= 0, old) || remaining <= 0)
				break;
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 Min(remaining, pause), PG_WAIT_EXTENSION);
			pause = Min(2 * pause, LOOK_LAST);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(scratch);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	completion_waiter_end();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* durable.wait_for_completion(instance_id, timeout) */
Datum
durable_wait_for_completion(PG_FUNCTION_ARGS)
{
	Wait		wait = {0};
	TupleDesc	desc;

	shmem_require();
	orchestrator_forbid("durable.wait_for_completion");
	PreventCommandDuringRecovery("durable.wait_for_completion");
	require_argument(fcinfo, 0, "instance_id", "durable.wait_for_completion");
	wait.deadline = deadline_argument(fcinfo, 1);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	wait.desc = BlessTupleDesc(desc);
	wait.instance_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	wait.store = store_open();
	sleep_until_end(&wait);
	store_close(wait.store);
	if (!wait.found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(wait.status);
}
