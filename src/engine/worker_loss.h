/*
 * worker_loss.h
 *	  Counting the workers that died while they ran code of an instance.
 */
#ifndef DURABLE_WORKER_LOSS_H
#define DURABLE_WORKER_LOSS_H

#include "shmem/crash_notes.h"
#include "engine/instance.h"
#include "store/inbox_rows.h"

/* for the scheduler: count what a dead worker was running; false if another transaction has locked the queued activity */
extern bool worker_loss_count(Store *store, const CrashNote *note);
/* for workers: apply MESSAGE_WORKER_LOST or MESSAGE_TURN_OVERDUE */
extern void worker_loss_receive(WorkerTransaction *txn, Instance *instance, const MessageRow *message);

#endif
