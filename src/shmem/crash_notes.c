/*
 * crash_notes.c
 *	  The mapped file of crash notes, with one note for each worker slot.
 *
 * The state of a note is written last and cleared first.  A dead process leaves
 *
 *	RUNNING		if it vanished (crash, kill -9);
 *	EXITED		if it ended in order while it ran user code.  This counts only
 *				as long as the same server runs, since an orderly shutdown
 *				would count otherwise.
 *
 * The postmaster sends SIGQUIT because another process crashed; the worker then
 * clears its note.
 *
 * The note of a dead process is cleared when its count has been committed: the
 * scheduler may end before it commits, and another transaction may hold the
 * row for long.  A worker that gets the slot meanwhile moves the note to the
 * second half of the file.  shared_lock is held to move a note, and to clear a
 * note that may have been moved.
 *
 * A note also says which process to interrupt when an activity is cancelled.
 * A signal that arrives too late would interrupt the next call of the worker,
 * so a gate keeps the call from ending while the signal is sent:
 *
 *	worker: writes the note and opens the gate; runs the call; closes the gate,
 *		for which it waits until no sender holds it; lets pending signals arrive
 *	sender: holds an open gate; checks that the note is still that of the
 *		call; sets `asked` and sends the signal; opens the gate
 *
 * So a call that is interrupted while `asked` is not set was interrupted by an
 * administrator or by itself.  The gate of a turn is never open.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "common/guc.h"
#include "shmem/crash_notes.h"
#include "shmem/shmem.h"

/* PostgreSQL documents that backups may leave out this directory */
#define CRASH_NOTES_FILE	PG_STAT_TMP_DIR "/durable.blackbox"
#define CRASH_NOTES_MAGIC	0x44524238

/* microseconds between two attempts to take a gate that another process holds for a few instructions */
#define GATE_WAIT		20

/* states of the gate */
#define GATE_CLOSED		0
#define GATE_OPEN		1
#define GATE_HELD		2

typedef enum NoteState
{
	NOTE_NONE,
	NOTE_RUNNING,
	NOTE_EXITED
} NoteState;

typedef struct Note
{
	volatile uint32 state;
	pid_t		pid;
	TimestampTz server;			/* PgStartTime of the server in which the process ran */
	volatile bool excused;		/* the engine itself stops the process */
	pg_atomic_uint32 gate;
	volatile bool asked;		/* the call was cancelled; written by the process that holds the gate */
	CrashNote	note;
} Note;

typedef struct CrashNotes
{
	uint32		magic;
	ino_t		inode;			/* inode of the file when it was written; a copy has another inode */
	Note		notes[2 * DURABLE_WORKERS_LIMIT];	/* the second half contains moved notes */
} CrashNotes;

static CrashNotes *crash_notes = NULL;
static Note *my_note = NULL;

/*
 * Map the file; create it if it is missing, comes from another version or is a
 * copy.  Child processes inherit the mapping.  A server that cannot map the
 * file runs without it and does not count crashes.
 */
static void
open_file(LWLock *own_lock)
{
	int			fd;
	struct stat st;

	if (crash_notes != NULL)
		return;
	fd = BasicOpenFile(CRASH_NOTES_FILE, O_RDWR | O_CREAT | PG_BINARY);
	if (fd < 0 || fstat(fd, &st) != 0 ||
		(st.st_size != sizeof(CrashNotes) &&
		 (ftruncate(fd, 0) != 0 || posix_fallocate(fd, 0, sizeof(CrashNotes)) != 0)))
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not open file \"%s\": %m", CRASH_NOTES_FILE)));
		if (fd >= 0)
			close(fd);
		return;
	}
	crash_notes = mmap(NULL, sizeof(CrashNotes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (crash_notes == MAP_FAILED)
	{
		crash_notes = NULL;
		ereport(LOG, (errmsg("could not map file \"%s\": %m", CRASH_NOTES_FILE)));
		return;
	}
	if (crash_notes->magic != CRASH_NOTES_MAGIC || crash_notes->inode != st.st_ino)
	{
		memset(crash_notes, 0, sizeof(CrashNotes));
		crash_notes->magic = CRASH_NOTES_MAGIC;
		crash_notes->inode = st.st_ino;
	}
}

/* The notes are in a file, so they take no shared memory. */
static Size
crash_notes_size(void)
{
	return 0;
}

void
crash_notes_register(void)
{
	shmem_add(crash_notes_size, open_file);
}

/* SIGQUIT handler: end at once because another process crashed. */
static void
quit_without_note(SIGNAL_ARGS)
{
	if (my_note != NULL)
		my_note->state = NOTE_NONE;
	_exit(2);
}

/* Move the note of a dead process to a free place; if there is none, over an older note of the same slot. */
static void
move_aside(const Note *left, int slot)
{
	Note	   *place = &crash_notes->notes[DURABLE_WORKERS_LIMIT + slot];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = DURABLE_WORKERS_LIMIT; i < lengthof(crash_notes->notes) && place->state != NOTE_NONE; i++)
		if (crash_notes->notes[i].state == NOTE_NONE)
			place = &crash_notes->notes[i];
	*place = *left;
	LWLockRelease(shared_lock);
}

/* Use the note of this slot from now on; called by a worker at its start. */
void
crash_note_attach(int slot)
{
	if (crash_notes == NULL)
		return;
	my_note = &crash_notes->notes[slot];
	if (my_note->state != NOTE_NONE)
		move_aside(my_note, slot);
	my_note->state = NOTE_NONE;
	my_note->pid = MyProcPid;
	my_note->server = PgStartTime;
	pg_atomic_init_u32(&my_note->gate, GATE_CLOSED);
	my_note->note.db = MyDatabaseId;
	pqsignal(SIGQUIT, quit_without_note);
}

/*
 * This worker is about to run user code for an instance.  The caller calls
 * crash_note_clear when the code returns.
 */
void
crash_note_write(int64 key, int task_id, bool queued)
{
	if (my_note == NULL)
		return;
	/* a cancellation that is pending now was not meant for this call */
	QueryCancelPending = false;
	pg_write_barrier();
	my_note->note.key = key;
	my_note->note.task_id = task_id;
	my_note->note.since = GetCurrentTimestamp();
	my_note->note.queued = queued;
	my_note->note.overdue = false;
	my_note->asked = false;
	my_note->excused = false;
	pg_write_barrier();
	my_note->state = NOTE_RUNNING;
	if (task_id != 0)
		pg_atomic_write_u32(&my_note->gate, GATE_OPEN);
}

/* The call has ignored its timeout for too long.  Called by a signal handler. */
void
crash_note_overdue(void)
{
	if (my_note != NULL && my_note->state == NOTE_RUNNING)
		my_note->note.overdue = true;
}

/* Whether this process ends because its call ignored the timeout. */
bool
crash_note_is_overdue(void)
{
	return my_note != NULL && my_note->state == NOTE_RUNNING && my_note->note.overdue;
}

/* Whether the call of this process was cancelled.  Called by a signal handler. */
bool
crash_note_is_cancelled(void)
{
	return my_note != NULL && my_note->state == NOTE_RUNNING && my_note->asked;
}

bool
crash_note_is_running(void)
{
	return my_note != NULL && my_note->state == NOTE_RUNNING;
}

/* Take an open gate, to hold or to close it; false if it is closed. */
static bool
gate_take(Note *note, uint32 to)
{
	uint32		state = GATE_OPEN;

	while (!pg_atomic_compare_exchange_u32(&note->gate, &state, to))
	{
		if (state == GATE_CLOSED)
			return false;
		pg_usleep(GATE_WAIT);
		state = GATE_OPEN;
	}
	return true;
}

/*
 * Close the gate.  A signal that was sent before is pending and is delivered
 * at the latest when a system call returns.  It was meant for the call that is
 * over.
 */
static void
gate_close(void)
{
	if (!gate_take(my_note, GATE_CLOSED) || !my_note->asked)
		return;
	pg_usleep(1);
	QueryCancelPending = false;
}

/* User code has returned. */
bool
crash_note_clear(void)
{
	if (my_note == NULL)
		return false;
	my_note->state = NOTE_NONE;
	gate_close();
	return my_note->asked;
}

/* The process ends in order, perhaps within user code.  Another process may have the slot already. */
void
crash_note_leave(void)
{
	if (my_note != NULL && my_note->pid == MyProcPid)
	{
		if (my_note->state == NOTE_RUNNING)
			my_note->state = my_note->excused ? NOTE_NONE : NOTE_EXITED;
		gate_close();
	}
	my_note = NULL;
}

/* The engine stops the workers of a database: do not count their notes. */
void
crash_note_excuse(Oid db)
{
	for (int i = 0; crash_notes != NULL && i < DURABLE_WORKERS_LIMIT; i++)
		if (crash_notes->notes[i].note.db == db)
			crash_notes->notes[i].excused = true;
}

/* Whether a worker of this server runs an activity of the instance. */
static bool
runs_activity_of(const Note *note, Oid db, int64 key)
{
	return note->state == NOTE_RUNNING && note->server == PgStartTime &&
		note->note.db == db && note->note.key == key && note->note.task_id != 0;
}

/* Cancel the call; the caller holds its gate, which is opened again. */
static void
cancel(Note *note)
{
	note->asked = true;
	kill(note->pid, SIGINT);
	pg_atomic_write_u32(&note->gate, GATE_OPEN);
}

/* Interrupt the workers that run activities of an instance. */
void
crash_note_cancel(Oid db, int64 key)
{
	for (int i = 0; crash_notes != NULL && i < DURABLE_WORKERS_LIMIT; i++)
	{
		Note	   *note = &crash_notes->notes[i];

		if (!runs_activity_of(note, db, key) || !gate_take(note, GATE_HELD))
			continue;
		if (runs_activity_of(note, db, key))
			cancel(note);
		else
			pg_atomic_write_u32(&note->gate, GATE_OPEN);
	}
}

/*
 * The note of the worker in a slot.  There is no lock.  The owner changes
 * key, task_id and since only while the state is not RUNNING, so two equal
 * reads with a barrier between them show one call (or two calls that are
 * alike).
 */
bool
crash_note_running(int slot, pid_t pid, CrashNote *result)
{
	for (int tries = 0; crash_notes != NULL && tries < 10; tries++)
	{
		const Note *note = &crash_notes->notes[slot];
		const volatile CrashNote *current = &note->note;

		if (note->state != NOTE_RUNNING || note->pid != pid || note->server != PgStartTime)
			return false;
		pg_read_barrier();
		*result = *current;
		pg_read_barrier();
		if (note->state == NOTE_RUNNING && current->key == result->key && current->task_id == result->task_id &&
			current->since == result->since)
			return true;
	}
	return false;
}

/*
 * Whether a note is one that a dead worker of this database left.  Until the
 * postmaster has cleaned up after a crash, the dead process still has its
 * transaction and its locks, so its row could not be locked to be counted.
 */
static bool
note_abandoned(int i, Oid db)
{
	const Note *note = &crash_notes->notes[i];

	return note->state != NOTE_NONE && note->note.db == db &&
		(note->server != PgStartTime || BackendPidGetProc(note->pid) == NULL);
}

/*
 * The index of the next note, from an index on, that a dead worker of this
 * database left; -1 if there is none.
 */
int
crash_note_next(Oid db, int from, CrashNote *result)
{
	for (int i = from; crash_notes != NULL && i < lengthof(crash_notes->notes); i++)
	{
		Note	   *note = &crash_notes->notes[i];

		if (!note_abandoned(i, db))
			continue;
		*result = note->note;
		if (note->state == NOTE_RUNNING || note->server == PgStartTime)
			return i;
		note->state = NOTE_NONE;
	}
	return -1;
}

/* Whether there is any note of a database.  A worker that is about to end may still have one. */
bool
crash_note_pending(Oid db)
{
	for (int i = 0; crash_notes != NULL && i < lengthof(crash_notes->notes); i++)
		if (crash_notes->notes[i].state != NOTE_NONE && crash_notes->notes[i].note.db == db)
			return true;
	return false;
}

/* Whether the note at an index is equal to this one and was left by a dead worker. */
static bool
holds_note(int i, const CrashNote *note)
{
	const CrashNote *other = &crash_notes->notes[i].note;

	return note_abandoned(i, note->db) && other->key == note->key && other->task_id == note->task_id &&
		other->queued == note->queued && other->overdue == note->overdue;
}

/* A note has been counted.  A worker that got the slot meanwhile may have moved the note. */
void
crash_note_release(int i, const CrashNote *note)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int j = DURABLE_WORKERS_LIMIT; j < lengthof(crash_notes->notes) && !holds_note(i, note); j++)
		i = j;
	if (holds_note(i, note))
		crash_notes->notes[i].state = NOTE_NONE;
	LWLockRelease(shared_lock);
}
