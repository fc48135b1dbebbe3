/*
 * ranges.h
 *	  Rows of instances in the ranges of blocks that may hold an id prefix.
 */
#ifndef DURABLE_RANGES_H
#define DURABLE_RANGES_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef struct RangeScan RangeScan;

extern RangeScan *ranges_begin(Relation heap, Snapshot snapshot, const char *prefix);
extern void ranges_end(RangeScan *scan);
/*
 * Only those blocks that the index of ids leads to; false if that takes more of
 * its entries than the budget, to be called again with another.
 */
extern bool ranges_lead(RangeScan *scan, Oid ids, int64 *budget);
/* find those that may hold rows created from one time to another, both inclusive */
extern void ranges_find(RangeScan *scan, Oid ranges, TimestampTz from, TimestampTz to);
/* go on to the next; false at the end, and when it and all others may only hold later rows than this */
extern bool ranges_next(RangeScan *scan, TimestampTz latest);
/* the next row in it that the snapshot sees, whatever its id and time; false at its end */
extern bool ranges_row(RangeScan *scan, TupleTableSlot *slot);

#endif
