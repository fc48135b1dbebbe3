/*
 * instance_listing.h
 *	  What search.c and instance_listing.c share: a search, its scans, and the groups of
 *	  the index instances_listing.
 */
#ifndef DURABLE_INSTANCE_LISTING_H
#define DURABLE_INSTANCE_LISTING_H

#include "postgres.h"

#include "nodes/pg_list.h"

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
