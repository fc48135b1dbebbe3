/*
 * database.c
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
 * A scheduler leaves a database in which nothing is due.  The launcher starts
 * another when somebody wakes the database, when the next timer is about to be
 * due, or after LONGEST_AWAY (launcher.c).  What must be known for that is in
 * the slot; every change of the slot is made under shared_lock, so that a
 * wake-up finds either a scheduler, which looks at `news` before it leaves, or
 * none, and then sets due_since.
 *
 * Each scheduler takes one of max_worker_processes, of which durable.max_workers
 * are left to workers.  If more databases than that have something to do, a
 * scheduler that is idle, or has had its time, makes way for another.  Processes
 * that others take are noticed when one cannot be started: then there is a place
 * less for a while.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "replication/logicallauncher.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "blackbox.h"
#include "database.h"
#include "ready.h"
#include "settings.h"
#include "shared.h"
#include "slot.h"

/* pauses between schedulers that end soon */
#define FIRST_PAUSE		USECS_PER_SEC
#define LONGEST_PAUSE	(60 * USECS_PER_SEC)
/* one that has lasted for so long has not failed */
#define LASTING			(60 * USECS_PER_SEC)
/* a scheduler is started so long before a timer is due: a start takes much less, and schedulers stay while a timer is nearer than a second */
#define START_TIME		(USECS_PER_SEC / 2)
/* a place that was missing is tried again after this */
#define LACK_TIME		(5 * USECS_PER_SEC)

typedef struct Slot
{
	Oid			db;				/* InvalidOid: free */
	DatabaseState state;
	TimestampTz since;			/* of the state */
	Latch	   *scheduler;		/* NULL: none runs */
	pid_t		scheduler_pid;
	int			pauses;			/* sessions that keep the engine out */
	bool		news;			/* the scheduler was woken since it last collected */
	bool		changed;		/* the extension, perhaps */
	bool		roles;			/* some role was created, altered or dropped */
	bool		scan;			/* the lists did not hold everything */
	bool		leave;			/* the scheduler is to make way for another */
	bool		announced;		/* the log says that the engine runs there */
	bool		missing;		/* something there belongs to a role that does not exist */
	uint32		waiting;		/* sum of the names of such roles that the log has; 0: none */
	bool		numbered;		/* numbers are larger than those stored there */
	int			failures;		/* schedulers that ended soon, in a row */
	TimestampTz retry_at;		/* none is started before */
	TimestampTz idle_since;		/* the scheduler has nothing to do; 0: it has */
	TimestampTz due_since;		/* somebody has woken it and there is no scheduler; 0: not so */
	TimestampTz wake_at;		/* it is away, and its next timer is due soon after; 0: there is none */
	TimestampTz timer;			/* earliest timer announced since last collected */
} Slot;

typedef struct DatabaseShared
{
	Latch	   *launcher;		/* NULL: it does not run */
	pg_atomic_uint64 number;	/* last one given out; no lock */
	int			lacking;		/* processes that were not to be had */
	TimestampTz lacking_since;	/* when that number was last changed */
	int			used;			/* slots beyond these have never been used */
	Slot		slots[FLEXIBLE_ARRAY_MEMBER];
} DatabaseShared;

static DatabaseShared *shared = NULL;

/* Bytes of shared memory that the slots take. */
Size
database_shmem_size(void)
{
	return MAXALIGN(add_size(offsetof(DatabaseShared, slots), mul_size(durable_max_databases, sizeof(Slot))));
}

/* Lay the slots out, all free. */
void
database_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("durable databases", database_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, database_shmem_size());
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

	for (int i = 0; i < shared->used; i++)
	{
		Slot	   *slot = &shared->slots[i];

		if (slot->db == db)
			return slot;
		if (slot->db == InvalidOid && free_slot == NULL)
			free_slot = slot;
	}
	if (create && free_slot == NULL && shared->used < durable_max_databases)
		free_slot = &shared->slots[shared->used++];
	if (!create || free_slot == NULL)
		return NULL;
	memset(free_slot, 0, sizeof(Slot));
	free_slot->db = db;
	free_slot->since = GetCurrentTimestamp();
	return free_slot;
}

/* Set the state. */
static void
slot_set_state(Slot *slot, DatabaseState state)
{
	slot->state = state;
	slot->since = GetCurrentTimestamp();
}

/* Have the launcher look at the databases. */
static void
wake_launcher(void)
{
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
}

/* Wake the scheduler, or have the launcher start one. */
static void
slot_wake(Slot *slot)
{
	slot->news = true;
	if (slot->scheduler != NULL)
		SetLatch(slot->scheduler);
	else if (slot->due_since == 0)
	{
		slot->due_since = GetCurrentTimestamp();
		wake_launcher();
	}
}

/* Have the launcher start a scheduler before a timer of a database that is away is due. */
static void
slot_wake_at(Slot *slot, TimestampTz timer)
{
	/* 0 is none; all of these have passed */
	TimestampTz at = timer > START_TIME ? timer - START_TIME : 1;

	if (slot->wake_at != 0 && slot->wake_at <= at)
		return;
	slot->wake_at = at;
	wake_launcher();
}

/* The scheduler has ended, or never came: into which state, and how long until the next. */
static void
slot_end(Slot *slot, DatabaseState state)
{
	TimestampTz now = GetCurrentTimestamp();
	int			doublings;

	if (state == DATABASE_ABSENT || state == DATABASE_AWAY || now - slot->since >= LASTING)
		slot->failures = 0;
	slot->retry_at = 0;
	if (state == DATABASE_UNKNOWN || state == DATABASE_UNFIT)
	{
		slot->failures++;
		/* after the first end there may be nothing wrong; tables are */
		doublings = slot->failures - (state == DATABASE_UNFIT ? 1 : 2);
		if (doublings >= 0)
			slot->retry_at = now + Min(FIRST_PAUSE << Min(doublings, 16), LONGEST_PAUSE);
	}
	slot->scheduler = NULL;
	slot->scheduler_pid = 0;
	slot->leave = false;
	slot->idle_since = slot->wake_at = 0;
	/* it has been woken and has not looked */
	slot->due_since = slot->news ? now : 0;
	slot_set_state(slot, state);
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
	for (int i = 0; i < shared->used; i++)
		if (shared->slots[i].state == DATABASE_STARTING)
			slot_set_state(&shared->slots[i], DATABASE_UNKNOWN);
	LWLockRelease(shared_lock);
}

/* Have a slot for a database; false when there is none left. */
bool
database_add(Oid db)
{
	bool		added;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	added = slot_get(db, true) != NULL;
	LWLockRelease(shared_lock);
	return added;
}

/* A scheduler is about to be started; false if a session has begun to keep the engine out, or one runs. */
bool
database_set_starting(Oid db)
{
	Slot	   *slot;
	bool		set;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	set = slot != NULL && slot->pauses == 0 && slot->scheduler == NULL;
	if (set)
		slot_set_state(slot, DATABASE_STARTING);
	LWLockRelease(shared_lock);
	return set;
}

/* There was no process for it: it waits for one, as what was known of it says. */
void
database_not_started(const DatabaseInfo *info)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(info->db, false);
	if (slot != NULL && slot->state == DATABASE_STARTING)
	{
		slot->state = info->state;
		slot->since = info->since;
	}
	LWLockRelease(shared_lock);
}

/* The process that was started has ended: if it never came, that is a failure. */
void
database_ended(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL && slot->state == DATABASE_STARTING)
		slot_end(slot, DATABASE_UNKNOWN);
	LWLockRelease(shared_lock);
}

/* The database has gone, or is not to have an engine: forget what is known, but that it is paused. */
void
database_forget(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL && slot->scheduler == NULL && slot->pauses == 0)
		memset(slot, 0, sizeof(Slot));
	LWLockRelease(shared_lock);
}

/* Ask the scheduler of a database to make way for another. */
void
database_ask_to_leave(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL && slot->scheduler != NULL)
	{
		slot->leave = true;
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

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < shared->used; i++)
	{
		const Slot *slot = &shared->slots[i];

		if (slot->db == InvalidOid)
			continue;
		list[count++] = (DatabaseInfo)
		{
			.db = slot->db, .state = slot->state, .since = slot->since, .scheduler_pid = slot->scheduler_pid,
			.pauses = slot->pauses, .failures = slot->failures, .retry_at = slot->retry_at,
			.idle_since = slot->idle_since, .due_since = slot->due_since, .wake_at = slot->wake_at,
			.roles = slot->roles, .leaving = slot->leave
		};
	}
	LWLockRelease(shared_lock);
	*infos = list;
	return count;
}

/* Since when a database without a scheduler has had something to do; 0: nobody knows of anything. */
TimestampTz
database_due_since(const DatabaseInfo *info)
{
	if (info->due_since != 0 || info->state != DATABASE_AWAY)
		return info->due_since;
	return info->wake_at <= GetCurrentTimestamp() ? info->wake_at : 0;
}

/*
 * How many schedulers max_worker_processes has places for: one process is the
 * launcher's, one that of logical replication, if the server has that.  Lock held.
 */
static int
places(void)
{
	int			launchers = 1 + (max_logical_replication_workers > 0);

	return Max(max_worker_processes - launchers - durable_max_workers - shared->lacking, 1);
}

/* How many schedulers run or are being started.  Lock held. */
static int
schedulers(void)
{
	int			count = 0;

	for (int i = 0; i < shared->used; i++)
		count += shared->slots[i].state == DATABASE_STARTING || shared->slots[i].state == DATABASE_RUNNING;
	return count;
}

/*
 * The server had no process for a worker or a scheduler: others have them, and
 * there is a place less for a while; not another one before as many schedulers
 * as that have left.
 */
void
database_lack_process(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (schedulers() <= places() && places() > 1)
		shared->lacking++;
	shared->lacking_since = GetCurrentTimestamp();
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* A worker's process ends: the launcher, which may wait for one, looks again.  Lock held. */
void
database_process_ends(void)
{
	if (shared->lacking > 0 && shared->launcher != NULL)
		SetLatch(shared->launcher);
}

/* How many schedulers may run at once. */
int
database_places(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			result;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	/* the clock may have been set back */
	if (shared->lacking > 0 && (now < shared->lacking_since || now - shared->lacking_since >= LACK_TIME))
	{
		shared->lacking--;
		shared->lacking_since = now;
	}
	result = places();
	LWLockRelease(shared_lock);
	return result;
}

/* Keep the engine out of a database; false if it has no slot and so no engine. */
bool
database_pause(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, true);
	if (slot != NULL)
		slot->pauses++;
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

/*
 * End the engine's processes in a paused database: true when none is left, to be
 * called again until then.  pids gets those that are left and have a pid.
 */
bool
database_left(Oid db, StringInfo pids)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			nworkers = slot_list(workers);
	bool		gone;
	Slot	   *slot;

	resetStringInfo(pids);
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	gone = slot == NULL || (slot->scheduler == NULL && slot->state != DATABASE_STARTING);
	if (slot != NULL && slot->scheduler != NULL)
		end_process(slot->scheduler_pid, pids);
	LWLockRelease(shared_lock);
	/* nobody starts what a worker that ends now leaves to others; the next scheduler looks into the tables */
	if (gone)
	{
		ready_forget(db);
		slots_forget_wanted(db);
	}
	blackbox_excuse(db);
	for (int i = 0; i < nworkers; i++)
	{
		if (workers[i].db != db)
			continue;
		gone = false;
		if (workers[i].pid != 0)
			end_process(workers[i].pid, pids);
	}
	return gone;
}

/* Let the engine in again, unless another session keeps it out too. */
void
database_resume(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL && slot->pauses > 0)
	{
		slot->pauses--;
		/* that it was ended is no failure */
		slot->failures = 0;
		slot->retry_at = 0;
	}
	wake_launcher();
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
		slot_set_state(slot, DATABASE_RUNNING);
		slot->scan = true;
		slot->numbered = false;
		slot->due_since = slot->wake_at = 0;
		attached = true;
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
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
	{
		slot_end(slot, state);
		slot->missing = missing;
		if (next_timer != 0)
			slot_wake_at(slot, next_timer);
	}
	wake_launcher();
	LWLockRelease(shared_lock);
}

/* What sessions have told the scheduler since it last asked. */
DatabaseNews
database_collect(Oid db)
{
	Slot	   *slot;
	DatabaseNews news;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	news = (DatabaseNews)
	{
		.any = slot->news, .scan = slot->scan, .timer = slot->timer, .changed = slot->changed, .roles = slot->roles
	};
	slot->news = slot->scan = slot->changed = slot->roles = false;
	slot->timer = 0;
	LWLockRelease(shared_lock);
	return news;
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

/*
 * The scheduler has done what there was to do, and says whether nothing else is
 * due for a while.  True if it is not to sleep: somebody has woken it since, should
 * its latch say so or not, or it is to leave.
 */
bool
database_rest(Oid db, bool idle)
{
	Slot	   *slot;
	bool		go_on;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (!idle)
		slot->idle_since = 0;
	else if (slot->idle_since == 0)
		slot->idle_since = GetCurrentTimestamp();
	go_on = slot->news || slot->leave;
	LWLockRelease(shared_lock);
	return go_on;
}

/* Whether the scheduler is to make way for another. */
bool
database_should_leave(Oid db)
{
	Slot	   *slot;
	bool		leave;

	LWLockAcquire(shared_lock, LW_SHARED);
	slot = slot_get(db, false);
	leave = slot->leave;
	LWLockRelease(shared_lock);
	return leave;
}

/* Whether numbers are larger than those that the database had stored when its scheduler came. */
bool
database_numbered(Oid db)
{
	Slot	   *slot;
	bool		numbered;

	LWLockAcquire(shared_lock, LW_SHARED);
	slot = slot_get(db, false);
	numbered = slot != NULL && slot->numbered;
	LWLockRelease(shared_lock);
	return numbered;
}

/* The log says, or does not say any more, that the engine runs there; returns what was so before. */
bool
database_set_announced(Oid db, bool announced)
{
	Slot	   *slot;
	bool		before = false;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
	{
		before = slot->announced;
		slot->announced = announced;
	}
	LWLockRelease(shared_lock);
	return before;
}

/* The log has the names of roles with this sum, for which instances wait; returns the sum before. */
uint32
database_set_waiting(Oid db, uint32 sum)
{
	Slot	   *slot;
	uint32		before = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
	{
		before = slot->waiting;
		slot->waiting = sum;
	}
	LWLockRelease(shared_lock);
	return before;
}

/* They are now. */
void
database_set_numbered(Oid db)
{
	Slot	   *slot;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	slot = slot_get(db, false);
	if (slot != NULL)
		slot->numbered = true;
	LWLockRelease(shared_lock);
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

/* Tell the scheduler of a timer that is the earliest so far; where there is none it comes for the timer. */
void
database_announce_timer(Oid db, TimestampTz fire_at)
{
	bool		taken = lock();
	Slot	   *slot = slot_get(db, false);

	if (slot != NULL && (slot->timer == 0 || fire_at < slot->timer))
	{
		slot->timer = fire_at;
		if (slot->state == DATABASE_AWAY)
			slot_wake_at(slot, fire_at);
		else
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
		if (slot->state == DATABASE_ABSENT || slot->state == DATABASE_UNFIT)
			slot_set_state(slot, DATABASE_UNKNOWN);
		slot->failures = 0;
		slot->retry_at = 0;
		slot->changed = true;
		slot_wake(slot);
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
		Slot	   *slot = &shared->slots[i];

		if (slot->scheduler != NULL)
		{
			slot->roles = true;
			slot_wake(slot);
		}
		else if (slot->state == DATABASE_AWAY && (dropped || slot->missing))
			slot->roles = true;
	}
	wake_launcher();
	LWLockRelease(shared_lock);
}
