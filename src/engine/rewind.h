/*
 * rewind.h
 *	  Rewinding failed instances.
 */
#ifndef DURABLE_REWIND_H
#define DURABLE_REWIND_H

#include "engine/instance.h"
#include "store/history_rows.h"

/* what ExecutionFailed keeps of the tasks' marks; NULL for nothing */
extern Jsonb *rewind_marks(Round *round, Instance *instance);
/* the same for an instance that fails outside a turn and is not in memory */
extern Jsonb *rewind_marks_unread(Store *store, int64 key);
/* ExecutionFailed and ExecutionRewound when history is decoded */
extern void rewind_decode_failed(Instance *instance, const HistoryRow *row);
extern void rewind_decode(Instance *instance, const HistoryRow *row);
/* the message that the instance is to be rewound */
extern void rewind_receive(Round *round, Instance *instance, Jsonb *payload);

#endif
