/*
 * ranges.c
 *	  Rows of instances in the ranges of blocks that may hold an id prefix.
 *
 * The BRIN index instances_ranges says of a range of blocks between which times
 * its rows were created, and with which stems their ids begin (stems.c).  It
 * knows of every row that was ever written there, of whatever transaction; a
 * range that it has no summary of may hold anything.  So the rows that a
 * snapshot sees are all in the ranges that it names, and those it does not name
 * need not be read.
 *
 * Ranges come in the order of blocks, about the one of creation, and who reads
 * them may ask for less after each.  Their rows are read like those of a
 * table: versions that the snapshot does not see never appear.
 */
#include "postgres.h"

#include "access/brin.h"
#include "access/genam.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "compat.h"
#include "ranges.h"

/* columns of instances_ranges, counted from 1 */
enum
{
	RANGES_CREATED = 1, RANGES_ID
};

struct RangeScan
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	text	   *prefix;
	TIDBitmap  *led;			/* blocks that the index of ids leads to; NULL: any */
	TIDBitmap  *bitmap;			/* what the index answered last, and where we are in it */
	CompatBitmapIterator *iterator;
	BlockNumber block;			/* the next that it named; InvalidBlockNumber: none */
	BlockNumber end;			/* those before have been read */
	TableScanDesc rows;			/* of the range we are in */
};

/* Begin; ranges_ask must follow. */
RangeScan *
ranges_begin(Relation heap, Oid index, Snapshot snapshot, const char *prefix)
{
	RangeScan  *scan = palloc0(sizeof(RangeScan));

	scan->heap = heap;
	scan->index = index_open(index, AccessShareLock);
	scan->snapshot = snapshot;
	scan->prefix = cstring_to_text(prefix);
	/* rows are not locked one by one */
	PredicateLockRelation(heap, snapshot);
	return scan;
}

/* Whether the entry of the index of ids that a scan is at begins with the prefix. */
static bool
entry_has_prefix(RangeScan *scan, IndexScanDesc ids)
{
	bool		isnull;
	text	   *id = DatumGetTextPP(index_getattr(ids->xs_itup, 1, ids->xs_itupdesc, &isnull));
	Size		length = VARSIZE_ANY_EXHDR(scan->prefix);

	return VARSIZE_ANY_EXHDR(id) >= length &&
		memcmp(VARDATA_ANY(id), VARDATA_ANY(scan->prefix), length) == 0;
}

/* Note the blocks of all rows with the prefix, which are side by side in the index of ids. */
bool
ranges_lead(RangeScan *scan, Oid ids, int64 budget)
{
	Relation	index = index_open(ids, AccessShareLock);
	IndexScanDesc entries = compat_index_beginscan(scan->heap, index, scan->snapshot, 1);
	ScanKeyData key;
	ItemPointer tid;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_TEXT_GE, PointerGetDatum(scan->prefix));
	entries->xs_want_itup = true;
	index_rescan(entries, &key, 1, NULL, 0);
	scan->led = tbm_create(work_mem * 1024L, NULL);
	while ((tid = index_getnext_tid(entries, ForwardScanDirection)) != NULL &&
		   entry_has_prefix(scan, entries) && --budget >= 0)
	{
		CHECK_FOR_INTERRUPTS();
		tbm_add_page(scan->led, ItemPointerGetBlockNumber(tid));
	}
	index_endscan(entries);
	index_close(index, NoLock);
	return budget >= 0;
}

/* Forget the last answer of the index. */
static void
forget_answer(RangeScan *scan)
{
	if (scan->bitmap != NULL)
	{
		compat_bitmap_end(scan->iterator);
		tbm_free(scan->bitmap);
		scan->bitmap = NULL;
	}
}

/* End. */
void
ranges_end(RangeScan *scan)
{
	if (scan->rows != NULL)
		table_endscan(scan->rows);
	forget_answer(scan);
	if (scan->led != NULL)
		tbm_free(scan->led);
	index_close(scan->index, NoLock);
	pfree(scan);
}

/* Step to the next block that the index named. */
static void
next_block(RangeScan *scan)
{
	if (!compat_bitmap_next(scan->iterator, &scan->block))
		scan->block = InvalidBlockNumber;
}

/* Ask the index. */
void
ranges_ask(RangeScan *scan, TimestampTz from, TimestampTz to)
{
	ScanKeyData keys[3];
	IndexScanDesc ask;

	ScanKeyEntryInitialize(&keys[0], 0, RANGES_CREATED, BTGreaterEqualStrategyNumber, TIMESTAMPTZOID,
						   InvalidOid, F_TIMESTAMPTZ_GE, TimestampTzGetDatum(from));
	ScanKeyEntryInitialize(&keys[1], 0, RANGES_CREATED, BTLessEqualStrategyNumber, TIMESTAMPTZOID,
						   InvalidOid, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(to));
	ScanKeyEntryInitialize(&keys[2], 0, RANGES_ID, RTPrefixStrategyNumber, TEXTOID,
						   C_COLLATION_OID, F_STARTS_WITH, PointerGetDatum(scan->prefix));
	forget_answer(scan);
	scan->bitmap = tbm_create(work_mem * 1024L, NULL);
	ask = compat_index_beginscan_bitmap(scan->index, scan->snapshot, lengthof(keys));
	index_rescan(ask, keys, lengthof(keys), NULL, 0);
	(void) index_getbitmap(ask, scan->bitmap);
	index_endscan(ask);
	if (scan->led != NULL)
		tbm_intersect(scan->bitmap, scan->led);
	scan->iterator = compat_bitmap_begin(scan->bitmap);
	do
		next_block(scan);
	while (scan->block < scan->end);
}

/* Go on to the next range. */
bool
ranges_next(RangeScan *scan)
{
	BlockNumber first = scan->block;
	ItemPointerData from;
	ItemPointerData to;

	if (first == InvalidBlockNumber)
		return false;
	do
	{
		scan->end = scan->block + 1;
		next_block(scan);
	} while (scan->block == scan->end && scan->end % BrinGetPagesPerRange(scan->index) != 0);
	ItemPointerSet(&from, first, FirstOffsetNumber);
	ItemPointerSet(&to, scan->end - 1, MaxOffsetNumber);
	if (scan->rows == NULL)
		scan->rows = compat_table_beginscan_tidrange(scan->heap, scan->snapshot, &from, &to);
	else
		table_rescan_tidrange(scan->rows, &from, &to);
	return true;
}

/* The next row of the range. */
bool
ranges_row(RangeScan *scan, TupleTableSlot *slot)
{
	CHECK_FOR_INTERRUPTS();
	return table_scan_getnextslot_tidrange(scan->rows, ForwardScanDirection, slot);
}
