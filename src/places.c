/*
 * places.c
 *	  Gives places to processes.  See places.h for the rules.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"

#include "blackbox.h"
#include "database.h"
#include "lists.h"
#include "places.h"
#include "shared.h"

/* a place that a worker has lent is taken by others after this */
#define LENT_TIME		(20 * INT64CONST(1000))
/* code in a batch place that has not come back for so long does not look for interrupts; so many of a role keep it from further batch places */
#define OVERDUE_TIME	(500 * INT64CONST(1000))
#define OVERDUE_MOST	2
/* how often the scheduler looks whether what waits for a long place may be tried with patience */
#define LONE_TIME		USECS_PER_SEC
/* a role's backlog lasts that long before another process comes, and lone work before one other than its worker takes it */
#define BACKLOG_TIME	(10 * INT64CONST(1000))
/* how long a role keeps its only batch place while others have none: if the next one's process is there, and if it is to be started */
#define RESIDENCY_WARM	(50 * INT64CONST(1000))
#define RESIDENCY		(500 * INT64CONST(1000))
/* the server had no process: for so long none is asked for but for batch work of a role that has none */
#define NO_PROCESS_TIME	(10 * USECS_PER_SEC)
#define LONGEST_PAUSE	(10 * USECS_PER_SEC)

/* How many processes there may be. */
static int
process_limit(void)
{
	return Min(Min(durable_max_workers + durable_max_long_activities, DURABLE_WORKERS_LIMIT),
			   Max(max_worker_processes - LAUNCHERS - SCHEDULERS, 1));
}

/* Whether a worker has lent its batch place for so long that others may take it. */
static bool
has_lent(const Slot *slot, TimestampTz now)
{
	/* the clock may have been set back */
	return slot->lends && (slot->placed > now || now - slot->placed >= LENT_TIME);
}

/* A long place for a slot that has none. */
static void
take_long(Queue *queue, Slot *slot)
{
	lists->long_used++;
	queue->longs++;
	slot->place = PLACE_LONG;
	slot->placed = GetCurrentTimestamp();
}

/* Whether the code of a worker with a batch place has not come back for so long that it does not look for interrupts. */
static bool
is_overdue(int index, TimestampTz now)
{
	const Slot *slot = &lists->slots[index];
	BlackboxNote note;

	return slot->state == WORKER_BUSY && slot->place == PLACE_BATCH &&
		blackbox_running(index, slot->pid, &note) && now - note.since >= OVERDUE_TIME;
}

/* What it runs is long, and its batch place is for others; it takes no long place either, whether one is free or not. */
static void
make_long(int index)
{
	Slot	   *slot = &lists->slots[index];

	lists->batch_used--;
	slot->queue->batch--;
	take_long(slot->queue, slot);
	/* it takes no long place from others */
	lists->long_used--;
	slot->overdue = true;
}

/* Whether a batch place is free or can be had from those who hold one and do not need it. */
static bool
batch_free(TimestampTz now)
{
	int			used = lists->batch_used;

	for (int i = 0; used >= durable_max_workers && i < lists->nslots; i++)
		used -= has_lent(&lists->slots[i], now) || is_overdue(i, now);
	return used < durable_max_workers;
}

/* Take a batch place for a slot that has none. */
bool
place_take_batch(Queue *queue, Slot *slot)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!batch_free(now))
		return false;
	for (int i = 0; lists->batch_used >= durable_max_workers && i < lists->nslots; i++)
	{
		if (has_lent(&lists->slots[i], now))
		{
			lists->slots[i].lends = false;
			lists->batch_used--;
		}
		else if (is_overdue(i, now))
			make_long(i);
	}
	lists->batch_used++;
	queue->batch++;
	slot->place = PLACE_BATCH;
	slot->placed = now;
	return true;
}

/* How many long places a role has, in all databases, or how many of them with code that did not leave a batch place in time. */
static int
longs_of(Oid role, bool only_overdue)
{
	int			count = 0;

	for (int i = 0; i < lists->nslots; i++)
	{
		const Slot *slot = &lists->slots[i];

		count += slot->place == PLACE_LONG && slot->queue->role == role && (slot->overdue || !only_overdue);
	}
	return count;
}

/* Whether a long place is free for a queue: more of them are than its role has, so that there is one for the next role. */
static bool
places_long_free(const Queue *queue)
{
	return durable_max_long_activities - lists->long_used > longs_of(queue->role, false);
}

/* How many processes work or could, and are in no long place. */
static int
processes_at_hand(void)
{
	int			count = 0;

	for (int i = 0; i < lists->nslots; i++)
	{
		const Slot *slot = &lists->slots[i];

		count += (slot->state == WORKER_BUSY || slot->state == WORKER_IDLE) && slot->place != PLACE_LONG;
	}
	return count;
}

/* An idle process of a queue; NULL: none. */
static Slot *
idle_process(const Queue *queue)
{
	for (int i = 0; queue->idle > 0 && i < lists->nslots; i++)
	{
		Slot	   *slot = &lists->slots[i];

		if (slot->state == WORKER_IDLE && slot->queue == queue && !(slot->retire && lists->no_process != 0))
			return slot;
	}
	return NULL;
}

/* The process that has been idle for longest, of whatever queue, is to leave; false if none is idle. */
static bool
retire_idle(void)
{
	Slot	   *oldest = NULL;

	for (int i = 0; i < lists->nslots; i++)
	{
		Slot	   *slot = &lists->slots[i];

		if (slot->state != WORKER_IDLE)
			continue;
		/* one at a time */
		if (slot->retire)
			return true;
		if (oldest == NULL || slot->since < oldest->since)
			oldest = slot;
	}
	if (oldest == NULL)
		return false;
	oldest->retire = true;
	SetLatch(oldest->latch);
	return true;
}

/* Reserve a slot for a new process of a queue, for its scheduler to start; NULL: not now. */
static Slot *
reserve(Queue *queue)
{
	int			used = 0;
	int			free_slot = -1;

	/* nobody would start it */
	if (!database_served(queue->db))
	{
		database_poke(queue->db);
		return NULL;
	}
	for (int i = 0; i < lists->nslots; i++)
	{
		used += lists->slots[i].state != WORKER_FREE;
		if (lists->slots[i].state == WORKER_FREE && free_slot < 0)
			free_slot = i;
	}
	if (used >= process_limit())
	{
		if (!retire_idle())
		{
			queue->lacking = true;
			lists->no_process = GetCurrentTimestamp();
		}
		return NULL;
	}
	if (free_slot < 0)
		free_slot = lists->nslots++;
	lists->slots[free_slot].queue = queue;
	lists->slots[free_slot].pid = 0;
	lists->slots[free_slot].place = PLACE_NONE;
	lists->slots[free_slot].retire = false;
	lists->slots[free_slot].generation++;
	slot_set_state(&lists->slots[free_slot], WORKER_WANTED);
	database_poke(queue->db);
	return &lists->slots[free_slot];
}

/* Wake an idle process that has got a place. */
static void
wake(Slot *slot)
{
	slot_set_state(slot, WORKER_BUSY);
	/* it does not leave now; whoever wants its place will ask again when it is idle */
	slot->retire = false;
	SetLatch(slot->latch);
}

/*
 * Whether a process may go into a long place: another one has to be at hand for
 * what comes in batches.  If there is none one is started; where the server has
 * none, those in long places are waited for, or, if there are none, the only
 * process does everything in its batch place.
 */
static bool
spare_at_hand(Queue *queue, bool one_leaves)
{
	if (processes_at_hand() > (one_leaves ? 1 : 0))
		return true;
	if (queue->starting == 0 && queue->retry_at <= GetCurrentTimestamp() && lists->no_process == 0)
		(void) reserve(queue);
	return false;
}

/* Whether a batch place does for some of what is to run alone: it may be tried with patience, as it would have to wait. */
bool
places_may_try(Queue *queue)
{
	return queue->lone > 0 && (!places_long_free(queue) || processes_at_hand() <= 1) &&
		(queue_range_to_try(queue) != NULL || queue_entry_to_try(queue) != NULL);
}

/* Whether the only process that the server has must do everything in its batch place. */
static bool
is_only_process(void)
{
	return lists->no_process != 0 && lists->long_used == 0 && processes_at_hand() == 1;
}

/* Go from a batch place into a long one, which stays in the batch place if that is the only way. */
bool
place_go_long(Queue *queue, Slot *slot)
{
	if (slot->place == PLACE_LONG)
		return true;
	if (slot->place != PLACE_BATCH || !places_long_free(queue))
		return false;
	if (!spare_at_hand(queue, true))
		return is_only_process();
	queue->batch--;
	take_long(queue, slot);
	slot->lends = true;
	return true;
}

/* Give up whatever place a slot has; back from a long place into the batch place that nobody has taken. */
void
place_leave(Queue *queue, Slot *slot)
{
	if (slot->place == PLACE_LONG)
	{
		lists->long_used -= !slot->overdue;
		queue->longs--;
		slot->place = slot->lends ? PLACE_BATCH : PLACE_NONE;
		queue->batch += slot->lends;
	}
	else if (slot->place == PLACE_BATCH)
	{
		lists->batch_used--;
		queue->batch--;
		slot->place = PLACE_NONE;
	}
	slot->lends = slot->overdue = false;
	slot->placed = GetCurrentTimestamp();
}

/* Whether a queue waits for a place. */
typedef enum Want
{
	WANT_NOTHING,
	WANT_SOON,					/* it may do so soon */
	WANT_NOW
} Want;

/* Whether a queue has a process, or may get one. */
static bool
has_process(const Queue *queue, TimestampTz now)
{
	return queue->db != InvalidOid && (queue->idle > 0 || queue->retry_at <= now);
}

/* Whether it waits for a batch place. */
static Want
wants_batch(Queue *queue, TimestampTz now)
{
	if (!queue_has_batch(queue) && !places_may_try(queue))
		/* what waited for a lock is tried again after a while */
		return queue->may > 0 ? WANT_SOON : WANT_NOTHING;
	if (!has_process(queue, now) || (queue->batch > 0 && queue->starting > 0))
		return WANT_NOTHING;
	/* a role whose code does not look for interrupts does not get all processes one by one */
	if (longs_of(queue->role, true) >= OVERDUE_MOST)
		return WANT_NOTHING;
	if (queue->batch == 0)
		return WANT_NOW;
	if (queue_can_wait(queue))
		return WANT_SOON;
	return queue->idle > 0 || now - queue->backlog_since >= BACKLOG_TIME ? WANT_NOW : WANT_SOON;
}

/* Whether it waits for a long place; its worker takes that if it comes to it in a moment. */
static Want
wants_long(const Queue *queue, TimestampTz now)
{
	if (queue->lone == 0 || !has_process(queue, now) || queue->starting > 0)
		return WANT_NOTHING;
	return queue->batch == 0 || now - queue->lone_since >= BACKLOG_TIME ? WANT_NOW : WANT_SOON;
}

/* Give a batch place to a queue; false if there is none, or no process for it. */
static bool
give_batch(Queue *queue)
{
	Slot	   *slot = idle_process(queue);

	if (!batch_free(GetCurrentTimestamp()))
		return false;
	if (slot == NULL)
		slot = reserve(queue);
	if (slot == NULL || !place_take_batch(queue, slot))
		return false;
	if (slot->state == WORKER_IDLE)
		wake(slot);
	return true;
}

/* The same for a long place. */
static bool
give_long(Queue *queue)
{
	Slot	   *slot = idle_process(queue);

	if (!places_long_free(queue))
		return false;
	if (!spare_at_hand(queue, slot != NULL))
		return false;
	if (slot != NULL)
		wake(slot);
	else if (lists->no_process == 0)
		slot = reserve(queue);
	if (slot != NULL)
		take_long(queue, slot);
	return slot != NULL;
}

/* Something has come to a queue: see that somebody takes it. */
void
places_seek(Queue *queue)
{
	TimestampTz now = GetCurrentTimestamp();
	Want		batch;
	Want		lone;

	queue_came(queue);
	batch = wants_batch(queue, now);
	if (batch == WANT_NOW && give_batch(queue))
		batch = WANT_NOTHING;
	lists->crowded |= batch == WANT_NOW && queue->batch == 0;
	lone = wants_long(queue, now);
	if (lone == WANT_NOW && give_long(queue))
		lone = WANT_NOTHING;
	lists->long_wanted |= lone == WANT_NOW;
	/* the scheduler looks after it as long as there is anything to be seen to, and tells the log of what waits for long */
	if (!queue->watched && (batch != WANT_NOTHING || lone != WANT_NOTHING ||
							(queue->batch == 0 && queue->starting == 0 && queue_has_work(queue))))
	{
		queue->watched = true;
		database_poke(queue->db);
	}
}

/*
 * Of the queues that wait for a place of a kind the one that has waited longest,
 * those first that have none; but for those that were refused.  *soon is set if
 * one of the database may want one soon.
 */
static Queue *
longest_wait(bool for_long, const bool *refused, Oid db, bool *soon)
{
	TimestampTz now = GetCurrentTimestamp();
	Queue	   *first = NULL;

	for (int i = 0; i < lists->nqueues; i++)
	{
		Queue	   *queue = &lists->queues[i];
		Want		want = for_long ? wants_long(queue, now) : wants_batch(queue, now);
		bool		has = for_long ? queue->longs > 0 : queue->batch > 0;
		bool		first_has = first != NULL && (for_long ? first->longs > 0 : first->batch > 0);

		*soon |= want == WANT_SOON && queue->db == db;
		if (want != WANT_NOW || refused[i])
			continue;
		if (first == NULL || (first_has && !has) ||
			(first_has == has && (for_long ? queue->lone_since < first->lone_since : queue->batch_since < first->batch_since)))
			first = queue;
	}
	return first;
}

/* Give places of a kind to those who wait; whether to look again soon for the database. */
static bool
give_all(bool for_long, Oid db)
{
	bool		refused[READY_QUEUES] = {false};
	bool		soon = false;
	Queue	   *queue;

	while ((queue = longest_wait(for_long, refused, db, &soon)) != NULL)
	{
		if (for_long ? give_long(queue) : give_batch(queue))
			continue;
		refused[queue - lists->queues] = true;
		lists->long_wanted |= for_long;
		lists->crowded |= !for_long && queue->batch == 0;
		/* a place that is free is kept for who comes first, whose process may have to come first */
		if (!for_long)
			break;
	}
	return soon;
}

/* Give all free places to those who wait; whether to look again soon for a database. */
bool
places_give(Oid db)
{
	bool		soon;

	lists->crowded = lists->long_wanted = false;
	soon = give_all(true, db);
	soon |= give_all(false, db);
	return soon || lists->crowded;
}

/* Of the roles without a batch place that the server had no process for, the one that has waited longest; NULL: none. */
static Queue *
longest_lack(void)
{
	Queue	   *first = NULL;

	for (int i = 0; lists->no_process != 0 && i < lists->nqueues; i++)
	{
		Queue	   *queue = &lists->queues[i];

		if (queue->db != InvalidOid && queue->lacking && queue->processes == 0 && queue_has_batch(queue) &&
			(first == NULL || queue->batch_since < first->batch_since))
			first = queue;
	}
	return first;
}

/* Whether a worker is to give its place, or its process, to a role that has none. */
bool
place_is_due(const Queue *queue, const Slot *slot)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		refused[READY_QUEUES] = {false};
	bool		soon = false;
	Queue	   *next = longest_lack();

	if (slot->place != PLACE_BATCH)
		return false;
	if (next == NULL)
	{
		if (!lists->crowded || batch_free(now))
			return false;
		next = longest_wait(false, refused, InvalidOid, &soon);
		if (next == NULL || next->batch > 0)
		{
			lists->crowded = false;
			return false;
		}
	}
	if (lists->batch_used > durable_max_workers || queue->batch > 1)
		return true;
	return slot->placed > now || now - slot->placed >= (next->idle > 0 ? RESIDENCY_WARM : RESIDENCY);
}

/* Whether its process, which goes idle, is to leave as well. */
bool
process_is_due(void)
{
	return longest_lack() != NULL;
}

/*
 * The scheduler of a database looks: gives places, and gets the processes that it
 * is to start.  Returns whether to look again soon.
 */
bool
places_look(Oid db, WantedProcess *wanted, int max, int *count)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		soon;

	*count = 0;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
	{
		/* the clock may have been set back */
		lists->queues[i].retry_at = Min(lists->queues[i].retry_at, now + LONGEST_PAUSE);
		lists->queues[i].watched &= lists->queues[i].db != db;
	}
	if (lists->no_process > now || now - lists->no_process >= NO_PROCESS_TIME)
		lists->no_process = 0;
	soon = places_give(db);
	for (int i = 0; i < lists->nqueues; i++)
		lists->queues[i].watched |= soon && lists->queues[i].db == db;
	for (int i = 0; i < lists->nslots && *count < max; i++)
	{
		Slot	   *slot = &lists->slots[i];

		if (slot->state != WORKER_WANTED || slot->queue->db != db)
			continue;
		slot_set_state(slot, WORKER_STARTING);
		wanted[(*count)++] = (WantedProcess) {.slot = i, .generation = slot->generation, .role = slot->queue->role};
	}
	LWLockRelease(shared_lock);
	return soon || *count == max;
}

/*
 * When to look again for work of a database that nobody else wakes the scheduler
 * for; 0: for none.  The pause of a role may end, code may by then have kept a
 * batch place for too long, if the place is one of the role's own, and what waits
 * for a long place may be tried with patience.
 */
TimestampTz
places_look_at(Oid db)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz first = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
	{
		const Queue *queue = &lists->queues[i];
		TimestampTz at = 0;

		if (queue->db != db || !queue_has_work(queue))
			continue;
		if (queue->retry_at > now)
			at = queue->retry_at;
		else if (queue->batch > 0 && queue_has_batch(queue))
			at = now + OVERDUE_TIME;
		else if (queue->lone > 0)
			at = now + LONE_TIME;
		if (at != 0 && (first == 0 || at < first))
			first = at;
	}
	LWLockRelease(shared_lock);
	return first;
}

/* Start no process for this role before the given time, or before there is one again. */
void
places_back_off(Oid db, Oid role, TimestampTz until, bool lacking)
{
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, false);
	if (queue != NULL)
	{
		queue->retry_at = until;
		queue->lacking = lacking;
	}
	if (lacking)
		lists->no_process = GetCurrentTimestamp();
	LWLockRelease(shared_lock);
}

/* The server had no process: have an idle one leave. */
bool
places_make_room(void)
{
	bool		found;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	found = retire_idle();
	LWLockRelease(shared_lock);
	return found;
}

/* A process has ended: those who could not get one may get one now. */
void
places_process_ended(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < lists->nqueues; i++)
	{
		Queue	   *queue = &lists->queues[i];

		if (!queue->lacking)
			continue;
		queue->lacking = false;
		queue->retry_at = 0;
		database_poke(queue->db);
	}
	LWLockRelease(shared_lock);
}
