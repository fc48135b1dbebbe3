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
	int			rewinds;		/* how often it was begun anew by a rewind */
	ItemPointerData tid;
} TaskRow;

extern void task_insert(Store *store, const TaskRow *row);
/* the rows low..high that no other worker has, locked */
extern List *tasks_lock(Store *store, int64 key, int low, int high);
/* the same, for who does not run them */
extern List *tasks_seize(Store *store, int64 key, int low, int high);
/* whether it is there, locked or not */
extern bool task_exists(Store *store, int64 key, int task_id);
extern void task_set_deliveries(Store *store, TaskRow *row, int deliveries);
extern void task_delete(Store *store, const TaskRow *row);
extern void tasks_delete(Store *store, int64 key);
/* how many are queued for a role, up to a maximum */
extern int64 tasks_count(Store *store, Oid role, int64 max);

/* a scan for the scheduler; the callback returns false to stop, and then the next scan is to begin with the key returned */
extern int64 tasks_scan(Store *store, int64 from, bool (*callback) (int64 key, int low, int high, void *arg), void *arg);

#endif
