/*
 * database.h
 *	  Which databases have an engine: slots in shared memory through which the
 *	  launcher, the schedulers and committing sessions reach each other.
 *
 *	Unknown -> Starting -> Running;  Running -> Unknown (it ended), Absent,
 *	Unfit or Away;  Absent, Unfit -> Unknown when something has changed;
 *	Unknown, Unfit, Away -> Starting.
 *	A database in which nothing is due is Away.
 */
#ifndef DURABLE_DATABASE_H
#define DURABLE_DATABASE_H

#include "durable.h"

#include "lib/stringinfo.h"

/* what the launcher knows of a database */
typedef enum DatabaseState
{
	DATABASE_UNKNOWN,			/* it is to get a scheduler, which looks */
	DATABASE_ABSENT,			/* looked: the extension is not there */
	DATABASE_UNFIT,				/* looked: its tables are not as they should be */
	DATABASE_AWAY,				/* its scheduler has left, as nothing is due, or for another database's */
	DATABASE_STARTING,			/* a scheduler is being started */
	DATABASE_RUNNING			/* its scheduler runs */
} DatabaseState;

/* what others see of a slot */
typedef struct DatabaseInfo
{
	Oid			db;
	DatabaseState state;
	TimestampTz since;			/* of the state */
	pid_t		scheduler_pid;	/* 0: none */
	int			pauses;			/* sessions that keep the engine out */
	int			failures;		/* schedulers that ended soon, in a row */
	TimestampTz retry_at;		/* none is started before; 0: at once */
	TimestampTz idle_since;		/* of a running one; 0: it has something to do */
	TimestampTz due_since;		/* of one without a scheduler: somebody has woken it; 0: nobody has */
	TimestampTz wake_at;		/* of one that is away: when it is to come for a timer; 0: there is none */
	bool		roles;			/* of one that is away: its owners are to be looked at */
	bool		leaving;		/* it was asked to make way */
} DatabaseInfo;

/* what sessions have told a scheduler */
typedef struct DatabaseNews
{
	bool		any;			/* somebody has woken it */
	bool		scan;			/* the lists do not have everything */
	bool		changed;		/* the extension, perhaps */
	bool		roles;			/* some role has come, got another name, or was dropped */
	TimestampTz timer;			/* the earliest new one; 0: none */
} DatabaseNews;

extern Size database_shmem_size(void);
extern void database_shmem_init(void);

/* the launcher's side */
extern void launcher_attach(void);
extern bool database_add(Oid db);
extern bool database_set_starting(Oid db);
extern void database_not_started(const DatabaseInfo *info);
extern void database_ended(Oid db);
extern void database_forget(Oid db);
extern void database_ask_to_leave(Oid db);
/* all slots in use, palloc'd */
extern int	database_list(DatabaseInfo **infos);
extern TimestampTz database_due_since(const DatabaseInfo *info);
/* how many schedulers may run at once */
extern int	database_places(void);

/* keep the engine out of a database until resumed; left is true once its processes have gone */
extern bool database_pause(Oid db);
extern bool database_left(Oid db, StringInfo pids);
extern void database_resume(Oid db);

/* the scheduler's side */
extern bool scheduler_attach(Oid db);
extern void scheduler_detach(Oid db, DatabaseState state, TimestampTz next_timer, bool missing);
extern DatabaseNews database_collect(Oid db);
extern bool database_rest(Oid db, bool idle);
extern bool database_should_leave(Oid db);
/* the server had no process for a worker, or for a scheduler */
extern void database_lack_process(void);
/* a worker's process ends, for which a scheduler may wait; shared_lock is held */
extern void database_process_ends(void);

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
/* whether numbers are larger than those that the database has stored, and that they are now */
extern bool database_numbered(Oid db);
/* whether the log says that the engine runs there; returns what was set before */
extern bool database_set_announced(Oid db, bool announced);
extern void database_set_numbered(Oid db);
/* a sum of the names of missing roles that the log has; returns the one before */
extern uint32 database_set_waiting(Oid db, uint32 sum);
/* the extension was created or dropped, or its tables, or the database itself */
extern void database_changed(Oid db);
/* a database has come, or may be connected to now */
extern void database_launcher_look(void);
/* a role has come, got another name, or was dropped: schedulers look at the owners */
extern void database_roles_changed(bool dropped);

#endif
