/*
 * wait.c
 *	  durable.wait_for_completion: a session sleeps until an instance ends.
 *
 * It sleeps on its latch, which the worker that ends the instance sets after
 * its commit (waiter.h).  Each look takes a snapshot of that moment, so the
 * end is seen in every isolation level; now and then it looks in any case,
 * should the end have come by way of a prepared transaction.
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

#include "client.h"
#include "replay.h"
#include "shared.h"
#include "status.h"
#include "table.h"
#include "waiter.h"

/* ms until it looks in any case: at first, and at most */
#define LOOK_FIRST		1000
#define LOOK_LAST		8000
#define DEFAULT_TIMEOUT (10 * USECS_PER_SEC)

PG_FUNCTION_INFO_V1(durable_wait_for_completion);

/* The time until which to wait. */
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

/* Whether the row was written by the current transaction, so nobody else sees it. */
static bool
is_uncommitted(Store *store, const InstanceRow *row)
{
	Table	   *table = table_get(store, TABLE_INSTANCES);
	ItemPointerData tid = row->tid;
	bool		isnull;
	bool		result = false;

	if (table_tuple_fetch_row_version(table->rel, &tid, GetActiveSnapshot(), table->slot))
		result = TransactionIdIsCurrentTransactionId(
			DatumGetTransactionId(slot_getsysattr(table->slot, MinTransactionIdAttributeNumber,
												  &isnull)));
	ExecClearTuple(table->slot);
	return result;
}

/* The key of an instance that the caller may see and wait for. */
static int64
find_key(Store *store, const char *instance_id)
{
	InstanceRow row;

	PushActiveSnapshot(GetLatestSnapshot());
	if (!instance_find(store, instance_id, &row) || !status_may_see(&row))
		client_no_instance(instance_id);
	if (!STATE_IS_TERMINAL(row.state) && is_uncommitted(store, &row))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for instance \"%s\" in the transaction that started it", instance_id),
				 errdetail("The engine sees an instance when the transaction has been committed."),
				 errhint("COMMIT first.")));
	PopActiveSnapshot();
	return row.key;
}

/* Whether there is nothing to wait for any more: it ended or has gone. */
static bool
has_ended(Store *store, int64 key, bool *gone)
{
	InstanceRow row;

	PushActiveSnapshot(GetLatestSnapshot());
	*gone = !instance_get(store, key, &row);
	PopActiveSnapshot();
	return *gone || STATE_IS_TERMINAL(row.state);
}

/* Leave the slot, also when the session is being terminated. */
static void
stop_waiting(int code, Datum arg)
{
	waiter_end();
}

/* Sleep until the instance ends or the deadline comes; false if it has gone. */
static bool
wait_until(Store *store, int64 key, TimestampTz deadline)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "durable wait",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	bool		gone = false;
	long		look = LOOK_FIRST;

	waiter_begin(key);
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	{
		while (!has_ended(store, key, &gone))
		{
			long		remaining = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

			if (remaining <= 0)
				break;
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 Min(remaining, look), PG_WAIT_EXTENSION);
			look = Min(2 * look, LOOK_LAST);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(scratch);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	waiter_end();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return !gone;
}

/* The status of an instance as of now; false if it has gone. */
static bool
get_status(Store *store, int64 key, TupleDesc desc, Datum *result)
{
	InstanceRow row;
	bool		found;

	PushActiveSnapshot(GetLatestSnapshot());
	store_use_snapshot(store, GetActiveSnapshot());
	found = instance_get(store, key, &row);
	if (found)
		*result = status_record(store, &row, desc);
	store_use_snapshot(store, NULL);
	PopActiveSnapshot();
	return found;
}

/* durable.wait_for_completion(instance_id, timeout) */
Datum
durable_wait_for_completion(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	Store	   *store;
	TupleDesc	desc;
	int64		key;
	bool		found;
	Datum		result;

	shared_require();
	orchestrator_forbid("durable.wait_for_completion");
	PreventCommandDuringRecovery("durable.wait_for_completion");
	client_require(fcinfo, 0, "instance_id", "durable.wait_for_completion");
	deadline = deadline_argument(fcinfo, 1);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	store = store_open();
	key = find_key(store, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	found = wait_until(store, key, deadline) && get_status(store, key, BlessTupleDesc(desc), &result);
	store_close(store);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}
