/*
 * search.c
 *	  Finding instances by what clients know of them: pages, counts, and walks
 *	  over all instances.
 *
 * A view with a security barrier sorts all rows that its reader may see before
 * it returns the first one.  These functions read indexes instead.  They take
 * ordinary locks for reading only and work on a standby.
 *
 * Pages are in the order of creation and are read from the index
 * instances_listing, so that the time for a page depends on its size and not
 * on the number of instances.  The index has the columns state, owner, name,
 * created_time and instance_id.  The rows with the same state, owner and name
 * are a *group*; within a group the rows are in the order of pages.  There are
 * few groups: owners times functions times states.  One look-up finds each
 * group and skips those whose owner the caller may not see, however many rows
 * they have.  A page merges the groups that pass the filter.  Conditions on
 * other columns (tags, whether a live instance has begun) are checked row by
 * row.  A group in which many rows fail such conditions reports how far it has
 * read, and the merge returns to it only when the other groups have come that
 * far (instance_listing.c).
 *
 * With an id prefix, pages are in the order of ids and are read from the
 * unique index of ids, where the ids with the prefix are neighbours.  Ids are
 * ordered by bytes (collation "C"), whatever the collation of the database.
 * The index has no other column, so every row with the prefix is read and
 * checked until the page is full, the rows of other owners too.
 *
 * With a list of ids, or a parent, other indexes find the rows, and the first
 * ones that pass, in the order of pages, are kept.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "search/instance_listing.h"
#include "search/row_scan.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/table_access.h"
#include "store/table_check.h"

/* keys of a scan of the ids with a prefix, at most */
#define PREFIX_KEYS		3

struct Walk
{
	Filter		filter;
	MemoryContext context;
	List	   *groups;
	int			current;
};

Search *
search_begin(const Filter *filter)
{
	Search	   *search = palloc0(sizeof(Search));
	HASHCTL		info = {
		.keysize = sizeof(Oid), .entrysize = sizeof(OwnerEntry), .hcxt = CurrentMemoryContext
	};

	search->filter = filter;
	search->context = CurrentMemoryContext;
	search->scratch = AllocSetContextCreate(CurrentMemoryContext, "durable search",
											ALLOCSET_DEFAULT_SIZES);
	search->snapshot = GetActiveSnapshot();
	search->namespace = get_namespace_oid(DURABLE_INTERNAL_SCHEMA, false);
	search->heap = relation_open(row_scan_relation(search, table_name(TABLE_INSTANCES)), AccessShareLock);
	(void) table_readable(search->heap, TABLE_INSTANCES, ERROR);
	search->slot = table_slot_create(search->heap, NULL);
	search->owners = hash_create("durable owners", 16, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return search;
}

void
search_end(Search *search)
{
	ExecDropSingleTupleTableSlot(search->slot);
	relation_close(search->heap, NoLock);
	hash_destroy(search->owners);
	MemoryContextDelete(search->scratch);
	pfree(search);
}

/* The key of the filter's parent; 0 if it does not exist. */
static int64
parent_key(Search *search)
{
	ScanKeyData key;
	RowScan		scan;
	int64		result = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(search->filter->parent));
	row_scan_open(search, &scan, "instances_instance_id", false, 1, &key);
	if (row_scan_next(search, &scan))
		result = DatumGetInt64(row_scan_column(search, COL_KEY));
	row_scan_close(search, &scan);
	return result;
}

/* Whether the row in the slot is a child of the instance. */
static bool
is_child(Search *search, int64 parent)
{
	bool		isnull;
	Datum		value = row_scan_nullable(search, COL_PARENT_KEY, &isnull);

	return !isnull && DatumGetInt64(value) == parent;
}

/* Sort the collected rows and keep only the first ones, up to the limit. */
static void
collected_sort(Search *search)
{
	FoundList  *found = &search->found;

	if (found->count > 0)
		qsort(found->rows, found->count, sizeof(Found), found_compare);
	for (int i = search->limit; i < found->count; i++)
		pfree(found->rows[i].instance_id);
	found->count = Min(found->count, search->limit);
}

/* Collect the row in the slot unless it is before the page. */
static void
collect_row(Search *search)
{
	FoundList  *list = &search->found;
	Found		found = row_scan_found(search);

	if (search->after.instance_id != NULL && found_compare(&found, &search->after) <= 0)
	{
		pfree(found.instance_id);
		return;
	}
	if (list->count == list->size && list->count / 2 >= search->limit)
		collected_sort(search);
	found_list_add(list, &found);
}

typedef void (*RowCallback) (Search *search, void *arg);

/* Call back for the rows of an index scan that pass. */
static void
scan_index(Search *search, const char *index, int nkeys, ScanKey keys, int64 parent,
		   RowCallback callback, void *arg)
{
	RowScan		scan;

	row_scan_open(search, &scan, index, false, nkeys, keys);
	while (row_scan_next(search, &scan))
		if (row_scan_passes(search) && (search->filter->parent == NULL || is_child(search, parent)))
			callback(search, arg);
	row_scan_close(search, &scan);
}

/* Make the scan keys for the ids with the prefix that come after the previous page; returns how many. */
static int
prefix_keys(Search *search, ScanKeyData keys[PREFIX_KEYS])
{
	text	   *prefix = cstring_to_text(search->filter->prefix);
	text	   *end = cstring_to_text(search->filter->prefix);
	int			length = VARSIZE_ANY_EXHDR(end);
	int			nkeys = 0;

	ScanKeyInit(&keys[nkeys++], 1, BTGreaterEqualStrategyNumber, F_TEXT_GE, PointerGetDatum(prefix));
	if (search->after.instance_id != NULL)
		ScanKeyInit(&keys[nkeys++], 1, BTGreaterStrategyNumber, F_TEXT_GT,
					PointerGetDatum(search->after.instance_id));
	/*
	 * all ids with the prefix are less than the prefix with its last byte
	 * increased; last bytes of 255 are dropped first
	 */
	while (length > 0 && (unsigned char) VARDATA(end)[length - 1] == 255)
		length--;
	if (length > 0)
	{
		VARDATA(end)[length - 1]++;
		SET_VARSIZE(end, VARHDRSZ + length);
		ScanKeyInit(&keys[nkeys++], 1, BTLessStrategyNumber, F_TEXT_LT, PointerGetDatum(end));
	}
	return nkeys;
}

/* Comparator of ids, to look up each id once. */
static int
compare_ids(const void *a, const void *b)
{
	return DatumGetInt32(DirectFunctionCall2Coll(bttextcmp, C_COLLATION_OID,
												 *(const Datum *) a, *(const Datum *) b));
}

/* Call back for the rows with the filter's ids that pass. */
static void
scan_ids(Search *search, int64 parent, RowCallback callback, void *arg)
{
	Datum	   *ids;
	bool	   *nulls;
	int			count;
	int			present = 0;

	deconstruct_array(search->filter->ids, TEXTOID, -1, false, TYPALIGN_INT, &ids, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			ids[present++] = ids[i];
	qsort(ids, present, sizeof(Datum), compare_ids);
	for (int i = 0; i < present; i++)
	{
		ScanKeyData key;

		if (i > 0 && compare_ids(&ids[i - 1], &ids[i]) == 0)
			continue;
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, ids[i]);
		scan_index(search, "instances_instance_id", 1, &key, parent, callback, arg);
	}
}

/* Call back for the rows that the filter's ids, parent or prefix lead to. */
static void
scan_by_id(Search *search, RowCallback callback, void *arg)
{
	const Filter *filter = search->filter;
	int64		parent = filter->parent != NULL ? parent_key(search) : 0;
	ScanKeyData keys[PREFIX_KEYS];

	if (filter->parent != NULL && parent == 0)
		return;
	if (filter->ids != NULL)
		scan_ids(search, parent, callback, arg);
	else if (filter->parent != NULL)
	{
		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(parent));
		scan_index(search, "instances_parent", 1, keys, parent, callback, arg);
	}
	else
		scan_index(search, "instances_instance_id", prefix_keys(search, keys), keys, parent,
				   callback, arg);
}

static void
collect_callback(Search *search, void *arg)
{
	collect_row(search);
}

/* Collect the page for ids or a parent. */
static void
collect_by_id(Search *search)
{
	scan_by_id(search, collect_callback, NULL);
	collected_sort(search);
}

/* Read the page for a prefix. */
static void
page_by_prefix(Search *search)
{
	ScanKeyData keys[PREFIX_KEYS];
	RowScan		scan;

	row_scan_open(search, &scan, "instances_instance_id", false, prefix_keys(search, keys), keys);
	while (search->found.count < search->limit && row_scan_next(search, &scan))
		if (row_scan_passes(search))
			collect_row(search);
	row_scan_close(search, &scan);
}

int
search_page(Search *search, const Found *after, int size, Found **rows, bool *more)
{
	const Filter *filter = search->filter;

	if (after != NULL)
		search->after = *after;
	/* one row more than the page tells whether there is another page */
	search->limit = size + 1;
	if (filter->ids != NULL || filter->parent != NULL)
		collect_by_id(search);
	else if (filter->prefix != NULL)
		page_by_prefix(search);
	else
	{
		listing_groups(search);
		listing_merge(search);
	}
	*rows = search->found.rows;
	*more = search->found.count > size;
	return Min(search->found.count, size);
}

static void
count_callback(Search *search, void *arg)
{
	((int64 *) arg)[row_scan_status(search)]++;
}

void
search_count(Search *search, int64 counts[STATUS_TERMINATED + 1])
{
	const Filter *filter = search->filter;
	ListCell   *cell;

	memset(counts, 0, (STATUS_TERMINATED + 1) * sizeof(int64));
	if (filter->ids != NULL || filter->parent != NULL || filter->prefix != NULL)
	{
		scan_by_id(search, count_callback, counts);
		return;
	}
	listing_groups(search);
	foreach(cell, search->groups)
		listing_count(search, lfirst(cell), counts);
}

/* Begin a walk: find its groups. */
Walk *
walk_begin(const Filter *filter)
{
	Walk	   *walk = palloc0(sizeof(Walk));
	Search	   *search;

	walk->filter = *filter;
	walk->context = CurrentMemoryContext;
	search = search_begin(filter);
	listing_groups(search);
	walk->groups = search->groups;
	search_end(search);
	return walk;
}

/* Find the next instances of a walk. */
int
walk_next(Walk *walk, int limit, int64 *keys)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "durable walk",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	Search	   *search = search_begin(&walk->filter);
	Found	   *rows = MemoryContextAllocHuge(scratch, limit * sizeof(Found));
	int			count = 0;

	while (count < limit && walk->current < list_length(walk->groups))
	{
		RowGroup   *group = list_nth(walk->groups, walk->current);
		text	   *place = group->last.instance_id;
		int			more = listing_read(search, group, limit - count, PG_INT64_MAX, rows);

		for (int i = 0; i < more; i++)
			keys[count++] = rows[i].key;
		if (group->ended)
			walk->current++;
		else if (more > 0)
		{
			/* the place must outlive this call */
			MemoryContextSwitchTo(walk->context);
			group->last.instance_id = (text *) DatumGetPointer(
				datumCopy(PointerGetDatum(group->last.instance_id), false, -1));
			if (place != NULL)
				pfree(place);
			MemoryContextSwitchTo(scratch);
		}
	}
	search_end(search);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return count;
}
