/*
 * crash_notes.h
 *	  Notes of what each worker runs, in a file that outlives the worker.
 *
 * The file is mapped into memory: a note costs a few stores, no write and no
 * commit, and is still there after a kill -9 of the worker or a restart of the
 * server.  The scheduler turns the notes of dead workers into delivery counts,
 * so that a function that crashes its process is not tried for ever.
 *
 * A worker that the postmaster stops because another process crashed, or that
 * ends in an orderly shutdown, leaves no note.  A copy of the server has no
 * notes either: backups leave out the directory pg_stat_tmp, where the file
 * is, and a copied file is recognized by its inode.
 */
#ifndef DURABLE_CRASH_NOTES_H
#define DURABLE_CRASH_NOTES_H

#include "common/model.h"

typedef struct CrashNote
{
	Oid			db;
	int64		key;
	int			task_id;		/* 0: a turn of the orchestrator */
	TimestampTz since;			/* when the call began */
	bool		queued;			/* a queued activity, not one that runs between the turns of an instance */
	bool		overdue;		/* the worker ended itself because the call ignored its timeout */
} CrashNote;

extern void crash_notes_register(void);
/* for the worker itself */
extern void crash_note_attach(int slot);
extern void crash_note_write(int64 key, int task_id, bool queued);
/*
 * The call is over.  No interrupt that was meant for it arrives after this.
 * Returns whether the call was cancelled.
 */
extern bool crash_note_clear(void);
extern void crash_note_leave(void);
/* the engine is about to stop the workers of a database: their notes do not count */
extern void crash_note_excuse(Oid db);
/* interrupt all workers that run activities of this instance */
extern void crash_note_cancel(Oid db, int64 key);
/* the note of the worker in a slot; false if it runs no user code */
extern bool crash_note_running(int slot, pid_t pid, CrashNote *note);
/* the call has ignored its timeout for so long that the worker ends */
extern void crash_note_overdue(void);
extern bool crash_note_is_overdue(void);
/* whether the call of this process was cancelled */
extern bool crash_note_is_cancelled(void);
/* whether this process runs user code */
extern bool crash_note_is_running(void);
/*
 * for the scheduler: the index of the next note, from an index on, that a dead
 * worker of this database left, or -1; crash_note_release frees it
 */
extern int	crash_note_next(Oid db, int from, CrashNote *note);
extern void crash_note_release(int i, const CrashNote *note);
/* whether this database has any note, of a live or a dead worker */
extern bool crash_note_pending(Oid db);

#endif
