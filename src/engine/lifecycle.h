/*
 * lifecycle.h
 *	  Changes of an instance: events appended to its history, and its states.
 *
 * All functions work in a transaction that has locked the row of the instance.
 * instance_save writes the row at the end.
 */
#ifndef DURABLE_LIFECYCLE_H
#define DURABLE_LIFECYCLE_H

#include "engine/instance.h"
#include "store/history_rows.h"

/*
 * Append an event to the history, in the table and in memory.  row->seq is 0, or
 * 2 for an event that stands for two: an activity was scheduled and ended.
 * event_time 0 means now.  The data are copied.
 */
extern void instance_append(WorkerTransaction *txn, Instance *instance, HistoryRow *row);
/* append an event about the current attempt of a task */
extern void instance_append_attempt(WorkerTransaction *txn, Instance *instance, Task *task, EventType event, Jsonb *result);

/* whether a turn would get further than the last one did */
extern bool instance_can_turn(Instance *instance);
/* append the end of the activity that this worker ran between two turns */
extern void instance_activity_done(WorkerTransaction *txn, Instance *instance, Task *task,
								   bool failed, Jsonb *result);
extern void instance_set_custom_status(WorkerTransaction *txn, Instance *instance, Jsonb *status);
/* does nothing if the instance is suspended, or is not, already */
extern void instance_suspend(WorkerTransaction *txn, Instance *instance, bool suspend, const char *reason);

extern void instance_complete(WorkerTransaction *txn, Instance *instance, Jsonb *output);
/* the orchestrator failed; Task.handled and .expired tell a rewind what to repeat */
extern void instance_fail(WorkerTransaction *txn, Instance *instance, Jsonb *failure);
/* the instance failed outside a turn, so a rewind repeats no failed task */
extern void instance_fail_whole(WorkerTransaction *txn, Instance *instance, Jsonb *failure);
/* the same for an instance that is not in memory and whose row is locked; writes the row */
extern void instance_fail_unread(WorkerTransaction *txn, const InstanceRow *row, Jsonb *failure);
/* payload: the one of MESSAGE_TERMINATE */
extern void instance_terminate(WorkerTransaction *txn, Instance *instance, Jsonb *payload);
extern void instance_continue_as_new(WorkerTransaction *txn, Instance *instance, Jsonb *input,
									 bool keep_events, const char *version);
/* write the row if anything in it changed */
extern void instance_save(WorkerTransaction *txn, Instance *instance);

#endif
