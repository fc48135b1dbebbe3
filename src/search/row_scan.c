/*
 * row_scan.c
 *	  Index scans of the table of instances; row_scan.h describes them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "search/row_scan.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/table_access.h"

/* The OID of a table or an index of the engine. */
Oid
row_scan_relation(Search *search, const char *name)
{
	Oid			relation = get_relname_relid(name, search->namespace);

	if (!OidIsValid(relation))
		elog(ERROR, "relation \"%s.%s\" does not exist", DURABLE_INTERNAL_SCHEMA, name);
	return relation;
}

/* Whether the caller may see, or manage, the instances of an owner. */
bool
row_scan_owner_visible(Search *search, Oid owner)
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

void
row_scan_open(Search *search, RowScan *scan, const char *index, bool entries, int nkeys, ScanKey keys)
{
	memset(scan, 0, sizeof(RowScan));
	scan->index = index_open(row_scan_relation(search, index), AccessShareLock);
	scan->desc = compat_index_beginscan(search->heap, scan->index, search->snapshot, nkeys);
	scan->desc->xs_want_itup = entries;
	index_rescan(scan->desc, keys, nkeys, NULL, 0);
}

bool
row_scan_next(Search *search, RowScan *scan)
{
	while (index_getnext_tid(scan->desc, ForwardScanDirection) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (scan_fetch(scan->desc, search->slot))
			return true;
	}
	return false;
}

void
row_scan_close(Search *search, RowScan *scan)
{
	ExecClearTuple(search->slot);
	index_endscan(scan->desc);
	index_close(scan->index, NoLock);
}

Datum
row_scan_nullable(Search *search, int number, bool *isnull)
{
	return slot_getattr(search->slot, number + 1, isnull);
}

/* A column that is never null. */
Datum
row_scan_column(Search *search, int number)
{
	bool		isnull;
	Datum		value = slot_getattr(search->slot, number + 1, &isnull);

	Assert(!isnull);
	return value;
}

/* A plain copy of a text, or of another value of variable length, in the search's context. */
text *
row_scan_copy(Search *search, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(search->context);
	text	   *from = DatumGetTextPP(value);
	text	   *copy = cstring_to_text_with_len(VARDATA_ANY(from), VARSIZE_ANY_EXHDR(from));

	MemoryContextSwitchTo(old);
	return copy;
}

int
found_compare(const void *a, const void *b)
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
	const char *prefix = search->filter->prefix;
	text	   *id = DatumGetTextPP(row_scan_column(search, COL_INSTANCE_ID));
	Size		length = strlen(prefix);

	return VARSIZE_ANY_EXHDR(id) >= length && memcmp(VARDATA_ANY(id), prefix, length) == 0;
}

/* Whether the tags in the slot contain the filter's. */
static bool
has_tags(Search *search)
{
	bool		isnull;
	Datum		tags = row_scan_nullable(search, COL_TAGS, &isnull);

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
	text	   *value = DatumGetTextPP(row_scan_column(search, COL_NAME));

	return VARSIZE_ANY_EXHDR(value) == strlen(name) &&
		memcmp(VARDATA_ANY(value), name, VARSIZE_ANY_EXHDR(value)) == 0;
}

/* The public status of the row in the slot. */
RuntimeStatus
row_scan_status(Search *search)
{
	InstanceRow row = {.state = DatumGetChar(row_scan_column(search, COL_STATE))};
	bool		isnull;

	if (!STATE_IS_TERMINAL(row.state))
	{
		row.started_time = DatumGetTimestampTz(row_scan_nullable(search, COL_STARTED, &isnull));
		if (isnull)
			row.started_time = 0;
	}
	return status_of(&row);
}

/* Whether the row in the slot passes the filter and the caller may see it. */
bool
row_scan_passes(Search *search)
{
	const Filter *filter = search->filter;
	TimestampTz created = DatumGetTimestampTz(row_scan_column(search, COL_CREATED));
	MemoryContext old;
	bool		result;

	if ((filter->has_from && created < filter->from) || (filter->has_to && created > filter->to))
		return false;
	if (!row_scan_owner_visible(search, owner_role(row_scan_column(search, COL_OWNER))))
		return false;
	old = MemoryContextSwitchTo(search->scratch);
	result = (filter->prefix == NULL || has_prefix(search)) &&
		(filter->statuses & STATUS_BIT(row_scan_status(search))) != 0 &&
		(filter->name == NULL || has_name(search)) &&
		(filter->tags == NULL || has_tags(search));
	MemoryContextSwitchTo(old);
	MemoryContextReset(search->scratch);
	return result;
}

/* The place of the row in the slot.  With a prefix, pages are ordered by the id alone. */
Found
row_scan_found(Search *search)
{
	return (Found)
	{
		.created_time = search->filter->prefix != NULL ? TIME_BY_ID :
			DatumGetTimestampTz(row_scan_column(search, COL_CREATED)),
		.instance_id = row_scan_copy(search, row_scan_column(search, COL_INSTANCE_ID)),
		.key = DatumGetInt64(row_scan_column(search, COL_KEY))
	};
}

void
found_list_add(FoundList *list, const Found *found)
{
	if (list->count == list->size)
	{
		list->size = Max(128, list->size * 2);
		list->rows = list->rows == NULL ? palloc(list->size * sizeof(Found)) :
			repalloc_huge(list->rows, list->size * sizeof(Found));
	}
	list->rows[list->count++] = *found;
}
