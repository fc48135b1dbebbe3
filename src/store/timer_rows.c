/*
 * timer_rows.c
 *	  Rows of durable_internal.timers.
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
#include "store/row_scans.h"
#include "store/table_access.h"
#include "store/timer_rows.h"

enum
{
	TIMER_KEY, TIMER_TASK_ID, TIMER_FIRE_AT
};

/* timers that one scan reads, at most */
#define LOOKS_MAX	65536

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
	wakeup_timer(fire_at);
}

/* Remove one timer; false if it does not exist any more. */
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
	scan_key(&scan, table_get(store, TABLE_TIMERS), "timers_pkey", key);
	while ((slot = scan_next(&scan)) != NULL)
		tasks = lappend_int(tasks, row_int(slot, TIMER_TASK_ID));
	scan_end(&scan);
	return tasks;
}

void
timers_delete(Store *store, int64 key)
{
	(void) delete_key(table_get(store, TABLE_TIMERS), "timers_pkey", key, PG_INT64_MAX);
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

	scan_key(&scan, table, "timers_pkey", key);
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
	/* the clock may have been set back since the scheduler found a timer due: announce the timer again */
	if (rows == NIL && next != 0)
		wakeup_timer(next);
	list_sort(rows, compare_timers);
	return rows;
}

/*
 * Call back for the timers from a place on that fire up to a time.  Returns
 * the place of the first timer that was not called back, fire_at 0 if there is
 * none.  Of the later timers a few are read: if the snapshot sees none of
 * UNSEEN_MAX, since their transaction has not ended, the place of the last one
 * is returned.  At most LOOKS_MAX timers are read, visible or not.
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

	/* first the timers of the same time, then those of later times */
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
