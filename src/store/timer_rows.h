/*
 * timer_rows.h
 *	  Rows of durable_internal.timers.
 */
#ifndef DURABLE_TIMER_ROWS_H
#define DURABLE_TIMER_ROWS_H

#include "store/store.h"

/* task_id 0 is the delayed start of the instance, TURN_TIMER a turn that will be run again */
typedef struct TimerRow
{
	int			task_id;
	TimestampTz fire_at;
} TimerRow;

extern void timer_insert(Store *store, int64 key, int task_id, TimestampTz fire_at);
extern bool timer_cancel(Store *store, int64 key, int task_id);
extern List *timers_tasks(Store *store, int64 key);
extern void timers_delete(Store *store, int64 key);
/* read the due timers of an instance as TimerRows in order of time, and delete them */
extern List *timers_take(Store *store, int64 key, TimestampTz now);

/* a place in the order of timers, by time and then by key; fire_at 0: none */
typedef struct TimerPlace
{
	TimestampTz fire_at;
	int64		key;
} TimerPlace;

extern TimerPlace timers_scan(Store *store, TimerPlace from, TimestampTz until,
							  bool (*callback) (TimerPlace place, void *arg), void *arg);

#endif
