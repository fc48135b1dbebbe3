/*
 * history_rows.c
 *	  Rows of durable_internal.history, and the names of event types.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "store/history_rows.h"
#include "store/table_access.h"

enum
{
	COL_KEY, COL_SEQ, COL_EVENT, COL_EVENT_TIME, COL_TASK_ID, COL_ATTEMPT, COL_NAME,
	COL_INPUT, COL_RESULT
};

static const char *const event_names[EVENT_TYPE_LAST + 1] = {
	[EVENT_EXECUTION_STARTED] = "ExecutionStarted",
	[EVENT_TASK_SCHEDULED] = "TaskScheduled",
	[EVENT_TASK_COMPLETED] = "TaskCompleted",
	[EVENT_TASK_FAILED] = "TaskFailed",
	[EVENT_TASK_RETRIED] = "TaskRetried",
	[EVENT_CHILD_CREATED] = "SubOrchestrationInstanceCreated",
	[EVENT_CHILD_COMPLETED] = "SubOrchestrationInstanceCompleted",
	[EVENT_CHILD_FAILED] = "SubOrchestrationInstanceFailed",
	[EVENT_TIMER_CREATED] = "TimerCreated",
	[EVENT_TIMER_FIRED] = "TimerFired",
	[EVENT_TIMER_CANCELED] = "TimerCanceled",
	[EVENT_EVENT_SUBSCRIBED] = "EventSubscribed",
	[EVENT_EVENT_RAISED] = "EventRaised",
	[EVENT_EVENT_SENT] = "EventSent",
	[EVENT_CUSTOM_STATUS_SET] = "CustomStatusSet",
	[EVENT_CONTINUE_AS_NEW] = "ContinueAsNew",
	[EVENT_EXECUTION_SUSPENDED] = "ExecutionSuspended",
	[EVENT_EXECUTION_RESUMED] = "ExecutionResumed",
	[EVENT_EXECUTION_REWOUND] = "ExecutionRewound",
	[EVENT_EXECUTION_TERMINATED] = "ExecutionTerminated",
	[EVENT_EXECUTION_COMPLETED] = "ExecutionCompleted",
	[EVENT_EXECUTION_FAILED] = "ExecutionFailed",
	[EVENT_TASK_CANCELED] = "TaskCanceled",
};

PG_FUNCTION_INFO_V1(durable_event_type);

/* durable_internal.event_type(smallint): the public name of an event type */
Datum
durable_event_type(PG_FUNCTION_ARGS)
{
	int			event = PG_GETARG_INT16(0);

	if (event < 1 || event > EVENT_TYPE_LAST)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(event_names[event]));
}

void
history_append(Store *store, const HistoryRow *row)
{
	Table	   *table = table_get(store, TABLE_HISTORY);
	TupleTableSlot *slot = table_new_row(table);

	row_set(slot, COL_KEY, Int64GetDatum(row->key));
	row_set(slot, COL_SEQ, Int32GetDatum(row->seq));
	row_set(slot, COL_EVENT, Int16GetDatum(row->event));
	row_set(slot, COL_EVENT_TIME, TimestampTzGetDatum(row->event_time));
	if (row->task_id != 0)
		row_set(slot, COL_TASK_ID, Int32GetDatum(row->task_id));
	if (row->attempt != 0)
		row_set(slot, COL_ATTEMPT, Int32GetDatum(row->attempt));
	row_set_text(slot, COL_NAME, row->name);
	row_set_jsonb(slot, COL_INPUT, row->input);
	row_set_jsonb(slot, COL_RESULT, row->result);
	table_add_row(table, slot);
}

/* Read a row out of a slot. */
static void
history_read(TupleTableSlot *slot, HistoryRow *row)
{
	row->key = row_int64(slot, COL_KEY);
	row->seq = row_int(slot, COL_SEQ);
	row->event = DatumGetInt16(slot->tts_values[COL_EVENT]);
	row->event_time = row_int64(slot, COL_EVENT_TIME);
	row->task_id = row_int(slot, COL_TASK_ID);
	row->attempt = row_int(slot, COL_ATTEMPT);
	row->name = row_text(slot, COL_NAME);
	row->input = row_jsonb(slot, COL_INPUT);
	row->result = row_jsonb(slot, COL_RESULT);
}

/* Begin a scan of an instance's events from one sequence number to another. */
static void
scan_between(TableScan *scan, Store *store, int64 key, int first_seq, int last_seq)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key));
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_INT4GE, Int32GetDatum(first_seq));
	ScanKeyInit(&keys[2], 2, BTLessEqualStrategyNumber, F_INT4LE, Int32GetDatum(last_seq));
	scan_begin(scan, table_get(store, TABLE_HISTORY), "history_pkey", lengthof(keys), keys);
}

/* Read the events from one sequence number to another. */
List *
history_between(Store *store, int64 key, int first_seq, int last_seq)
{
	TableScan	scan;
	TupleTableSlot *slot;
	List	   *rows = NIL;

	scan_between(&scan, store, key, first_seq, last_seq);
	while ((slot = scan_next(&scan)) != NULL)
	{
		HistoryRow *row = palloc(sizeof(HistoryRow));

		history_read(slot, row);
		rows = lappend(rows, row);
	}
	scan_end(&scan);
	return rows;
}

bool
history_get(Store *store, int64 key, int seq, HistoryRow *row)
{
	TableScan	scan;
	TupleTableSlot *slot;

	scan_between(&scan, store, key, seq, seq);
	slot = scan_next(&scan);
	if (slot != NULL)
		history_read(slot, row);
	scan_end(&scan);
	return slot != NULL;
}

char *
history_name(Store *store, int64 key, int seq, int task_id)
{
	TableScan	scan;
	TupleTableSlot *slot;
	char	   *name = NULL;

	scan_between(&scan, store, key, seq, seq);
	slot = scan_next(&scan);
	if (slot != NULL && row_int(slot, COL_TASK_ID) == task_id)
		name = row_text(slot, COL_NAME);
	scan_end(&scan);
	return name;
}

/* Delete the events of an instance after a sequence number. */
void
history_delete(Store *store, int64 key, int after_seq)
{
	Table	   *table = table_get(store, TABLE_HISTORY);
	TableScan	scan;
	TupleTableSlot *slot;

	store_sync(store);
	scan_between(&scan, store, key, after_seq + 1, PG_INT32_MAX);
	while ((slot = scan_next(&scan)) != NULL)
		table_delete_row(table, &slot->tts_tid);
	scan_end(&scan);
}
