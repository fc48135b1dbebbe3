/*
 * database.c
 *	  The slots of the databases, and the launcher's latch.
 *
 * A slot is taken when the launcher first looks at a database and kept while
 * the database exists.  Latches are set under shared_lock too, so that they
 * are never those of a process that has left.  Functions called with
 * shared_lock held by this process (database_poke, database_request_scan) know
 * that and do not take it again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "storage/shmem.h"

#include "blackbox.h"
#include "database.h"
#include "settings.h"
#include "shared.h"
#include "slot.h"

typedef struct Slot
{
	Oid			db;				/* InvalidOid: free */
	DatabaseState state;
	Latch	   *scheduler;		/* NULL: none runs */
	pid_t		scheduler_pid;
	pid_t		paused_by;		/* session that keeps the engine out, 0: none */
	bool		news;			/* the scheduler was woken since it last collected */
	bool		changed;		/* the extension, perhaps */
	bool		roles;			/* some role was created, altered or dropped */
	bool		scan;			/* the lists did not hold everything */
	TimestampTz timer;			/* earliest timer announced since last collected */
} Slot;

typedef struct DatabaseShared
{
	Latch	   *launcher;		/* NULL: it does not run */
	pg_atomic_uint64 number;	/* last one given out; no lock */
	Slot		slots[DURABLE_DATABASES_LIMIT];
} DatabaseShared;

static DatabaseShared *shared = NULL;

/* Bytes of shared memory that the slots take. */
Size
database_shmem_size(void)
{
	return MAXALIGN(sizeof(DatabaseShared));
}

/* Lay the slots out, all free. */
void
database_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("durable databases", sizeof(DatabaseShared), &found);
	if (found)
		return;
	memset(shared, 0, sizeof(DatabaseShared));
	pg_atomic_init_u64(&shared->number, 0);
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
static Slot *
slot_get(Oid db, bool create)
{
	Slot	   *free_slot = NULL;

	for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
	{
		Slot	   *slot = &shared->slots[i];

		if (slot->db == db)
			return slot;
		if (slot->db == InvalidOid && free_slot == NULL)
			free_slot = slot;
	}
	if (!create || free_slot == NULL)
		return NULL;
	memset(free_slot, 0, sizeof(Slot));
	free_slot->db = db;
	return free_slot;
}

/* Set the scheduler's latch, or the launcher's when there is no scheduler. */
static void
slot_wake(Slot *slot)
{
	slot->news = true;
	if (slot->scheduler != NULL)
		SetLatch(slot->scheduler);
	else if (shared->launcher != NULL)
		SetLatch(shared->launcher);
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
	/* a scheduler that another launcher has started may never come, and one too many goes by itself */
	for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
		if (shared->slots[i].state == DATABASE_STARTING)
			shared->slots[i].state = DATABASE_UNKNOWN;
	LWLockRelease(shared_lock);
}

/* What is known of a database. */
DatabaseState
database_state(Oid db)
{
	Slot	   *slot;
	DatabaseState state;

	LWLockAcquire(shared_lock, LW_SHARED);
	slot = slot_get(db, false);
	state = slot ? slot->state : DATABASE_UNKNOWN;
	LWLockRelease(shared_lock);
	return state;
}

/* A scheduler is about to be started; false when there is no slot left. */
bool
database_set_starting(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, true);
	if (slot != NULL)
		slot->state = DATABASE_STARTING;
	LWLockRelease(shared_lock);
	return slot != NULL;
}

/* The database has gone, or its scheduler never came: forget what is known. */
void
database_forget(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL && slot->scheduler == NULL)
		memset(slot, 0, sizeof(Slot));
	LWLockRelease(shared_lock);
}

/* The databases with a slot; dbs has room for DURABLE_DATABASES_LIMIT. */
int
database_list(Oid *dbs)
{
	int			count = 0;

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
		if (shared->slots[i].db != InvalidOid)
			dbs[count++] = shared->slots[i].db;
	LWLockRelease(shared_lock);
	return count;
}

/* Whether a living session keeps the engine out of a database. */
bool
database_paused(Oid db)
{
	Slot	   *slot;
	pid_t		pid;

	LWLockAcquire(shared_lock, LW_SHARED);
	slot = slot_get(db, false);
	pid = slot ? slot->paused_by : 0;
	LWLockRelease(shared_lock);
	return pid != 0 && BackendPidGetProc(pid) != NULL;
}

/*
 * Keep the engine out of a database and end its processes there.  Returns true
 * when none is left; to be called again until then.
 */
bool
database_pause(Oid db)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			nworkers = slot_list(workers);
	bool		gone;
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, true);
	if (slot != NULL)
		slot->paused_by = MyProcPid;
	gone = slot == NULL || (slot->scheduler == NULL && slot->state != DATABASE_STARTING);
	if (slot != NULL && slot->scheduler != NULL)
		kill(slot->scheduler_pid, SIGTERM);
	LWLockRelease(shared_lock);
	blackbox_excuse(db);
	for (int i = 0; i < nworkers; i++)
	{
		if (workers[i].db != db)
			continue;
		gone = false;
		if (workers[i].pid != 0)
			kill(workers[i].pid, SIGTERM);
	}
	return gone;
}

/* Let the engine in again. */
void
database_resume(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
		slot->paused_by = 0;
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
	LWLockRelease(shared_lock);
}

/* This process is the scheduler of the database; false when there is one. */
bool
scheduler_attach(Oid db)
{
	Slot	   *slot;
	bool		attached = false;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, true);
	if (slot != NULL && slot->scheduler == NULL)
	{
		slot->scheduler = MyLatch;
		slot->scheduler_pid = MyProcPid;
		slot->state = DATABASE_RUNNING;
		slot->scan = true;
		attached = true;
	}
	LWLockRelease(shared_lock);
	return attached;
}

/* The scheduler ends; the launcher starts another unless the extension is absent. */
void
scheduler_detach(Oid db, bool absent)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
	{
		slot->scheduler = NULL;
		slot->state = absent ? DATABASE_ABSENT : DATABASE_UNKNOWN;
		slot_wake(slot);
	}
	LWLockRelease(shared_lock);
}

/*
 * What sessions have told the scheduler since it last asked: whether to scan,
 * in *timer the earliest new timer (0: none), and whether the extension and
 * roles may have changed.
 */
bool
database_collect(Oid db, TimestampTz *timer, bool *changed, bool *roles)
{
	Slot	   *slot;
	bool		scan;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	scan = slot->scan;
	*timer = slot->timer;
	*changed = slot->changed;
	*roles = slot->roles;
	slot->news = slot->scan = slot->changed = slot->roles = false;
	slot->timer = 0;
	LWLockRelease(shared_lock);
	return scan;
}

/* Whether a database has a scheduler. */
bool
database_served(Oid db)
{
	bool		taken = lock();
	Slot	   *slot = slot_get(db, false);
	bool		served = slot != NULL && slot->scheduler != NULL;

	unlock(taken);
	return served;
}

/* Whether somebody has woken the scheduler since then, should its latch say so or not. */
bool
database_has_news(Oid db)
{
	Slot	   *slot;
	bool		news;

	LWLockAcquire(shared_lock, LW_SHARED);
	slot = slot_get(db, false);
	news = slot->news;
	LWLockRelease(shared_lock);
	return news;
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
	Slot	   *slot = slot_get(db, false);

	if (slot != NULL)
		slot_wake(slot);
	unlock(taken);
}

/* Have the scheduler look into the tables, since the lists were full. */
void
database_request_scan(Oid db)
{
	bool		taken = lock();
	Slot	   *slot = slot_get(db, false);

	if (slot != NULL)
	{
		slot->scan = true;
		slot_wake(slot);
	}
	unlock(taken);
}

/* Tell the scheduler of a timer, waking it if it is the earliest so far. */
void
database_announce_timer(Oid db, TimestampTz fire_at)
{
	bool		taken = lock();
	Slot	   *slot = slot_get(db, false);

	if (slot != NULL && (slot->timer == 0 || fire_at < slot->timer))
	{
		slot->timer = fire_at;
		slot_wake(slot);
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
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
	{
		if (slot->state == DATABASE_ABSENT)
			slot->state = DATABASE_UNKNOWN;
		slot->changed = true;
		slot_wake(slot);
	}
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
	LWLockRelease(shared_lock);
}

/* Roles have changed: have all schedulers look at the owners of instances; one that begins does so anyway. */
void
database_roles_changed(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < DURABLE_DATABASES_LIMIT; i++)
	{
		Slot	   *slot = &shared->slots[i];

		if (slot->scheduler == NULL)
			continue;
		slot->roles = true;
		slot_wake(slot);
	}
	LWLockRelease(shared_lock);
}
