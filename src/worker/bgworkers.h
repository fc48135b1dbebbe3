/*
 * bgworkers.h
 *	  The engine's background workers:
 *
 *	launcher	one in the server; starts schedulers
 *	scheduler	at most one in a database, as the bootstrap superuser; never runs
 *				user code; announces timers, starts workers, and counts functions
 *				whose worker died
 *	worker		connected as the role whose instances it runs
 */
#ifndef DURABLE_BGWORKERS_H
#define DURABLE_BGWORKERS_H

#include "common/call_context.h"
#include "common/model.h"

#include "postmaster/bgworker.h"

/* what a worker finds in bgw_extra */
typedef struct WorkerExtra
{
	Oid			role;
	int			slot;
} WorkerExtra;

/* have the postmaster start the launcher, and restart it when it ends */
extern void launcher_register(void);
/* start a worker in the reserved slot of extra, or with NULL a scheduler; false if max_worker_processes is reached */
extern bool bgworker_start(Oid db, const WorkerExtra *extra, BackgroundWorkerHandle **handle);

/* the beginning of a process: its signals and settings, then its connection; role: InvalidOid for the bootstrap superuser */
extern void bgworker_init(ProcessKind kind);
extern void bgworker_connect(Oid db, Oid role);
/* a transaction of the launcher or a scheduler, with a snapshot; it does not change CurrentMemoryContext */
extern void bgworker_begin(void);
extern void bgworker_commit(void);
/* at each turn of a process's loop; outside of user code */
extern void bgworker_handle_interrupts(void);
/* whether the configuration was reloaded since bgworker_init */
extern bool bgworker_reloaded(void);
/* sleep until the latch is set or the time is over, but not while a signal of an engine's process is pending; also for sessions */
extern void bgworker_wait(long timeout_ms);

/* the earlier of two times, 0 meaning none */
static inline TimestampTz
earlier_time(TimestampTz a, TimestampTz b)
{
	return a == 0 ? b : b == 0 ? a : Min(a, b);
}

extern PGDLLEXPORT void durable_launcher_main(Datum arg);
extern PGDLLEXPORT void durable_scheduler_main(Datum arg);
extern PGDLLEXPORT void durable_worker_main(Datum arg);

#endif
