/*
 * row_scan.h
 *	  Index scans of the table of instances, for search.c and instance_listing.c.
 *
 * A Search lives within one call of search.h's functions.  It has one slot: a
 * scan puts each row there, and the functions below read that row.
 */
#ifndef DURABLE_ROW_SCAN_H
#define DURABLE_ROW_SCAN_H

#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "search/search.h"

typedef struct OwnerEntry
{
	Oid			owner;			/* hash key */
	bool		visible;
} OwnerEntry;

typedef struct FoundList
{
	Found	   *rows;
	int			count;
	int			size;
} FoundList;

struct Search
{
	const Filter *filter;
	MemoryContext context;		/* of what is found */
	MemoryContext scratch;		/* of one row, reset after each */
	Snapshot	snapshot;
	Oid			namespace;
	Relation	heap;
	TupleTableSlot *slot;
	HTAB	   *owners;			/* of OwnerEntry */
	Found		after;			/* the page begins after this place; instance_id NULL: with the first row */
	List	   *groups;
	FoundList	found;			/* the page; more while rows are collected in any order */
	int			limit;
};

/* a scan of an index */
typedef struct RowScan
{
	Relation	index;
	IndexScanDesc desc;
} RowScan;

/* a table or an index of the engine */
extern Oid	row_scan_relation(Search *search, const char *name);
/* whether the caller may see (or manage, if the filter says so) the instances of an owner */
extern bool row_scan_owner_visible(Search *search, Oid owner);

/* begin a scan; entries: the scan returns index entries too; keys must stay valid until the scan ends */
extern void row_scan_open(Search *search, RowScan *scan, const char *index, bool entries,
						  int nkeys, ScanKey keys);
/* read the next row into the slot; false at the end */
extern bool row_scan_next(Search *search, RowScan *scan);
extern void row_scan_close(Search *search, RowScan *scan);

/* of the row in the slot: a column, which may be null; one that is never null; the status; the place in the order of pages */
extern Datum row_scan_nullable(Search *search, int number, bool *isnull);
extern Datum row_scan_column(Search *search, int number);
extern RuntimeStatus row_scan_status(Search *search);
extern Found row_scan_found(Search *search);
/* whether the row in the slot passes the filter and the caller may see it */
extern bool row_scan_passes(Search *search);
/* a copy of a text, or of another value of variable length, in the search's context */
extern text *row_scan_copy(Search *search, Datum value);

extern void found_list_add(FoundList *list, const Found *found);
/* the order of pages, for qsort: created_time, then instance_id by bytes */
extern int	found_compare(const void *a, const void *b);

#endif
