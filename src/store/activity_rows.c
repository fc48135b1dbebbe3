/*
 * activity_rows.c
 *	  Rows of durable_internal.tasks: activities in the queue.
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
#include "store/activity_rows.h"
#include "store/instance_rows.h"
#include "store/row_scans.h"
#include "store/table_access.h"

enum
{
	TASK_KEY, TASK_TASK_ID, TASK_SEQ, TASK_ATTEMPT, TASK_DELIVERIES, TASK_REWINDS
};

/* Fill a cleared slot with a task. */
static void
task_write(TupleTableSlot *slot, const TaskRow *row)
{
	row_set(slot, TASK_KEY, Int64GetDatum(row->key));
	row_set(slot, TASK_TASK_ID, Int32GetDatum(row->task_id));
	row_set(slot, TASK_SEQ, Int32GetDatum(row->seq));
	row_set(slot, TASK_ATTEMPT, Int32GetDatum(row->attempt));
	row_set(slot, TASK_DELIVERIES, Int32GetDatum(row->deliveries));
	/* most tasks were not rewound, and a null takes no room */
	if (row->rewinds != 0)
		row_set(slot, TASK_REWINDS, Int32GetDatum(row->rewinds));
}

void
task_insert(Store *store, const TaskRow *row)
{
	Table	   *table = table_get(store, TABLE_TASKS);
	TupleTableSlot *slot = table_new_row(table);

	task_write(slot, row);
	table_add_row(table, slot);
}

/* Lock the newest version of the row in the slot, unless another transaction holds it. */
static bool
lock_task(Table *table, TupleTableSlot *slot)
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

/* Lock the tasks low..high that no other transaction holds. */
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

		if (!lock_task(table, slot))
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
 * Lock tasks to remove or change them, not to run them.  Workers skip what
 * this transaction has locked, so the tasks that remain are announced at its
 * end.
 */
List *
tasks_seize(Store *store, int64 key, int low, int high)
{
	List	   *rows = tasks_lock(store, key, low, high);
	InstanceRow instance;

	if (rows != NIL && instance_get(store, key, &instance))
		wakeup_locked_tasks(instance.owner, key, ((TaskRow *) linitial(rows))->task_id, ((TaskRow *) llast(rows))->task_id);
	return rows;
}

/* Whether a task is queued, even if another transaction has locked it. */
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

/* Store how many workers have died with a locked task. */
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

/* Call back for each instance that has queued activities, with their range. */
int64
tasks_scan(Store *store, int64 from, bool (*callback) (int64 key, int low, int high, void *arg), void *arg)
{
	TableScan	scan;
	int64		key;
	int64		low;
	bool		more = true;

	scan_keys_from(&scan, table_get(store, TABLE_TASKS), "tasks_pkey", from);
	while (scan_next_key(&scan, ForwardScanDirection, &key, &low))
	{
		int64		high = low;

		scan_move(&scan, F_INT8EQ, key);
		(void) scan_next_key(&scan, BackwardScanDirection, &key, &high);
		more = callback(key, low, Max(low, high), arg);
		if (!more)
			break;
		scan_move(&scan, F_INT8GE, key + 1);
	}
	scan_end(&scan);
	return more ? 0 : key;
}
