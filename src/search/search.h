/*
 * search.h
 *	  Finding instances by what clients know of them.
 */
#ifndef DURABLE_SEARCH_H
#define DURABLE_SEARCH_H

#include "common/model.h"

#include "utils/array.h"

#include "store/runtime_status.h"

/* What instances must match; NULL and 0 stand for anything, except in statuses. */
typedef struct Filter
{
	int			statuses;		/* STATUS_BITs */
	bool		has_from;
	bool		has_to;
	TimestampTz from;			/* both inclusive */
	TimestampTz to;
	const char *name;
	const char *prefix;			/* prefix of the id */
	Jsonb	   *tags;			/* the instance's tags contain these */
	const char *parent;			/* id of the parent */
	ArrayType  *ids;			/* text[] */
	bool		manage;			/* the caller must be allowed to manage the instance, not only to see it */
} Filter;

/* created_time of a place in the order of ids; no instance has this time */
#define TIME_BY_ID		DT_NOBEGIN

/* An instance that was found, or its place in the order of pages. */
typedef struct Found
{
	TimestampTz created_time;
	text	   *instance_id;
	int64		key;
} Found;

typedef struct Search Search;

/* a search for the current user with the active snapshot, in the current memory context */
extern Search *search_begin(const Filter *filter);
extern void search_end(Search *search);

/*
 * The first instances after a place (NULL: of all) in the order of
 * created_time and id, or, with a prefix, in the order of ids.  Returns their
 * number, at most size; *more: whether there may be further ones.
 */
extern int	search_page(Search *search, const Found *after, int size, Found **rows, bool *more);
/* count the instances of each status */
extern void search_count(Search *search, int64 counts[STATUS_TERMINATED + 1]);

/*
 * All instances in no particular order, piece by piece.  Each call continues
 * where the last one ended, with the snapshot and the locks of its own
 * transaction, so there may be commits between the calls.  Only for filters by
 * status, time and name.
 */
typedef struct Walk Walk;

extern Walk *walk_begin(const Filter *filter);
/* the keys of the next instances, at most limit; returns 0 at the end */
extern int	walk_next(Walk *walk, int limit, int64 *keys);

#endif
