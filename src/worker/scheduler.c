/*
 * scheduler.c
 *	  The scheduler of a database: finds work, starts workers, tidies up.
 *
 * It runs as the bootstrap superuser and never runs anybody's code.  Each time
 * it wakes (a commit, a timer, a worker's end, durable.poll_interval) it
 *	1. counts what crashed workers were running (black box),
 *	2. scans the tables for work if the lists were full, at its own start, and
 *	   every durable.poll_interval, so that nothing depends on a wake-up;
 *	   less often where dead rows, kept by an old snapshot, make it dear,
 *	3. announces due timers (the workers take them out of the table),
 *	4. sees to instances whose owner does not exist (owner_adoption.c),
 *	5. starts workers for roles that have work and nobody to do it.
 * An error ends the process; the launcher starts another.
 *
 * Whoever has news for it says so in shared memory and sets its latch.  The
 * latch alone does not do, since PostgreSQL resets it when a process waits for
 * a lock or a standby in the middle of its work.  It sleeps no longer than until
 * the time at which something is to be done that nobody will tell it of: a
 * timer, the end of a pause, the next try of what did not fit.
 *
 * It leaves the database when nothing has been due there for LINGER and no
 * worker is left; one that nobody has woken leaves when it has looked.  When the
 * next one comes is said in database_slots.h.
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "common/call_context.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/log_text.h"
#include "engine/failure_log.h"
#include "engine/instance.h"
#include "engine/worker_loss.h"
#include "sched/database_slots.h"
#include "sched/places.h"
#include "sched/ready_queue.h"
#include "sched/role_eligibility.h"
#include "sched/worker_slots.h"
#include "shmem/crash_notes.h"
#include "shmem/stats.h"
#include "store/activity_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/table_check.h"
#include "store/timer_rows.h"
#include "worker/bgworkers.h"
#include "worker/owner_adoption.h"
#include "worker/stall_log.h"

#define HINTS			256		/* announced at a time */
#define NEEDS			64		/* roles served at a time */
#define BLOCKED_PAUSE	(10 * USECS_PER_SEC)
#define NO_PROCESS_PAUSE	(USECS_PER_SEC / 20)
#define COMPLAINT_PAUSE_MS	60000
#define SOON_MS			10
/* how long rows of instances that do not exist are left alone, and of how many instances at a time */
#define ORPHAN_AGE		(600 * USECS_PER_SEC)
#define ORPHANS			1024
/* rows of one of them that are removed at a time */
#define ORPHAN_ROWS		10000
/* a dead worker's note that could not be counted is tried again after this */
#define UNCOUNTED_PAUSE	(USECS_PER_SEC / 2)
/* it has nothing to do if no timer is due within this */
#define IDLE_TIME		USECS_PER_SEC
/* it leaves when it has had nothing to do for so long: 200 times what a start takes, so that starts never take more than half a percent of a core */
#define LINGER			(10 * USECS_PER_SEC)
/* a scan that did not fit is repeated after this, and after ten times what it took; but it may have waited for a lock */
#define SCAN_PAUSE_MS	100
#define SCAN_PAUSE_MAX	(10 * USECS_PER_SEC)
/* one for what nobody told of is to take no more than this part of a core */
#define SCAN_SHARE		0.01
/* whatever asks for scans, each is followed by so many times what it took without one */
#define SCAN_REST		9
/* unless that is longer, as what made it dear may have passed */
#define POLL_PAUSE_MAX	(300 * USECS_PER_SEC)
/* instances that a scan finds at most, of an owner where it comes by one after the other; of one there are fewer in the lists */
#define SCAN_MAX		32768

/* comes after all timers */
#define NO_TIMER		((TimerPlace) {.fire_at = PG_INT64_MAX})
/* comes before all timers of a time */
#define FIRST_TIMER(time) ((TimerPlace) {.fire_at = (time), .key = PG_INT64_MIN})

/* hints that a scan has found */
typedef struct Found
{
	Store	   *store;
	int			flags;
	int			rest;			/* how many more it may find */
	Oid			owner;			/* whose instances are found at the moment */
	bool		all;			/* nothing had to be left out */
	bool		stops;			/* as soon as something has to be left out */
	TimerPlace	timer;			/* the first timer of which there is a hint */
	int64		total;			/* how many it has found */
	int			count;
	ReadyHint	hints[HINTS];
} Found;

/* a worker that this scheduler has started */
typedef struct Started
{
	BackgroundWorkerHandle *handle; /* NULL: free */
	int			slot;
	uint32		generation;
} Started;

static Started started[DURABLE_WORKERS_LIMIT];
static int64 orphans[ORPHANS];	/* instances that do not exist and of which there are rows */
static int	norphans = 0;
static TimestampTz orphans_since;	/* the transaction that found them */
static Oid	my_database;
static int64 found_instances = 0;	/* by the first scan */
static DatabaseState left_as = DATABASE_UNKNOWN;	/* what this process says of the database when it ends */
static TimestampTz come_back = 0;	/* and for which timer the next one is to come, if it is away; 0: none */
static bool scan_requested = false;
static TimestampTz scan_again = 0;	/* the last scan left something out; 0: it did not */
static int64 scan_pause = 0;	/* until then, us */
static int64 scan_cpu = 0;		/* what the last one took, us; not counting that it waited for a lock */
static TimestampTz scan_not_before = 0;	/* one that was asked for comes then at the earliest */
/* keys with which scans begin, as the last ones came so far */
static int64 messages_from = 0;
static int64 tasks_from = 0;
static TimerPlace timers_left = {.fire_at = PG_INT64_MAX};	/* due timers from this one on were left out */
static bool timers_again = false;	/* and may fit now */
static bool timers_polled = false;	/* the pass through the due ones is for those that nobody told of */
static int64 timers_cpu = 0;	/* and has taken so much, us */
static TimestampTz timers_behind = 0;	/* the earliest one that has come before what has been looked at; 0: none */
static TimestampTz count_again = 0; /* when the notes that could not be counted are tried again; 0: there are none */

/* The earlier of two times, 0 being none. */
static TimestampTz
earlier(TimestampTz a, TimestampTz b)
{
	return a == 0 ? b : b == 0 ? a : Min(a, b);
}

/* Tell the others that the scheduler is gone; the next one, if there is one, looks into the tables. */
static void
scheduler_exit(int code, Datum arg)
{
	bool		some;

	scheduler_detach(my_database, left_as, come_back, adopt_missing());
	/* the work first, or processes would be wanted for it again */
	some = ready_forget(my_database);
	worker_slots_forget_wanted(my_database);
	/* what has come since the last look, and was left to a worker, would be lost */
	if (some)
		database_request_scan(my_database);
	if (left_as != DATABASE_AWAY)
		failure_log_forget(my_database);
}

/* Free what belongs to workers that have ended, also without ever having run. */
static void
reap(void)
{
	bool		ended = false;

	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		pid_t		pid;

		if (started[i].handle == NULL ||
			GetBackgroundWorkerPid(started[i].handle, &pid) != BGWH_STOPPED)
			continue;
		worker_slot_unreserve(started[i].slot, started[i].generation);
		pfree(started[i].handle);
		started[i].handle = NULL;
		ended = true;
	}
	if (!ended)
		return;
	/* other schedulers, and the launcher, may have waited for a process */
	places_process_ended();
	database_launcher_look();
}

/*
 * Leave if the extension is not, or no longer, there, or its tables are not as
 * they should be: the launcher starts another scheduler when that may have
 * changed.
 */
static void
check_extension(void)
{
	bool		exists;
	bool		fits;
	StringInfoData pids;

	process_begin();
	exists = OidIsValid(get_extension_oid("durable", true));
	fits = exists && tables_fit(LOG);
	if (!exists)
		watch_dropped();
	process_commit();
	if (fits)
		return;
	if (!exists)
		stats_reset(my_database);
	initStringInfo(&pids);
	(void) database_end_workers(my_database, &pids);
	left_as = exists ? DATABASE_UNFIT : DATABASE_ABSENT;
	proc_exit(0);
}

/* Due timers from this one on have to be left out. */
static void
leave_timers(TimerPlace first)
{
	if (first.fire_at < timers_left.fire_at || (first.fire_at == timers_left.fire_at && first.key < timers_left.key))
		timers_left = first;
}

/* Whether some were left out. */
static bool
timers_are_left(void)
{
	return timers_left.fire_at != PG_INT64_MAX;
}

/* Announce what a scan has found so far. */
static void
found_flush(Found *found)
{
	if (found->count > 0 && !ready_push(my_database, found->hints, found->count))
	{
		if (found->all)
			leave_timers(found->timer);
		found->all = false;
	}
	found->count = 0;
	CHECK_FOR_INTERRUPTS();
}

/* Add a find. */
static void
found_add(Found *found, ReadyHint hint)
{
	found->rest--;
	found->total++;
	found->hints[found->count++] = hint;
	if (found->count == HINTS)
		found_flush(found);
}

/*
 * Rows were found of an instance that does not exist.  It may be about to exist,
 * as a restore fills one table after the other, so they are left alone for a
 * while; then they are what came for an instance that was removed.  Nobody is told
 * of them: they have no owner who may be asked to take them away.  Those that are
 * found while others are left alone come after these.
 */
static void
found_orphan(int64 key)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (norphans > 0 && (orphans_since != now || norphans == ORPHANS))
		return;
	orphans_since = now;
	orphans[norphans++] = key;
}

/* Add an instance whose owner has to be looked up. */
static void
found_key(Found *found, int64 key, int low, int high)
{
	Oid			owner;

	if (!instance_owner(found->store, key, &owner))
	{
		found_orphan(key);
		return;
	}
	/* those of an absent role wait for it */
	if (!OidIsValid(owner))
		return;
	found_add(found, (ReadyHint) {
		.role = owner, .key = key, .flags = low == 0 ? found->flags : 0, .low = low, .high = high
	});
}

/* Callbacks of the scans; those that are too many for one are left for the next. */
static bool
found_instance(const InstanceRow *row, void *arg)
{
	Found	   *found = arg;

	/* what one owner has too much of is not in the way of others */
	if (row->owner != found->owner)
		found->rest = SCAN_MAX;
	found->owner = row->owner;
	if (found->rest == 0)
	{
		found->all = false;
		ready_leave_out(my_database, row->owner);
		return false;
	}
	found_add(found, (ReadyHint) {.role = row->owner, .key = row->key, .name = ready_name(row->name), .flags = READY_ALL});
	return true;
}

static bool
found_tasks(int64 key, int low, int high, void *arg)
{
	Found	   *found = arg;

	if (found->rest == 0)
	{
		found->all = false;
		return false;
	}
	found_key(found, key, low, high);
	return true;
}

static bool
found_messages(int64 key, void *arg)
{
	return found_tasks(key, 0, 0, arg);
}

static bool
found_timer(TimerPlace place, void *arg)
{
	Found	   *found = arg;

	if (found->rest == 0 || (found->stops && !found->all))
		return false;
	if (found->count == 0)
		found->timer = place;
	found_key(found, place.key, 0, 0);
	return true;
}

/* Begin a scan: a transaction and an empty set of finds. */
static Found *
scan_start(void)
{
	Found	   *found = palloc0(sizeof(Found));

	process_begin();
	found->store = store_open();
	found->flags = READY_ALL;
	found->rest = SCAN_MAX;
	found->all = true;
	found->timer = NO_TIMER;
	return found;
}

/* End a scan; false when something did not fit. */
static bool
scan_finish(Found *found)
{
	bool		all;

	found_flush(found);
	all = found->all;
	store_close(found->store);
	process_commit();
	return all;
}

/* A scan that was begun then has left something out. */
static void
left_out(TimestampTz start)
{
	TimestampTz now = GetCurrentTimestamp();

	scan_pause = Min(Max(10 * (now - start), SCAN_PAUSE_MS * INT64CONST(1000)), SCAN_PAUSE_MAX);
	scan_again = now + scan_pause;
	ready_all_listed(my_database, false);
}

/* Microseconds of CPU that this process has had. */
static int64
cpu_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * USECS_PER_SEC + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

/*
 * Find all work there is but for timers; what does not fit is left for another
 * scan.  One that has to stop is continued by the next, so that what comes first
 * and fits nowhere does not hide what comes after it.
 */
static void
scan_tables(void)
{
	TimestampTz start = GetCurrentTimestamp();
	int64		cpu = cpu_time();
	bool		whole = messages_from == 0 && tasks_from == 0;
	Found	   *found = scan_start();

	if (whole)
		ready_scan_begins(my_database);
	instances_ready(found->store, found_instance, found);
	found_instances = found->total;
	found->rest = SCAN_MAX;
	messages_from = messages_scan(found->store, messages_from, found_messages, found);
	found->rest = SCAN_MAX;
	tasks_from = tasks_scan(found->store, tasks_from, found_tasks, found);
	scan_requested = false;
	scan_again = 0;
	if (!scan_finish(found) || !whole)
		left_out(start);
	else
		ready_all_listed(my_database, !timers_are_left());
	scan_cpu = cpu_time() - cpu;
	scan_not_before = GetCurrentTimestamp() + SCAN_REST * scan_cpu;
}

/* Microseconds from one look for what nobody told of to the next. */
static int64
poll_pause(void)
{
	return Max(durable_poll_interval * INT64CONST(1000), Min((int64) ((scan_cpu + timers_cpu) / SCAN_SHARE), POLL_PAUSE_MAX));
}

/* Whether it is time for a scan: one that was asked for, or that finds what the last one left out. */
static bool
scan_is_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	/* the clock may have been set back */
	scan_not_before = Min(scan_not_before, now + SCAN_REST * scan_cpu);
	if (scan_not_before > now)
		return false;
	if (scan_again == 0)
		return scan_requested;
	/* the clock may have been set back */
	scan_again = Min(scan_again, now + scan_pause);
	return scan_again <= now &&
		(scan_requested || messages_from != 0 || tasks_from != 0 || ready_drained(my_database));
}

/*
 * Announce timers that are due, from the given one on, at most as many as a scan
 * finds.  Returns the first one that is still to be announced.  What does not fit
 * is left out, so that it does not hide what is due later.
 */
static TimerPlace
fire_timers(TimerPlace from, TimestampTz now, bool stops)
{
	TimestampTz start = GetCurrentTimestamp();
	Found	   *found = scan_start();
	TimerPlace	next;

	found->flags = READY_TIMER;
	found->stops = stops;
	next = timers_scan(found->store, from, now, found_timer, found);
	if (!scan_finish(found))
		left_out(start);
	return next;
}

/* Whether there is a next timer and it is due. */
static bool
timer_is_due(TimestampTz next_timer, TimestampTz now)
{
	return next_timer != 0 && next_timer <= now;
}

/*
 * A timer has come, 0 if none has.  A pass through the due ones that has got
 * beyond it comes to its end first, as new ones may never cease to come.
 */
static void
note_timer(TimestampTz timer, TimestampTz now, TimestampTz *next_timer, TimerPlace *fired)
{
	if (timer == 0)
		return;
	if (timer <= fired->fire_at && timer_is_due(*next_timer, now))
	{
		timers_behind = earlier(timers_behind, timer);
		return;
	}
	if (timer <= fired->fire_at)
		*fired = FIRST_TIMER(timer);
	*next_timer = earlier(*next_timer, timer);
}

/* Announce those that are due, and note with which one to continue. */
static void
look_for_timers(TimestampTz now, TimestampTz *next_timer, TimerPlace *fired)
{
	int64		cpu = cpu_time();
	TimerPlace	next = fire_timers(*fired, now, false);
	TimestampTz behind = timers_behind;

	if (timers_polled)
		timers_cpu += cpu_time() - cpu;
	*next_timer = next.fire_at;
	*fired = timer_is_due(next.fire_at, now) ? next : FIRST_TIMER(now);
	if (timer_is_due(next.fire_at, now))
		return;
	timers_behind = 0;
	timers_polled = behind == DT_NOBEGIN;
	note_timer(behind, now, next_timer, fired);
}

/* Announce those that were left out, until something does not fit again. */
static void
look_for_timers_left(TimestampTz now)
{
	TimerPlace	from = timers_left;
	TimerPlace	next;

	timers_left = NO_TIMER;
	next = fire_timers(from, now, true);
	/* either there are more of them than a scan finds, or those from the first on that did not fit are left */
	timers_again = !timers_are_left() && timer_is_due(next.fire_at, now);
	if (timers_again)
		timers_left = next;
}

/* A round of the scheduler's own, for the few changes that it makes itself. */
static Round
round_begin(void)
{
	Round		round = {.now = GetCurrentTimestamp()};

	process_begin();
	failure_log_begin();
	round.store = store_open();
	return round;
}

/* Commit such a round. */
static void
round_commit(Round *round)
{
	store_close(round->store);
	process_commit();
	failure_log_commit();
}

/* Take away what belongs to instances that have not existed for long. */
static void
remove_orphans(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		done = true;

	/* the clock may have been set back */
	orphans_since = Min(orphans_since, now);
	while (norphans > 0 && now - orphans_since >= ORPHAN_AGE && done)
	{
		int64		key = orphans[norphans - 1];
		Round		round = round_begin();
		Oid			owner;

		done = instance_owner(round.store, key, &owner) || queue_remove_orphans(round.store, key, ORPHAN_ROWS);
		round_commit(&round);
		norphans -= done;
	}
}

/*
 * Count what a dead worker was running; what cannot be counted is not to keep
 * the others waiting.  False if it is to be tried again.
 */
static bool
try_lost_count(const CrashNote *note)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool counted = true;

	PG_TRY();
	{
		Round		round = round_begin();

		counted = lost_count(round.store, note);
		round_commit(&round);
	}
	PG_CATCH();
	{
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
	}
	PG_END_TRY();
	return counted;
}

/*
 * Fail an instance whose role no longer exists.  What has come for it, and what
 * it has queued, stays for a role that it may be given to.  False if somebody
 * else has its row.
 */
static bool
fail_ownerless(Oid role, int64 key)
{
	Round		round = round_begin();
	InstanceRow row;
	FetchResult result;

	ItemPointerSetInvalid(&row.root);
	result = instance_claim(round.store, key, InvalidOid, &row);
	/* durable.reassign_owner may have come first */
	if (result == FETCH_FOUND && !STATE_IS_TERMINAL(row.state) &&
		!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(row.owner)))
		instance_fail_unread(&round, &row,
							 failure_make(ERRCODE_UNDEFINED_OBJECT,
										  psprintf("the role with OID %u that owned the instance was dropped", role),
										  NULL, NULL));
	round_commit(&round);
	return result != FETCH_LOCKED;
}

/* Why no worker can run as a role now; NULL if one can.  *gone: the role was dropped. */
static char *
look_for_obstacle(Oid role, char **database, bool *gone)
{
	char	   *obstacle;

	process_begin();
	*gone = !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
	*database = log_database(my_database);
	obstacle = role_obstacle(role);
	process_commit();
	return obstacle;
}

/* There is no process for a worker: an idle one leaves, or a scheduler, or the administrator is told. */
static void
lack_process(const WantedProcess *wanted)
{
	static TimestampTz complained = 0;
	bool		room = places_make_room();

	if (!room)
		database_lack_process(my_database);
	/* until a process ends, or for a while */
	places_back_off(my_database, wanted->role, GetCurrentTimestamp() + NO_PROCESS_PAUSE, true);
	if (room || !log_again(&complained, COMPLAINT_PAUSE_MS))
		return;
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("durable could not start a worker"),
			 errdetail("Work waits for another process to end; there are 20 attempts a second."),
			 errhint("Increase max_worker_processes, or decrease durable.max_workers or durable.max_long_activities.")));
}

/* Start a process in a slot that is reserved for it; tells the administrator when that is impossible. */
static void
start_worker(const WantedProcess *wanted)
{
	WorkerExtra extra = {.role = wanted->role, .slot = wanted->slot};
	Started    *entry = started;

	while (entry < started + DURABLE_WORKERS_LIMIT && entry->handle != NULL)
		entry++;
	if (entry < started + DURABLE_WORKERS_LIMIT && process_start(my_database, &extra, &entry->handle))
	{
		entry->slot = wanted->slot;
		entry->generation = wanted->generation;
		return;
	}
	worker_slot_unreserve(wanted->slot, wanted->generation);
	lack_process(wanted);
}

/* Start a process for a role, if one can run as it. */
static void
serve(const WantedProcess *wanted)
{
	char	   *database;
	bool		gone;
	char	   *obstacle = look_for_obstacle(wanted->role, &database, &gone);

	if (!gone && obstacle == NULL)
	{
		start_worker(wanted);
		return;
	}
	worker_slot_unreserve(wanted->slot, wanted->generation);
	if (gone)
	{
		/* they are found by their owner, and failed a few at a time */
		ready_drop(my_database, wanted->role);
		adopt_request();
		return;
	}
	places_back_off(my_database, wanted->role, GetCurrentTimestamp() + BLOCKED_PAUSE, false);
	ereport(LOG,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("durable cannot run instances in database %s: %s",
					database, log_text(obstacle, LOG_MESSAGE, false)),
			 errdetail("They wait; the next attempt is in 10 seconds.")));
}

/*
 * Give places to those who wait, and start the processes that are needed.  Returns
 * true if that is to be looked at again soon.  What has to pause is left to
 * places_look_at, and the rest to whoever gives up a place.
 */
static bool
start_workers(void)
{
	WantedProcess wanted[NEEDS];
	int			count;
	bool		soon = places_look(my_database, wanted, NEEDS, &count);

	for (int i = 0; i < count; i++)
		serve(&wanted[i]);
	return soon;
}

/*
 * Count what dead workers were running.  A note whose row another transaction
 * has is kept and tried again some time later: nobody waits for the row.
 */
static void
count_deliveries(void)
{
	TimestampTz now = GetCurrentTimestamp();
	CrashNote	note;

	/* the clock may have been set back */
	if (count_again > now && count_again - now <= UNCOUNTED_PAUSE)
		return;
	count_again = 0;
	for (int i = 0; (i = crash_note_next(my_database, i, &note)) >= 0; i++)
	{
		if (try_lost_count(&note))
			crash_note_release(i, &note);
		else
			count_again = now + UNCOUNTED_PAUSE;
	}
}

/* Milliseconds until the first thing is to be done of which nobody will tell. */
static long
time_to_sleep(TimestampTz next_poll, TimestampTz next_timer)
{
	TimestampTz next = earlier(earlier(earlier(next_poll, next_timer), places_look_at(my_database)), count_again);
	TimestampTz now = GetCurrentTimestamp();

	return next <= now ? 0 : Min((next - now) / 1000 + 1, PG_INT32_MAX);
}

/* Do everything that is due once; returns how long to sleep. */
static long
work(TimestampTz *last_poll, TimestampTz *next_timer, TimerPlace *fired)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz stalled;
	DatabaseNews news = database_collect(my_database);
	bool		soon;
	long		sleep;

	scan_requested |= news.scan;
	/* first of all, as workers can do nothing without it but end */
	if (news.changed)
		check_extension();
	if (news.roles)
		adopt_request();
	reap();
	count_deliveries();
	/* the clock may have been set back */
	*last_poll = Min(*last_poll, now);
	if (now >= *last_poll + poll_pause())
	{
		check_extension();
		adopt_request();
		scan_requested = true;
		note_timer(DT_NOBEGIN, now, next_timer, fired);
		timers_polled |= fired->fire_at == DT_NOBEGIN;
		timers_cpu = 0;
		*last_poll = now;
	}
	if (scan_is_due())
	{
		scan_tables();
		remove_orphans();
		timers_again = timers_are_left();
	}
	note_timer(news.timer, now, next_timer, fired);
	if (timer_is_due(*next_timer, now))
		look_for_timers(now, next_timer, fired);
	/* those that are announced already come first, and all of them, since new ones may never cease to come */
	if (timers_again && !timer_is_due(*next_timer, now))
		look_for_timers_left(now);
	soon = timers_again || timer_is_due(*next_timer, now);
	soon |= start_workers();
	soon |= adopt_work(fail_ownerless);
	watch_running(found_instances, scan_again == 0);
	stalled = watch_look(my_database);
	if (soon)
		return SOON_MS;
	stalled = earlier(stalled, scan_requested ? scan_not_before : 0);
	sleep = time_to_sleep(earlier(*last_poll + poll_pause(), stalled), *next_timer);
	return scan_again != 0 ? Min(sleep, SCAN_PAUSE_MS) : sleep;
}

/* Whether a worker of this database is there, or one that has something to do. */
static bool
has_workers(bool busy)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			count = worker_slot_list(workers);

	for (int i = 0; i < count; i++)
		if (workers[i].db == my_database && !(busy && workers[i].state == WORKER_IDLE))
			return true;
	return false;
}

/* Whether there is nothing to do in the database: no work, no worker that does some, no timer that is due soon. */
static bool
is_idle(long sleep, TimestampTz next_timer)
{
	QueueInfo  *queues;
	int			count;

	if (sleep <= SOON_MS || scan_requested || scan_again != 0 || timers_are_left() || count_again != 0 ||
		timer_is_due(next_timer, GetCurrentTimestamp() + IDLE_TIME) || has_workers(true) ||
		!durable_wakeups || !adopt_settled() || failure_log_pending(my_database) || crash_note_pending(my_database))
		return false;
	count = queue_list(my_database, &queues);
	for (int i = 0; i < count; i++)
		if (queues[i].instances > 0 || queues[i].activities > 0)
			return false;
	return true;
}

/*
 * All that was due is done: leave if that is right; returns how long to sleep at
 * most.  Workers that are left would find work later without a scheduler's start,
 * and are soon gone; orphans only this process remembers.  If another database is
 * to have the process, workers go on with what they have, and the next scheduler
 * comes as soon as there is a place, unless nothing is to be done.
 */
static long
rest(long sleep, TimestampTz next_timer)
{
	bool		idle = is_idle(sleep, next_timer);
	bool		finished = idle && !has_workers(false) && norphans == 0;
	bool		asked;
	bool		may_sleep;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz idle_since = database_rest(my_database, idle, &asked, &may_sleep);

	if (asked || (finished && now - idle_since >= LINGER))
	{
		left_as = DATABASE_AWAY;
		come_back = idle ? next_timer : now;
		proc_exit(0);
	}
	if (!may_sleep)
		return 0;
	return finished ? Min(sleep, (idle_since + LINGER - now) / 1000 + 1) : sleep;
}

/* Main function of a scheduler. */
void
durable_scheduler_main(Datum arg)
{
	MemoryContext context;
	TimestampTz last_poll = 0;
	TimestampTz next_timer = 0;
	TimerPlace	fired = FIRST_TIMER(DT_NOBEGIN);

	my_database = DatumGetObjectId(arg);
	process_init(PROCESS_SCHEDULER);
	if (!scheduler_attach(my_database))
		proc_exit(0);
	on_shmem_exit(scheduler_exit, (Datum) 0);
	process_connect(my_database, InvalidOid);
	pgstat_report_appname("durable scheduler");
	/* a lock that stops it stops the engine: its wait is told of after deadlock_timeout */
	SetConfigOption("log_lock_waits", "on", PGC_SUSET, PGC_S_OVERRIDE);
	check_extension();
	context = AllocSetContextCreate(TopMemoryContext, "durable scheduler", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		long		sleep;

		process_handle_interrupts();
		pgstat_report_activity(STATE_RUNNING, "looking for work");
		sleep = work(&last_poll, &next_timer, &fired);
		sleep = rest(sleep, next_timer);
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
		if (sleep > 0)
			process_wait(sleep);
	}
}
