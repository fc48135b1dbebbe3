/*
 * activity_rows.h
 *	  Rows of durable_internal.tasks: activities in the queue.
 */
#ifndef DURABLE_ACTIVITY_ROWS_H
#define DURABLE_ACTIVITY_ROWS_H

#include "store/store.h"

typedef struct TaskRow
{
	int64		key;
	int			task_id;
	int			seq;
	int			attempt;
	int			deliveries;
	int			rewinds;		/* how often a rewind began the task again */
	ItemPointerData tid;
} TaskRow;

extern void task_insert(Store *store, const TaskRow *row);
/* lock the rows low..high that no other transaction holds */
extern List *tasks_lock(Store *store, int64 key, int low, int high);
/* the same, to remove or change the rows */
extern List *tasks_seize(Store *store, int64 key, int low, int high);
/* whether the row exists, locked or not */
extern bool task_exists(Store *store, int64 key, int task_id);
extern void task_set_deliveries(Store *store, TaskRow *row, int deliveries);
extern void task_delete(Store *store, const TaskRow *row);
extern void tasks_delete(Store *store, int64 key);
/* the number of queued tasks of a role, at most max */
extern int64 tasks_count(Store *store, Oid role, int64 max);

/*
 * A scan for the scheduler, from a key on.  The callback returns false to
 * stop; the result is the key with which the next scan begins, 0: the scan is
 * complete.
 */
extern int64 tasks_scan(Store *store, int64 from, bool (*callback) (int64 key, int low, int high, void *arg), void *arg);

#endif
