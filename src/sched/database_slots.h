/*
 * database_slots.h
 *	  The databases that have an engine: slots in shared memory through which the
 *	  launcher, the schedulers and committing sessions reach each other.
 *
 * A slot has a scheduler or none.  If it has none, due_at says when the
 * launcher starts one, and state says how the last scheduler left:
 *
 *	Unknown		there was none, or it failed: due at once, not before retry_at
 *	Absent		the extension does not exist: due when this may have changed
 *	Unfit		its tables do not fit (table_check.h): as Unknown
 *	Away		nothing was due, or another database needed the process: due
 *				before the next timer, after an hour, or at a wake-up
 *
 * The functions take shared_lock themselves.
 */
#ifndef DURABLE_DATABASE_SLOTS_H
#define DURABLE_DATABASE_SLOTS_H

#include "common/model.h"

#include "lib/stringinfo.h"

/* how the last scheduler of a database left */
typedef enum DatabaseState
{
	DATABASE_UNKNOWN,			/* it failed, or there was none */
	DATABASE_ABSENT,			/* the extension does not exist */
	DATABASE_UNFIT,				/* the tables do not fit */
	DATABASE_AWAY				/* nothing was due, or another database needed the process */
} DatabaseState;

/* what other processes see of a slot */
typedef struct DatabaseInfo
{
	Oid			db;				/* InvalidOid: the slot is free */
	DatabaseState state;
	TimestampTz since;			/* when the scheduler came, or the last one left */
	pid_t		scheduler_pid;	/* 0: none */
	int			pauses;			/* sessions that keep the engine out */
	int			failures;		/* schedulers in a row that ended soon after their start */
	TimestampTz due_at;			/* without a scheduler: when one starts; DT_NOEND: at a wake-up */
	TimestampTz retry_at;		/* without a scheduler: none starts before this */
	TimestampTz idle_since;		/* when the scheduler ran out of work; 0: it has work */
	TimestampTz lacked_at;		/* when the scheduler last found no process for a worker; 0: it always found one */
	bool		woken;			/* a session has woken the scheduler */
	bool		leaving;		/* the scheduler was asked to leave for another */
} DatabaseInfo;

/* what sessions have told a scheduler since it last collected this */
typedef struct DatabaseNews
{
	bool		scan;			/* the ready queues lack some work: scan the tables */
	bool		changed;		/* the extension may have been created, changed or dropped */
	bool		roles;			/* a role was created, renamed or dropped */
	TimestampTz timer;			/* the earliest new timer; 0: none */
} DatabaseNews;

/* facts about a database that outlive its scheduler */
typedef enum DatabaseNote
{
	NOTE_ANNOUNCED,				/* the log says that the engine runs there */
	NOTE_WAITING,				/* a checksum of the names of missing roles that were logged */
	NOTE_NUMBERED				/* database_next_number is beyond all numbers that were stored when the scheduler came */
} DatabaseNote;

#define DATABASE_NOTES (NOTE_NUMBERED + 1)

extern void database_slots_register(void);

/* for the launcher */
extern void launcher_attach(void);
extern bool database_add(Oid db);
extern void database_put_off(Oid db);
extern void database_forget(Oid db);
extern void database_ask_to_leave(Oid db);
/* all slots in use, palloc'd */
extern int	database_list(DatabaseInfo **infos);

/*
 * Keep the engine out of a database until database_resume.  database_left
 * returns true once the processes of the engine have gone.
 */
extern bool database_pause(Oid db);
extern bool database_left(Oid db, StringInfo pids);
extern bool database_end_workers(Oid db, StringInfo pids);
extern void database_resume(Oid db);

/* for the scheduler */
extern bool scheduler_attach(Oid db);
extern void scheduler_detach(Oid db, DatabaseState state, TimestampTz next_timer, bool missing);
extern DatabaseNews database_collect(Oid db);
/*
 * the scheduler says whether it is idle; returns since when (0: it is not),
 * whether to leave, and whether to sleep if it stays
 */
extern TimestampTz database_rest(Oid db, bool idle, bool *leave, bool *sleep);
/* the scheduler found no process for a worker */
extern void database_lack_process(Oid db);

/* whether the database has a scheduler; each scheduler scans the tables when it comes */
extern bool database_served(Oid db);

/* for any session, also one that holds shared_lock: wake the scheduler; make it scan the tables */
extern void database_poke(Oid db);
extern void database_request_scan(Oid db);
/* the same; the scheduler also looks for timers */
extern void database_request_look(Oid db);
extern void database_announce_timer(Oid db, TimestampTz fire_at);
/* the next key or message id: larger than all before, and than the bound */
extern int64 database_next_number(int64 bound);
/* a note of a database, 0 at first; database_note returns the value before */
extern uint32 database_noted(Oid db, DatabaseNote note);
extern uint32 database_note(Oid db, DatabaseNote note, uint32 value);
/* the extension or its tables were created, changed or dropped, or the database was */
extern void database_changed(Oid db);
/* a database was created, or can be connected to now */
extern void database_launcher_look(void);
/* a role was created or renamed, or dropped: schedulers check the owners */
extern void database_roles_changed(bool dropped);

#endif
