/*
 * search.h
 *	  Finding instances by what clients know of them.
 */
#ifndef DURABLE_SEARCH_H
#define DURABLE_SEARCH_H

#include "common/model.h"

#include "utils/array.h"

#include "store/runtime_status.h"

/* What instances must have; NULL and 0 stand for anything. */
typedef struct Filter
{
	int			statuses;		/* STATUS_BITs; this one always counts */
	bool		has_from;
	bool		has_to;
	TimestampTz from;			/* both inclusive */
	TimestampTz to;
	const char *name;
	const char *prefix;			/* of the id */
	Jsonb	   *tags;			/* contained in its tags */
	const char *parent;			/* id */
	ArrayType  *ids;			/* text[] */
	bool		manage;			/* the caller may manage it, not only see it */
} Filter;

/* the created_time of places in the order of ids; no instance has it */
#define TIME_BY_ID		DT_NOBEGIN

/* An instance found, or the place of one in the order of pages. */
typedef struct Found
{
	TimestampTz created_time;
	text	   *instance_id;
	int64		key;
} Found;

typedef struct Search Search;

/* for the current user and the active snapshot, in the current memory context */
extern Search *search_begin(const Filter *filter);
extern void search_end(Search *search);

/*
 * The first instances after a place (NULL: of all) in the order of created_time
 * and id, with a prefix of id alone; returns how many, at most size, and whether
 * there may be more.
 */
extern int	search_page(Search *search, const Found *after, int size, Found **rows, bool *more);
/* how many there are of each status */
extern void search_count(Search *search, int64 counts[STATUS_TERMINATED + 1]);

/*
 * All in no particular order, piece by piece: each call goes on where the last
 * ended, with the snapshot and the locks of its own transaction, so there may
 * be commits between calls.  Only for status, time and name.
 */
typedef struct Walk Walk;

extern Walk *walk_begin(const Filter *filter);
/* keys of the next instances, at most limit; 0 at the end */
extern int	walk_next(Walk *walk, int limit, int64 *keys);

#endif
