/*
 * commit_wakeup.c
 *	  Collects the wake-ups of a transaction in TopTransactionContext and
 *	  announces them after its commit, where nothing may throw.
 *
 * A savepoint that is rolled back takes its cancellations with it.  Its other
 * wake-ups stay: each only makes a process look.
 *
 * Workers skip what another transaction has locked; they do not wait, and
 * nobody would look again.  So a transaction that locks the row of an
 * instance, or a queued activity, which is not its own work, calls
 * wakeup_locked or wakeup_locked_tasks first, and these are announced at the
 * end of the transaction even if it is rolled back.  A worker does not do this
 * for what it has claimed: it looks again itself, and at its end its claims
 * are queued again.
 *
 * The commit callback would be too early.  PostgreSQL sends the cache
 * invalidations of the transaction and releases its locks later, so a worker
 * that is woken in the callback would run code that a CREATE OR REPLACE
 * FUNCTION has just replaced.  The last phase of resource release comes after
 * both.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "common/guc.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "sched/ready_queue.h"
#include "shmem/completion_waiters.h"
#include "shmem/crash_notes.h"
#include "shmem/shmem.h"

#define WAKEUPS_LIMIT 32768

static bool registered = false;
/* wake-ups for workers; if there are more than WAKEUPS_LIMIT, the scheduler's scan finds the rest */
typedef struct WakeupList
{
	ReadyHint  *hints;
	int			count;
	int			size;
	bool		overflow;
} WakeupList;

static WakeupList ready;			/* work that the transaction has made ready */
static WakeupList locked;			/* rows that workers skip while the transaction holds their locks */
static int64 *ended = NULL;
static int	nended = 0;
static int	ended_size = 0;
/* activities to be interrupted, unless this savepoint is rolled back */
typedef struct Cancel
{
	int64		key;
	SubTransactionId subid;
} Cancel;

static Cancel *canceled = NULL;
static int	ncanceled = 0;
static int	canceled_size = 0;
static TimestampTz first_timer = 0;
static bool extension_changed = false;
static bool roles_came = false;
static bool roles_dropped = false;
static bool databases_changed = false;
static bool look = false;		/* the scheduler scans the tables */
static bool over = false;		/* the transaction ended; announce when its locks are released */
static bool undone = false;		/* a savepoint was rolled back */

/* Forget everything; the memory goes with the transaction. */
static void
reset(void)
{
	ready = locked = (WakeupList) {0};
	ended = NULL;
	canceled = NULL;
	nended = ended_size = ncanceled = canceled_size = 0;
	first_timer = 0;
	extension_changed = roles_came = roles_dropped = databases_changed = look = over = undone = false;
}

/* Announce work for workers. */
static void
announce_work(void)
{
	if (locked.count > 0 && !ready_push(MyDatabaseId, locked.hints, locked.count))
		locked.overflow = true;
	if (ready.count > 0 && !ready_push(MyDatabaseId, ready.hints, ready.count))
		ready.overflow = true;
	if (first_timer != 0)
		database_announce_timer(MyDatabaseId, first_timer);
	if (locked.overflow || ready.overflow)
		database_request_scan(MyDatabaseId);
}

/* Announce everything. */
static void
announce(void)
{
	if (extension_changed)
		database_changed(MyDatabaseId);
	if (roles_came || roles_dropped)
		database_roles_changed(roles_dropped);
	if (databases_changed)
		database_launcher_look();
	if (look)
		database_request_look(MyDatabaseId);
	if (nended > 0)
		completion_waiter_wake(ended, nended);
	if (durable_wakeups)
		announce_work();
	/* last, so that a worker whose activity is interrupted finds the termination */
	for (int i = 0; i < ncanceled; i++)
		crash_note_cancel(MyDatabaseId, canceled[i].key);
}

/*
 * Queued activities that this transaction has locked and removed are gone,
 * unless a savepoint was rolled back.
 */
static void
forget_removed_tasks(void)
{
	int			kept = 0;

	if (undone)
		return;
	for (int i = 0; i < locked.count; i++)
		if (locked.hints[i].flags != 0)
			locked.hints[kept++] = locked.hints[i];
	locked.count = kept;
}

static void
wakeup_at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			forget_removed_tasks();
			over = true;
			break;
		case XACT_EVENT_ABORT:
			ready = (WakeupList) {0};
			nended = ncanceled = 0;
			first_timer = 0;
			extension_changed = roles_came = roles_dropped = databases_changed = false;
			over = locked.count > 0 || locked.overflow || look;
			if (!over)
				reset();
			break;
		case XACT_EVENT_PREPARE:
			reset();
			break;
		default:
			break;
	}
}

static void
wakeup_at_subtransaction_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	int			kept = 0;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	undone |= event == SUBXACT_EVENT_ABORT_SUB;
	for (int i = 0; i < ncanceled; i++)
	{
		Cancel		cancel = canceled[i];

		if (cancel.subid == subid)
		{
			if (event == SUBXACT_EVENT_ABORT_SUB)
				continue;
			cancel.subid = parent;
		}
		canceled[kept++] = cancel;
	}
	ncanceled = kept;
}

/* Resource release callback. */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!over || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	announce();
	reset();
}

/* Register the callbacks once; false if there is no engine to wake. */
static bool
ready_to_collect(void)
{
	if (!shmem_available())
		return false;
	if (!registered)
	{
		RegisterXactCallback(wakeup_at_transaction_end, NULL);
		RegisterSubXactCallback(wakeup_at_subtransaction_end, NULL);
		RegisterResourceReleaseCallback(at_release, NULL);
	}
	registered = true;
	return true;
}

/* Add a wake-up, unless there are too many. */
static void
add(WakeupList *list, ReadyHint hint)
{
	if (!ready_to_collect())
		return;
	if (list->count >= WAKEUPS_LIMIT)
	{
		list->overflow = true;
		return;
	}
	list->hints = grow(TopTransactionContext, list->hints, list->count, &list->size, sizeof(ReadyHint));
	list->hints[list->count++] = hint;
}

/* An instance has something to do. */
void
wakeup_instance(Oid role, int64 key, const char *name, int flags)
{
	ReadyHint  *last = ready.count > 0 ? &ready.hints[ready.count - 1] : NULL;

	if (last != NULL && last->key == key && last->flags != 0)
		last->flags |= flags;
	else
		add(&ready, (ReadyHint) {.role = role, .key = key, .name = name != NULL ? ready_name(name) : 0, .flags = flags});
}

/* This transaction locks the row of an instance. */
void
wakeup_locked(Oid role, int64 key)
{
	add(&locked, (ReadyHint) {.role = role, .key = key, .flags = READY_ALL});
}

/* This transaction locks queued activities to remove them. */
void
wakeup_locked_tasks(Oid role, int64 key, int low, int high)
{
	add(&locked, (ReadyHint) {.role = role, .key = key, .low = low, .high = high});
}

/* Activities of an instance were queued. */
void
wakeup_tasks(Oid role, int64 key, int low, int high, Lone lone)
{
	ReadyHint  *last = ready.count > 0 ? &ready.hints[ready.count - 1] : NULL;

	if (last != NULL && last->key == key && last->flags == 0 && last->lone == lone &&
		last->high + 1 == low)
		last->high = high;
	else
		add(&ready, (ReadyHint) {.role = role, .key = key, .low = low, .high = high, .lone = lone});
}

void
wakeup_timer(TimestampTz fire_at)
{
	/* 0 means no timer; such an early timer is due anyway */
	if (fire_at == 0)
		fire_at = -1;
	if (ready_to_collect() && (first_timer == 0 || fire_at < first_timer))
		first_timer = fire_at;
}

void
wakeup_ended(int64 key)
{
	if (!ready_to_collect())
		return;
	ended = grow(TopTransactionContext, ended, nended, &ended_size, sizeof(int64));
	ended[nended++] = key;
}

/* Running activities of the instance will be interrupted. */
void
wakeup_cancel(int64 key)
{
	if (!ready_to_collect())
		return;
	canceled = grow(TopTransactionContext, canceled, ncanceled, &canceled_size, sizeof(Cancel));
	canceled[ncanceled++] = (Cancel) {.key = key, .subid = GetCurrentSubTransactionId()};
}

void
wakeup_extension_changed(void)
{
	extension_changed = ready_to_collect();
}

/* A role was created or renamed, or dropped.  This concerns all databases. */
void
wakeup_roles_changed(bool dropped)
{
	if (!ready_to_collect())
		return;
	roles_came |= !dropped;
	roles_dropped |= dropped;
}

void
wakeup_databases_changed(void)
{
	databases_changed = ready_to_collect();
}

/* The scheduler scans the tables when this transaction ends. */
void
wakeup_look(void)
{
	look = ready_to_collect();
}
