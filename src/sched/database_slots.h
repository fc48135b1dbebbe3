/*
 * database_slots.h
 *	  Which databases have an engine: slots in shared memory through which the
 *	  launcher, the schedulers and committing sessions reach each other.
 *
 *	A slot has a scheduler or none.  If it has none, due_at says when one is to
 *	come, and state what the last one has said when it left:
 *
 *	Unknown		none has been there, or it failed: due at once, but for retry_at
 *	Absent		the extension is not there: due when that may have changed
 *	Unfit		its tables are not as they should be: as Unknown
 *	Away		nothing was due, or another database was to have the process: due
 *				at the next timer, after an hour, or when somebody has news
 */
#ifndef DURABLE_DATABASE_SLOTS_H
#define DURABLE_DATABASE_SLOTS_H

#include "common/model.h"

#include "lib/stringinfo.h"

/* what the last scheduler of a database has said of it */
typedef enum DatabaseState
{
	DATABASE_UNKNOWN,			/* nothing */
	DATABASE_ABSENT,			/* the extension is not there */
	DATABASE_UNFIT,				/* its tables are not as they should be */
	DATABASE_AWAY				/* nothing is due, or another database is to have the process */
} DatabaseState;

/* what others see of a slot */
typedef struct DatabaseInfo
{
	Oid			db;				/* InvalidOid: the slot is free */
	DatabaseState state;
	TimestampTz since;			/* its scheduler has come, or left */
	pid_t		scheduler_pid;	/* 0: none */
	int			pauses;			/* sessions that keep the engine out */
	int			failures;		/* schedulers that ended soon, in a row */
	TimestampTz due_at;			/* without a scheduler: when one is to come; DT_NOEND: when there is news */
	TimestampTz retry_at;		/* and not before */
	TimestampTz idle_since;		/* its scheduler has nothing to do; 0: it has */
	TimestampTz lacked_at;		/* its scheduler has last found no process for a worker; 0: it has */
	bool		woken;			/* somebody has news for its scheduler */
	bool		leaving;		/* its scheduler was asked to make way */
} DatabaseInfo;

/* what sessions have told a scheduler */
typedef struct DatabaseNews
{
	bool		scan;			/* the lists do not have everything */
	bool		changed;		/* the extension, perhaps */
	bool		roles;			/* some role has come, got another name, or was dropped */
	TimestampTz timer;			/* the earliest new one; 0: none */
} DatabaseNews;

/* facts about a database that its next scheduler needs */
typedef enum DatabaseNote
{
	NOTE_ANNOUNCED,				/* the log says that the engine runs there */
	NOTE_WAITING,				/* a sum of the names of missing roles that the log has */
	NOTE_NUMBERED				/* numbers are larger than those stored there when the scheduler came */
} DatabaseNote;

#define DATABASE_NOTES (NOTE_NUMBERED + 1)

extern void database_slots_register(void);

/* the launcher's side */
extern void launcher_attach(void);
extern bool database_add(Oid db);
extern void database_put_off(Oid db);
extern void database_forget(Oid db);
extern void database_ask_to_leave(Oid db);
/* all slots in use, palloc'd */
extern int	database_list(DatabaseInfo **infos);

/* keep the engine out of a database until resumed; left is true once its processes have gone */
extern bool database_pause(Oid db);
extern bool database_left(Oid db, StringInfo pids);
extern bool database_end_workers(Oid db, StringInfo pids);
extern void database_resume(Oid db);

/* the scheduler's side */
extern bool scheduler_attach(Oid db);
extern void scheduler_detach(Oid db, DatabaseState state, TimestampTz next_timer, bool missing);
extern DatabaseNews database_collect(Oid db);
/* tell whether there is nothing to do; since when (0: there is), whether to leave, and whether to sleep if not */
extern TimestampTz database_rest(Oid db, bool idle, bool *leave, bool *sleep);
/* there was no process for a worker */
extern void database_lack_process(Oid db);

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
/* what was noted of a database, 0 at first; note returns what was noted before */
extern uint32 database_noted(Oid db, DatabaseNote note);
extern uint32 database_note(Oid db, DatabaseNote note, uint32 value);
/* the extension was created or dropped, or its tables, or the database itself */
extern void database_changed(Oid db);
/* a database has come, or may be connected to now */
extern void database_launcher_look(void);
/* a role has come, got another name, or was dropped: schedulers look at the owners */
extern void database_roles_changed(bool dropped);

#endif
