/*
 * commit_wakeup.h
 *	  Wake-ups: what a transaction has made ready is announced when it commits.
 *
 * Any session (a client or a worker) calls these functions for what it stores.
 * At commit, work goes to the ready queues, timers go to the scheduler, and
 * ends of instances go to completion waiters.  The wake-ups of a savepoint
 * that is rolled back do no harm, since a wake-up only makes a process look;
 * cancellations are forgotten with their savepoint.
 *
 * A prepared transaction announces nothing: COMMIT PREPARED, in whatever
 * session, makes the scheduler scan the tables (utility_hook.c).
 */
#ifndef DURABLE_COMMIT_WAKEUP_H
#define DURABLE_COMMIT_WAKEUP_H

#include "common/model.h"

#include "sched/ready_queue.h"

/* an instance has something to do; name: of its orchestrator, NULL: unknown; flags: READY_... */
extern void wakeup_instance(Oid role, int64 key, const char *name, int flags);
/*
 * This transaction locks the row of an instance, or queued activities, and
 * workers skip what is locked.  They look again when the transaction ends,
 * even after a rollback.
 */
extern void wakeup_locked(Oid role, int64 key);
extern void wakeup_locked_tasks(Oid role, int64 key, int low, int high);
extern void wakeup_tasks(Oid role, int64 key, int low, int high, Lone lone);
extern void wakeup_timer(TimestampTz fire_at);
extern void wakeup_ended(int64 key);
/* running activities of the instance will be interrupted */
extern void wakeup_cancel(int64 key);
extern void wakeup_extension_changed(void);
/* a role was created or renamed; or dropped */
extern void wakeup_roles_changed(bool dropped);
/* a database was created or altered */
extern void wakeup_databases_changed(void);
/* much has changed: the scheduler scans the tables when the transaction ends, even after a rollback */
extern void wakeup_look(void);

#endif
