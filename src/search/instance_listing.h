/*
 * instance_listing.h
 *	  Searches in the order of creation, for search.c: the groups of the index
 *	  instances_listing.
 */
#ifndef DURABLE_INSTANCE_LISTING_H
#define DURABLE_INSTANCE_LISTING_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "search/search.h"

/* the rows with one state, owner and name, and how far they have been read */
typedef struct RowGroup
{
	char		state;
	Datum		owner;			/* as in the row */
	text	   *name;
	Found		last;			/* rows up to this place have been read; instance_id NULL: none */
	bool		ended;
	Found	   *rows;			/* rows[next..count - 1] have been read but not merged */
	int			next;
	int			count;
	int			size;
	int			patience;
} RowGroup;

/* find the groups that pass the filter */
extern void listing_groups(Search *search);
/* merge the groups up to the limit */
extern void listing_merge(Search *search);
/*
 * Read the next rows of a group that pass, at most limit.  If none passes
 * among as many entries as patience allows, the place to continue from is
 * returned, with the key 0.
 */
extern int	listing_read(Search *search, RowGroup *group, int limit, int64 patience, Found *rows);
/* count the rows of a group that pass, by status */
extern void listing_count(Search *search, const RowGroup *group, int64 counts[]);

#endif
