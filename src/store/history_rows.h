/*
 * history_rows.h
 *	  Rows of durable_internal.history: the events of instances.
 */
#ifndef DURABLE_HISTORY_ROWS_H
#define DURABLE_HISTORY_ROWS_H

#include "store/store.h"

typedef struct HistoryRow
{
	int64		key;
	int			seq;
	int			event;			/* EventType */
	TimestampTz event_time;
	int			task_id;		/* 0: none */
	int			attempt;		/* 0: none */
	const char *name;			/* or NULL */
	Jsonb	   *input;			/* or NULL */
	Jsonb	   *result;			/* or NULL */
} HistoryRow;

extern void history_append(Store *store, const HistoryRow *row);
extern bool history_get(Store *store, int64 key, int seq, HistoryRow *row);
extern List *history_between(Store *store, int64 key, int first_seq, int last_seq);
/* the name in an event of a task, NULL if there is none; does not read the payloads, which may be large */
extern char *history_name(Store *store, int64 key, int seq, int task_id);
extern void history_delete(Store *store, int64 key, int after_seq);

#endif
