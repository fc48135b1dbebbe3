/*
 * database_slots.c
 *	  The slots of the databases, and the launcher's latch.
 *
 * A slot is taken when the launcher first looks at a database and kept while
 * the database exists.  There are durable.max_databases.  Latches are set under
 * shared_lock too, so that they are never those of a process that has left.
 * Functions called with shared_lock held by this process (database_poke,
 * database_request_scan) know that and do not take it again.
 *
 * A scheduler that ends soon after it was started, whatever of, is followed by
 * another after a pause that doubles each time, up to a minute; one that has
 * lasted for a minute, or news of the extension, ends that.
 *
 * A scheduler leaves a database in which nothing is due.  The slot says when the
 * next one is to come (due_at): at once when somebody wakes the database, before
 * the next timer is due, and after LONGEST_AWAY in any case.  shared_lock guards
 * the slot.  A wake-up that finds a scheduler sets `woken`; if the scheduler ends
 * before it has looked, database_slot_end sets due_at.  A wake-up that finds no scheduler
 * sets due_at itself.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "common/guc.h"
#include "sched/database_slots.h"
#include "sched/ready_queue.h"
#include "sched/worker_slots.h"
#include "shmem/crash_notes.h"
#include "shmem/shmem.h"

/* pauses between schedulers that end soon */
#define FIRST_PAUSE		USECS_PER_SEC
#define LONGEST_PAUSE	(60 * USECS_PER_SEC)
/* one that has lasted for so long has not failed */
#define LASTING			(60 * USECS_PER_SEC)
/* a scheduler is started so long before a timer is due: a start takes much less, and schedulers stay while a timer is nearer than a second */
#define START_TIME		(USECS_PER_SEC / 2)
/* a database that a scheduler has left is looked at after this, should something be due of which nobody has told */
#define LONGEST_AWAY	(3600 * USECS_PER_SEC)

typedef struct DatabaseSlot
{
	DatabaseInfo info;
	Latch	   *scheduler;		/* NULL: none runs */
	DatabaseNews news;			/* since the scheduler last collected */
	bool		missing;		/* something there belongs to a role that does not exist */
	uint32		notes[DATABASE_NOTES];
} DatabaseSlot;

typedef struct DatabaseShared
{
	Latch	   *launcher;		/* NULL: it does not run */
	pg_atomic_uint64 number;	/* last one given out; no lock */
	int			used;			/* slots beyond these have never been used */
	DatabaseSlot slots[FLEXIBLE_ARRAY_MEMBER];
} DatabaseShared;

static DatabaseShared *shared = NULL;

/* Bytes of shared memory that the slots take. */
static Size
database_slots_size(void)
{
	return MAXALIGN(add_size(offsetof(DatabaseShared, slots), mul_size(durable_max_databases, sizeof(DatabaseSlot))));
}

/* Lay the slots out, all free. */
static void
database_slots_init(LWLock *own_lock)
{
	bool		found;

	shared = ShmemInitStruct("durable databases", database_slots_size(), &found);
	if (found)
		return;
	memset(shared, 0, database_slots_size());
	pg_atomic_init_u64(&shared->number, 0);
}

/* Have the part laid out at the start of the server. */
void
database_slots_register(void)
{
	shmem_add(database_slots_size, database_slots_init);
}

/* Take shared_lock unless this process has it; tells whether to release it. */
static bool
lock(void)
{
	if (LWLockHeldByMe(shared_lock))
		return false;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	return true;
}

/* Release shared_lock if lock() took it. */
static void
unlock(bool taken)
{
	if (taken)
		LWLockRelease(shared_lock);
}

/* The slot of a database; with create a free one becomes its. */
static DatabaseSlot *
database_slot_get(Oid db, bool create)
{
	DatabaseSlot *free_slot = NULL;

	for (int i = 0; i < shared->used; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];

		if (slot->info.db == db)
			return slot;
		if (slot->info.db == InvalidOid && free_slot == NULL)
			free_slot = slot;
	}
	if (create && free_slot == NULL && shared->used < durable_max_databases)
		free_slot = &shared->slots[shared->used++];
	if (!create || free_slot == NULL)
		return NULL;
	memset(free_slot, 0, sizeof(DatabaseSlot));
	free_slot->info.db = db;
	free_slot->info.since = free_slot->info.due_at = GetCurrentTimestamp();
	return free_slot;
}

/* Take shared_lock, for the slot of a database; NULL if it has none. */
static DatabaseSlot *
lock_slot(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	return database_slot_get(db, false);
}

/* Have the launcher look at the databases. */
static void
wake_launcher(void)
{
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
}

/* Have the launcher start a scheduler at a time, or before; where the extension is not none has anything to do. */
static void
database_slot_due(DatabaseSlot *slot, TimestampTz at)
{
	if (slot->info.due_at <= at || slot->info.state == DATABASE_ABSENT)
		return;
	slot->info.due_at = at;
	wake_launcher();
}

/* Wake the scheduler, or have the launcher start one. */
static void
database_slot_wake(DatabaseSlot *slot)
{
	slot->info.woken = true;
	if (slot->scheduler != NULL)
		SetLatch(slot->scheduler);
	else
		database_slot_due(slot, GetCurrentTimestamp());
}

/* Have a scheduler come before a timer is due; all times may have passed. */
static void
database_slot_due_for_timer(DatabaseSlot *slot, TimestampTz timer)
{
	database_slot_due(slot, timer > START_TIME ? timer - START_TIME : 0);
}

/* The scheduler ends: what it says of the database, and when the next one is to come. */
static void
database_slot_end(DatabaseSlot *slot, DatabaseState state)
{
	DatabaseInfo *info = &slot->info;
	TimestampTz now = GetCurrentTimestamp();
	bool		failed = state == DATABASE_UNKNOWN || state == DATABASE_UNFIT;
	int			doublings;

	if (!failed || now - info->since >= LASTING)
		info->failures = 0;
	info->failures += failed;
	/* after the first end there may be nothing wrong; tables are */
	doublings = info->failures - (state == DATABASE_UNFIT ? 1 : 2);
	info->retry_at = failed && doublings >= 0 ? now + Min(FIRST_PAUSE << Min(doublings, 16), LONGEST_PAUSE) : 0;
	/* a wake-up that the scheduler has not looked at is left to the next one */
	info->due_at = failed || info->woken ? now : state == DATABASE_ABSENT ? DT_NOEND : now + LONGEST_AWAY;
	info->state = state;
	info->since = now;
	info->scheduler_pid = 0;
	info->leaving = false;
	info->idle_since = info->lacked_at = 0;
	slot->scheduler = NULL;
}

/* Clear the launcher's latch when it ends. */
static void
launcher_detach(int code, Datum arg)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(shared_lock);
}

/* This process is the launcher now. */
void
launcher_attach(void)
{
	on_shmem_exit(launcher_detach, (Datum) 0);
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	LWLockRelease(shared_lock);
}

/* Have a slot for a database; false when there is none left. */
bool
database_add(Oid db)
{
	bool		added;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	added = database_slot_get(db, true) != NULL;
	LWLockRelease(shared_lock);
	return added;
}

/* A scheduler was started: should it never come, the next one is started after a pause. */
void
database_put_off(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	/* it may have come already */
	if (slot != NULL && slot->scheduler == NULL)
		slot->info.retry_at = Max(slot->info.retry_at, GetCurrentTimestamp() + FIRST_PAUSE);
	LWLockRelease(shared_lock);
}

/* The database has gone, or is not to have an engine: forget what is known, but that it is paused. */
void
database_forget(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL && slot->scheduler == NULL && slot->info.pauses == 0)
		memset(slot, 0, sizeof(DatabaseSlot));
	LWLockRelease(shared_lock);
}

/* Ask the scheduler of a database to make way for another. */
void
database_ask_to_leave(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL && slot->scheduler != NULL)
	{
		slot->info.leaving = true;
		SetLatch(slot->scheduler);
	}
	LWLockRelease(shared_lock);
}

/* All slots in use. */
int
database_list(DatabaseInfo **infos)
{
	DatabaseInfo *list = palloc(durable_max_databases * sizeof(DatabaseInfo));
	int			count = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->used; i++)
		if (shared->slots[i].info.db != InvalidOid)
			list[count++] = shared->slots[i].info;
	LWLockRelease(shared_lock);
	*infos = list;
	return count;
}

/* Keep the engine out of a database; false if it has no slot and so no engine. */
bool
database_pause(Oid db)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = database_slot_get(db, true);
	if (slot != NULL)
		slot->info.pauses++;
	LWLockRelease(shared_lock);
	return slot != NULL;
}

/* End a process of the engine and add its pid to those that have not ended. */
static void
end_process(pid_t pid, StringInfo pids)
{
	kill(pid, SIGTERM);
	appendStringInfo(pids, "%s%d", pids->len > 0 ? ", " : "", (int) pid);
}

/* End the workers of a database, by the scheduler that leaves it too; as database_left. */
bool
database_end_workers(Oid db, StringInfo pids)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			count = worker_slot_list(workers);
	bool		gone = true;

	crash_note_excuse(db);
	for (int i = 0; i < count; i++)
	{
		if (workers[i].db != db)
			continue;
		gone = false;
		if (workers[i].pid != 0)
			end_process(workers[i].pid, pids);
	}
	return gone;
}

/*
 * End the engine's processes in a database that is paused, or not to have an
 * engine: true when none is left, to be called again until then.  pids gets those
 * that are left and have a pid.
 */
bool
database_left(Oid db, StringInfo pids)
{
	DatabaseSlot *slot = lock_slot(db);
	/* one that is being started goes by itself: see scheduler_attach */
	bool		gone = slot == NULL || slot->scheduler == NULL;

	resetStringInfo(pids);
	if (!gone)
		end_process(slot->info.scheduler_pid, pids);
	LWLockRelease(shared_lock);
	/* nobody starts what a worker that ends now leaves to others; the next scheduler looks into the tables */
	if (gone)
	{
		ready_forget(db);
		worker_slots_forget_wanted(db);
	}
	return database_end_workers(db, pids) && gone;
}

/* Let the engine in again, unless another session keeps it out too. */
void
database_resume(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL && slot->info.pauses > 0)
	{
		slot->info.pauses--;
		/* that it was ended is no failure */
		slot->info.failures = 0;
		slot->info.retry_at = 0;
	}
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* This process is the scheduler of the database; false when there is one, or none is to be. */
bool
scheduler_attach(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);
	bool		attached = slot != NULL && slot->scheduler == NULL && slot->info.pauses == 0;

	if (attached)
	{
		slot->scheduler = MyLatch;
		slot->info.scheduler_pid = MyProcPid;
		slot->info.since = GetCurrentTimestamp();
		slot->info.retry_at = 0;
		/* one that nobody has woken leaves when it has looked and found nothing */
		slot->info.idle_since = slot->info.woken ? 0 : 1;
		slot->info.woken = false;
		slot->news.scan = true;
		slot->notes[NOTE_NUMBERED] = 0;
	}
	LWLockRelease(shared_lock);
	return attached;
}

/*
 * The scheduler ends; the launcher starts another as the state says, in time for
 * the next timer (0: there is none) if it is away.  missing: something in the
 * database belongs to a role that does not exist.
 */
void
scheduler_detach(Oid db, DatabaseState state, TimestampTz next_timer, bool missing)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL)
	{
		database_slot_end(slot, state);
		slot->missing = missing;
		if (next_timer != 0)
			database_slot_due_for_timer(slot, next_timer);
	}
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* What sessions have told the scheduler since it last asked. */
DatabaseNews
database_collect(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);
	DatabaseNews news = slot->news;

	memset(&slot->news, 0, sizeof(DatabaseNews));
	slot->info.woken = false;
	LWLockRelease(shared_lock);
	return news;
}

/* Whether a database has a scheduler. */
bool
database_served(Oid db)
{
	bool		taken = lock();
	DatabaseSlot *slot = database_slot_get(db, false);
	bool		served = slot != NULL && slot->scheduler != NULL;

	unlock(taken);
	return served;
}

/*
 * The scheduler has done what there was to do, and says whether nothing else is
 * due for a while; returns since when that is so, 0 if it is not.  *leave: it is to
 * make way for another; *sleep: nobody has woken it meanwhile, should its latch say
 * so or not.
 */
TimestampTz
database_rest(Oid db, bool idle, bool *leave, bool *sleep)
{
	TimestampTz now = GetCurrentTimestamp();
	DatabaseInfo *info = &lock_slot(db)->info;
	TimestampTz since;

	/* the clock may have been set back */
	since = !idle ? 0 : info->idle_since != 0 ? Min(info->idle_since, now) : now;
	info->idle_since = since;
	*leave = info->leaving;
	*sleep = !info->woken;
	LWLockRelease(shared_lock);
	return since;
}

/* The scheduler has found no process for a worker: the launcher starts no scheduler until it has, and asks one to leave. */
void
database_lack_process(Oid db)
{
	lock_slot(db)->info.lacked_at = GetCurrentTimestamp();
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* What was noted of a database; 0: nothing. */
uint32
database_noted(Oid db, DatabaseNote note)
{
	DatabaseSlot *slot;
	uint32		value;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = database_slot_get(db, false);
	value = slot != NULL ? slot->notes[note] : 0;
	LWLockRelease(shared_lock);
	return value;
}

/* Note something of a database; returns what was noted before. */
uint32
database_note(Oid db, DatabaseNote note, uint32 value)
{
	DatabaseSlot *slot = lock_slot(db);
	uint32		before = 0;

	if (slot != NULL)
	{
		before = slot->notes[note];
		slot->notes[note] = value;
	}
	LWLockRelease(shared_lock);
	return before;
}

/* The next number of the server, larger than all before and than the bound. */
int64
database_next_number(int64 bound)
{
	uint64		last = pg_atomic_read_u64(&shared->number);

	while (last < bound &&
		   !pg_atomic_compare_exchange_u64(&shared->number, &last, bound))
		;
	return pg_atomic_add_fetch_u64(&shared->number, 1);
}

/* Wake the scheduler of a database. */
void
database_poke(Oid db)
{
	bool		taken = lock();
	DatabaseSlot *slot = database_slot_get(db, false);

	if (slot != NULL)
		database_slot_wake(slot);
	unlock(taken);
}

/* Have the scheduler look into the tables, since the lists were full. */
void
database_request_scan(Oid db)
{
	bool		taken = lock();
	DatabaseSlot *slot = database_slot_get(db, false);

	if (slot != NULL)
	{
		slot->news.scan = true;
		database_slot_wake(slot);
	}
	unlock(taken);
}

/* Tell the scheduler of a timer that is the earliest so far; where there is none it comes for the timer. */
void
database_announce_timer(Oid db, TimestampTz fire_at)
{
	bool		taken = lock();
	DatabaseSlot *slot = database_slot_get(db, false);

	if (slot != NULL && (slot->news.timer == 0 || fire_at < slot->news.timer))
	{
		slot->news.timer = fire_at;
		if (slot->scheduler == NULL)
			database_slot_due_for_timer(slot, fire_at);
		else
			database_slot_wake(slot);
	}
	unlock(taken);
}

/* Have the scheduler look for all that there may be, also for timers, of whatever time. */
void
database_request_look(Oid db)
{
	database_announce_timer(db, DT_NOBEGIN);
	database_request_scan(db);
}

/* Something about the extension or the database changed: look again. */
void
database_changed(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL)
	{
		if (slot->info.state == DATABASE_ABSENT)
			slot->info.state = DATABASE_UNKNOWN;
		slot->info.failures = 0;
		slot->info.retry_at = 0;
		slot->news.changed = true;
		database_slot_wake(slot);
	}
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* A database was created, or can be connected to now: the launcher looks. */
void
database_launcher_look(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	wake_launcher();
	LWLockRelease(shared_lock);
}

/*
 * A role has come, got another name, or was dropped: have all schedulers look at
 * the owners; one that begins does so anyway.  In a database that is away a
 * dropped role may own something, a new one only where a role is missing.
 */
void
database_roles_changed(bool dropped)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->used; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];

		if (slot->scheduler != NULL)
		{
			slot->news.roles = true;
			database_slot_wake(slot);
		}
		else if (dropped || slot->missing)
			database_slot_due(slot, GetCurrentTimestamp());
	}
	LWLockRelease(shared_lock);
}
