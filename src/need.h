/*
 * need.h
 *	  Which roles of a database need another worker.
 */
#ifndef DURABLE_NEED_H
#define DURABLE_NEED_H

#include "durable.h"

/* a role's backlog lasts that long before another worker comes */
#define NEED_BACKLOG_US	10000

/* a role of one database that has more work than workers */
typedef struct Need
{
	Oid			role;
	int			queued;
	int			workers;
	TimestampTz since;			/* when it was first found so */
} Need;

extern int	need_list(Oid db, Need *needs, int max, bool *soon);
extern void need_back_off(Oid db, Oid role, TimestampTz until);
extern TimestampTz need_retry_at(Oid db);
extern bool need_starving(void);
extern void need_retire_one(void);
/* a worker has left or gone idle; shared_lock is held */
extern void need_wake(void);

#endif
