/*
 * crash_notes.h
 *	  What each worker is running right now, in a file that outlives it.
 *
 * The file is mapped into memory, so a note costs a few stores, no write and
 * no commit, and is still there after kill -9 of the worker or a restart of
 * the server.  The scheduler turns the notes of dead workers into delivery
 * counts, so that a function that crashes its process is not tried for ever.
 * A worker that the postmaster stops because of somebody else's crash, or that
 * stops in an orderly shutdown, is not to blame and leaves no note.  Nor does a
 * copy of the server: backups leave the directory pg_stat_tmp out, where the
 * file is, and a file that was copied is another one.
 */
#ifndef DURABLE_CRASH_NOTES_H
#define DURABLE_CRASH_NOTES_H

#include "common/model.h"

typedef struct CrashNote
{
	Oid			db;
	int64		key;
	int			task_id;		/* 0: a turn of the orchestrator */
	TimestampTz since;			/* the call runs since then */
	bool		queued;			/* a task of the queue, not of a turn's round */
	bool		overdue;		/* its worker ended itself as it ignored its timeout */
} CrashNote;

extern void crash_notes_register(void);
/* the worker's side */
extern void crash_note_attach(int slot);
extern void crash_note_write(int64 key, int task_id, bool queued);
/* the call is over, and no interrupt that was meant for it comes any more; tells whether it was cancelled */
extern bool crash_note_clear(void);
extern void crash_note_leave(void);
/* the workers in a database are about to be stopped, which is not their functions' doing */
extern void crash_note_excuse(Oid db);
/* interrupt all workers that are running activities of this instance */
extern void crash_note_cancel(Oid db, int64 key);
/* what the worker in a slot is running now; false: nothing */
extern bool crash_note_running(int slot, pid_t pid, CrashNote *note);
/* what runs has ignored its timeout for so long that its worker has to end */
extern void crash_note_overdue(void);
extern bool crash_note_is_overdue(void);
/* whether what this process runs was cancelled */
extern bool crash_note_is_cancelled(void);
/* whether this process runs user code */
extern bool crash_note_is_running(void);
/* the scheduler's side: the next note, from a place on, left in this database, to be released once it is counted */
extern int	crash_note_next(Oid db, int from, CrashNote *note);
extern void crash_note_release(int i, const CrashNote *note);
/* whether there is any note of this database, of a worker that is alive or dead */
extern bool crash_note_pending(Oid db);

#endif
