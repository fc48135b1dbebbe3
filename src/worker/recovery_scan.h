/*
 * recovery_scan.h
 *	  The scheduler reads the tables for work that the ready lists lack, and for
 *	  timers that are due.
 *
 * Only the scheduler calls these functions, outside of a transaction.
 */
#ifndef DURABLE_RECOVERY_SCAN_H
#define DURABLE_RECOVERY_SCAN_H

#include "common/model.h"

#include "sched/database_slots.h"

/* request a scan of all tables if durable.poll_interval has passed since the last one; true if so */
extern bool recovery_scan_poll(TimestampTz now);
/* do the scans that are due, with what sessions have reported; true if more of them are due at once */
extern bool recovery_scan_run(const DatabaseNews *news, TimestampTz now);

/* when the next scan is due */
extern TimestampTz recovery_scan_wake_at(void);
/* when the first timer is due that is not announced yet; 0: there is none */
extern TimestampTz recovery_scan_next_timer(void);
/* whether everything that the last scans found is in the ready lists, and no scan is requested */
extern bool recovery_scan_settled(void);
/* whether this process remembers rows of instances that do not exist, which it will delete */
extern bool recovery_scan_has_orphans(void);
/* how many instances the last scan found; *all: the ready lists took everything */
extern int64 recovery_scan_instances(bool *all);

#endif
