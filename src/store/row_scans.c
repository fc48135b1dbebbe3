/*
 * row_scans.c
 *	  Scans by the key of an instance, for messages, activities and timers.
 *
 * Rows are looked up by the key of their instance, never from the head of the
 * table.  So dead rows that a long transaction keeps from being vacuumed cost
 * nothing.  These rows are never updated, except for the count of deliveries.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "store/row_scans.h"
#include "store/table_access.h"

/* Begin a scan of the rows of one instance in the order of the primary key. */
void
scan_key(TableScan *scan, Table *table, const char *index, int64 key)
{
	ScanKeyData scankey;

	ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	scan_begin(scan, table, index, 1, &scankey);
}

/* Begin a scan for the row of one task. */
void
scan_task(TableScan *scan, Table *table, const char *index, int64 key, int task_id)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(task_id));
	scan_begin(scan, table, index, 2, keys);
}

/* Delete rows of one instance, at most max; false if there are more. */
bool
delete_key(Table *table, const char *index, int64 key, int64 max)
{
	TableScan	scan;
	TupleTableSlot *slot;

	store_sync(table->store);
	scan_key(&scan, table, index, key);
	while ((slot = scan_next(&scan)) != NULL && max-- > 0)
	{
		CHECK_FOR_INTERRUPTS();
		table_delete_row(table, &slot->tts_tid);
	}
	scan_end(&scan);
	return slot == NULL;
}

/*
 * Step to the first row of the next instance in the order of the scan, and
 * read the two columns of the index.  False at the end of the index.  An
 * instance may have millions of rows that the snapshot does not see (dead
 * ones, or those of a running transaction).  After UNSEEN_MAX of them it
 * counts as having a row, so that a scan takes time by the number of
 * instances, not of rows.
 */
bool
scan_next_key(TableScan *scan, ScanDirection direction, int64 *key, int64 *number)
{
	IndexScanDesc index = scan->scan;
	int			unseen = 0;
	int64		last = 0;

	while (index_getnext_tid(index, direction) != NULL)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		*key = DatumGetInt64(index_getattr(index->xs_itup, 1, index->xs_itupdesc, &isnull));
		*number = TupleDescAttr(index->xs_itupdesc, 1)->atttypid == INT8OID ?
			DatumGetInt64(index_getattr(index->xs_itup, 2, index->xs_itupdesc, &isnull)) :
			DatumGetInt32(index_getattr(index->xs_itup, 2, index->xs_itupdesc, &isnull));
		unseen = *key == last ? unseen + 1 : 1;
		last = *key;
		if (scan_fetch(index, scan->table->slot) || unseen == UNSEEN_MAX)
			return true;
	}
	return false;
}

/* Move a scan to the rows of one instance (F_INT8EQ), or to those from a key on (F_INT8GE). */
void
scan_move(TableScan *scan, RegProcedure compare, int64 key)
{
	ScanKeyData scankey;

	ScanKeyInit(&scankey, 1, compare == F_INT8EQ ? BTEqualStrategyNumber : BTGreaterEqualStrategyNumber,
				compare, Int64GetDatum(key));
	index_rescan(scan->scan, &scankey, 1, NULL, 0);
}

/* Begin a scan for scan_next_key, from a key on. */
void
scan_keys_from(TableScan *scan, Table *table, const char *index, int64 from)
{
	scan_key(scan, table, index, from);
	scan->scan->xs_want_itup = true;
	scan_move(scan, F_INT8GE, from);
}
