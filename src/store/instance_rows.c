/*
 * instance_rows.c
 *	  Rows of durable_internal.instances.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "common/keys.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/table_access.h"

/* Read a row from a slot whose columns have been fetched. */
static void
instance_read(TupleTableSlot *slot, InstanceRow *row)
{
	memset(row, 0, sizeof(InstanceRow));
	row->key = row_int64(slot, COL_KEY);
	row->instance_id = row_text(slot, COL_INSTANCE_ID);
	row->execution_id = *DatumGetUUIDP(slot->tts_values[COL_EXECUTION_ID]);
	row->state = DatumGetChar(slot->tts_values[COL_STATE]);
	row->owner = owner_role(slot->tts_values[COL_OWNER]);
	row->absent = owner_absent(slot->tts_values[COL_OWNER]);
	row->name = row_text(slot, COL_NAME);
	row->function = row_text(slot, COL_FUNCTION);
	row->version = row_text(slot, COL_VERSION);
	row->search_path = row_text(slot, COL_SEARCH_PATH);
	row->tags = row_jsonb(slot, COL_TAGS);
	row->created_time = row_int64(slot, COL_CREATED);
	row->last_updated_time = row_int64(slot, COL_UPDATED);
	row->completed_time = row_int64(slot, COL_COMPLETED);
	row->scheduled_start_time = row_int64(slot, COL_SCHEDULED);
	row->started_time = row_int64(slot, COL_STARTED);
	row->parent_key = row_int64(slot, COL_PARENT_KEY);
	row->parent_task = row_int(slot, COL_PARENT_TASK);
	row->first_seq = row_int(slot, COL_FIRST_SEQ);
	row->last_seq = row_int(slot, COL_LAST_SEQ);
	row->turn_seq = row_int(slot, COL_TURN_SEQ);
	row->first_task = row_int(slot, COL_FIRST_TASK);
	row->awaiting = row_int(slot, COL_AWAITING);
	row->deliveries = row_int(slot, COL_DELIVERIES);
	row->custom_status = row_jsonb(slot, COL_CUSTOM_STATUS);
	row->tid = slot->tts_tid;
}

/* Set a bigint or timestamptz column; 0 leaves it null. */
static void
set_unless_zero(TupleTableSlot *slot, int column, int64 value)
{
	if (value != 0)
		row_set(slot, column, Int64GetDatum(value));
}

/* Fill a cleared slot with a row. */
static void
instance_write(TupleTableSlot *slot, const InstanceRow *row)
{
	row_set(slot, COL_KEY, Int64GetDatum(row->key));
	row_set_text(slot, COL_INSTANCE_ID, row->instance_id);
	row_set(slot, COL_EXECUTION_ID, UUIDPGetDatum(&row->execution_id));
	row_set(slot, COL_STATE, CharGetDatum(row->state));
	row_set(slot, COL_OWNER, owner_make(row->owner, row->absent));
	row_set_text(slot, COL_NAME, row->name);
	row_set_text(slot, COL_FUNCTION, row->function);
	row_set_text(slot, COL_VERSION, row->version);
	row_set_text(slot, COL_SEARCH_PATH, row->search_path);
	row_set_jsonb(slot, COL_TAGS, row->tags);
	row_set(slot, COL_CREATED, TimestampTzGetDatum(row->created_time));
	row_set(slot, COL_UPDATED, TimestampTzGetDatum(row->last_updated_time));
	set_unless_zero(slot, COL_COMPLETED, row->completed_time);
	set_unless_zero(slot, COL_SCHEDULED, row->scheduled_start_time);
	set_unless_zero(slot, COL_STARTED, row->started_time);
	set_unless_zero(slot, COL_PARENT_KEY, row->parent_key);
	if (row->parent_key != 0)
		row_set(slot, COL_PARENT_TASK, Int32GetDatum(row->parent_task));
	row_set(slot, COL_FIRST_SEQ, Int32GetDatum(row->first_seq));
	row_set(slot, COL_LAST_SEQ, Int32GetDatum(row->last_seq));
	row_set(slot, COL_TURN_SEQ, Int32GetDatum(row->turn_seq));
	row_set(slot, COL_FIRST_TASK, Int32GetDatum(row->first_task));
	row_set(slot, COL_AWAITING, Int32GetDatum(row->awaiting));
	row_set(slot, COL_DELIVERIES, Int32GetDatum(row->deliveries));
	row_set_jsonb(slot, COL_CUSTOM_STATUS, row->custom_status);
}

/* A row of the table as a value of its row type. */
Datum
instance_datum(Table *table, const InstanceRow *row)
{
	TupleTableSlot *slot = table_new_row(table);
	HeapTuple	tuple;

	instance_write(slot, row);
	tuple = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	return heap_copy_tuple_as_datum(tuple, slot->tts_tupleDescriptor);
}

/* Begin a scan of an index for one value. */
static void
scan_instances(TableScan *scan, Store *store, const char *index, Datum value, RegProcedure equal)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, equal, value);
	scan_begin(scan, table_get(store, TABLE_INSTANCES), index, 1, &key);
}

/*
 * Find the visible version of an instance's row from the place where the index
 * led in an earlier transaction.  The row may have changed or been removed
 * since then, and the block may not exist any more.
 */
static bool
find_from_root(Table *table, int64 key, const ItemPointerData *root, ItemPointer tid, Oid *owner)
{
	IndexFetchTableData *fetch;
	bool		again = false;
	bool		is_null;
	bool		found;

	if (!ItemPointerIsValid(root) ||
		ItemPointerGetBlockNumber(root) >= RelationGetNumberOfBlocks(table->rel))
		return false;
	*tid = *root;
	fetch = compat_index_fetch_begin(table->rel);
	found = table_index_fetch_tuple(fetch, tid, GetActiveSnapshot(), table->slot, &again, NULL) &&
		DatumGetInt64(slot_getattr(table->slot, COL_KEY + 1, &is_null)) == key;
	if (found)
		*owner = owner_role(slot_getattr(table->slot, COL_OWNER + 1, &is_null));
	table_index_fetch_end(fetch);
	*tid = table->slot->tts_tid;
	return found;
}

/* Find the visible version of an instance's row by the index; root becomes the place where the index led. */
static bool
find_by_key(Store *store, int64 key, ItemPointer root, ItemPointer tid, Oid *owner)
{
	TableScan	scan;
	TupleTableSlot *slot;

	scan_instances(&scan, store, "instances_pkey", Int64GetDatum(key), F_INT8EQ);
	slot = scan_next(&scan);
	if (slot != NULL)
	{
		*root = scan.scan->xs_heaptid;
		*tid = slot->tts_tid;
		*owner = owner_role(slot->tts_values[COL_OWNER]);
	}
	scan_end(&scan);
	return slot != NULL;
}

/*
 * Lock the row of an instance for an update and read its newest version.
 * row->root says where the index led in an earlier transaction, which saves
 * the search, or is invalid.  owner: only if the row belongs to this role;
 * else the result is FETCH_FOREIGN and row->owner says whose it is.  Such a
 * row is locked only if it has just changed its owner.
 */
static FetchResult
lock_row(Store *store, int64 key, Oid owner, LockWaitPolicy policy, InstanceRow *row)
{
	Table	   *table = table_get(store, TABLE_INSTANCES);
	ItemPointerData root = row->root;
	ItemPointerData tid;
	TM_FailureData failure;
	TM_Result	result = TM_Deleted;
	Oid			found_owner;

	if (find_from_root(table, key, &root, &tid, &found_owner) || find_by_key(store, key, &root, &tid, &found_owner))
	{
		if (OidIsValid(owner) && found_owner != owner)
		{
			row->owner = found_owner;
			ExecClearTuple(table->slot);
			return FETCH_FOREIGN;
		}
		result = table_tuple_lock(table->rel, &tid, GetActiveSnapshot(), table->slot,
								  GetCurrentCommandId(true), LockTupleNoKeyExclusive,
								  policy, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	}
	if (result == TM_Ok)
	{
		slot_getallattrs(table->slot);
		instance_read(table->slot, row);
		row->root = root;
	}
	ExecClearTuple(table->slot);
	if (result == TM_Ok && OidIsValid(owner) && row->owner != owner)
		return FETCH_FOREIGN;
	return result == TM_Ok ? FETCH_FOUND : result == TM_WouldBlock ? FETCH_LOCKED : FETCH_ABSENT;
}

/* Lock a row for a worker, which waits for no other transaction.  owner InvalidOid: any. */
FetchResult
instance_claim(Store *store, int64 key, Oid owner, InstanceRow *row)
{
	return lock_row(store, key, owner, LockWaitSkip, row);
}

/* Lock a row for a transaction that is not a worker's.  wait: wait for other transactions. */
FetchResult
instance_lock(Store *store, int64 key, bool wait, InstanceRow *row)
{
	FetchResult result;

	ItemPointerSetInvalid(&row->root);
	result = lock_row(store, key, InvalidOid, wait ? LockWaitBlock : LockWaitSkip, row);
	/* an ended instance gets nothing that could not wait, except that a parent may rewind a failed child */
	if (result == FETCH_FOUND && (!STATE_IS_TERMINAL(row->state) || (row->state == STATE_FAILED && row->parent_key != 0)))
		wakeup_locked(row->owner, key);
	return result;
}

/* Read the instance that an index finds by a value. */
static bool
read_by(Store *store, const char *index, Datum value, RegProcedure equal, InstanceRow *row)
{
	TableScan	scan;
	TupleTableSlot *slot;

	scan_instances(&scan, store, index, value, equal);
	slot = scan_next(&scan);
	if (slot != NULL)
		instance_read(slot, row);
	scan_end(&scan);
	return slot != NULL;
}

bool
instance_get(Store *store, int64 key, InstanceRow *row)
{
	return read_by(store, "instances_pkey", Int64GetDatum(key), F_INT8EQ, row);
}

/* Read the parent of an instance that waits for its end. */
bool
instance_get_waiting_parent(Store *store, const InstanceRow *row, InstanceRow *parent)
{
	return row->parent_key != 0 && row->parent_task != 0 &&
		instance_get(store, row->parent_key, parent) && !STATE_IS_TERMINAL(parent->state);
}

bool
instance_find(Store *store, const char *instance_id, InstanceRow *row)
{
	return read_by(store, "instances_instance_id", CStringGetTextDatum(instance_id), F_TEXTEQ, row);
}

/* Whether another transaction has written a row with this id.  An insert would wait for that transaction. */
bool
instance_id_is_held(Store *store, const char *instance_id)
{
	ScanKeyData key;
	SnapshotData dirty;
	TableScan	scan;
	bool		held = false;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(instance_id));
	scan_begin_with(&scan, table_get(store, TABLE_INSTANCES), "instances_instance_id", 1, &key, &dirty);
	while (!held && index_getnext_slot(scan.scan, ForwardScanDirection, scan.table->slot))
		held = TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax);
	scan_end(&scan);
	return held;
}

/* Read the owner of an instance, InvalidOid if that role is absent. */
bool
instance_owner(Store *store, int64 key, Oid *owner)
{
	ItemPointerData root;
	ItemPointerData tid;

	return find_by_key(store, key, &root, &tid, owner);
}

void
instance_insert(Store *store, const InstanceRow *row)
{
	Table	   *table = table_get(store, TABLE_INSTANCES);
	TupleTableSlot *slot = table_new_row(table);

	instance_write(slot, row);
	table_add_row(table, slot);
}

/* Write a changed row, which this transaction has locked. */
void
instance_update(Store *store, InstanceRow *row)
{
	Table	   *table = table_get(store, TABLE_INSTANCES);
	TupleTableSlot *slot = table_new_row(table);

	instance_write(slot, row);
	if (table_update_row(table, &row->tid, slot))
		row->root = slot->tts_tid;
	row->tid = slot->tts_tid;
}

void
instance_delete(Store *store, const InstanceRow *row)
{
	table_delete_row(table_get(store, TABLE_INSTANCES), &row->tid);
}

/*
 * Call back for the ready instances, owner by owner, except those of absent
 * roles.  When the callback returns false, the rest of this owner's instances
 * is skipped.
 */
void
instances_ready(Store *store, bool (*callback) (const InstanceRow *row, void *arg), void *arg)
{
	InstanceRow row = {0};
	bool		more;

	do
	{
		ScanKeyData keys[2];
		TableScan	scan;
		TupleTableSlot *slot;

		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(STATE_READY));
		owner_scan_key(&keys[1], 2, BTGreaterEqualStrategyNumber, owner_make(row.owner + 1, NULL));
		scan_begin(&scan, table_get(store, TABLE_INSTANCES), "instances_listing", lengthof(keys), keys);
		more = true;
		while (more && (slot = scan_next(&scan)) != NULL)
		{
			row.key = row_int64(slot, COL_KEY);
			row.owner = owner_role(slot->tts_values[COL_OWNER]);
			row.name = TextDatumGetCString(slot->tts_values[COL_NAME]);
			more = callback(&row, arg);
			pfree(row.name);
		}
		scan_end(&scan);
	} while (!more && row.owner != OID_MAX);
}

/* Count the instances of an owner in some states and list their keys. */
int64
instances_of(Store *store, const char *states, Datum owner, int64 max, int64 *found)
{
	int64		count = 0;

	for (const char *state = states; *state != '\0'; state++)
	{
		ScanKeyData keys[2];
		TableScan	scan;
		TupleTableSlot *slot;

		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(*state));
		owner_scan_key(&keys[1], 2, BTEqualStrategyNumber, owner);
		scan_begin(&scan, table_get(store, TABLE_INSTANCES), "instances_listing", 2, keys);
		while (count < max && (slot = scan_next(&scan)) != NULL)
		{
			CHECK_FOR_INTERRUPTS();
			if (found != NULL)
				found[count] = row_int64(slot, COL_KEY);
			count++;
		}
		scan_end(&scan);
	}
	if (found != NULL)
		qsort(found, count, sizeof(int64), compare_keys);
	return count;
}

/* The next owner among the instances of a state. */
bool
instances_next_owner(Store *store, char state, Datum *owner)
{
	ScanKeyData keys[2];
	TableScan	scan;
	TupleTableSlot *slot;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_CHAREQ, CharGetDatum(state));
	owner_scan_key(&keys[1], 2, BTGreaterStrategyNumber, *owner);
	scan_begin(&scan, table_get(store, TABLE_INSTANCES), "instances_listing", 2, keys);
	slot = scan_next(&scan);
	if (slot != NULL)
		*owner = owner_make(owner_role(slot->tts_values[COL_OWNER]), owner_absent(slot->tts_values[COL_OWNER]));
	scan_end(&scan);
	return slot != NULL;
}

List *
instance_children(Store *store, int64 parent_key)
{
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *children = NIL;

	scan_instances(&scan, store, "instances_parent", Int64GetDatum(parent_key), F_INT8EQ);
	while ((slot = scan_next(&scan)) != NULL)
	{
		int64	   *key = palloc(sizeof(int64));

		*key = row_int64(slot, COL_KEY);
		children = lappend(children, key);
	}
	scan_end(&scan);
	return children;
}

/*
 * Give an instance to a role, if it still belongs to the owner and no other
 * transaction holds it (wait: after that one has ended).  Its children are
 * added to the list: its last turn may have made some, and no later turn makes
 * more for this owner.
 */
static bool
move_instance(Store *store, int64 key, Datum owner, Oid role, bool wait, List **children)
{
	InstanceRow row;
	bool		moved;
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "durable owner", ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(context);
	PushActiveSnapshot(GetLatestSnapshot());
	moved = instance_lock(store, key, wait, &row) == FETCH_FOUND &&
		owner_compare(owner_make(row.owner, row.absent), owner) == 0;
	if (moved)
	{
		row.owner = role;
		row.absent = NULL;
		instance_update(store, &row);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (moved)
		*children = list_concat(*children, instance_children(store, key));
	return moved;
}

/*
 * Give instances of an owner to a role.  The rows are locked in the order of
 * their keys, so two transactions that do this wait for each other without a
 * deadlock.  Children that did not exist when the keys were listed follow.
 */
int64
instances_move(Store *store, Datum owner, Oid role, int64 max, bool wait)
{
	int64		count = instances_of(store, STATES_ALL, owner, max, NULL);
	int64	   *keys = palloc_extended(Max(count, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	List	   *children = NIL;
	int64		moved = 0;

	count = instances_of(store, STATES_ALL, owner, count, keys);
	for (int64 i = 0; i < count; i++)
		moved += move_instance(store, keys[i], owner, role, wait, &children);
	for (int i = 0; i < list_length(children); i++)
		moved += move_instance(store, *(int64 *) list_nth(children, i), owner, role, wait, &children);
	pfree(keys);
	return moved;
}

/* The largest key in the index, committed or not; 0 if there is none. */
static int64
largest_key(Store *store)
{
	TableScan	scan;
	int64		key = 0;
	bool		isnull;

	scan_begin(&scan, table_get(store, TABLE_INSTANCES), "instances_pkey", 0, NULL);
	scan.scan->xs_want_itup = true;
	index_rescan(scan.scan, NULL, 0, NULL, 0);
	if (index_getnext_tid(scan.scan, BackwardScanDirection) != NULL)
		key = DatumGetInt64(index_getattr(scan.scan->xs_itup, 1, scan.scan->xs_itupdesc, &isnull));
	scan_end(&scan);
	return key;
}

/*
 * A number larger than all before.  The counter is lost when the server stops.
 * It begins again with the time in microseconds, since nobody takes a million
 * numbers in a second, or above the largest stored number if the clock was set
 * back.
 */
int64
store_number(Store *store)
{
	static bool bounded = false;
	int64		bound;
	int64		number;

	if (bounded)
		return database_next_number(0);
	bound = Max(largest_key(store), GetCurrentTimestamp());
	/* the messages are read once, by the first process */
	if (!database_noted(MyDatabaseId, NOTE_NUMBERED))
		bound = Max(bound, messages_largest_id(store));
	number = database_next_number(bound);
	(void) database_note(MyDatabaseId, NOTE_NUMBERED, true);
	bounded = true;
	return number;
}
