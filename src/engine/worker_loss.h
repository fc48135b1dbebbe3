/*
 * worker_loss.h
 *	  Counting workers that died while they ran something.
 */
#ifndef DURABLE_WORKER_LOSS_H
#define DURABLE_WORKER_LOSS_H

#include "shmem/crash_notes.h"
#include "engine/instance.h"
#include "store/inbox_rows.h"

/* for the scheduler; false if another transaction has the row of the queued activity */
extern bool lost_count(Store *store, const CrashNote *note);
/* MESSAGE_WORKER_LOST and MESSAGE_TURN_OVERDUE */
extern void lost_receive(Round *round, Instance *instance, const MessageRow *message);

#endif
