/*
 * ranges.c
 *	  Rows of instances in the ranges of blocks that may hold an id prefix.
 *
 * The BRIN index instances_ranges says of a range of blocks with which stems
 * the ids of its rows begin, and when those of each were created (stems.c).  It
 * knows of every row there that any snapshot can see; a range that it has no
 * summary of may hold anything.  So the rows that a snapshot sees are all in the
 * ranges that it names, and those it does not name need not be read.  Only on a
 * standby may a snapshot see what the primary, which makes the summaries, has
 * found dead, so there they are not believed.
 *
 * Ranges come in the order in which their first such row can have been created,
 * so who reads them may stop when that is too late.  A bitmap scan would not
 * tell, so the summaries are read here.  Rows are read like those of a table:
 * versions that the snapshot does not see never appear.
 */
#include "postgres.h"

#include "access/brin_internal.h"
#include "access/brin_revmap.h"
#include "access/brin_tuple.h"
#include "access/genam.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "ranges.h"
#include "search.h"
#include "stems.h"

/* the column of instances_ranges that has stems, counted from 0 */
#define RANGES_PLACE	1

typedef struct Range
{
	TimestampTz first;			/* no row with the prefix in it was created before */
	BlockNumber block;			/* where it begins */
} Range;

struct RangeScan
{
	Relation	heap;
	Snapshot	snapshot;
	const char *prefix;
	BlockNumber blocks;			/* of the table */
	uint8	   *led;			/* a bit for each block that the index of ids leads to; NULL: any */
	Relation	ids;			/* that index, and how far it is read, if led is not NULL */
	IndexScanDesc entries;
	BlockNumber size;			/* blocks of a range */
	Range	   *ranges;
	int			count;
	int			next;
	BlockNumber block;			/* what is left of the range we are in, until its end */
	BlockNumber end;
	TableScanDesc rows;			/* of the blocks we are in; NULL: none yet */
	bool		reading;
};

/* Begin; ranges_find must follow. */
RangeScan *
ranges_begin(Relation heap, Snapshot snapshot, const char *prefix)
{
	RangeScan  *scan = palloc0(sizeof(RangeScan));

	scan->heap = heap;
	scan->snapshot = snapshot;
	scan->prefix = prefix;
	scan->blocks = RelationGetNumberOfBlocks(heap);
	/* rows are not locked one by one */
	PredicateLockRelation(heap, snapshot);
	return scan;
}

/* Whether the entry of the index of ids that a scan is at begins with the prefix. */
static bool
entry_has_prefix(RangeScan *scan)
{
	bool		isnull;
	text	   *id = DatumGetTextPP(index_getattr(scan->entries->xs_itup, 1,
												  scan->entries->xs_itupdesc, &isnull));

	return search_compare_prefix(scan->prefix, id) == 0;
}

/* Note the blocks of all rows with the prefix, which are side by side in the index of ids. */
bool
ranges_lead(RangeScan *scan, Oid ids, int64 *budget)
{
	ScanKeyData key;
	ItemPointer tid;

	if (scan->led == NULL)
	{
		scan->ids = index_open(ids, AccessShareLock);
		scan->entries = compat_index_beginscan(scan->heap, scan->ids, scan->snapshot, 1);
		ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_TEXT_GE,
					CStringGetTextDatum(scan->prefix));
		scan->entries->xs_want_itup = true;
		index_rescan(scan->entries, &key, 1, NULL, 0);
		scan->led = MemoryContextAllocExtended(CurrentMemoryContext, scan->blocks / 8 + 1,
											   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	}
	while (--*budget >= 0)
	{
		BlockNumber block;

		CHECK_FOR_INTERRUPTS();
		tid = index_getnext_tid(scan->entries, ForwardScanDirection);
		if (tid == NULL || !entry_has_prefix(scan))
			return true;
		block = ItemPointerGetBlockNumber(tid);
		/* those that are newer have nothing for the snapshot */
		if (block < scan->blocks)
			scan->led[block / 8] |= 1 << block % 8;
	}
	return false;
}

/* End. */
void
ranges_end(RangeScan *scan)
{
	if (scan->rows != NULL)
		table_endscan(scan->rows);
	if (scan->led != NULL)
	{
		index_endscan(scan->entries);
		index_close(scan->ids, NoLock);
		pfree(scan->led);
	}
	if (scan->ranges != NULL)
		pfree(scan->ranges);
	pfree(scan);
}

/* Whether a block is to be read. */
static bool
is_led(RangeScan *scan, BlockNumber block)
{
	return scan->led == NULL || (scan->led[block / 8] & 1 << block % 8) != 0;
}

/* Whether one of the blocks of a range is. */
static bool
is_range_led(RangeScan *scan, BlockNumber block)
{
	BlockNumber end = block + Min(scan->size, scan->blocks - block);

	while (block < end && !is_led(scan, block))
		block++;
	return block < end;
}

/* In the order of their first rows, then of blocks. */
static int
compare_ranges(const void *a, const void *b)
{
	const Range *left = a;
	const Range *right = b;

	if (left->first != right->first)
		return left->first < right->first ? -1 : 1;
	return left->block < right->block ? -1 : left->block > right->block;
}

/* Whether a range may hold what is looked for, and the time of the first such row; summary NULL: there is none. */
static bool
range_may_have(RangeScan *scan, BrinMemTuple *summary, TimestampTz from, TimestampTz to, TimestampTz *first)
{
	BrinValues *places;

	*first = from;
	if (summary == NULL || summary->bt_placeholder || scan->snapshot->takenDuringRecovery)
		return true;
	places = &summary->bt_columns[RANGES_PLACE];
	/* no row has nulls there: the range is empty */
	return !places->bv_allnulls &&
		stems_may_have(DatumGetByteaPP(places->bv_values[0]), scan->prefix, from, to, first);
}

/* Find the ranges. */
void
ranges_find(RangeScan *scan, Oid ranges, TimestampTz from, TimestampTz to)
{
	Relation	index = index_open(ranges, AccessShareLock);
	BrinDesc   *desc = brin_build_desc(index);
	BrinMemTuple *memory = brin_new_memtuple(desc);
	BrinRevmap *map = compat_brin_revmap_initialize(index, &scan->size, scan->snapshot);
	Buffer		buffer = InvalidBuffer;
	BrinTuple  *copy = NULL;
	Size		copy_size = 0;

	scan->ranges = palloc_extended((scan->blocks / scan->size + 1) * sizeof(Range), MCXT_ALLOC_HUGE);
	for (BlockNumber block = 0; block < scan->blocks; block += Min(scan->size, scan->blocks - block))
	{
		BrinMemTuple *summary = NULL;
		OffsetNumber offset;
		Size		size;
		BrinTuple  *tuple;
		TimestampTz first;

		CHECK_FOR_INTERRUPTS();
		if (!is_range_led(scan, block))
			continue;
		tuple = compat_brin_get_tuple(map, block, &buffer, &offset, &size, scan->snapshot);
		if (tuple != NULL)
		{
			copy = brin_copy_tuple(tuple, size, copy, &copy_size);
			LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
			summary = memory = brin_deform_tuple(desc, copy, memory);
		}
		if (range_may_have(scan, summary, from, to, &first))
			scan->ranges[scan->count++] = (Range) {.first = first, .block = block};
	}
	if (buffer != InvalidBuffer)
		ReleaseBuffer(buffer);
	brinRevmapTerminate(map);
	brin_free_desc(desc);
	index_close(index, NoLock);
	if (scan->count > 0)
		qsort(scan->ranges, scan->count, sizeof(Range), compare_ranges);
}

/* Go on to the next range. */
bool
ranges_next(RangeScan *scan, TimestampTz latest)
{
	if (scan->next == scan->count || scan->ranges[scan->next].first > latest)
		return false;
	scan->block = scan->ranges[scan->next++].block;
	scan->end = scan->block + Min(scan->size, scan->blocks - scan->block);
	scan->reading = false;
	return true;
}

/* Go on to the next blocks of the range; false at its end. */
static bool
next_blocks(RangeScan *scan)
{
	ItemPointerData from;
	ItemPointerData to;

	while (scan->block < scan->end && !is_led(scan, scan->block))
		scan->block++;
	if (scan->block == scan->end)
		return false;
	ItemPointerSet(&from, scan->block, FirstOffsetNumber);
	while (scan->block < scan->end && is_led(scan, scan->block))
		scan->block++;
	ItemPointerSet(&to, scan->block - 1, MaxOffsetNumber);
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
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!scan->reading && !next_blocks(scan))
			return false;
		scan->reading = table_scan_getnextslot_tidrange(scan->rows, ForwardScanDirection, slot);
		if (scan->reading)
			return true;
	}
}
