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
 * only when the others are that far.
 *
 * Ids and a parent lead to rows by another index, and the first of those that
 * pass are kept.  There are three ways to an id prefix.  Which is the shortest
 * depends on the ids, so each is tried in turn with growing budgets of rows:
 * - few ids have it: they are side by side in the index of ids, which leads to
 *	 their blocks;
 * - most ids have it: the merge reads the entries of the listing in order;
 * - many have it, but none of the first: an index of ranges of blocks names
 *	 those that may hold such ids (ranges.c), the other entries are not read.
 * Blocks are about in the order of creation.  As soon as those read have enough
 * rows for the page, the index of ranges is asked for those only that may hold
 * rows created before the last of them; when none is left the page is exact.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "ranges.h"
#include "rows.h"
#include "search.h"

/* entries and rows that each way to a prefix may read at first; they take about 0.1 us each */
#define PREFIX_BUDGET	8000
#define UNLIMITED		PG_INT64_MAX

/* entries of a group without the prefix that are read before those of the same time are passed over */
#define VAIN_ENTRIES	1000

/* rows of a group that a page looks at in vain before it looks at other groups: at first, and at most */
#define PATIENCE_FIRST	32
#define PATIENCE_LAST	1024

/* columns of instances_listing, counted from 1 */
enum
{
	LISTING_STATE = 1, LISTING_OWNER, LISTING_NAME, LISTING_CREATED, LISTING_ID
};

typedef struct RowGroup
{
	char		state;
	Oid			owner;
	text	   *name;
	Found		last;			/* read up to here; instance_id NULL: nothing yet */
	bool		ended;
	Found	   *rows;			/* read and not merged yet: from next to count */
	int			next;
	int			count;
	int			size;
	int			patience;
} RowGroup;

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
	int64		budget;			/* rows that may still be read; below 0: it did not suffice */
	List	   *groups;
	/* the first limit rows of those that come in any order, and some more */
	Found	   *rows;
	int			count;
	int			size;
	int			limit;
};

typedef struct OwnerEntry
{
	Oid			owner;			/* hash key */
	bool		visible;
} OwnerEntry;

/* An index, and a scan of it. */
typedef struct RowScan
{
	Relation	index;
	IndexScanDesc desc;
	int			vain;			/* entries read without the filter's prefix */
	Found		jump;			/* where to go on then; instance_id NULL: at the next entry */
} RowScan;

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
	search->heap = table_open(relation_oid(search, "instances"), AccessShareLock);
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
	table_close(search->heap, NoLock);
	hash_destroy(search->owners);
	MemoryContextDelete(search->scratch);
	pfree(search);
}

/* Whether the caller may see, or manage, the instances of an owner. */
static bool
owner_visible(Search *search, Oid owner)
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
static void
scan_open(Search *search, RowScan *scan, const char *index, bool entries, int nkeys, ScanKey keys)
{
	memset(scan, 0, sizeof(RowScan));
	scan->index = index_open(relation_oid(search, index), AccessShareLock);
	scan->desc = compat_index_beginscan(search->heap, scan->index, search->snapshot, nkeys);
	scan->desc->xs_want_itup = entries;
	index_rescan(scan->desc, keys, nkeys, NULL, 0);
}

/* Read the next row into the slot; false at the end and when the budget is used up. */
static bool
scan_row(Search *search, RowScan *scan)
{
	CHECK_FOR_INTERRUPTS();
	return --search->budget >= 0 &&
		index_getnext_slot(scan->desc, ForwardScanDirection, search->slot);
}

/* Whether an id has the filter's prefix: 0, or whether those that have it come after (1) or before it (-1). */
static int
compare_prefix(Search *search, const text *id)
{
	const char *prefix = search->filter->prefix;
	Size		length = strlen(prefix);
	Size		size = VARSIZE_ANY_EXHDR(id);
	int			result = memcmp(prefix, VARDATA_ANY(id), Min(length, size));

	return result != 0 ? result : size < length;
}

/* A column of the entry that a scan is at. */
static Datum
entry_column(RowScan *scan, int number)
{
	bool		isnull;

	return index_getattr(scan->desc->xs_itup, number, scan->desc->xs_itupdesc, &isnull);
}

/*
 * Note how to pass over the entries after this one that were created at the
 * same time and have not the prefix either, however many they are.
 */
static void
note_jump(Search *search, RowScan *scan)
{
	text	   *id = DatumGetTextPP(entry_column(scan, LISTING_ID));

	scan->jump.created_time = DatumGetTimestampTz(entry_column(scan, LISTING_CREATED));
	if (compare_prefix(search, id) > 0)
	{
		/* something before the prefix and after all that is before it: no id has the byte 255 */
		Size		length = strlen(search->filter->prefix);
		char	   *place = psprintf("%s\377", search->filter->prefix);

		place[length - 1]--;
		scan->jump.instance_id = cstring_to_text_with_len(place, length + 1);
	}
	else
	{
		scan->jump.created_time++;
		scan->jump.instance_id = cstring_to_text("");
	}
}

/* The same for the listing, where only rows whose id has the prefix are read; false also when there is a jump to do. */
static bool
scan_listed_row(Search *search, RowScan *scan)
{
	if (search->filter->prefix == NULL)
		return scan_row(search, scan);
	while (--search->budget >= 0 && index_getnext_tid(scan->desc, ForwardScanDirection) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (compare_prefix(search, DatumGetTextPP(entry_column(scan, LISTING_ID))) == 0)
		{
			if (index_fetch_heap(scan->desc, search->slot))
				return true;
		}
		else if (++scan->vain == VAIN_ENTRIES)
		{
			note_jump(search, scan);
			return false;
		}
	}
	return false;
}

/* End a scan. */
static void
scan_close(Search *search, RowScan *scan)
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
static Datum
column_value(Search *search, int number)
{
	bool		isnull;
	Datum		value = slot_getattr(search->slot, number + 1, &isnull);

	Assert(!isnull);
	return value;
}

/* A plain copy of a text value in the search's context. */
static text *
copy_text(Search *search, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(search->context);
	text	   *from = DatumGetTextPP(value);
	text	   *copy = cstring_to_text_with_len(VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from));

	MemoryContextSwitchTo(old);
	return copy;
}

/* The order of pages. */
static int
compare_found(const void *a, const void *b)
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
	return compare_prefix(search, DatumGetTextPP(column_value(search, COL_INSTANCE_ID))) == 0;
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
	text	   *value = DatumGetTextPP(column_value(search, COL_NAME));

	return VARSIZE_ANY_EXHDR(value) == strlen(name) &&
		memcmp(VARDATA_ANY(value), name, VARSIZE_ANY_EXHDR(value)) == 0;
}

/* The public status of the row in the slot. */
static RuntimeStatus
row_status(Search *search)
{
	InstanceRow row = {.state = DatumGetChar(column_value(search, COL_STATE))};
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
static bool
row_passes(Search *search)
{
	const Filter *filter = search->filter;
	TimestampTz created = DatumGetTimestampTz(column_value(search, COL_CREATED));
	MemoryContext old;
	bool		result;

	if ((filter->has_from && created < filter->from) || (filter->has_to && created > filter->to))
		return false;
	if (!owner_visible(search, DatumGetObjectId(column_value(search, COL_OWNER))))
		return false;
	old = MemoryContextSwitchTo(search->scratch);
	result = (filter->prefix == NULL || has_prefix(search)) &&
		(filter->statuses & STATUS_BIT(row_status(search))) != 0 &&
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
	scan_open(search, &scan, "instances_instance_id", false, 1, &key);
	if (scan_row(search, &scan))
		result = DatumGetInt64(column_value(search, COL_KEY));
	scan_close(search, &scan);
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

/* Make a scan key for what comes after a place, with the two that it consists of. */
static void
after_key(ScanKey key, ScanKey parts, const Found *place)
{
	memset(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = LISTING_CREATED;
	key->sk_strategy = BTGreaterStrategyNumber;
	key->sk_argument = PointerGetDatum(parts);
	ScanKeyEntryInitialize(&parts[0], SK_ROW_MEMBER, LISTING_CREATED, BTGreaterStrategyNumber,
						   InvalidOid, InvalidOid, F_TIMESTAMPTZ_CMP,
						   TimestampTzGetDatum(place->created_time));
	ScanKeyEntryInitialize(&parts[1], SK_ROW_MEMBER | SK_ROW_END, LISTING_ID,
						   BTGreaterStrategyNumber, InvalidOid, C_COLLATION_OID, F_BTTEXTCMP,
						   PointerGetDatum(place->instance_id));
}

#define GROUP_KEYS	5

/* Begin a scan of what is left of a group within the filter's range of time. */
static void
group_open(Search *search, RowScan *scan, const RowGroup *group, bool entries, ScanKey keys,
		   ScanKey parts)
{
	const Filter *filter = search->filter;
	int			nkeys = 0;

	ScanKeyInit(&keys[nkeys++], LISTING_STATE, BTEqualStrategyNumber, F_CHAREQ,
				CharGetDatum(group->state));
	ScanKeyInit(&keys[nkeys++], LISTING_OWNER, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(group->owner));
	ScanKeyInit(&keys[nkeys++], LISTING_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(group->name));
	if (group->last.instance_id != NULL &&
		!(filter->has_from && group->last.created_time < filter->from))
		after_key(&keys[nkeys++], parts, &group->last);
	else if (filter->has_from)
		ScanKeyInit(&keys[nkeys++], LISTING_CREATED, BTGreaterEqualStrategyNumber,
					F_TIMESTAMPTZ_GE, TimestampTzGetDatum(filter->from));
	if (filter->has_to)
		ScanKeyInit(&keys[nkeys++], LISTING_CREATED, BTLessEqualStrategyNumber,
					F_TIMESTAMPTZ_LE, TimestampTzGetDatum(filter->to));
	Assert(nkeys <= GROUP_KEYS);
	scan_open(search, scan, "instances_listing", entries, nkeys, keys);
}

/* Note the row in the slot. */
static Found
found_row(Search *search)
{
	return (Found)
	{
		.created_time = DatumGetTimestampTz(column_value(search, COL_CREATED)),
		.instance_id = copy_text(search, column_value(search, COL_INSTANCE_ID)),
		.key = DatumGetInt64(column_value(search, COL_KEY))
	};
}

/*
 * Read the next rows of a group that pass, at most limit.  When none is among
 * as many as patience allows, the last of them is returned with the key 0.
 */
static int
group_read(Search *search, RowGroup *group, int limit, int64 patience, Found *rows)
{
	ScanKeyData keys[GROUP_KEYS];
	ScanKeyData parts[2];
	RowScan		scan;
	int64		vain = 0;
	int			count = 0;

	group_open(search, &scan, group, search->filter->prefix != NULL, keys, parts);
	group->ended = false;
	while (count < limit && vain < patience && !group->ended)
		if (!scan_listed_row(search, &scan))
		{
			group->ended = scan.jump.instance_id == NULL;
			if (!group->ended)
			{
				group->last = scan.jump;
				scan_close(search, &scan);
				group_open(search, &scan, group, true, keys, parts);
			}
		}
		else if (row_passes(search))
			rows[count++] = found_row(search);
		else if (++vain == patience && count == 0)
		{
			rows[count] = found_row(search);
			rows[count++].key = 0;
		}
	scan_close(search, &scan);
	if (count > 0)
		group->last = rows[count - 1];
	return count;
}

/* Add a group to the list. */
static void
add_group(Search *search, char state, Oid owner, text *name)
{
	MemoryContext old = MemoryContextSwitchTo(search->context);
	RowGroup	   *group = palloc0(sizeof(RowGroup));

	group->state = state;
	group->owner = owner;
	group->name = name;
	search->groups = lappend(search->groups, group);
	MemoryContextSwitchTo(old);
}

/* The first row of a state after an owner, or of one owner after a name: its owner and name. */
static bool
next_group(Search *search, char state, Oid *owner, text **name)
{
	ScanKeyData keys[3];
	RowScan		scan;
	bool		found;

	ScanKeyInit(&keys[0], LISTING_STATE, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(state));
	ScanKeyInit(&keys[1], LISTING_OWNER,
				*name == NULL ? BTGreaterStrategyNumber : BTEqualStrategyNumber,
				*name == NULL ? F_OIDGT : F_OIDEQ, ObjectIdGetDatum(*owner));
	ScanKeyInit(&keys[2], LISTING_NAME, BTGreaterStrategyNumber, F_TEXT_GT, PointerGetDatum(*name));
	scan_open(search, &scan, "instances_listing", false, *name == NULL ? 2 : 3, keys);
	found = scan_row(search, &scan);
	if (found)
	{
		*owner = DatumGetObjectId(column_value(search, COL_OWNER));
		*name = copy_text(search, column_value(search, COL_NAME));
	}
	scan_close(search, &scan);
	return found;
}

/* Find the groups of a state that pass the filter. */
static void
find_groups_in(Search *search, char state)
{
	Oid			owner = InvalidOid;
	text	   *name = NULL;

	while (next_group(search, state, &owner, &name))
	{
		if (owner_visible(search, owner))
		{
			if (search->filter->name != NULL)
				add_group(search, state, owner, cstring_to_text(search->filter->name));
			else
				do
					add_group(search, state, owner, name);
				while (next_group(search, state, &owner, &name));
		}
		name = NULL;
	}
}

/* Find the groups that pass the filter. */
static void
find_groups(Search *search)
{
	int			statuses = search->filter->statuses;

	if (statuses & (STATUS_BIT(STATUS_PENDING) | STATUS_BIT(STATUS_RUNNING)))
	{
		find_groups_in(search, STATE_READY);
		find_groups_in(search, STATE_WAITING);
	}
	if (statuses & STATUS_BIT(STATUS_SUSPENDED))
		find_groups_in(search, STATE_SUSPENDED);
	if (statuses & STATUS_BIT(STATUS_COMPLETED))
		find_groups_in(search, STATE_COMPLETED);
	if (statuses & STATUS_BIT(STATUS_FAILED))
		find_groups_in(search, STATE_FAILED);
	if (statuses & STATUS_BIT(STATUS_TERMINATED))
		find_groups_in(search, STATE_TERMINATED);
}

/* Read on in a group when all that was read is merged, each time twice as much. */
static void
group_refill(Search *search, RowGroup *group, int limit)
{
	if (group->next < group->count || group->ended)
		return;
	if (group->rows == NULL || group->size < limit)
	{
		group->size = Min(Max(1, group->size * 2), limit);
		group->rows = group->rows == NULL ? palloc(group->size * sizeof(Found)) :
			repalloc_huge(group->rows, group->size * sizeof(Found));
	}
	group->next = 0;
	group->count = group_read(search, group, group->size, group->patience, group->rows);
	if (group->count > 0 && group->rows[0].key == 0)
		group->patience = Min(group->patience * 2, PATIENCE_LAST);
}

/* For a heap whose first group has the earliest row. */
static int
compare_groups(Datum a, Datum b, void *arg)
{
	RowGroup	   *left = (RowGroup *) DatumGetPointer(a);
	RowGroup	   *right = (RowGroup *) DatumGetPointer(b);

	return -compare_found(&left->rows[left->next], &right->rows[right->next]);
}

/* Merge the groups up to the limit; false when the budget did not suffice. */
static bool
merge_groups(Search *search)
{
	binaryheap *heap = binaryheap_allocate(list_length(search->groups) + 1, compare_groups, NULL);
	ListCell   *cell;

	search->count = 0;
	foreach(cell, search->groups)
	{
		RowGroup	   *group = lfirst(cell);

		group->last = search->after;
		group->ended = false;
		group->patience = PATIENCE_FIRST;
		group->next = group->count = 0;
		group_refill(search, group, search->limit);
		if (group->count > 0)
			binaryheap_add_unordered(heap, PointerGetDatum(group));
	}
	binaryheap_build(heap);
	while (search->budget >= 0 && search->count < search->limit && !binaryheap_empty(heap))
	{
		RowGroup	   *group = (RowGroup *) DatumGetPointer(binaryheap_first(heap));
		Found		found = group->rows[group->next++];

		if (found.key != 0 && search->count == search->size)
		{
			search->size = Min(Max(128, search->size * 2), search->limit);
			search->rows = search->rows == NULL ? palloc(search->size * sizeof(Found)) :
				repalloc_huge(search->rows, search->size * sizeof(Found));
		}
		if (found.key != 0)
			search->rows[search->count++] = found;
		if (search->count == search->limit)
			break;
		group_refill(search, group, search->limit - search->count);
		if (group->next < group->count)
			binaryheap_replace_first(heap, PointerGetDatum(group));
		else
			(void) binaryheap_remove_first(heap);
	}
	binaryheap_free(heap);
	return search->budget >= 0;
}

/* Keep only the first rows of those collected. */
static void
collected_sort(Search *search)
{
	if (search->count > 0)
		qsort(search->rows, search->count, sizeof(Found), compare_found);
	for (int i = search->limit; i < search->count; i++)
		pfree(search->rows[i].instance_id);
	search->count = Min(search->count, search->limit);
}

/* Add the row in the slot unless it is before the page. */
static void
collect_row(Search *search)
{
	Found		found = found_row(search);

	if (search->after.instance_id != NULL && compare_found(&found, &search->after) <= 0)
	{
		pfree(found.instance_id);
		return;
	}
	if (search->count == search->size)
	{
		if (search->count / 2 >= search->limit)
			collected_sort(search);
		else
		{
			search->size = Max(128, search->size * 2);
			search->rows = search->rows == NULL ? palloc(search->size * sizeof(Found)) :
				repalloc_huge(search->rows, search->size * sizeof(Found));
		}
	}
	search->rows[search->count++] = found;
}

typedef void (*RowCallback) (Search *search, void *arg);

/* Call back for the rows of one index scan that pass. */
static void
scan_index(Search *search, const char *index, ScanKey key, int64 parent, RowCallback callback, void *arg)
{
	RowScan		scan;

	scan_open(search, &scan, index, false, 1, key);
	while (scan_row(search, &scan))
	{
		/* the ids with a prefix are side by side */
		if (search->filter->prefix != NULL && key->sk_strategy == BTGreaterEqualStrategyNumber &&
			!has_prefix(search))
			break;
		if (row_passes(search) && (search->filter->parent == NULL || is_child(search, parent)))
			callback(search, arg);
	}
	scan_close(search, &scan);
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
	collect_row(search);
}

/* Collect the rows that ids, a parent or a prefix lead to; false when the budget did not suffice. */
static bool
collect_by_id(Search *search)
{
	search->count = 0;
	scan_by_id(search, collect_callback, NULL);
	collected_sort(search);
	return search->budget >= 0;
}

/*
 * Read the ranges of blocks that may have rows with the prefix.  Once there are
 * enough for the page, only those matter that may have rows created before the
 * last of them.
 */
static void
read_ranges(Search *search, RangeScan *scan)
{
	const Filter *filter = search->filter;
	TimestampTz from = filter->has_from ? filter->from : DT_NOBEGIN;
	int			patience = 0;

	if (search->after.instance_id != NULL)
		from = Max(from, search->after.created_time);
	ranges_ask(scan, from, filter->has_to ? filter->to : DT_NOEND);
	for (int read = 0; search->budget >= 0 && ranges_next(scan); read++)
	{
		while (--search->budget >= 0 && ranges_row(scan, search->slot))
			if (has_prefix(search) && row_passes(search))
				collect_row(search);
		if (search->count >= search->limit && read >= patience)
		{
			collected_sort(search);
			ranges_ask(scan, from, search->rows[search->limit - 1].created_time);
			patience = 2 * read;
		}
	}
}

/*
 * Collect the rows with the prefix from the blocks that may have some, or from
 * those that the index of ids leads to; false when the budget did not suffice.
 */
static bool
collect_by_block(Search *search, bool ids)
{
	RangeScan  *scan = ranges_begin(search->heap, relation_oid(search, "instances_ranges"),
									search->snapshot, search->filter->prefix);

	search->count = 0;
	if (!ids || ranges_lead(scan, relation_oid(search, "instances_instance_id"), search->budget))
		read_ranges(search, scan);
	else
		search->budget = -1;
	ExecClearTuple(search->slot);
	ranges_end(scan);
	collected_sort(search);
	return search->budget >= 0;
}

/*
 * Find the page of a prefix.  Which way is the shortest depends on the ids, so
 * each is tried in turn with growing budgets.
 */
static void
search_prefix(Search *search)
{
	for (int64 budget = PREFIX_BUDGET;; budget *= 4)
	{
		search->budget = budget;
		if (collect_by_block(search, true))
			break;
		search->budget = budget;
		if (merge_groups(search))
			break;
		search->budget = budget;
		if (collect_by_block(search, false))
			break;
	}
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
		(void) collect_by_id(search);
	else
	{
		find_groups(search);
		if (filter->prefix == NULL)
			(void) merge_groups(search);
		else
			search_prefix(search);
	}
	*rows = search->rows;
	return search->count;
}

static void
count_callback(Search *search, void *arg)
{
	((int64 *) arg)[row_status(search)]++;
}

/* Count a group all of whose rows within the range of time pass, from the index alone where it can. */
static int64
group_count(Search *search, const RowGroup *group)
{
	ScanKeyData keys[GROUP_KEYS];
	ScanKeyData parts[2];
	RowScan		scan;
	ItemPointer tid;
	Buffer		map = InvalidBuffer;
	int64		count = 0;

	group_open(search, &scan, group, true, keys, parts);
	while ((tid = index_getnext_tid(scan.desc, ForwardScanDirection)) != NULL)
	{
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		CHECK_FOR_INTERRUPTS();
		if (VM_ALL_VISIBLE(search->heap, block, &map))
			PredicateLockPage(search->heap, block, search->snapshot);
		else if (!index_fetch_heap(scan.desc, search->slot))
			continue;
		count++;
	}
	scan_close(search, &scan);
	if (map != InvalidBuffer)
		ReleaseBuffer(map);
	return count;
}

/* Count the rows of a group that pass. */
static void
count_group_rows(Search *search, const RowGroup *group, int64 counts[])
{
	ScanKeyData keys[GROUP_KEYS];
	ScanKeyData parts[2];
	RowScan		scan;

	group_open(search, &scan, group, false, keys, parts);
	while (scan_row(search, &scan))
		if (row_passes(search))
			counts[row_status(search)]++;
	scan_close(search, &scan);
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
	find_groups(search);
	foreach(cell, search->groups)
	{
		RowGroup	   *group = lfirst(cell);
		InstanceRow row = {.state = group->state};

		if (filter->tags == NULL && group->state != STATE_READY && group->state != STATE_WAITING)
			counts[status_of(&row)] += group_count(search, group);
		else
			count_group_rows(search, group, counts);
	}
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
	find_groups(search);
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
		int			more = group_read(search, group, limit - count, UNLIMITED, rows);

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
