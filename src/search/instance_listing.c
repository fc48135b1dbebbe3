/*
 * instance_listing.c
 *	  Searches in the order of creation: groups of the index instances_listing.
 *
 * The header of search.c says what a group is.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "catalog/pg_collation.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "search/instance_listing.h"
#include "search/row_scan.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/table_access.h"

/*
 * how many rows of a group may fail the filter in succession before other
 * groups are read: at first, and at most
 */
#define PATIENCE_FIRST	32
#define PATIENCE_LAST	1024

/* keys of a scan, at most */
#define GROUP_KEYS	5

/* columns of instances_listing, counted from 1 */
enum
{
	LISTING_STATE = 1, LISTING_OWNER, LISTING_NAME, LISTING_CREATED, LISTING_ID
};

/* Make a scan key for the rows after a place; parts are the two columns of the place. */
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

/* Begin a scan of the unread rows of a group in the filter's range of time. */
static void
group_open(Search *search, RowScan *scan, const RowGroup *group, bool entries, ScanKey keys,
		   ScanKey parts)
{
	const Filter *filter = search->filter;
	int			nkeys = 0;

	ScanKeyInit(&keys[nkeys++], LISTING_STATE, BTEqualStrategyNumber, F_CHAREQ,
				CharGetDatum(group->state));
	owner_scan_key(&keys[nkeys++], LISTING_OWNER, BTEqualStrategyNumber, group->owner);
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
	row_scan_open(search, scan, "instances_listing", entries, nkeys, keys);
}

int
listing_read(Search *search, RowGroup *group, int limit, int64 patience, Found *rows)
{
	ScanKeyData keys[GROUP_KEYS];
	ScanKeyData parts[2];
	RowScan		scan;
	Found		place = group->last;
	int64		vain = 0;
	int			count = 0;

	group_open(search, &scan, group, false, keys, parts);
	group->ended = false;
	while (count < limit && vain < patience && !group->ended)
	{
		if (!row_scan_next(search, &scan))
			group->ended = true;
		else if (row_scan_passes(search))
			place = rows[count++] = row_scan_found(search);
		else if (++vain == patience)
			place = row_scan_found(search);
	}
	row_scan_close(search, &scan);
	if (count == 0 && !group->ended)
	{
		if (place.instance_id == NULL)
			place = (Found) {.created_time = DT_NOBEGIN, .instance_id = cstring_to_text("")};
		rows[count] = place;
		rows[count++].key = 0;
	}
	group->last = place;
	return count;
}

static void
add_group(Search *search, char state, Datum owner, text *name)
{
	MemoryContext old = MemoryContextSwitchTo(search->context);
	RowGroup   *group = palloc0(sizeof(RowGroup));

	group->state = state;
	group->owner = owner;
	group->name = name;
	search->groups = lappend(search->groups, group);
	MemoryContextSwitchTo(old);
}

/*
 * Find the first row of a state after an owner, or of one owner after a name;
 * replace them with its owner and name.
 */
static bool
next_group(Search *search, char state, Datum *owner, text **name)
{
	ScanKeyData keys[3];
	RowScan		scan;
	bool		found;

	ScanKeyInit(&keys[0], LISTING_STATE, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(state));
	owner_scan_key(&keys[1], LISTING_OWNER,
				   *name == NULL ? BTGreaterStrategyNumber : BTEqualStrategyNumber, *owner);
	ScanKeyInit(&keys[2], LISTING_NAME, BTGreaterStrategyNumber, F_TEXT_GT, PointerGetDatum(*name));
	row_scan_open(search, &scan, "instances_listing", false, *name == NULL ? 2 : 3, keys);
	found = row_scan_next(search, &scan);
	if (found)
	{
		*owner = PointerGetDatum(row_scan_copy(search, row_scan_column(search, COL_OWNER)));
		*name = row_scan_copy(search, row_scan_column(search, COL_NAME));
	}
	row_scan_close(search, &scan);
	return found;
}

/* Find the groups of one state that pass the filter. */
static void
find_groups_in(Search *search, char state)
{
	Datum		owner = owner_make(InvalidOid, NULL);
	text	   *name = NULL;

	while (next_group(search, state, &owner, &name))
	{
		if (row_scan_owner_visible(search, owner_role(owner)))
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

void
listing_groups(Search *search)
{
	for (const char *state = STATES_ALL; *state != '\0'; state++)
	{
		InstanceRow row = {.state = *state};
		int			statuses = STATUS_BIT(status_of(&row));

		/* Running instances have the same states as Pending ones */
		if (statuses == STATUS_BIT(STATUS_PENDING))
			statuses |= STATUS_BIT(STATUS_RUNNING);
		if (search->filter->statuses & statuses)
			find_groups_in(search, *state);
	}
}

/* Read further rows of a group if all rows read so far are merged; twice as many each time. */
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
	group->count = listing_read(search, group, group->size, group->patience, group->rows);
	if (group->count > 0 && group->rows[0].key == 0)
		group->patience = Min(group->patience * 2, PATIENCE_LAST);
}

/* Comparator of a heap whose first group has the earliest row. */
static int
compare_groups(Datum a, Datum b, void *arg)
{
	RowGroup   *left = (RowGroup *) DatumGetPointer(a);
	RowGroup   *right = (RowGroup *) DatumGetPointer(b);

	return -found_compare(&left->rows[left->next], &right->rows[right->next]);
}

/* Merge the rows of the groups up to the limit. */
void
listing_merge(Search *search)
{
	binaryheap *heap = binaryheap_allocate(list_length(search->groups) + 1, compare_groups, NULL);
	ListCell   *cell;

	foreach(cell, search->groups)
	{
		RowGroup   *group = lfirst(cell);

		group->last = search->after;
		group->patience = PATIENCE_FIRST;
		group_refill(search, group, search->limit);
		if (group->next < group->count)
			binaryheap_add_unordered(heap, PointerGetDatum(group));
	}
	binaryheap_build(heap);
	while (search->found.count < search->limit && !binaryheap_empty(heap))
	{
		RowGroup   *group = (RowGroup *) DatumGetPointer(binaryheap_first(heap));
		Found		found = group->rows[group->next++];

		if (found.key != 0)
			found_list_add(&search->found, &found);
		if (search->found.count == search->limit)
			break;
		group_refill(search, group, search->limit - search->found.count);
		if (group->next < group->count)
			binaryheap_replace_first(heap, PointerGetDatum(group));
		else
			(void) binaryheap_remove_first(heap);
	}
	binaryheap_free(heap);
}

/*
 * Count a group all of whose rows in the range of time pass, from the index
 * alone where the visibility map allows.
 */
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
		else if (!scan_fetch(scan.desc, search->slot))
			continue;
		count++;
	}
	row_scan_close(search, &scan);
	if (map != InvalidBuffer)
		ReleaseBuffer(map);
	return count;
}

/* Count the rows of a group that pass, by status. */
static void
count_group_rows(Search *search, const RowGroup *group, int64 counts[])
{
	ScanKeyData keys[GROUP_KEYS];
	ScanKeyData parts[2];
	RowScan		scan;

	group_open(search, &scan, group, false, keys, parts);
	while (row_scan_next(search, &scan))
		if (row_scan_passes(search))
			counts[row_scan_status(search)]++;
	row_scan_close(search, &scan);
}

void
listing_count(Search *search, const RowGroup *group, int64 counts[])
{
	InstanceRow row = {.state = group->state};

	if (search->filter->tags == NULL && group->state != STATE_READY && group->state != STATE_WAITING)
		counts[status_of(&row)] += group_count(search, group);
	else
		count_group_rows(search, group, counts);
}
