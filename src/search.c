/*
 * search.c
 *	  Finding instances by what clients know of them: pages in the order of
 *	  creation, counts, and walks over all.
 *
 * A view with a security barrier sorts all that its reader may see before it
 * returns the first row.  This reads indexes instead, so that the time for a
 * page depends on its size and not on the number of instances, whoever owns
 * them.  It takes ordinary locks for reading only and works on a standby.
 *
 * The index instances_listing has the columns state, owner, name, created_time
 * and instance_id.  A *group* is what shares the first three; within it rows
 * are in the order of pages.  There are few groups: owners times functions
 * times states.  One look-up for each finds them, and steps over those whose
 * owner the caller may not see, however many rows they have.  A page merges the
 * groups that pass the filter.  What the index does not have (tags, whether a
 * live instance has begun) is compared row by row: a group that finds nothing
 * among some rows says how far it has looked, and the merge comes back to it
 * only when the others are that far (listing.c).
 *
 * Ids and a parent lead to rows by another index, and the first of those that
 * pass are kept.  There are three ways to an id prefix.  Which is the shortest
 * depends on the ids, so they are followed in turn until one is at its end:
 * - most ids have it: the merge reads the entries of the listing in order;
 * - few ids have it: they are side by side in the index of ids, which leads to
 *	 their blocks;
 * - many have it, but none of the first: an index of ranges of blocks names
 *	 those that may hold such ids (ranges.c), the other entries are not read.
 * Ranges come in the order in which their first rows can have been created.  As
 * soon as those read have enough rows for the page, only those matter that may
 * hold rows created before the last of them; when none is left it is exact.
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

#include "fit.h"
#include "listing.h"
#include "owner.h"
#include "ranges.h"
#include "rows.h"

/* entries and rows, about 0.1 us each, that a way to a prefix may read at first: of the listing, and by blocks */
#define LISTING_BUDGET	2000
#define BLOCKS_BUDGET	4000
#define UNLIMITED		PG_INT64_MAX

typedef struct OwnerEntry
{
	Oid			owner;			/* hash key */
	bool		visible;
} OwnerEntry;

/* Rows with a prefix, by blocks: how far the search is. */
typedef struct BlockSearch
{
	RangeScan  *scan;
	bool		leading;		/* the index of ids leads to the blocks */
	bool		found_ranges;
	bool		in_range;		/* of which not all is read */
	TimestampTz from;
	TimestampTz to;				/* nothing later will be on the page */
	int			enough;			/* rows after which to is to be set anew */
	FoundList	found;
} BlockSearch;

struct Walk
{
	Filter		filter;
	MemoryContext context;
	List	   *groups;
	int			current;
};

/* A relation of the engine. */
static Oid
relation_oid(Search *search, const char *name)
{
	Oid			relation = get_relname_relid(name, search->namespace);

	if (!OidIsValid(relation))
		elog(ERROR, "relation \"%s.%s\" does not exist", DURABLE_INTERNAL_SCHEMA, name);
	return relation;
}

/* Prepare to look for instances. */
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
	search->heap = relation_open(relation_oid(search, table_name(TABLE_INSTANCES)), AccessShareLock);
	(void) table_readable(search->heap, TABLE_INSTANCES, ERROR);
	search->slot = table_slot_create(search->heap, NULL);
	search->owners = hash_create("durable owners", 16, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	search->budget = UNLIMITED;
	return search;
}

/* Release what it holds; what was found stays. */
void
search_end(Search *search)
{
	ExecDropSingleTupleTableSlot(search->slot);
	relation_close(search->heap, NoLock);
	hash_destroy(search->owners);
	MemoryContextDelete(search->scratch);
	pfree(search);
}

/* Whether the caller may see, or manage, the instances of an owner. */
bool
search_owner_visible(Search *search, Oid owner)
{
	bool		known;
	OwnerEntry *entry = hash_search(search->owners, &owner, HASH_FIND, &known);
	InstanceRow row = {.owner = owner};
	bool		visible;

	if (known)
		return entry->visible;
	visible = search->filter->manage ? status_may_manage(&row) : status_may_see(&row);
	entry = hash_search(search->owners, &owner, HASH_ENTER, &known);
	entry->visible = visible;
	return visible;
}

/* Begin a scan, of the entries of the index as well as rows if so asked; the keys must stay. */
void
search_scan_open(Search *search, RowScan *scan, const char *index, bool entries, int nkeys, ScanKey keys)
{
	memset(scan, 0, sizeof(RowScan));
	scan->index = index_open(relation_oid(search, index), AccessShareLock);
	scan->desc = compat_index_beginscan(search->heap, scan->index, search->snapshot, nkeys);
	scan->desc->xs_want_itup = entries;
	index_rescan(scan->desc, keys, nkeys, NULL, 0);
}

/* Read the next row into the slot; false at the end and when the budget is used up. */
bool
search_scan_row(Search *search, RowScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return --search->budget >= 0 &&
		index_getnext_slot(scan->desc, ForwardScanDirection, search->slot);
}

/* Whether an id has a prefix: 0, or whether those that have it come after (1) or before it (-1). */
int
search_compare_prefix(const char *prefix, const text *id)
{
	Size		length = strlen(prefix);
	Size		size = VARSIZE_ANY_EXHDR(id);
	int			result = memcmp(prefix, VARDATA_ANY(id), Min(length, size));

	return result != 0 ? result : size < length;
}

/* End a scan. */
void
search_scan_close(Search *search, RowScan *scan)
{
	ExecClearTuple(search->slot);
	index_endscan(scan->desc);
	index_close(scan->index, NoLock);
}

/* A column of the row in the slot. */
static Datum
column(Search *search, int number, bool *isnull)
{
	return slot_getattr(search->slot, number + 1, isnull);
}

/* The same where it cannot be null. */
Datum
search_column(Search *search, int number)
{
	bool		isnull;
	Datum		value = slot_getattr(search->slot, number + 1, &isnull);

	Assert(!isnull);
	return value;
}

/* A plain copy of a text, or of another value of variable length, in the search's context. */
text *
search_copy(Search *search, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(search->context);
	text	   *from = DatumGetTextPP(value);
	text	   *copy = cstring_to_text_with_len(VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from));

	MemoryContextSwitchTo(old);
	return copy;
}

/* The order of pages. */
int
search_compare(const void *a, const void *b)
{
	const Found *left = a;
	const Found *right = b;
	Size		left_size,
				right_size;
	int			result;

	if (left->created_time != right->created_time)
		return left->created_time < right->created_time ? -1 : 1;
	left_size = VARSIZE_ANY_EXHDR(left->instance_id);
	right_size = VARSIZE_ANY_EXHDR(right->instance_id);
	result = memcmp(VARDATA_ANY(left->instance_id), VARDATA_ANY(right->instance_id),
					Min(left_size, right_size));
	return result != 0 ? result : left_size < right_size ? -1 : left_size > right_size;
}

/* Whether the id in the slot has the filter's prefix. */
static bool
has_prefix(Search *search)
{
	return search_compare_prefix(search->filter->prefix,
								 DatumGetTextPP(search_column(search, COL_INSTANCE_ID))) == 0;
}

/* Whether the tags in the slot contain the filter's. */
static bool
has_tags(Search *search)
{
	bool		isnull;
	Datum		tags = column(search, COL_TAGS, &isnull);

	if (isnull)
		return JB_ROOT_COUNT(search->filter->tags) == 0;
	return DatumGetBool(DirectFunctionCall2(jsonb_contains, tags,
											JsonbPGetDatum(search->filter->tags)));
}

/* Whether the name in the slot is the filter's. */
static bool
has_name(Search *search)
{
	const char *name = search->filter->name;
	text	   *value = DatumGetTextPP(search_column(search, COL_NAME));

	return VARSIZE_ANY_EXHDR(value) == strlen(name) &&
		memcmp(VARDATA_ANY(value), name, VARSIZE_ANY_EXHDR(value)) == 0;
}

/* The public status of the row in the slot. */
RuntimeStatus
search_row_status(Search *search)
{
	InstanceRow row = {.state = DatumGetChar(search_column(search, COL_STATE))};
	bool		isnull;

	if (!STATE_IS_TERMINAL(row.state))
	{
		row.started_time = DatumGetTimestampTz(column(search, COL_STARTED, &isnull));
		if (isnull)
			row.started_time = 0;
	}
	return status_of(&row);
}

/* Whether the row in the slot passes the filter, and the caller may know it. */
bool
search_row_passes(Search *search)
{
	const Filter *filter = search->filter;
	TimestampTz created = DatumGetTimestampTz(search_column(search, COL_CREATED));
	MemoryContext old;
	bool		result;

	if ((filter->has_from && created < filter->from) || (filter->has_to && created > filter->to))
		return false;
	if (!search_owner_visible(search, owner_role(search_column(search, COL_OWNER))))
		return false;
	old = MemoryContextSwitchTo(search->scratch);
	result = (filter->prefix == NULL || has_prefix(search)) &&
		(filter->statuses & STATUS_BIT(search_row_status(search))) != 0 &&
		(filter->name == NULL || has_name(search)) &&
		(filter->tags == NULL || has_tags(search));
	MemoryContextSwitchTo(old);
	MemoryContextReset(search->scratch);
	return result;
}

/* The key of the filter's parent; 0 if there is none. */
static int64
parent_key(Search *search)
{
	ScanKeyData key;
	RowScan		scan;
	int64		result = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(search->filter->parent));
	search_scan_open(search, &scan, "instances_instance_id", false, 1, &key);
	if (search_scan_row(search, &scan))
		result = DatumGetInt64(search_column(search, COL_KEY));
	search_scan_close(search, &scan);
	return result;
}

/* Whether the row in the slot is a child of the instance. */
static bool
is_child(Search *search, int64 parent)
{
	bool		isnull;
	Datum		value = column(search, COL_PARENT_KEY, &isnull);

	return !isnull && DatumGetInt64(value) == parent;
}

/* Note the row in the slot. */
Found
search_found(Search *search)
{
	return (Found)
	{
		.created_time = DatumGetTimestampTz(search_column(search, COL_CREATED)),
		.instance_id = search_copy(search, search_column(search, COL_INSTANCE_ID)),
		.key = DatumGetInt64(search_column(search, COL_KEY))
	};
}

/* Add to a list. */
void
search_add(FoundList *list, const Found *found)
{
	if (list->count == list->size)
	{
		list->size = Max(128, list->size * 2);
		list->rows = list->rows == NULL ? palloc(list->size * sizeof(Found)) :
			repalloc_huge(list->rows, list->size * sizeof(Found));
	}
	list->rows[list->count++] = *found;
}

/* Keep only the first rows of those collected. */
static void
collected_sort(Search *search, FoundList *found)
{
	if (found->count > 0)
		qsort(found->rows, found->count, sizeof(Found), search_compare);
	for (int i = search->limit; i < found->count; i++)
		pfree(found->rows[i].instance_id);
	found->count = Min(found->count, search->limit);
}

/* Add the row in the slot to a list unless it is before the page. */
static void
collect_row(Search *search, FoundList *list)
{
	Found		found = search_found(search);

	if (search->after.instance_id != NULL && search_compare(&found, &search->after) <= 0)
	{
		pfree(found.instance_id);
		return;
	}
	if (list->count == list->size && list->count / 2 >= search->limit)
		collected_sort(search, list);
	search_add(list, &found);
}

typedef void (*RowCallback) (Search *search, void *arg);

/* Call back for the rows of one index scan that pass. */
static void
scan_index(Search *search, const char *index, ScanKey key, int64 parent, RowCallback callback, void *arg)
{
	RowScan		scan;

	search_scan_open(search, &scan, index, false, 1, key);
	while (search_scan_row(search, &scan))
	{
		/* the ids with a prefix are side by side */
		if (search->filter->prefix != NULL && key->sk_strategy == BTGreaterEqualStrategyNumber &&
			!has_prefix(search))
			break;
		if (search_row_passes(search) && (search->filter->parent == NULL || is_child(search, parent)))
			callback(search, arg);
	}
	search_scan_close(search, &scan);
}

/* For sorting ids, so as to look each up once. */
static int
compare_ids(const void *a, const void *b)
{
	return DatumGetInt32(DirectFunctionCall2Coll(bttextcmp, C_COLLATION_OID,
												 *(const Datum *) a, *(const Datum *) b));
}

/* Call back for the rows with the filter's ids. */
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
		scan_index(search, "instances_instance_id", &key, parent, callback, arg);
	}
}

/* Call back for the rows that ids, a parent or a prefix lead to. */
static void
scan_by_id(Search *search, RowCallback callback, void *arg)
{
	const Filter *filter = search->filter;
	int64		parent = filter->parent != NULL ? parent_key(search) : 0;
	ScanKeyData key;

	if (filter->parent != NULL && parent == 0)
		return;
	if (filter->ids != NULL)
		scan_ids(search, parent, callback, arg);
	else if (filter->parent != NULL)
	{
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(parent));
		scan_index(search, "instances_parent", &key, parent, callback, arg);
	}
	else
	{
		ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_TEXT_GE,
					CStringGetTextDatum(filter->prefix));
		scan_index(search, "instances_instance_id", &key, parent, callback, arg);
	}
}

static void
collect_callback(Search *search, void *arg)
{
	collect_row(search, &search->found);
}

/* Collect the rows that ids or a parent lead to. */
static void
collect_by_id(Search *search)
{
	scan_by_id(search, collect_callback, NULL);
	collected_sort(search, &search->found);
}

/* Prepare to collect the rows with the prefix from the blocks that may have some, or that ids lead to. */
static void
begin_blocks(Search *search, BlockSearch *blocks, bool ids)
{
	const Filter *filter = search->filter;

	memset(blocks, 0, sizeof(BlockSearch));
	blocks->scan = ranges_begin(search->heap, search->snapshot, filter->prefix);
	blocks->leading = ids;
	blocks->from = filter->has_from ? filter->from : DT_NOBEGIN;
	blocks->to = filter->has_to ? filter->to : DT_NOEND;
	if (search->after.instance_id != NULL)
		blocks->from = Max(blocks->from, search->after.created_time);
	blocks->enough = search->limit;
}

/* Find the ranges that are to be read; false when the budget did not suffice. */
static bool
find_ranges(Search *search, BlockSearch *blocks)
{
	if (blocks->leading &&
		!ranges_lead(blocks->scan, relation_oid(search, "instances_instance_id"), &search->budget))
		return false;
	ranges_find(blocks->scan, relation_oid(search, "instances_ranges"), blocks->from, blocks->to);
	blocks->found_ranges = true;
	return true;
}

/* Collect rows; false when the budget did not suffice, to go on from there with another. */
static bool
collect_blocks(Search *search, BlockSearch *blocks)
{
	if (!blocks->found_ranges && !find_ranges(search, blocks))
		return false;
	while (blocks->in_range || ranges_next(blocks->scan, blocks->to))
	{
		blocks->in_range = true;
		while (ranges_row(blocks->scan, search->slot))
		{
			if (has_prefix(search) && search_row_passes(search))
				collect_row(search, &blocks->found);
			if (--search->budget < 0)
				return false;
		}
		blocks->in_range = false;
		if (blocks->found.count >= blocks->enough)
		{
			/* what was created after these is not on the page */
			collected_sort(search, &blocks->found);
			blocks->to = blocks->found.rows[search->limit - 1].created_time;
			blocks->enough = search->limit + search->limit / 8;
		}
	}
	collected_sort(search, &blocks->found);
	search->found = blocks->found;
	return true;
}

/*
 * Find the page of a prefix.  Which way is the shortest depends on the ids, so
 * they are followed in turn, each time for as long as all the times before.
 */
static void
search_prefix(Search *search)
{
	BlockSearch led;
	BlockSearch all;
	bool		done = false;

	search->budget = LISTING_BUDGET;
	if (listing_merge(search))
		return;
	begin_blocks(search, &led, true);
	begin_blocks(search, &all, false);
	for (int64 times = 1; !done; times *= 2)
	{
		search->budget = times * BLOCKS_BUDGET;
		done = collect_blocks(search, &led);
		search->budget = times * BLOCKS_BUDGET;
		done = done || collect_blocks(search, &all);
		search->budget = 2 * times * LISTING_BUDGET;
		done = done || listing_merge(search);
	}
	ExecClearTuple(search->slot);
	ranges_end(led.scan);
	ranges_end(all.scan);
}

/* Find a page. */
int
search_page(Search *search, const Found *after, int limit, Found **rows)
{
	const Filter *filter = search->filter;

	if (after != NULL)
		search->after = *after;
	search->limit = limit;
	if (filter->ids != NULL || filter->parent != NULL)
		collect_by_id(search);
	else
	{
		listing_groups(search);
		if (filter->prefix == NULL)
			(void) listing_merge(search);
		else
			search_prefix(search);
	}
	*rows = search->found.rows;
	return search->found.count;
}

static void
count_callback(Search *search, void *arg)
{
	((int64 *) arg)[search_row_status(search)]++;
}

/* Count the instances of each status. */
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
		RowGroup	   *group = list_nth(walk->groups, walk->current);
		text	   *place = group->last.instance_id;
		int			more = listing_read(search, group, limit - count, UNLIMITED, rows);

		for (int i = 0; i < more; i++)
			keys[count++] = rows[i].key;
		if (group->ended)
			walk->current++;
		else if (more > 0)
		{
			/* the place outlives this call */
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
