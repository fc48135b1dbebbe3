/*
 * recovery_scan.c
 *	  The scheduler reads the tables for work that the ready lists lack, and for
 *	  timers that are due.
 *
 * Sessions and workers announce work in the ready lists (ready_queue.h) when
 * they commit, and report new timers to the scheduler (database_slots.h).  The
 * tables are scanned besides:
 *
 *	work	at the scheduler's start, every durable.poll_interval, and when the
 *			lists were full.  So no work depends on an announcement.
 *	timers	when one is due: the scheduler announces its instance, and a worker
 *			deletes its row.  Every durable.poll_interval all due timers are
 *			announced once more.
 *
 * What the lists have no room for is left out, and scanned again when workers
 * have emptied the lists.  Old snapshots keep dead rows, which make a scan slow;
 * therefore each scan is followed by a pause in proportion to its CPU time.
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "miscadmin.h"

#include "common/guc.h"
#include "sched/ready_queue.h"
#include "store/activity_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"
#include "worker/bgworkers.h"
#include "worker/recovery_scan.h"

#define HINTS			256		/* hints that are announced at a time */
/* rows of instances that do not exist are kept for this time, in case a restore is about to insert the instance */
#define ORPHAN_AGE		(600 * USECS_PER_SEC)
#define ORPHANS			1024	/* such instances that are remembered */
#define ORPHAN_ROWS		10000	/* rows of such an instance that one transaction deletes */
/* a scan that left something out is repeated after ten times its duration, within these limits */
#define RESCAN_PAUSE_MIN	(USECS_PER_SEC / 10)
#define RESCAN_PAUSE_MAX	(10 * USECS_PER_SEC)
/* scans that no announcement asked for may take this part of a core, but come at least every POLL_PAUSE_MAX */
#define POLL_SHARE		0.01
#define POLL_PAUSE_MAX	(300 * USECS_PER_SEC)
/* no scan of the tables begins before this many times the CPU time of the last one */
#define SCAN_REST		9
/* instances of one owner that a scan finds at most; the ready lists hold fewer */
#define SCAN_MAX		32768

/* after all timers */
#define NO_TIMER		((TimerPlace) {.fire_at = PG_INT64_MAX})
/* before all timers of a time */
#define FIRST_TIMER(time) ((TimerPlace) {.fire_at = (time), .key = PG_INT64_MIN})

/* a scan that is under way */
typedef struct RecoveryScan
{
	Store	   *store;
	int			flags;			/* for the hints of instances */
	int			rest;			/* how many more hints this scan may make */
	Oid			owner;			/* of the last instance */
	bool		all;			/* nothing was left out so far */
	bool		stops;			/* end the scan as soon as something is left out */
	TimerPlace	timer;			/* the timer of hints[0] */
	int64		total;			/* hints so far */
	int			count;			/* of them not announced yet */
	ReadyHint	hints[HINTS];
} RecoveryScan;

static int64 orphans[ORPHANS];	/* keys of instances that do not exist but have rows in other tables */
static int	norphans = 0;
static TimestampTz orphans_since;	/* start of the transaction that found them */

static int64 found_instances = 0;	/* by the last scan */
static bool scan_requested = false;
static TimestampTz scan_again = 0;	/* when to repeat a scan that left something out; 0: none did */
static int64 scan_pause = 0;	/* the pause before that, us */
static int64 scan_cpu = 0;		/* CPU time of the last scan, us; waits for locks do not count */
static TimestampTz scan_not_before = 0; /* no scan begins before this */
static TimestampTz last_poll = 0;
/* where the next scan of a table continues; 0: at its beginning */
static int64 messages_from = 0;
static int64 activities_from = 0;

static TimestampTz next_timer = 0;	/* when the next pass through the due timers begins; 0: no timer is known */
static TimerPlace announced = {.fire_at = DT_NOBEGIN, .key = PG_INT64_MIN};	/* due timers before this one are announced */
static TimestampTz timers_behind = 0;	/* the earliest new timer before announced; 0: none */
static TimerPlace timers_left = {.fire_at = PG_INT64_MAX};	/* due timers from this one on were left out */
static bool timers_again = false;	/* the lists may have room for those now */
static bool timers_polled = false;	/* this pass through the due timers is a poll */
static int64 timers_cpu = 0;	/* and has taken this CPU time, us */

/* Due timers from this one on have no room in the ready lists. */
static void
leave_timers(TimerPlace first)
{
	if (first.fire_at < timers_left.fire_at || (first.fire_at == timers_left.fire_at && first.key < timers_left.key))
		timers_left = first;
}

static bool
timers_are_left(void)
{
	return timers_left.fire_at != PG_INT64_MAX;
}

/* Announce the hints of a scan. */
static void
announce_hints(RecoveryScan *scan)
{
	if (scan->count > 0 && !ready_push(MyDatabaseId, scan->hints, scan->count))
	{
		if (scan->all)
			leave_timers(scan->timer);
		scan->all = false;
	}
	scan->count = 0;
	CHECK_FOR_INTERRUPTS();
}

static void
add_hint(RecoveryScan *scan, ReadyHint hint)
{
	scan->rest--;
	scan->total++;
	scan->hints[scan->count++] = hint;
	if (scan->count == HINTS)
		announce_hints(scan);
}

/*
 * Remember an instance that does not exist although other tables have rows of
 * it.  A restore, which fills one table after the other, may be about to insert
 * the instance.  Rows that are older than ORPHAN_AGE were sent to an instance
 * that has been deleted.  All remembered ones were found by the same transaction,
 * so that one time is enough for them; others are found again later.
 */
static void
remember_orphan(int64 key)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (norphans > 0 && (orphans_since != now || norphans == ORPHANS))
		return;
	orphans_since = now;
	orphans[norphans++] = key;
}

/* Add a hint for an instance whose owner has to be looked up. */
static void
add_key(RecoveryScan *scan, int64 key, int low, int high)
{
	Oid			owner;

	if (!instance_owner(scan->store, key, &owner))
	{
		remember_orphan(key);
		return;
	}
	/* an instance of a missing role waits until the role exists */
	if (!OidIsValid(owner))
		return;
	add_hint(scan, (ReadyHint) {
		.role = owner, .key = key, .flags = low == 0 ? scan->flags : 0, .low = low, .high = high
	});
}

/* Callbacks of the scans.  They return false to end the scan of a table, or of one owner's instances. */
static bool
add_instance(const InstanceRow *row, void *arg)
{
	RecoveryScan *scan = arg;

	/* each owner has a limit of its own */
	if (row->owner != scan->owner)
		scan->rest = SCAN_MAX;
	scan->owner = row->owner;
	if (scan->rest == 0)
	{
		scan->all = false;
		ready_leave_out(MyDatabaseId, row->owner);
		return false;
	}
	add_hint(scan, (ReadyHint) {.role = row->owner, .key = row->key, .name = ready_name(row->name), .flags = READY_ALL});
	return true;
}

static bool
add_activities(int64 key, int low, int high, void *arg)
{
	RecoveryScan *scan = arg;

	if (scan->rest == 0)
	{
		scan->all = false;
		return false;
	}
	add_key(scan, key, low, high);
	return true;
}

static bool
add_messages(int64 key, void *arg)
{
	return add_activities(key, 0, 0, arg);
}

static bool
add_timer(TimerPlace place, void *arg)
{
	RecoveryScan *scan = arg;

	if (scan->rest == 0 || (scan->stops && !scan->all))
		return false;
	if (scan->count == 0)
		scan->timer = place;
	add_key(scan, place.key, 0, 0);
	return true;
}

/* Begin a scan and its transaction. */
static RecoveryScan *
recovery_scan_begin(int flags)
{
	RecoveryScan *scan = palloc0(sizeof(RecoveryScan));

	bgworker_begin();
	scan->store = store_open();
	scan->flags = flags;
	scan->rest = SCAN_MAX;
	scan->all = true;
	scan->timer = NO_TIMER;
	return scan;
}

/* End a scan and its transaction; false if something was left out. */
static bool
recovery_scan_end(RecoveryScan *scan)
{
	announce_hints(scan);
	store_close(scan->store);
	bgworker_commit();
	return scan->all;
}

/* A scan that began at this time left something out: it is repeated. */
static void
scan_left_out(TimestampTz start)
{
	TimestampTz now = GetCurrentTimestamp();

	scan_pause = Min(Max(10 * (now - start), RESCAN_PAUSE_MIN), RESCAN_PAUSE_MAX);
	scan_again = now + scan_pause;
	ready_all_listed(MyDatabaseId, false);
}

/* CPU time of this process, us. */
static int64
cpu_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * USECS_PER_SEC + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

/*
 * Announce all work except timers.  A scan of messages or activities that ends
 * early is continued by the next scan, so that rows for which the lists have no
 * room do not hide the rows behind them.
 */
static void
scan_tables(void)
{
	TimestampTz start = GetCurrentTimestamp();
	int64		cpu = cpu_time();
	bool		whole = messages_from == 0 && activities_from == 0;
	RecoveryScan *scan = recovery_scan_begin(READY_ALL);

	if (whole)
		ready_scan_begins(MyDatabaseId);
	instances_ready(scan->store, add_instance, scan);
	found_instances = scan->total;
	scan->rest = SCAN_MAX;
	messages_from = messages_scan(scan->store, messages_from, add_messages, scan);
	scan->rest = SCAN_MAX;
	activities_from = tasks_scan(scan->store, activities_from, add_activities, scan);
	scan_requested = false;
	scan_again = 0;
	if (!recovery_scan_end(scan) || !whole)
		scan_left_out(start);
	else
		ready_all_listed(MyDatabaseId, !timers_are_left());
	scan_cpu = cpu_time() - cpu;
	scan_not_before = GetCurrentTimestamp() + SCAN_REST * scan_cpu;
}

/* Whether scan_tables is due: it was requested, or the lists have room for what the last scan left out. */
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
	scan_again = Min(scan_again, now + scan_pause);
	return scan_again <= now &&
		(scan_requested || messages_from != 0 || activities_from != 0 || ready_drained(MyDatabaseId));
}

/* Delete the rows of instances that have not existed for ORPHAN_AGE. */
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
		Store	   *store;
		Oid			owner;

		bgworker_begin();
		store = store_open();
		done = instance_owner(store, key, &owner) || queue_remove_orphans(store, key, ORPHAN_ROWS);
		store_close(store);
		bgworker_commit();
		norphans -= done;
	}
}

/*
 * Announce due timers from the given one on, SCAN_MAX at most.  Returns the first
 * one that has not been looked at, due or not.  Timers for which the lists have
 * no room are left out, so that they do not hide the ones behind them; with
 * stops, the scan ends there.
 */
static TimerPlace
fire_timers(TimerPlace from, TimestampTz now, bool stops)
{
	TimestampTz start = GetCurrentTimestamp();
	RecoveryScan *scan = recovery_scan_begin(READY_TIMER);
	TimerPlace	next;

	scan->stops = stops;
	next = timers_scan(scan->store, from, now, add_timer, scan);
	if (!recovery_scan_end(scan))
		scan_left_out(start);
	return next;
}

static bool
timer_is_due(TimestampTz timer, TimestampTz now)
{
	return timer != 0 && timer <= now;
}

/*
 * A new timer was reported; 0: none was.  A pass through the due timers that is
 * already past the new one is not interrupted, since new timers may never cease
 * to arrive; another pass follows.
 */
static void
note_timer(TimestampTz timer, TimestampTz now)
{
	if (timer == 0)
		return;
	if (timer <= announced.fire_at && timer_is_due(next_timer, now))
	{
		timers_behind = earlier_time(timers_behind, timer);
		return;
	}
	if (timer <= announced.fire_at)
		announced = FIRST_TIMER(timer);
	next_timer = earlier_time(next_timer, timer);
}

/* Announce the next due timers, up to SCAN_MAX. */
static void
look_for_timers(TimestampTz now)
{
	int64		cpu = cpu_time();
	TimerPlace	next = fire_timers(announced, now, false);
	TimestampTz behind = timers_behind;

	if (timers_polled)
		timers_cpu += cpu_time() - cpu;
	next_timer = next.fire_at;
	announced = timer_is_due(next.fire_at, now) ? next : FIRST_TIMER(now);
	if (timer_is_due(next.fire_at, now))
		return;
	timers_behind = 0;
	timers_polled = behind == DT_NOBEGIN;
	note_timer(behind, now);
}

/* Announce due timers that were left out, until the lists are full again. */
static void
look_for_timers_left(TimestampTz now)
{
	TimerPlace	from = timers_left;
	TimerPlace	next;

	timers_left = NO_TIMER;
	next = fire_timers(from, now, true);
	/* if everything fitted there may be more than SCAN_MAX of them */
	timers_again = !timers_are_left() && timer_is_due(next.fire_at, now);
	if (timers_again)
		timers_left = next;
}

/* Microseconds from one poll to the next. */
static int64
poll_pause(void)
{
	return Max(durable_poll_interval * INT64CONST(1000), Min((int64) ((scan_cpu + timers_cpu) / POLL_SHARE), POLL_PAUSE_MAX));
}

bool
recovery_scan_poll(TimestampTz now)
{
	/* the clock may have been set back */
	last_poll = Min(last_poll, now);
	if (now < last_poll + poll_pause())
		return false;
	last_poll = now;
	scan_requested = true;
	note_timer(DT_NOBEGIN, now);
	timers_polled |= announced.fire_at == DT_NOBEGIN;
	timers_cpu = 0;
	return true;
}

bool
recovery_scan_run(const DatabaseNews *news, TimestampTz now)
{
	scan_requested |= news->scan;
	if (scan_is_due())
	{
		scan_tables();
		remove_orphans();
		timers_again = timers_are_left();
	}
	note_timer(news->timer, now);
	if (timer_is_due(next_timer, now))
		look_for_timers(now);
	/* timers that were left out come after all others */
	if (timers_again && !timer_is_due(next_timer, now))
		look_for_timers_left(now);
	return timers_again || timer_is_due(next_timer, now);
}

TimestampTz
recovery_scan_wake_at(void)
{
	TimestampTz at = earlier_time(last_poll + poll_pause(), next_timer);

	if (scan_requested)
		at = earlier_time(at, scan_not_before);
	/* nobody reports that the lists have room again */
	if (scan_again != 0)
		at = Min(at, GetCurrentTimestamp() + RESCAN_PAUSE_MIN);
	return at;
}

TimestampTz
recovery_scan_next_timer(void)
{
	return next_timer;
}

bool
recovery_scan_settled(void)
{
	return !scan_requested && scan_again == 0 && !timers_are_left();
}

bool
recovery_scan_has_orphans(void)
{
	return norphans > 0;
}

int64
recovery_scan_instances(bool *all)
{
	*all = scan_again == 0;
	return found_instances;
}
