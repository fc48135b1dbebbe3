/*
 * store.c
 *	  The tables of the engine in one transaction, and the rows that are buffered
 *	  for them.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "utils/snapmgr.h"

#include "store/table_access.h"

/* Open the store for the current transaction. */
Store *
store_open(void)
{
	Store	   *store = palloc0(sizeof(Store));

	store->namespace = get_namespace_oid(DURABLE_INTERNAL_SCHEMA, true);
	if (!OidIsValid(store->namespace))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("extension \"durable\" does not exist in this database"),
				 errhint("Run CREATE EXTENSION durable.")));
	store->estate = CreateExecutorState();
	store->owner = CurrentResourceOwner;
	return store;
}

/*
 * Open the store and all tables for a worker's transaction.  NULL if a table
 * does not fit, so that nothing begins.
 */
Store *
store_open_all(void)
{
	Store	   *store;

	if (!OidIsValid(get_namespace_oid(DURABLE_INTERNAL_SCHEMA, true)))
		return NULL;
	store = store_open();
	for (int i = 0; i < TABLES; i++)
		if (!table_open_at(store, i, 0))
			return NULL;
	return store;
}

/* Write all buffered rows. */
void
store_flush(Store *store)
{
	for (int i = 0; i < TABLES; i++)
		if (store->tables[i].rel != NULL)
			table_flush(&store->tables[i]);
}

/* Forget buffered rows: those of a subtransaction that was rolled back. */
void
store_discard(Store *store)
{
	for (int i = 0; i < TABLES; i++)
	{
		Table	   *table = &store->tables[i];

		table->npending = 0;
		table->pending_bytes = 0;
		/* the rollback has released the buffer pin of an interrupted scan */
		if (table->rel != NULL && TTS_IS_BUFFERTUPLE(table->slot))
			((BufferHeapTupleTableSlot *) table->slot)->buffer = InvalidBuffer;
	}
}

/*
 * Make scans use this snapshot, which the caller keeps.  NULL: each scan sees
 * what is committed when it begins.
 */
void
store_use_snapshot(Store *store, Snapshot snapshot)
{
	store->snapshot = snapshot;
}

/* Flush, and let later scans see the written rows. */
void
store_sync(Store *store)
{
	store_flush(store);
	CommandCounterIncrement();
}

/* Flush and close; locks stay until the transaction ends. */
void
store_close(Store *store)
{
	store_flush(store);
	for (int i = 0; i < TABLES; i++)
	{
		Table	   *table = &store->tables[i];

		if (table->rel == NULL)
			continue;
		for (int j = 0; table->pending != NULL && j < PENDING_ROWS && table->pending[j] != NULL; j++)
			ExecDropSingleTupleTableSlot(table->pending[j]);
		ExecDropSingleTupleTableSlot(table->slot);
		if (table->rri != NULL)
			ExecCloseIndices(table->rri);
		table_close(table->rel, NoLock);
	}
	FreeExecutorState(store->estate);
	pfree(store);
}
