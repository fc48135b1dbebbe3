/*
 * crash_notes.c
 *	  The mapped file of notes, one a worker slot.
 *
 * A note's state is written last and cleared first.  RUNNING left behind by a
 * process that is no more means that it vanished (crash, kill -9); EXITED that
 * it left in order while running user code, which counts only as long as the
 * same server runs, or an orderly shutdown would count.  SIGQUIT comes from
 * the postmaster because of another process's crash and clears the note.
 *
 * A note left behind is cleared when its count is committed, not before: the
 * scheduler that counts may itself be ended in between, and somebody may hold
 * the row for long.  A worker that gets the slot meanwhile moves it aside; who
 * does that, or clears a note that may have been moved, holds shared_lock.
 *
 * The note also says whom to interrupt when an activity is cancelled.
 *  A signal that comes late would be the failure of whatever its worker
 * runs by then, so a gate keeps the call from ending while the signal is sent:
 *	worker: writes the note, opens the gate; runs the call; closes the gate,
 *		waiting for who holds it, and has what was sent by then delivered
 *	sender: holds an open gate; looks whether it is still the call that is
 *		meant; says what is asked for and sends the signal; lets go
 * So a call that is interrupted without being asked to was interrupted by an
 * administrator or by its own doing.  A turn's gate is never open.
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

/* PostgreSQL's documentation says that backups may leave out what is in this directory */
#define CRASH_NOTES_FILE	PG_STAT_TMP_DIR "/durable.blackbox"
#define CRASH_NOTES_MAGIC	0x44524238

/* microseconds between two tries at a gate that another process holds, for the time of a few instructions */
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
	TimestampTz server;			/* PgStartTime of the server it ran in */
	volatile bool excused;		/* it is being stopped by the engine itself */
	pg_atomic_uint32 gate;
	volatile bool asked;		/* the call is to be cancelled; written by who holds the gate */
	CrashNote	note;
} Note;

typedef struct CrashNotes
{
	uint32		magic;
	ino_t		inode;			/* of the file in which it was written: that of a copy is another */
	Note		notes[2 * DURABLE_WORKERS_LIMIT];	/* the second half: moved aside */
} CrashNotes;

static CrashNotes *box = NULL;
static Note *my_note = NULL;

/*
 * Map the file, making it if it is missing, of another version or a copy.  Children
 * inherit the mapping.  A server that cannot map it runs without: then only
 * the counting of crashes is lost.
 */
static void
open_file(LWLock *own_lock)
{
	int			fd;
	struct stat st;

	if (box != NULL)
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
	box = mmap(NULL, sizeof(CrashNotes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (box == MAP_FAILED)
	{
		box = NULL;
		ereport(LOG, (errmsg("could not map file \"%s\": %m", CRASH_NOTES_FILE)));
		return;
	}
	if (box->magic != CRASH_NOTES_MAGIC || box->inode != st.st_ino)
	{
		memset(box, 0, sizeof(CrashNotes));
		box->magic = CRASH_NOTES_MAGIC;
		box->inode = st.st_ino;
	}
}

/* The notes are in a file, which outlives a crash: they take no memory of the server's. */
static Size
crash_notes_size(void)
{
	return 0;
}

/* Have the file opened at the start of the server. */
void
crash_notes_register(void)
{
	shmem_add(crash_notes_size, open_file);
}

/* Leave at once because another process crashed: not this worker's doing. */
static void
quit_without_note(SIGNAL_ARGS)
{
	if (my_note != NULL)
		my_note->state = NOTE_NONE;
	_exit(2);
}

/* Move a note that was left behind to a free place, or where that of an earlier worker in the slot is, if all are taken. */
static void
move_aside(const Note *left, int slot)
{
	Note	   *place = &box->notes[DURABLE_WORKERS_LIMIT + slot];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = DURABLE_WORKERS_LIMIT; i < lengthof(box->notes) && place->state != NOTE_NONE; i++)
		if (box->notes[i].state == NOTE_NONE)
			place = &box->notes[i];
	*place = *left;
	LWLockRelease(shared_lock);
}

/* Use the note of this slot from now on. */
void
crash_note_attach(int slot)
{
	if (box == NULL)
		return;
	my_note = &box->notes[slot];
	if (my_note->state != NOTE_NONE)
		move_aside(my_note, slot);
	my_note->state = NOTE_NONE;
	my_note->pid = MyProcPid;
	my_note->server = PgStartTime;
	pg_atomic_init_u32(&my_note->gate, GATE_CLOSED);
	my_note->note.db = MyDatabaseId;
	pqsignal(SIGQUIT, quit_without_note);
}

/* This worker is about to run user code for an instance. */
void
crash_note_write(int64 key, int task_id, bool queued)
{
	if (my_note == NULL)
		return;
	/* what came before cannot be meant for this call */
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

/* What runs has ignored its timeout for too long.  Called by a signal handler. */
void
crash_note_overdue(void)
{
	if (my_note != NULL && my_note->state == NOTE_RUNNING)
		my_note->note.overdue = true;
}

/* Whether this process ends because of that. */
bool
crash_note_is_overdue(void)
{
	return my_note != NULL && my_note->state == NOTE_RUNNING && my_note->note.overdue;
}

/* Whether what this process runs was cancelled.  Called by a signal handler. */
bool
crash_note_is_cancelled(void)
{
	return my_note != NULL && my_note->state == NOTE_RUNNING && my_note->asked;
}

/* Whether this process runs user code. */
bool
crash_note_is_running(void)
{
	return my_note != NULL && my_note->state == NOTE_RUNNING;
}

/* Take an open gate, to hold it or to close it; false if it is closed. */
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
 * Close the gate.  What has been sent is pending by then and is delivered when
 * a system call returns, if not before; it was meant for the call that is over.
 */
static void
gate_close(void)
{
	if (!gate_take(my_note, GATE_CLOSED) || !my_note->asked)
		return;
	pg_usleep(1);
	QueryCancelPending = false;
}

/* User code has returned.  Whether it was cancelled. */
bool
crash_note_clear(void)
{
	if (my_note == NULL)
		return false;
	my_note->state = NOTE_NONE;
	gate_close();
	return my_note->asked;
}

/* The process ends in order, perhaps in the middle of user code.  The slot may be another's already. */
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

/* Do not count it when the workers of a database end now. */
void
crash_note_excuse(Oid db)
{
	for (int i = 0; box != NULL && i < DURABLE_WORKERS_LIMIT; i++)
		if (box->notes[i].note.db == db)
			box->notes[i].excused = true;
}

/* Whether a worker of this server runs an activity of the instance. */
static bool
runs_activity_of(const Note *note, Oid db, int64 key)
{
	return note->state == NOTE_RUNNING && note->server == PgStartTime &&
		note->note.db == db && note->note.key == key && note->note.task_id != 0;
}

/* Cancel the call whose gate is held, and let go. */
static void
cancel(Note *note)
{
	note->asked = true;
	kill(note->pid, SIGINT);
	pg_atomic_write_u32(&note->gate, GATE_OPEN);
}

/* Interrupt the workers that are running activities of an instance. */
void
crash_note_cancel(Oid db, int64 key)
{
	for (int i = 0; box != NULL && i < DURABLE_WORKERS_LIMIT; i++)
	{
		Note	   *note = &box->notes[i];

		if (!runs_activity_of(note, db, key) || !gate_take(note, GATE_HELD))
			continue;
		if (runs_activity_of(note, db, key))
			cancel(note);
		else
			pg_atomic_write_u32(&note->gate, GATE_OPEN);
	}
}

/*
 * What the worker in a slot is running now.  The note changes without a lock,
 * but never while its state says that something runs, so that two equal looks
 * with a barrier between them are at one and the same call, or at two alike.
 */
bool
crash_note_running(int slot, pid_t pid, CrashNote *result)
{
	for (int tries = 0; box != NULL && tries < 10; tries++)
	{
		const Note *note = &box->notes[slot];
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
 * postmaster has cleared up after a crash, the dead process still has its
 * transaction and its locks, so that its row could not be counted on.
 */
static bool
note_abandoned(int i, Oid db)
{
	const Note *note = &box->notes[i];

	return note->state != NOTE_NONE && note->note.db == db &&
		(note->server != PgStartTime || BackendPidGetProc(note->pid) == NULL);
}

/* The next note, from a place on, that a dead worker of this database left, or -1; to be released when it is counted. */
int
crash_note_next(Oid db, int from, CrashNote *result)
{
	for (int i = from; box != NULL && i < lengthof(box->notes); i++)
	{
		Note	   *note = &box->notes[i];

		if (!note_abandoned(i, db))
			continue;
		*result = note->note;
		if (note->state == NOTE_RUNNING || note->server == PgStartTime)
			return i;
		note->state = NOTE_NONE;
	}
	return -1;
}

/* Whether there is any note of a database: a worker that is about to end may not have left it yet. */
bool
crash_note_pending(Oid db)
{
	for (int i = 0; box != NULL && i < lengthof(box->notes); i++)
		if (box->notes[i].state != NOTE_NONE && box->notes[i].note.db == db)
			return true;
	return false;
}

/* Whether a place has a note like this, which a dead worker left. */
static bool
holds_note(int i, const CrashNote *note)
{
	const CrashNote *other = &box->notes[i].note;

	return note_abandoned(i, note->db) && other->key == note->key && other->task_id == note->task_id &&
		other->queued == note->queued && other->overdue == note->overdue;
}

/* A note has been counted.  A worker that has got its slot meanwhile has moved it aside. */
void
crash_note_release(int i, const CrashNote *note)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int j = DURABLE_WORKERS_LIMIT; j < lengthof(box->notes) && !holds_note(i, note); j++)
		i = j;
	if (holds_note(i, note))
		box->notes[i].state = NOTE_NONE;
	LWLockRelease(shared_lock);
}
