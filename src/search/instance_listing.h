/*
 * instance_listing.h
 *	  What search.c and instance_listing.c share: a search, its scans, and the groups of
 *	  the index instances_listing.
 */
#ifndef DURABLE_INSTANCE_LISTING_H
#define DURABLE_INSTANCE_LISTING_H

#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/hsearch.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "search/search.h"

/* What shares state, owner and name, and how far it has been read. */
typedef struct RowGroup
{
	char		state;
	Datum		owner;			/* as in the row */
	text	   *name;
	Found		last;			/* read up to here; instance_id NULL: nothing yet */
	bool		ended;
	Found	   *rows;			/* read and not merged yet: from next to count */
	int			next;
	int			count;
	int			size;
	int			patience;
} RowGroup;

typedef struct FoundList
{
	Found	   *rows;
	int			count;
	int			size;
} FoundList;

struct Search
{
	const Filter *filter;
	MemoryContext context;		/* for what is found */
	MemoryContext scratch;		/* for one row */
	Snapshot	snapshot;
	Oid			namespace;
	Relation	heap;
	TupleTableSlot *slot;
	HTAB	   *owners;			/* of OwnerEntry */
	Found		after;			/* instance_id NULL: from the first */
	List	   *groups;
	FoundList	found;			/* the page; while it is collected in any order, some more */
	int			limit;
};

/* An index, and a scan of it. */
typedef struct RowScan
{
	Relation	index;
	IndexScanDesc desc;
} RowScan;

/* search.c */
extern bool search_owner_visible(Search *search, Oid owner);
/* begin a scan, of the entries of the index as well as rows if so asked; the keys must stay */
extern void search_scan_open(Search *search, RowScan *scan, const char *index, bool entries,
							 int nkeys, ScanKey keys);
/* read the next row into the slot; false at the end */
extern bool search_scan_row(Search *search, RowScan *scan);
extern void search_scan_close(Search *search, RowScan *scan);
/* of the row in the slot: a column that is not null, its status, its place, whether it passes */
extern Datum search_column(Search *search, int number);
extern RuntimeStatus search_row_status(Search *search);
extern Found search_found(Search *search);
extern void search_add(FoundList *list, const Found *found);
extern bool search_row_passes(Search *search);
extern text *search_copy(Search *search, Datum value);
extern int	search_compare(const void *a, const void *b);

/* instance_listing.c: find the groups that pass the filter */
extern void listing_groups(Search *search);
/* merge them up to the limit */
extern void listing_merge(Search *search);
/*
 * Read the next rows of a group that pass, at most limit.  When none is among
 * as many entries as patience allows, the place to go on from is returned, with
 * the key 0.
 */
extern int	listing_read(Search *search, RowGroup *group, int limit, int64 patience, Found *rows);
/* add the rows of a group that pass to the counts of their statuses */
extern void listing_count(Search *search, const RowGroup *group, int64 counts[]);

#endif
