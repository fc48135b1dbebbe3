/*
 * purge.c
 *	  Deleting instances that have ended: one, or all that pass a filter.
 *
 * A purge by filter skips instances that another transaction has locked, so that
 * two purges, or a purge and the engine, do not wait for each other.  A function
 * deletes in the caller's transaction.  The procedure commits after each batch,
 * and its walk continues after the rows of the last batch.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "client/client.h"
#include "common/arguments.h"
#include "engine/instance_delete.h"
#include "search/search.h"
#include "store/instance_rows.h"

#define BATCH_LIMIT		100000
#define STATUS_ENDED \
	(STATUS_BIT(STATUS_COMPLETED) | STATUS_BIT(STATUS_FAILED) | STATUS_BIT(STATUS_TERMINATED))

PG_FUNCTION_INFO_V1(durable_purge_instance_history);
PG_FUNCTION_INFO_V1(durable_purge_instance_history_by);
PG_FUNCTION_INFO_V1(durable_purge_instance_history_batches);

/* durable.purge_instance_history(instance_id) */
Datum
durable_purge_instance_history(PG_FUNCTION_ARGS)
{
	InstanceRow row;
	Store	   *store;
	int64		removed = 0;

	client_begin("durable.purge_instance_history");
	require_argument(fcinfo, 0, "instance_id", "durable.purge_instance_history");

	store = client_open();
	if (instance_find(store, text_argument(fcinfo, 0), &row) && status_may_manage(&row))
	{
		/* does not wait for a worker that may be about to end a live instance */
		if (!STATE_IS_TERMINAL(row.state) ||
			(instance_lock(store, row.key, true, &row) == FETCH_FOUND && !STATE_IS_TERMINAL(row.state)))
			ereport(ERROR,
					(errcode(ERRCODE_DURABLE_WRONG_STATUS),
					 errmsg("cannot purge instance \"%s\" because its status is %s",
							row.instance_id, status_name(status_of(&row))),
					 errhint("Use durable.terminate first.")));
		PopActiveSnapshot();
		PushActiveSnapshot(GetLatestSnapshot());
		/* the transaction that held the lock may have deleted it */
		if (instance_get(store, row.key, &row))
			removed = instance_remove(store, &row, true, GetCurrentTimestamp());
	}
	client_close(store);
	PG_RETURN_INT32((int32) removed);
}

/* Read the arguments of both functions: the filter; returns the batch size. */
static int
purge_arguments(FunctionCallInfo fcinfo, Filter *filter, const char *function)
{
	int			batch_size;

	memset(filter, 0, sizeof(Filter));
	require_argument(fcinfo, 0, "created_time_from", function);
	filter->has_from = true;
	filter->from = PG_GETARG_TIMESTAMPTZ(0);
	filter->has_to = !PG_ARGISNULL(1);
	if (filter->has_to)
		filter->to = PG_GETARG_TIMESTAMPTZ(1);
	filter->statuses = PG_ARGISNULL(2) ? STATUS_ENDED :
		status_set(PG_GETARG_ARRAYTYPE_P(2), "runtime_status");
	if ((filter->statuses & ~STATUS_ENDED) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("runtime_status of %s must not contain a status of live instances", function),
				 errhint("Use Completed, Failed and Terminated.")));
	filter->manage = true;
	require_argument(fcinfo, 3, "batch_size", function);
	batch_size = PG_GETARG_INT32(3);
	if (batch_size < 1 || batch_size > BATCH_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be between 1 and %d", BATCH_LIMIT)));
	return batch_size;
}

/* Whether a rewind of the parent may need the instance: the parent's current execution has started it. */
static bool
is_needed(Store *store, const InstanceRow *row)
{
	InstanceRow parent;

	return instance_get_waiting_parent(store, row, &parent) && row->parent_task >= parent.first_task;
}

/* Delete an instance that the walk has found, if it still passes the filter and no other transaction has locked it. */
static int64
purge_one(Store *store, const Filter *filter, int64 key, TimestampTz now)
{
	InstanceRow row;

	/* the instance may have been deleted with its parent */
	if (instance_lock(store, key, false, &row) != FETCH_FOUND ||
		(filter->statuses & STATUS_BIT(status_of(&row))) == 0 || is_needed(store, &row))
		return 0;
	return instance_remove(store, &row, false, now);
}

/* Delete the next batch; false if there is none. */
static bool
purge_batch(const Filter *filter, Walk *walk, int batch_size, int64 *removed)
{
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "durable purge",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext scratch = AllocSetContextCreate(batch, "durable purge of one",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	TimestampTz now = GetCurrentTimestamp();
	int64	   *keys = palloc(batch_size * sizeof(int64));
	Store	   *store;
	int			count;

	store = client_open();
	count = walk_next(walk, batch_size, keys);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		*removed += purge_one(store, filter, keys[i], now);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(batch);
	client_close(store);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
	return count > 0;
}

/* Begin the walk over the instances to delete. */
static Walk *
purge_begin(const Filter *filter)
{
	Walk	   *walk;

	PushActiveSnapshot(GetLatestSnapshot());
	walk = walk_begin(filter);
	PopActiveSnapshot();
	return walk;
}

/* durable.purge_instance_history_by(created_time_from, created_time_to, runtime_status, batch_size) */
Datum
durable_purge_instance_history_by(PG_FUNCTION_ARGS)
{
	Filter		filter;
	Walk	   *walk;
	int			batch_size;
	int64		removed = 0;

	client_begin("durable.purge_instance_history_by");
	batch_size = purge_arguments(fcinfo, &filter, "durable.purge_instance_history_by");
	walk = purge_begin(&filter);
	while (purge_batch(&filter, walk, batch_size, &removed))
		;
	PG_RETURN_INT64(removed);
}

/* What a procedure with one INOUT parameter returns. */
static Datum
inout_result(FunctionCallInfo fcinfo, int64 value)
{
	TupleDesc	row;
	Datum		values[1] = {Int64GetDatum(value)};
	bool		nulls[1] = {false};

	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row), values, nulls));
}

/*
 * durable.purge_instance_history_batches(created_time_from, created_time_to,
 * runtime_status, batch_size, purged)
 */
Datum
durable_purge_instance_history_batches(PG_FUNCTION_ARGS)
{
	Filter		filter;
	Walk	   *walk;
	int			batch_size;
	int64		removed = 0;

	client_begin("durable.purge_instance_history_batches");
	batch_size = purge_arguments(fcinfo, &filter, "durable.purge_instance_history_batches");
	if (castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("durable.purge_instance_history_batches cannot run inside a transaction block"),
				 errhint("Use durable.purge_instance_history_by, which does not commit.")));
	/* the memory context of SPI outlives the commits */
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	walk = purge_begin(&filter);
	while (purge_batch(&filter, walk, batch_size, &removed))
		SPI_commit();
	SPI_finish();
	PG_RETURN_DATUM(inout_result(fcinfo, removed));
}
