/*
 * bgworkers.h
 *	  The engine's processes: how they are started and what each runs.
 *
 *	launcher	one in the server; starts a scheduler in each database that has
 *				the extension
 *	scheduler	one in a database; trusted code only: fires timers, starts
 *				workers, takes care of what dead workers left
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

extern void launcher_register(void);
extern bool bgworker_start(Oid db, const WorkerExtra *extra, BackgroundWorkerHandle **handle);

/* common beginnings and loops of the processes */
extern void bgworker_init(ProcessKind kind);
/* connect a worker to its database as its role */
extern void bgworker_connect(Oid db, Oid role);
/* a transaction of the launcher or a scheduler, with a snapshot; what is allocated in it outlives it */
extern void bgworker_begin(void);
extern void bgworker_commit(void);
extern void bgworker_handle_interrupts(void);
/* whether the configuration has been reloaded since the process began */
extern bool bgworker_reloaded(void);
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
