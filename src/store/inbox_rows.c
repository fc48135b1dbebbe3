/*
 * inbox_rows.c
 *	  Rows of durable_internal.messages: the inboxes of instances.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "sched/commit_wakeup.h"
#include "sched/ready_queue.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/row_scans.h"
#include "store/table_access.h"

enum
{
	MESSAGE_KEY, MESSAGE_ID, MESSAGE_KIND, MESSAGE_TIME, MESSAGE_TASK_ID, MESSAGE_ATTEMPT,
	MESSAGE_NAME, MESSAGE_PAYLOAD
};

/* Put a message into an instance's inbox and announce it at commit. */
void
message_send(Store *store, Oid owner, MessageRow *row)
{
	Table	   *table = table_get(store, TABLE_MESSAGES);
	TupleTableSlot *slot = table_new_row(table);

	row->id = store_number(store);
	row_set(slot, MESSAGE_KEY, Int64GetDatum(row->key));
	row_set(slot, MESSAGE_ID, Int64GetDatum(row->id));
	row_set(slot, MESSAGE_KIND, Int16GetDatum(row->kind));
	row_set(slot, MESSAGE_TIME, TimestampTzGetDatum(row->time));
	if (row->task_id != 0)
		row_set(slot, MESSAGE_TASK_ID, Int32GetDatum(row->task_id));
	if (row->attempt != 0)
		row_set(slot, MESSAGE_ATTEMPT, Int32GetDatum(row->attempt));
	row_set_text(slot, MESSAGE_NAME, row->name);
	row_set_jsonb(slot, MESSAGE_PAYLOAD, row->payload);
	table_add_row(table, slot);
	wakeup_instance(owner, row->key, NULL, READY_MESSAGE);
}

/* Take the messages of an instance out of its inbox, in order. */
List *
messages_take(Store *store, int64 key)
{
	Table	   *table = table_get(store, TABLE_MESSAGES);
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *rows = NIL;

	scan_key(&scan, table, "messages_pkey", key);
	while ((slot = scan_next(&scan)) != NULL)
	{
		MessageRow *row = palloc(sizeof(MessageRow));

		row->key = key;
		row->id = row_int64(slot, MESSAGE_ID);
		row->kind = DatumGetInt16(slot->tts_values[MESSAGE_KIND]);
		row->time = row_int64(slot, MESSAGE_TIME);
		row->task_id = row_int(slot, MESSAGE_TASK_ID);
		row->attempt = row_int(slot, MESSAGE_ATTEMPT);
		row->name = row_text(slot, MESSAGE_NAME);
		row->payload = row_jsonb(slot, MESSAGE_PAYLOAD);
		rows = lappend(rows, row);
		table_delete_row(table, &slot->tts_tid);
	}
	scan_end(&scan);
	return rows;
}

void
messages_delete(Store *store, int64 key)
{
	(void) delete_key(table_get(store, TABLE_MESSAGES), "messages_pkey", key, PG_INT64_MAX);
}

/*
 * The largest id of a message, 0 if there is none.  This reads only the index,
 * so messages that are dead or not committed count, too.
 */
int64
messages_largest_id(Store *store)
{
	TableScan	scan;
	int64		largest = 0;

	scan_begin_with(&scan, table_get(store, TABLE_MESSAGES), "messages_pkey", 0, NULL, SnapshotAny);
	scan.scan->xs_want_itup = true;
	index_rescan(scan.scan, NULL, 0, NULL, 0);
	while (index_getnext_tid(scan.scan, ForwardScanDirection) != NULL)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		largest = Max(largest, DatumGetInt64(index_getattr(scan.scan->xs_itup, MESSAGE_ID + 1, scan.scan->xs_itupdesc, &isnull)));
	}
	scan_end(&scan);
	return largest;
}

/*
 * Count the messages of an instance.  A dirty read: messages of transactions
 * that may still commit, prepared ones too, take room.  Rows of this table are
 * never updated, so no message is counted twice.
 */
int64
messages_count(Store *store, int64 key, int64 max)
{
	ScanKeyData scankey;
	SnapshotData dirty;
	TableScan	scan;
	int64		count = 0;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	scan_begin_with(&scan, table_get(store, TABLE_MESSAGES), "messages_pkey", 1, &scankey, &dirty);
	while (count < max && index_getnext_slot(scan.scan, ForwardScanDirection, scan.table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		count++;
	}
	scan_end(&scan);
	return count;
}

/* Remove rows of an instance that does not exist. */
bool
queue_remove_orphans(Store *store, int64 key, int64 max)
{
	return delete_key(table_get(store, TABLE_MESSAGES), "messages_pkey", key, max) &&
		delete_key(table_get(store, TABLE_TASKS), "tasks_pkey", key, max) &&
		delete_key(table_get(store, TABLE_TIMERS), "timers_pkey", key, max);
}

/*
 * Call back once for each instance that has messages, from a key on.  Returns
 * the key at which the callback stopped, 0 if it did not.
 */
int64
messages_scan(Store *store, int64 from, bool (*callback) (int64 key, void *arg), void *arg)
{
	TableScan	scan;
	int64		key;
	int64		id;
	bool		more = true;

	scan_keys_from(&scan, table_get(store, TABLE_MESSAGES), "messages_pkey", from);
	while (scan_next_key(&scan, ForwardScanDirection, &key, &id) && (more = callback(key, arg)))
		scan_move(&scan, F_INT8GE, key + 1);
	scan_end(&scan);
	return more ? 0 : key;
}
