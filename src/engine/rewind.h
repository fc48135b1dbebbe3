/*
 * rewind.h
 *	  Rewinding failed instances.
 */
#ifndef DURABLE_REWIND_H
#define DURABLE_REWIND_H

#include "engine/instance.h"
#include "store/history_rows.h"

/* the marks of the tasks, for ExecutionFailed; NULL if there are none */
extern Jsonb *rewind_marks(WorkerTransaction *txn, Instance *instance);
/* the same for an instance that fails without being in memory; for the scheduler */
extern Jsonb *rewind_marks_unread(Store *store, int64 key);
/* decode ExecutionFailed and ExecutionRewound */
extern void rewind_decode_failed(Instance *instance, const HistoryRow *row);
extern void rewind_decode(Instance *instance, const HistoryRow *row);
/* apply MESSAGE_REWIND */
extern void rewind_receive(WorkerTransaction *txn, Instance *instance, Jsonb *payload);

#endif
