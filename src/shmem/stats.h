/*
 * stats.h
 *	  What the workers have done since the server started: counters in shared
 *	  memory, behind the views durable.stats and durable.function_stats.
 *
 * A worker counts in its own memory and adds what a transaction has done to
 * its role's counters when it has committed; what is rolled back is not
 * counted, but for the rollback.  That costs a lock and a few additions a
 * batch.  A crash of the server empties the counters.
 */
#ifndef DURABLE_STATS_H
#define DURABLE_STATS_H

#include "common/model.h"

#include "storage/lwlock.h"

typedef enum StatsCounter
{
	STATS_BATCHES,
	STATS_ROLLBACKS,
	STATS_ADVANCED,				/* instances in the batches */
	STATS_TURNS,
	STATS_REPLAYS,				/* turns after an instance's first */
	STATS_REPLAYED,				/* tasks that the code asked for again in them */
	STATS_LOADS,				/* histories read from their table */
	STATS_LOADED,				/* events in them */
	STATS_ACTIVITIES,
	STATS_QUEUED,				/* of which from the queue */
	STATS_COMPLETED,			/* instances */
	STATS_FAILED,
	STATS_TERMINATED,
	STATS_TIMERS,
	STATS_LATENESS,				/* of the timers, us in all */
	STATS_WAKEUPS
} StatsCounter;

#define STATS_COUNTERS (STATS_WAKEUPS + 1)

typedef enum StatsKind
{
	STATS_ORCHESTRATOR,
	STATS_ACTIVITY
} StatsKind;

extern void stats_register(void);

/* counting, in this process */
extern void stats_count(StatsCounter counter, int64 by);
extern void stats_timer(TimestampTz due, TimestampTz now);
extern void stats_call(StatsKind kind, const char *name, int64 time, bool failed);
/* from now on the transactions of this process that have a batch count when they commit */
extern void stats_begin(void);

/* the counters of a database begin anew */
extern void stats_reset(Oid db);

#endif
