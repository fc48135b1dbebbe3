/*
 * database.h
 *	  Which databases have an engine: slots in shared memory through which the
 *	  launcher, the schedulers and committing sessions reach each other.
 */
#ifndef DURABLE_DATABASE_H
#define DURABLE_DATABASE_H

#include "durable.h"

#define DURABLE_DATABASES_LIMIT 128

/* what the launcher knows of a database */
typedef enum DatabaseState
{
	DATABASE_UNKNOWN,			/* nobody has looked yet, or something changed */
	DATABASE_ABSENT,			/* looked: the extension is not there */
	DATABASE_STARTING,			/* a scheduler is being started */
	DATABASE_RUNNING			/* its scheduler runs */
} DatabaseState;

extern Size database_shmem_size(void);
extern void database_shmem_init(void);

/* the launcher's side */
extern void launcher_attach(void);
extern DatabaseState database_state(Oid db);
extern bool database_set_starting(Oid db);
extern void database_forget(Oid db);
extern int	database_list(Oid *dbs);

/* whether a session keeps the engine out of the database */
extern bool database_paused(Oid db);

/* keep the engine out of a database until resumed; true once its processes have gone */
extern bool database_pause(Oid db);
extern void database_resume(Oid db);

/* the scheduler's side */
extern bool scheduler_attach(Oid db);
extern void scheduler_detach(Oid db, bool absent);
extern bool database_collect(Oid db, TimestampTz *timer, bool *changed, bool *roles);
extern bool database_has_news(Oid db);

/* whether it has one that will look into the tables, or has done so */
extern bool database_served(Oid db);

/* from any session: wake the scheduler, tell it of a timer, have it scan */
extern void database_poke(Oid db);
extern void database_request_scan(Oid db);
/* the same and for timers too */
extern void database_request_look(Oid db);
extern void database_announce_timer(Oid db, TimestampTz fire_at);
/* the next key or message id, larger than all before and than the bound */
extern int64 database_next_number(int64 bound);
/* the extension was created or dropped, or the database itself */
extern void database_changed(Oid db);
/* roles have changed: all schedulers look at the owners */
extern void database_roles_changed(void);

#endif
