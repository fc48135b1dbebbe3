/*
 * history_decode.h
 *	  Events of the history become tasks and raised events in memory.
 */
#ifndef DURABLE_HISTORY_DECODE_H
#define DURABLE_HISTORY_DECODE_H

#include "engine/instance.h"
#include "store/history_rows.h"

/* the task of a number, or NULL if this execution has none */
extern Task *instance_task(Instance *instance, int task_id);
/* add the next task; name and input must belong to the instance's context */
extern Task *instance_new_task(Instance *instance, TaskKind kind, const char *name, Jsonb *input);
/* decode an event; its data must belong to the instance's context */
extern void history_decode(Instance *instance, const HistoryRow *row);

#endif
