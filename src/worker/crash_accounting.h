/*
 * crash_accounting.h
 *	  The scheduler counts the deliveries of functions whose worker died.
 */
#ifndef DURABLE_CRASH_ACCOUNTING_H
#define DURABLE_CRASH_ACCOUNTING_H

#include "common/model.h"

/* count every note that a dead worker left in this database; outside of a transaction */
extern void crash_accounting_run(void);
/* when to call crash_accounting_run for a note that could not be counted; 0: there is none */
extern TimestampTz crash_accounting_retry_at(void);

#endif
