/*
 * inbox_rows.c
 *	  Rows of messages, tasks and timers: what waits to be done.
 *
 * Rows are looked up by the key of their instance, never from the head of the
 * table, so dead rows that a long transaction keeps from being vacuumed cost
 * nothing on the hot path.  None of them is ever updated but for the count of
 * deliveries.
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
#include "store/table_access.h"

enum
{
	MESSAGE_KEY, MESSAGE_ID, MESSAGE_KIND, MESSAGE_TIME, MESSAGE_TASK_ID, MESSAGE_ATTEMPT,
	MESSAGE_NAME, MESSAGE_PAYLOAD
};

enum
{
	TASK_KEY, TASK_TASK_ID, TASK_SEQ, TASK_ATTEMPT, TASK_DELIVERIES, TASK_REWINDS
};

enum
{
	TIMER_KEY, TIMER_TASK_ID, TIMER_FIRE_AT
};

/* rows, one after the other, that nobody sees before a scan takes one of them for seen */
#define UNSEEN_MAX	64
/* timers that one look comes across at most */
#define LOOKS_MAX	65536

/* Begin a scan of the rows of one instance in the order of the primary key. */
static void
scan_instance(TableScan *scan, Table *table, const char *index, int64 key)
{
	ScanKeyData scankey;

	ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	scan_begin(scan, table, index, 1, &scankey);
}

/* Begin a scan for the row of one of its tasks. */
static void
scan_task(TableScan *scan, Table *table, const char *index, int64 key, int task_id)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(task_id));
	scan_begin(scan, table, index, 2, keys);
}

/* Delete rows of one instance, at most so many; false if there are more. */
static bool
delete_instance(Table *table, const char *index, int64 key, int64 max)
{
	TableScan	scan;
	TupleTableSlot *slot;

	store_sync(table->store);
	scan_instance(&scan, table, index, key);
	while ((slot = scan_next(&scan)) != NULL && max-- > 0)
	{
		CHECK_FOR_INTERRUPTS();
		table_delete_row(table, &slot->tts_tid);
	}
	scan_end(&scan);
	return slot == NULL;
}

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
	hint_instance(owner, row->key, NULL, READY_MESSAGE);
}

/* Take the messages of an instance out of its inbox, in order. */
List *
messages_take(Store *store, int64 key)
{
	Table	   *table = table_get(store, TABLE_MESSAGES);
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *rows = NIL;

	scan_instance(&scan, table, "messages_pkey", key);
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

/* Remove the messages of an instance. */
void
messages_delete(Store *store, int64 key)
{
	(void) delete_instance(table_get(store, TABLE_MESSAGES), "messages_pkey", key, PG_INT64_MAX);
}

/*
 * The largest id of a message, 0 if there is none.  It reads the index alone, so
 * that of messages that are gone or not committed counts too.
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
 * Count the messages of an instance.  A dirty read, since those of transactions
 * that may still commit, prepared ones too, take room; rows of this table are
 * never updated, so none is seen twice.
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

/* Fill a cleared slot from a task. */
static void
task_write(TupleTableSlot *slot, const TaskRow *row)
{
	row_set(slot, TASK_KEY, Int64GetDatum(row->key));
	row_set(slot, TASK_TASK_ID, Int32GetDatum(row->task_id));
	row_set(slot, TASK_SEQ, Int32GetDatum(row->seq));
	row_set(slot, TASK_ATTEMPT, Int32GetDatum(row->attempt));
	row_set(slot, TASK_DELIVERIES, Int32GetDatum(row->deliveries));
	/* few have been rewound, and a null takes no room */
	if (row->rewinds != 0)
		row_set(slot, TASK_REWINDS, Int32GetDatum(row->rewinds));
}

/* Queue an activity. */
void
task_insert(Store *store, const TaskRow *row)
{
	Table	   *table = table_get(store, TABLE_TASKS);
	TupleTableSlot *slot = table_new_row(table);

	task_write(slot, row);
	table_add_row(table, slot);
}

/* Lock the newest version of the row in the slot unless somebody else has it. */
static bool
lock_row(Table *table, TupleTableSlot *slot)
{
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData failure;

	if (table_tuple_lock(table->rel, &tid, GetActiveSnapshot(), slot,
						 GetCurrentCommandId(true), LockTupleExclusive, LockWaitSkip,
						 TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure) != TM_Ok)
		return false;
	slot_getallattrs(slot);
	return true;
}

/* Lock those of the tasks low..high that nobody else has. */
List *
tasks_lock(Store *store, int64 key, int low, int high)
{
	Table	   *table = table_get(store, TABLE_TASKS);
	ScanKeyData keys[3];
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *rows = NIL;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_INT4GE, Int32GetDatum(low));
	ScanKeyInit(&keys[2], 2, BTLessEqualStrategyNumber, F_INT4LE, Int32GetDatum(high));
	scan_begin(&scan, table, "tasks_pkey", 3, keys);
	while ((slot = scan_next(&scan)) != NULL)
	{
		TaskRow    *row;

		if (!lock_row(table, slot))
			continue;
		row = palloc(sizeof(TaskRow));
		row->key = key;
		row->task_id = row_int(slot, TASK_TASK_ID);
		row->seq = row_int(slot, TASK_SEQ);
		row->attempt = row_int(slot, TASK_ATTEMPT);
		row->deliveries = row_int(slot, TASK_DELIVERIES);
		row->rewinds = row_int(slot, TASK_REWINDS);
		row->tid = slot->tts_tid;
		rows = lappend(rows, row);
	}
	scan_end(&scan);
	return rows;
}

/*
 * The same for a transaction that is to remove them or to change them.  Workers
 * pass over what it has locked, so that it is announced if it stays.
 */
List *
tasks_seize(Store *store, int64 key, int low, int high)
{
	List	   *rows = tasks_lock(store, key, low, high);
	InstanceRow instance;

	if (rows != NIL && instance_get(store, key, &instance))
		hint_locked_tasks(instance.owner, key, ((TaskRow *) linitial(rows))->task_id, ((TaskRow *) llast(rows))->task_id);
	return rows;
}

/* Whether a task is queued, whoever has it. */
bool
task_exists(Store *store, int64 key, int task_id)
{
	TableScan	scan;
	bool		exists;

	scan_task(&scan, table_get(store, TABLE_TASKS), "tasks_pkey", key, task_id);
	exists = scan_next(&scan) != NULL;
	scan_end(&scan);
	return exists;
}

/* Remember how many workers have died with a locked task. */
void
task_set_deliveries(Store *store, TaskRow *row, int deliveries)
{
	Table	   *table = table_get(store, TABLE_TASKS);
	TupleTableSlot *slot = table_new_row(table);

	row->deliveries = deliveries;
	task_write(slot, row);
	table_update_row(table, &row->tid, slot);
	row->tid = slot->tts_tid;
}

/* Remove a locked task. */
void
task_delete(Store *store, const TaskRow *row)
{
	table_delete_row(table_get(store, TABLE_TASKS), &row->tid);
}

/* Remove the tasks of an instance that no worker has begun. */
void
tasks_delete(Store *store, int64 key)
{
	ListCell   *cell;

	store_sync(store);
	foreach(cell, tasks_seize(store, key, 0, PG_INT32_MAX))
		task_delete(store, lfirst(cell));
}

/* Count the tasks of a role. */
int64
tasks_count(Store *store, Oid role, int64 max)
{
	TableScan	scan;
	TupleTableSlot *slot;
	InstanceRow instance;
	int64		last = 0;
	bool		wanted = false;
	int64		count = 0;

	scan_begin(&scan, table_get(store, TABLE_TASKS), "tasks_pkey", 0, NULL);
	while (count < max && (slot = scan_next(&scan)) != NULL)
	{
		int64		key = row_int64(slot, TASK_KEY);

		if (key != last)
			wanted = instance_get(store, key, &instance) && instance.owner == role;
		last = key;
		count += wanted;
	}
	scan_end(&scan);
	return count;
}

/* Store a timer and tell the scheduler at commit. */
void
timer_insert(Store *store, int64 key, int task_id, TimestampTz fire_at)
{
	Table	   *table = table_get(store, TABLE_TIMERS);
	TupleTableSlot *slot = table_new_row(table);

	row_set(slot, TIMER_KEY, Int64GetDatum(key));
	row_set(slot, TIMER_TASK_ID, Int32GetDatum(task_id));
	row_set(slot, TIMER_FIRE_AT, TimestampTzGetDatum(fire_at));
	table_add_row(table, slot);
	hint_timer(fire_at);
}

/* Remove one timer; false if it is not there any more. */
bool
timer_cancel(Store *store, int64 key, int task_id)
{
	Table	   *table = table_get(store, TABLE_TIMERS);
	TableScan	scan;
	TupleTableSlot *slot;

	store_sync(store);
	scan_task(&scan, table, "timers_pkey", key, task_id);
	slot = scan_next(&scan);
	if (slot != NULL)
		table_delete_row(table, &slot->tts_tid);
	scan_end(&scan);
	return slot != NULL;
}

/* The numbers of the tasks of an instance that have a timer. */
List *
timers_tasks(Store *store, int64 key)
{
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *tasks = NIL;

	store_sync(store);
	scan_instance(&scan, table_get(store, TABLE_TIMERS), "timers_pkey", key);
	while ((slot = scan_next(&scan)) != NULL)
		tasks = lappend_int(tasks, row_int(slot, TIMER_TASK_ID));
	scan_end(&scan);
	return tasks;
}

/* Remove all timers of an instance. */
void
timers_delete(Store *store, int64 key)
{
	(void) delete_instance(table_get(store, TABLE_TIMERS), "timers_pkey", key, PG_INT64_MAX);
}

/* Remove rows that belong to an instance which does not exist. */
bool
queue_remove_orphans(Store *store, int64 key, int64 max)
{
	return delete_instance(table_get(store, TABLE_MESSAGES), "messages_pkey", key, max) &&
		delete_instance(table_get(store, TABLE_TASKS), "tasks_pkey", key, max) &&
		delete_instance(table_get(store, TABLE_TIMERS), "timers_pkey", key, max);
}

/* Order of timers: by time, then by task. */
static int
compare_timers(const ListCell *a, const ListCell *b)
{
	const TimerRow *x = lfirst(a);
	const TimerRow *y = lfirst(b);

	if (x->fire_at != y->fire_at)
		return x->fire_at < y->fire_at ? -1 : 1;
	return (x->task_id > y->task_id) - (x->task_id < y->task_id);
}

/* Take the due timers of an instance, earliest first. */
List *
timers_take(Store *store, int64 key, TimestampTz now)
{
	Table	   *table = table_get(store, TABLE_TIMERS);
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *rows = NIL;
	TimestampTz next = 0;

	scan_instance(&scan, table, "timers_pkey", key);
	while ((slot = scan_next(&scan)) != NULL)
	{
		TimerRow   *row;

		if (row_int64(slot, TIMER_FIRE_AT) > now)
		{
			next = next == 0 ? row_int64(slot, TIMER_FIRE_AT) : Min(next, row_int64(slot, TIMER_FIRE_AT));
			continue;
		}
		row = palloc(sizeof(TimerRow));
		row->task_id = row_int(slot, TIMER_TASK_ID);
		row->fire_at = row_int64(slot, TIMER_FIRE_AT);
		rows = lappend(rows, row);
		table_delete_row(table, &slot->tts_tid);
	}
	scan_end(&scan);
	/* the clock may have been set back since the scheduler found it due: it will be told again */
	if (rows == NIL && next != 0)
		hint_timer(next);
	list_sort(rows, compare_timers);
	return rows;
}

/*
 * Step to the first row of an instance in the order of the scan, and read the
 * two columns of the index.  False if the index ends before.  Of rows that
 * nobody sees, as they are dead or their transaction has not ended, an instance
 * may have millions: after a few of them it counts as having one.  So a scan
 * takes as long as there are instances, however many rows each has.
 */
static bool
next_instance(TableScan *scan, ScanDirection direction, int64 *key, int64 *number)
{
	IndexScanDesc index = scan->scan;
	int			unseen = 0;
	int64		last = 0;

	while (index_getnext_tid(index, direction) != NULL)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		*key = DatumGetInt64(index_getattr(index->xs_itup, 1, index->xs_itupdesc, &isnull));
		*number = TupleDescAttr(index->xs_itupdesc, 1)->atttypid == INT8OID ?
			DatumGetInt64(index_getattr(index->xs_itup, 2, index->xs_itupdesc, &isnull)) :
			DatumGetInt32(index_getattr(index->xs_itup, 2, index->xs_itupdesc, &isnull));
		unseen = *key == last ? unseen + 1 : 1;
		last = *key;
		if (scan_fetch(index, scan->table->slot) || unseen == UNSEEN_MAX)
			return true;
	}
	return false;
}

/* Put a scan where an instance's rows are (F_INT8EQ), or those from a key on. */
static void
scan_to(TableScan *scan, RegProcedure compare, int64 key)
{
	ScanKeyData scankey;

	ScanKeyInit(&scankey, 1, compare == F_INT8EQ ? BTEqualStrategyNumber : BTGreaterEqualStrategyNumber,
				compare, Int64GetDatum(key));
	index_rescan(scan->scan, &scankey, 1, NULL, 0);
}

/* Begin a scan that next_instance reads, from a key on. */
static void
scan_from(TableScan *scan, Table *table, const char *index, int64 from)
{
	scan_instance(scan, table, index, from);
	scan->scan->xs_want_itup = true;
	scan_to(scan, F_INT8GE, from);
}

/*
 * Call back once for each instance that has messages, from a key on.  Returns
 * the first key that was refused, 0 if none was.
 */
int64
messages_scan(Store *store, int64 from, bool (*callback) (int64 key, void *arg), void *arg)
{
	TableScan	scan;
	int64		key;
	int64		id;
	bool		more = true;

	scan_from(&scan, table_get(store, TABLE_MESSAGES), "messages_pkey", from);
	while (next_instance(&scan, ForwardScanDirection, &key, &id) && (more = callback(key, arg)))
		scan_to(&scan, F_INT8GE, key + 1);
	scan_end(&scan);
	return more ? 0 : key;
}

/* The same for instances that have queued activities, with their range. */
int64
tasks_scan(Store *store, int64 from, bool (*callback) (int64 key, int low, int high, void *arg), void *arg)
{
	TableScan	scan;
	int64		key;
	int64		low;
	bool		more = true;

	scan_from(&scan, table_get(store, TABLE_TASKS), "tasks_pkey", from);
	while (next_instance(&scan, ForwardScanDirection, &key, &low))
	{
		int64		high = low;

		scan_to(&scan, F_INT8EQ, key);
		(void) next_instance(&scan, BackwardScanDirection, &key, &high);
		more = callback(key, low, Max(low, high), arg);
		if (!more)
			break;
		scan_to(&scan, F_INT8GE, key + 1);
	}
	scan_end(&scan);
	return more ? 0 : key;
}

/*
 * Call back for the timers from a place on that fire until then.  Returns the
 * place of the first one that was not called back, none if none is left.  Of those
 * that come later only a few are looked at: if nobody sees them, as their
 * transaction has not ended, the place of the last of these is returned.  Nor is
 * there a look at more than LOOKS_MAX, seen or not.
 */
TimerPlace
timers_scan(Store *store, TimerPlace from, TimestampTz until,
			bool (*callback) (TimerPlace place, void *arg), void *arg)
{
	TableScan	scan;
	ScanKeyData keys[2];
	TimerPlace	next = {0};
	int			later = 0;
	int			looks = 0;

	/* the others of its time, then those of later times */
	for (int nkeys = 2; nkeys > 0 && next.fire_at == 0; nkeys--)
	{
		ScanKeyInit(&keys[0], 1, nkeys == 2 ? BTEqualStrategyNumber : BTGreaterStrategyNumber,
					nkeys == 2 ? F_TIMESTAMPTZ_EQ : F_TIMESTAMPTZ_GT, TimestampTzGetDatum(from.fire_at));
		ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from.key));
		scan_begin(&scan, table_get(store, TABLE_TIMERS), "timers_fire_at", nkeys, keys);
		scan.scan->xs_want_itup = true;
		index_rescan(scan.scan, keys, nkeys, NULL, 0);
		while (next.fire_at == 0 && index_getnext_tid(scan.scan, ForwardScanDirection) != NULL)
		{
			bool		isnull;
			IndexTuple	tuple = scan.scan->xs_itup;
			TimerPlace	place = {
				.fire_at = DatumGetTimestampTz(index_getattr(tuple, 1, scan.scan->xs_itupdesc, &isnull)),
				.key = DatumGetInt64(index_getattr(tuple, 2, scan.scan->xs_itupdesc, &isnull))
			};
			bool		seen = scan_fetch(scan.scan, scan.table->slot);

			CHECK_FOR_INTERRUPTS();
			if (place.fire_at > until ? seen || ++later == UNSEEN_MAX : ++looks == LOOKS_MAX || (seen && !callback(place, arg)))
				next = place;
		}
		scan_end(&scan);
	}
	return next;
}
