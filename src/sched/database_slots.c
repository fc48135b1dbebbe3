/*
 * database_slots.c
 *	  The slots of the databases, and the launcher's latch.
 *
 * The launcher takes a slot when it first looks at a database, and the
 * database keeps the slot while it exists.  There are durable.max_databases
 * slots.  shared_lock guards the slots.  Latches are set under shared_lock,
 * too, so a latch never belongs to a process that has left.  database_poke and
 * others may be called by a process that holds shared_lock; lock() takes it
 * only if needed.
 *
 * A scheduler that ends soon after its start is followed by another one after a
 * pause that doubles each time, up to a minute.  A scheduler that lasted for a
 * minute, or a change of the extension, resets the pause.
 *
 * A scheduler leaves a database in which nothing is due.  due_at says when the
 * next one starts: at once when a session wakes the database, before the next
 * timer is due, and after LONGEST_AWAY in any case.  A wake-up that finds a
 * scheduler sets `woken`; if the scheduler ends before it has looked,
 * database_slot_end sets due_at.  A wake-up that finds no scheduler sets
 * due_at itself.
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

/* pause after a scheduler that ended soon, at first and at most */
#define FIRST_PAUSE		USECS_PER_SEC
#define LONGEST_PAUSE	(60 * USECS_PER_SEC)
/* a scheduler that has run for this long did not fail */
#define LASTING			(60 * USECS_PER_SEC)
/*
 * A scheduler is started this long before a timer is due.  A start takes much
 * less; a scheduler stays while a timer is due within a second.
 */
#define START_TIME		(USECS_PER_SEC / 2)
/* a database without a scheduler gets one after this, in case a wake-up was lost */
#define LONGEST_AWAY	(3600 * USECS_PER_SEC)

typedef struct DatabaseSlot
{
	DatabaseInfo info;
	Latch	   *scheduler;		/* NULL: there is none */
	DatabaseNews news;			/* since the scheduler last called database_collect */
	bool		missing;		/* something in the database belongs to a role that does not exist */
	uint32		notes[DATABASE_NOTES];
} DatabaseSlot;

typedef struct DatabaseShared
{
	Latch	   *launcher;		/* NULL: the launcher does not run */
	pg_atomic_uint64 number;	/* the last number that was given out; not guarded by the lock */
	int			used;			/* slots beyond these were never used */
	DatabaseSlot slots[FLEXIBLE_ARRAY_MEMBER];
} DatabaseShared;

static DatabaseShared *shared = NULL;

/* Bytes of shared memory that the slots take. */
static Size
database_slots_size(void)
{
	return MAXALIGN(add_size(offsetof(DatabaseShared, slots), mul_size(durable_max_databases, sizeof(DatabaseSlot))));
}

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

void
database_slots_register(void)
{
	shmem_add(database_slots_size, database_slots_init);
}

/* Take shared_lock unless this process holds it; returns whether unlock must release it. */
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

/*
 * The slot of a database; if there is none and create is set, a free slot
 * becomes its slot.  NULL if there is none.
 */
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

/* Take shared_lock and find the slot of a database; NULL if it has none. */
static DatabaseSlot *
lock_slot(Oid db)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	return database_slot_get(db, false);
}

static void
wake_launcher(void)
{
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
}

/* Make the launcher start a scheduler at this time at the latest, unless the extension does not exist there. */
static void
database_slot_due(DatabaseSlot *slot, TimestampTz at)
{
	if (slot->info.due_at <= at || slot->info.state == DATABASE_ABSENT)
		return;
	slot->info.due_at = at;
	wake_launcher();
}

/* Wake the scheduler; if there is none, make the launcher start one. */
static void
database_slot_wake(DatabaseSlot *slot)
{
	slot->info.woken = true;
	if (slot->scheduler != NULL)
		SetLatch(slot->scheduler);
	else
		database_slot_due(slot, GetCurrentTimestamp());
}

/* Make a scheduler start before a timer is due.  The start may be in the past. */
static void
database_slot_due_for_timer(DatabaseSlot *slot, TimestampTz timer)
{
	database_slot_due(slot, timer > START_TIME ? timer - START_TIME : 0);
}

/* The scheduler ends: note why, and when the next one starts. */
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
	/* no pause after the first failure of unknown cause; unfit tables need one */
	doublings = info->failures - (state == DATABASE_UNFIT ? 1 : 2);
	info->retry_at = failed && doublings >= 0 ? now + Min(FIRST_PAUSE << Min(doublings, 16), LONGEST_PAUSE) : 0;
	/* a wake-up that this scheduler has not seen is left to the next one */
	info->due_at = failed || info->woken ? now : state == DATABASE_ABSENT ? DT_NOEND : now + LONGEST_AWAY;
	info->state = state;
	info->since = now;
	info->scheduler_pid = 0;
	info->leaving = false;
	info->idle_since = info->lacked_at = 0;
	slot->scheduler = NULL;
}

/* on_shmem_exit callback of the launcher. */
static void
launcher_detach(int code, Datum arg)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(shared_lock);
}

void
launcher_attach(void)
{
	on_shmem_exit(launcher_detach, (Datum) 0);
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	LWLockRelease(shared_lock);
}

/* Give a slot to a database; false if none is free. */
bool
database_add(Oid db)
{
	bool		added;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	added = database_slot_get(db, true) != NULL;
	LWLockRelease(shared_lock);
	return added;
}

/* A scheduler was started.  If it never comes, the next one is started after a pause. */
void
database_put_off(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	/* it may have come already */
	if (slot != NULL && slot->scheduler == NULL)
		slot->info.retry_at = Max(slot->info.retry_at, GetCurrentTimestamp() + FIRST_PAUSE);
	LWLockRelease(shared_lock);
}

/*
 * The database was dropped, or durable.databases excludes it: free the slot
 * unless a session keeps the engine out.
 */
void
database_forget(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL && slot->scheduler == NULL && slot->info.pauses == 0)
		memset(slot, 0, sizeof(DatabaseSlot));
	LWLockRelease(shared_lock);
}

/* Ask the scheduler of a database to leave for another database's. */
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

/* Keep the engine out of a database; false if the database has no slot and so no engine. */
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

/* Send SIGTERM to a process of the engine and append its pid. */
static void
end_process(pid_t pid, StringInfo pids)
{
	kill(pid, SIGTERM);
	appendStringInfo(pids, "%s%d", pids->len > 0 ? ", " : "", (int) pid);
}

/*
 * End the workers of a database; also called by its scheduler when it leaves.
 * Returns and appends as database_left does.
 */
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
 * End the engine's processes in a database that is paused or excluded.
 * Returns true if none is left; the caller repeats the call until then.  pids
 * gets the pids of those that are left.
 */
bool
database_left(Oid db, StringInfo pids)
{
	DatabaseSlot *slot = lock_slot(db);
	/* a scheduler that is starting ends by itself: see scheduler_attach */
	bool		gone = slot == NULL || slot->scheduler == NULL;

	resetStringInfo(pids);
	if (!gone)
		end_process(slot->info.scheduler_pid, pids);
	LWLockRelease(shared_lock);
	/* nobody starts processes for what is queued; the next scheduler scans the tables */
	if (gone)
	{
		ready_forget(db);
		worker_slots_forget_wanted(db);
	}
	return database_end_workers(db, pids) && gone;
}

/* Let the engine in again, unless another session keeps it out, too. */
void
database_resume(Oid db)
{
	DatabaseSlot *slot = lock_slot(db);

	if (slot != NULL && slot->info.pauses > 0)
	{
		slot->info.pauses--;
		/* the scheduler did not fail, it was ended */
		slot->info.failures = 0;
		slot->info.retry_at = 0;
	}
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* This process becomes the scheduler of the database; false if there is another, or the engine is kept out. */
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
		/* a scheduler that was not woken leaves as soon as it finds nothing to do */
		slot->info.idle_since = slot->info.woken ? 0 : 1;
		slot->info.woken = false;
		slot->news.scan = true;
		slot->notes[NOTE_NUMBERED] = 0;
	}
	LWLockRelease(shared_lock);
	return attached;
}

/*
 * The scheduler ends.  next_timer: the earliest timer, 0 if there is none.
 * missing: something in the database belongs to a role that does not exist.
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

/* What sessions have told the scheduler since the last call. */
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
 * The scheduler has done its work and says whether it is idle.  Returns since
 * when it is idle, 0 if it is not.  *leave: it must leave for another
 * scheduler; *sleep: no session has woken it meanwhile, whatever its latch
 * says.
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

/*
 * The scheduler has found no process for a worker: the launcher starts no
 * further scheduler and asks one to leave.
 */
void
database_lack_process(Oid db)
{
	lock_slot(db)->info.lacked_at = GetCurrentTimestamp();
	wake_launcher();
	LWLockRelease(shared_lock);
}

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

/* The next number of the server; takes no lock. */
int64
database_next_number(int64 bound)
{
	uint64		last = pg_atomic_read_u64(&shared->number);

	while (last < bound &&
		   !pg_atomic_compare_exchange_u64(&shared->number, &last, bound))
		;
	return pg_atomic_add_fetch_u64(&shared->number, 1);
}

void
database_poke(Oid db)
{
	bool		taken = lock();
	DatabaseSlot *slot = database_slot_get(db, false);

	if (slot != NULL)
		database_slot_wake(slot);
	unlock(taken);
}

/* Make the scheduler scan the tables, since the queues lack some work. */
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

/* Tell the scheduler of a timer.  If there is no scheduler, one is started in time. */
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

/* Make the scheduler scan the tables and look for timers of any time. */
void
database_request_look(Oid db)
{
	database_announce_timer(db, DT_NOBEGIN);
	database_request_scan(db);
}

/* The extension or the database has changed. */
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

/* A database was created, or can be connected to now. */
void
database_launcher_look(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	wake_launcher();
	LWLockRelease(shared_lock);
}

/*
 * A role was created or renamed, or dropped: all schedulers check the owners.
 * A scheduler that starts does so anyway.  In a database without a scheduler a
 * dropped role may own something; a new role matters only if a role is
 * missing.
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
