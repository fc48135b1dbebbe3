/*
 * stats.h
 *	  What the workers have done since the server started: counters in shared
 *	  memory, behind the views durable.stats and durable.function_stats.
 *
 * A worker counts in its own memory.  When its transaction commits, it adds
 * the counts to the counters of its role; a rollback counts only itself.  This
 * costs a lock and a few additions for each batch.  A crash of the server
 * resets the counters.
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
	STATS_REPLAYED,				/* tasks that the code asked for again in these turns */
	STATS_LOADS,				/* histories that were read from the table */
	STATS_LOADED,				/* events in these histories */
	STATS_ACTIVITIES,
	STATS_QUEUED,				/* activities that came from the queue */
	STATS_COMPLETED,			/* instances */
	STATS_FAILED,
	STATS_TERMINATED,
	STATS_TIMERS,
	STATS_LATENESS,				/* sum over all timers, in microseconds */
	STATS_WAKEUPS
} StatsCounter;

#define STATS_COUNTERS (STATS_WAKEUPS + 1)

typedef enum StatsKind
{
	STATS_ORCHESTRATOR,
	STATS_ACTIVITY
} StatsKind;

extern void stats_register(void);

/* count in this process */
extern void stats_count(StatsCounter counter, int64 by);
extern void stats_timer(TimestampTz due, TimestampTz now);
extern void stats_call(StatsKind kind, const char *name, int64 time, bool failed);
/* from now on the counts of this process are added when its transactions commit */
extern void stats_begin(void);

/* reset the counters of a database */
extern void stats_reset(Oid db);

#endif
