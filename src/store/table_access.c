/*
 * table_access.c
 *	  Opens the engine's tables, and inserts, updates, deletes and scans rows
 *	  with the table and index access methods, as COPY and logical replication
 *	  do.  All indexes are maintained, also those that an administrator adds.
 *
 * Buffered rows point to memory of the caller, which must stay valid until
 * store_flush.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "common/jsonb_util.h"
#include "store/table_access.h"

#define PENDING_BYTES	(4 * 1024 * 1024)

/*
 * Open the indexes of a table for writing; reading does not need them.
 * Expressions of indexes run with the rights of the table's owner, whoever
 * writes a row, since they may call functions that only the owner may execute.
 */
static void
open_indexes(Table *table)
{
	ResultRelInfo *rri;
	Oid			user;
	int			context;
	MemoryContext old;
	ResourceOwner owner = CurrentResourceOwner;

	if (table->rri != NULL)
		return;
	old = MemoryContextSwitchTo(table->store->estate->es_query_cxt);
	/* the indexes stay open when the subtransaction that opened them ends */
	CurrentResourceOwner = table->store->owner;
	rri = makeNode(ResultRelInfo);
	InitResultRelInfo(rri, table->rel, 0, NULL, 0);
	ExecOpenIndices(rri, false);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rel->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		IndexInfo  *index = rri->ri_IndexRelationInfo[i];

		if (index->ii_Expressions != NIL)
			index->ii_ExpressionsState = ExecPrepareExprList(index->ii_Expressions,
															 table->store->estate);
	}
	SetUserIdAndSecContext(user, context);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	/* set at the end, so that an error cannot leave half of the indexes open */
	table->rri = rri;
}

/* Open a table.  If it does not fit, report this at the level; at level 0 return false. */
bool
table_open_at(Store *store, TableId id, int level)
{
	Table	   *table = &store->tables[id];
	bool		fits;
	Oid			relid;
	Relation	rel;
	MemoryContext old;
	ResourceOwner owner = CurrentResourceOwner;

	if (table->rel != NULL)
		return true;
	relid = get_relname_relid(table_name(id), store->namespace);
	if (!OidIsValid(relid))
		return table_missing(id, level);
	old = MemoryContextSwitchTo(store->estate->es_query_cxt);
	/* the table stays open when the subtransaction that opened it ends */
	CurrentResourceOwner = store->owner;
	rel = relation_open(relid, RowExclusiveLock);
	/* before the lock was granted, the table may have been replaced */
	fits = get_relname_relid(table_name(id), store->namespace) == relid ?
		table_fits(rel, id, level) : table_missing(id, level);
	if (fits)
	{
		table->store = store;
		table->slot = table_slot_create(rel, NULL);
		table->rel = rel;
	}
	else
		relation_close(rel, NoLock);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return fits;
}

/* The table, which is opened at its first use in a transaction. */
Table *
table_get(Store *store, TableId id)
{
	(void) table_open_at(store, id, ERROR);
	return &store->tables[id];
}

/* A cleared slot, all columns null.  table_add_row makes a row of it. */
TupleTableSlot *
table_new_row(Table *table)
{
	TupleTableSlot **slot;

	if (table->pending == NULL)
		table->pending = MemoryContextAllocZero(table->store->estate->es_query_cxt,
												PENDING_ROWS * sizeof(TupleTableSlot *));
	slot = &table->pending[table->npending];
	if (*slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(table->store->estate->es_query_cxt);
		ResourceOwner owner = CurrentResourceOwner;

		CurrentResourceOwner = table->store->owner;
		*slot = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsVirtual);
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(*slot);
	memset((*slot)->tts_isnull, true, (*slot)->tts_tupleDescriptor->natts * sizeof(bool));
	return *slot;
}

/* Write the buffered rows of one table, then their index entries. */
void
table_flush(Table *table)
{
	EState	   *estate = table->store->estate;
	MemoryContext old;

	if (table->npending == 0)
		return;
	open_indexes(table);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	table_multi_insert(table->rel, table->pending, table->npending,
					   GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < table->npending; i++)
		compat_insert_index_tuples(table->rri, table->pending[i], estate, false, false);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
	table->npending = 0;
	table->pending_bytes = 0;
}

/* Buffer a filled slot for insertion. */
void
table_add_row(Table *table, TupleTableSlot *slot)
{
	ExecStoreVirtualTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
		if (!slot->tts_isnull[i] && TupleDescAttr(slot->tts_tupleDescriptor, i)->attlen == -1)
			table->pending_bytes += VARSIZE_ANY(DatumGetPointer(slot->tts_values[i]));
	table->npending++;
	if (table->npending == PENDING_ROWS || table->pending_bytes > PENDING_BYTES)
		table_flush(table);
}

/*
 * Replace a row that this transaction has locked; slot->tts_tid becomes the
 * new tid.  Returns whether all indexes have entries for the new version.
 */
bool
table_update_row(Table *table, ItemPointer tid, TupleTableSlot *slot)
{
	CompatUpdateIndexes update_indexes;
	ItemPointerData old_tid = *tid;

	open_indexes(table);
	ExecStoreVirtualTuple(slot);
	simple_table_tuple_update(table->rel, &old_tid, slot, GetActiveSnapshot(), &update_indexes);
	if (!compat_update_none(update_indexes))
		compat_insert_index_tuples(table->rri, slot, table->store->estate, true, update_indexes);
	ResetPerTupleExprContext(table->store->estate);
	return compat_update_all(update_indexes);
}

/* Delete a row; an error if another transaction has deleted it meanwhile. */
void
table_delete_row(Table *table, const ItemPointerData *tid)
{
	ItemPointerData copy = *tid;

	simple_table_tuple_delete(table->rel, &copy, GetActiveSnapshot());
}

/*
 * Begin an ordered scan of an index; keys are numbered by index column.  Unless
 * store_use_snapshot was called, the scan sees what is committed now and what
 * this transaction has flushed, at any isolation level.
 */
void
scan_begin(TableScan *scan, Table *table, const char *index, int nkeys, ScanKey keys)
{
	Snapshot	snapshot = table->store->snapshot;

	scan_begin_with(scan, table, index, nkeys, keys,
					RegisterSnapshot(snapshot != NULL ? snapshot : GetLatestSnapshot()));
}

/* Begin a scan with a snapshot that is registered, or needs no registration. */
void
scan_begin_with(TableScan *scan, Table *table, const char *index, int nkeys, ScanKey keys, Snapshot snapshot)
{
	scan->table = table;
	scan->index = index_open(get_relname_relid(index, table->store->namespace), RowExclusiveLock);
	scan->snapshot = snapshot;
	scan->scan = compat_index_beginscan(table->rel, scan->index, scan->snapshot, nkeys);
	index_rescan(scan->scan, keys, nkeys, NULL, 0);
}

/*
 * Whether the transaction that inserted the current row may still run,
 * according to the commit log.  If a transaction has more subtransactions than
 * a snapshot has room for, the snapshot would climb from the row's
 * subtransaction to the outermost one and read a page for each step, and a
 * user can make this expensive.  The versions of such a row all come from one
 * transaction.
 */
static bool
is_pending(IndexScanDesc scan)
{
	Buffer		buffer = ReadBuffer(scan->heapRelation, ItemPointerGetBlockNumber(&scan->xs_heaptid));
	OffsetNumber offset = ItemPointerGetOffsetNumber(&scan->xs_heaptid);
	bool		pending = false;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (offset <= PageGetMaxOffsetNumber(page) && ItemIdIsNormal(PageGetItemId(page, offset)))
	{
		HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, offset));
		TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple);

		pending = !HeapTupleHeaderXminCommitted(tuple) && TransactionIdIsNormal(xmin) &&
			TransactionIdFollowsOrEquals(xmin, scan->xs_snapshot->xmin) &&
			!TransactionIdIsCurrentTransactionId(xmin) && !TransactionIdDidCommit(xmin);
	}
	UnlockReleaseBuffer(buffer);
	return pending;
}

/*
 * Fetch the current row of a scan with an MVCC snapshot; false if the snapshot
 * does not see it.  A serializable transaction must read the row, to note the
 * conflict.
 */
bool
scan_fetch(IndexScanDesc scan, TupleTableSlot *slot)
{
	return (!scan->xs_snapshot->suboverflowed || IsolationIsSerializable() || !is_pending(scan)) && index_fetch_heap(scan, slot);
}

/* The next row in the order of the index, all columns read; NULL at the end. */
TupleTableSlot *
scan_next(TableScan *scan)
{
	while (index_getnext_tid(scan->scan, ForwardScanDirection) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (!scan_fetch(scan->scan, scan->table->slot))
			continue;
		slot_getallattrs(scan->table->slot);
		return scan->table->slot;
	}
	return NULL;
}

void
scan_end(TableScan *scan)
{
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
	ExecClearTuple(scan->table->slot);
	if (scan->snapshot->snapshot_type == SNAPSHOT_MVCC)
		UnregisterSnapshot(scan->snapshot);
}

void
row_set(TupleTableSlot *slot, int column, Datum value)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = false;
}

/* A value that cannot be restored would break the restore of a dump with everybody's rows. */
static void
unsound_value(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("a value could not be restored from a dump"),
			 errdetail("A text of it is not valid in encoding \"%s\", or UTF8 lacks some of its characters.", GetDatabaseEncodingName())));
}

/* Set a text column; NULL leaves it null. */
void
row_set_text(TupleTableSlot *slot, int column, const char *value)
{
	if (value == NULL)
		return;
	if (!text_is_sound(value, strlen(value)))
		unsound_value();
	row_set(slot, column, CStringGetTextDatum(value));
}

/* Set a jsonb column; NULL leaves it null. */
void
row_set_jsonb(TupleTableSlot *slot, int column, Jsonb *value)
{
	if (value == NULL)
		return;
	if (jsonb_problem(value) != JSONB_SOUND)
		unsound_value();
	row_set(slot, column, JsonbPGetDatum(value));
}

/* A text column as a palloc'd string, NULL if it is null. */
char *
row_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* A palloc'd copy of a jsonb column, NULL if it is null. */
Jsonb *
row_jsonb(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : DatumGetJsonbPCopy(slot->tts_values[column]);
}

/* A bigint or timestamptz column, 0 if it is null. */
int64
row_int64(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? 0 : DatumGetInt64(slot->tts_values[column]);
}

/* An integer column, 0 if it is null. */
int
row_int(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? 0 : DatumGetInt32(slot->tts_values[column]);
}
