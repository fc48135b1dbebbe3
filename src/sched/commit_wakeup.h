/*
 * commit_wakeup.h
 *	  What a transaction has made ready, announced when it commits.
 *
 * Any session (a client's or a worker's) notes here what it stored; at commit
 * the notes go to the ready lists, timers to the scheduler, ends to waiters.
 * Notes of a rolled back savepoint do no harm, as a hint only makes somebody
 * look; but cancellations are forgotten with it.
 * A prepared transaction announces nothing: COMMIT PREPARED, in whatever
 * session, has the scheduler look into the tables (utility_hook.c).
 */
#ifndef DURABLE_COMMIT_WAKEUP_H
#define DURABLE_COMMIT_WAKEUP_H

#include "common/model.h"

#include "sched/ready_queue.h"

/* name: of its orchestrator, NULL: not known */
extern void wakeup_instance(Oid role, int64 key, const char *name, int flags);
/* the row of an instance is locked, so workers pass over it: look again at the end, even after a rollback */
extern void wakeup_locked(Oid role, int64 key);
extern void wakeup_locked_tasks(Oid role, int64 key, int low, int high);
extern void wakeup_tasks(Oid role, int64 key, int low, int high, Lone lone);
extern void wakeup_timer(TimestampTz fire_at);
extern void wakeup_ended(int64 key);
/* running activities of the instance are to be interrupted */
extern void wakeup_cancel(int64 key);
extern void wakeup_extension_changed(void);
/* a role was created or renamed, or dropped */
extern void wakeup_roles_changed(bool dropped);
/* a database was created or altered */
extern void wakeup_databases_changed(void);
/* much has changed: the scheduler looks into the tables, even after a rollback */
extern void wakeup_look(void);

#endif
