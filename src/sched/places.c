/*
 * places.c
 *	  Gives places to processes.  places.h has the rules.
 *
 * The caller of each static function holds shared_lock.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"

#include "sched/database_slots.h"
#include "sched/places.h"
#include "sched/ready_lists.h"
#include "shmem/crash_notes.h"
#include "shmem/shmem.h"

/* how long a worker that has lent its batch place can still get it back */
#define LENT_TIME		(20 * INT64CONST(1000))
/*
 * Code that has been in a batch place for this long does not check for
 * interrupts.  A role with this many such workers gets no further batch place.
 */
#define OVERDUE_TIME	(500 * INT64CONST(1000))
#define OVERDUE_MOST	2
/* how often the scheduler looks at work that waits for a place or a process, be it to tell the log or to have it tried with patience */
#define WAITING_TIME	USECS_PER_SEC
/*
 * how long a role's backlog must last before another process comes, and work
 * that runs alone before another worker takes it
 */
#define BACKLOG_TIME	(10 * INT64CONST(1000))
/*
 * how long a role keeps its only batch place while another role has none: if
 * that role has an idle process, and if not
 */
#define RESIDENCY_WARM	(50 * INT64CONST(1000))
#define RESIDENCY		(500 * INT64CONST(1000))
/*
 * for this long after the server had no process, none is asked for except for
 * batch work of a role without a process
 */
#define NO_PROCESS_TIME	(10 * USECS_PER_SEC)
#define LONGEST_PAUSE	(10 * USECS_PER_SEC)

/* The most workers that there may be. */
static int
process_limit(void)
{
	return Min(Min(durable_max_workers + durable_max_long_activities, DURABLE_WORKERS_LIMIT),
			   Max(max_worker_processes - LAUNCHERS - SCHEDULERS, 1));
}

/* Whether a worker has lent its batch place for so long that others may take it. */
static bool
has_lent(const WorkerSlot *slot, TimestampTz now)
{
	/* the clock may have been set back */
	return slot->lends && (slot->placed > now || now - slot->placed >= LENT_TIME);
}

/* Give a long place to a slot that has none. */
static void
take_long(Queue *queue, WorkerSlot *slot)
{
	lists->long_used++;
	queue->longs++;
	slot->place = PLACE_LONG;
	slot->placed = GetCurrentTimestamp();
}

/* Whether the code of a worker in a batch place does not check for interrupts. */
static bool
is_overdue(int index, TimestampTz now)
{
	const WorkerSlot *slot = &lists->slots[index];
	CrashNote	note;

	return slot->state == WORKER_BUSY && slot->place == PLACE_BATCH &&
		crash_note_running(index, slot->pid, &note) && now - note.since >= OVERDUE_TIME;
}

/*
 * The worker's code does not check for interrupts: it counts as having a long
 * place, and others get its batch place.
 */
static void
make_long(int index)
{
	WorkerSlot *slot = &lists->slots[index];

	lists->batch_used--;
	slot->queue->batch--;
	take_long(slot->queue, slot);
	/* the place is counted for its role, but does not reduce the free long places */
	lists->long_used--;
	slot->overdue = true;
}

/* Whether a batch place is free, or can be taken from a worker that does not need it. */
static bool
batch_free(TimestampTz now)
{
	int			used = lists->batch_used;

	for (int i = 0; used >= durable_max_workers && i < lists->nslots; i++)
		used -= has_lent(&lists->slots[i], now) || is_overdue(i, now);
	return used < durable_max_workers;
}

/* Give a batch place to a slot that has none. */
bool
place_take_batch(Queue *queue, WorkerSlot *slot)
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

/*
 * The number of long places of a role in all databases; only_overdue: of those
 * that code got because it did not leave its batch place.
 */
static int
longs_of(Oid role, bool only_overdue)
{
	int			count = 0;

	for (int i = 0; i < lists->nslots; i++)
	{
		const WorkerSlot *slot = &lists->slots[i];

		count += slot->place == PLACE_LONG && slot->queue->role == role && (slot->overdue || !only_overdue);
	}
	return count;
}

/*
 * Whether a queue may get a long place: more are free than its role has, so
 * that one remains for the next role.
 */
static bool
places_long_free(const Queue *queue)
{
	return durable_max_long_activities - lists->long_used > longs_of(queue->role, false);
}

/* The number of processes that are ready to work and are in no long place. */
static int
processes_at_hand(void)
{
	int			count = 0;

	for (int i = 0; i < lists->nslots; i++)
	{
		const WorkerSlot *slot = &lists->slots[i];

		count += (slot->state == WORKER_BUSY || slot->state == WORKER_IDLE) && slot->place != PLACE_LONG;
	}
	return count;
}

/* An idle process of a queue; NULL: none. */
static WorkerSlot *
idle_process(const Queue *queue)
{
	for (int i = 0; queue->idle > 0 && i < lists->nslots; i++)
	{
		WorkerSlot *slot = &lists->slots[i];

		if (slot->state == WORKER_IDLE && slot->queue == queue && !(slot->retire && lists->no_process != 0))
			return slot;
	}
	return NULL;
}

/* Make the process that has been idle for longest leave; false if none is idle. */
static bool
retire_idle(void)
{
	WorkerSlot *oldest = NULL;

	for (int i = 0; i < lists->nslots; i++)
	{
		WorkerSlot *slot = &lists->slots[i];

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

/* Reserve a slot for a new process of a queue, which the scheduler starts; NULL: not now. */
static WorkerSlot *
reserve(Queue *queue)
{
	int			used = 0;
	int			free_slot = -1;

	/* without a scheduler nobody would start the process */
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
	worker_slot_set_state(&lists->slots[free_slot], WORKER_WANTED);
	database_poke(queue->db);
	return &lists->slots[free_slot];
}

/* Wake an idle process that has got a place. */
static void
wake(WorkerSlot *slot)
{
	worker_slot_set_state(slot, WORKER_BUSY);
	/* it does not leave now; a role that needs a process will ask again when it is idle */
	slot->retire = false;
	SetLatch(slot->latch);
}

/*
 * Whether a process may go into a long place: another one must be ready for
 * batch work.  If there is none, one is started.  If the server has no
 * process, the caller waits until a long place is left; if no process is in a
 * long place, the only process does everything in its batch place.
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

/*
 * Whether a worker may try some of the work that runs alone with patience in a
 * batch place, since no long place can be had.
 */
bool
places_may_try(Queue *queue)
{
	return queue->lone > 0 && (!places_long_free(queue) || processes_at_hand() <= 1) &&
		(queue_range_to_try(queue) != NULL || queue_entry_to_try(queue) != NULL);
}

/* Whether the server has only one process, which must do everything in its batch place. */
static bool
is_only_process(void)
{
	return lists->no_process != 0 && lists->long_used == 0 && processes_at_hand() == 1;
}

/* Change from the batch place to a long place; true also if the only process stays in its batch place. */
bool
place_go_long(Queue *queue, WorkerSlot *slot)
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

/*
 * Give up the place of a slot.  From a long place the worker goes back to the
 * batch place that it lends, if nobody has taken it.
 */
void
place_leave(Queue *queue, WorkerSlot *slot)
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
	WANT_SOON,					/* it may wait soon */
	WANT_NOW
} Want;

/* Whether a queue has a process, or may get one. */
static bool
has_process(const Queue *queue, TimestampTz now)
{
	return queue->db != InvalidOid && (queue->idle > 0 || queue->retry_at <= now);
}

/* Whether a queue waits for a batch place. */
static Want
wants_batch(Queue *queue, TimestampTz now)
{
	if (!queue_has_batch(queue) && !places_may_try(queue))
		/* a call that waited for a lock is tried again after a while */
		return queue->may > 0 ? WANT_SOON : WANT_NOTHING;
	if (!has_process(queue, now) || (queue->batch > 0 && queue->starting > 0))
		return WANT_NOTHING;
	/* a role whose code does not check for interrupts must not get all processes one by one */
	if (longs_of(queue->role, true) >= OVERDUE_MOST)
		return WANT_NOTHING;
	if (queue->batch == 0)
		return WANT_NOW;
	if (queue_can_wait(queue))
		return WANT_SOON;
	return queue->idle > 0 || now - queue->backlog_since >= BACKLOG_TIME ? WANT_NOW : WANT_SOON;
}

/* Whether a queue waits for a long place.  A worker with a batch place may come to the work in a moment. */
static Want
wants_long(const Queue *queue, TimestampTz now)
{
	if (queue->lone == 0 || !has_process(queue, now) || queue->starting > 0)
		return WANT_NOTHING;
	return queue->batch == 0 || now - queue->lone_since >= BACKLOG_TIME ? WANT_NOW : WANT_SOON;
}

/* Give a batch place to a queue; false if there is no place or no process. */
static bool
give_batch(Queue *queue)
{
	WorkerSlot *slot = idle_process(queue);

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

/* Give a long place to a queue; false if there is no place or no process. */
static bool
give_long(Queue *queue)
{
	WorkerSlot *slot = idle_process(queue);

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

/* A queue got work: find a worker for it. */
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
	/* the scheduler watches a queue as long as its work waits, and logs long waits */
	if (!queue->watched && (batch != WANT_NOTHING || lone != WANT_NOTHING ||
							(queue->batch == 0 && queue->starting == 0 && queue_has_work(queue))))
	{
		queue->watched = true;
		database_poke(queue->db);
	}
}

/*
 * The queue that has waited longest for a place of a kind, except those in
 * refused; queues without such a place come first.  *soon is set if a queue of
 * the database may wait soon.
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

/* Give places of a kind to the queues that wait; returns whether to look again soon for the database. */
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
		/* the free place is kept for this queue until its process comes */
		if (!for_long)
			break;
	}
	return soon;
}

/* Give all free places to the queues that wait. */
bool
places_give(Oid db)
{
	bool		soon;

	lists->crowded = lists->long_wanted = false;
	soon = give_all(true, db);
	soon |= give_all(false, db);
	return soon || lists->crowded;
}

/* The queue without a process, because the server had none, whose batch work has waited longest; NULL: none. */
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

/* Whether a worker must give its place, or its process, to a role that has none. */
bool
place_is_due(const Queue *queue, const WorkerSlot *slot)
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

/* Whether a worker that goes idle must leave. */
bool
process_is_due(void)
{
	return longest_lack() != NULL;
}

/*
 * The scheduler of a database looks: gives places, and gets the processes that
 * it must start.  Returns whether to look again soon.
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
		WorkerSlot *slot = &lists->slots[i];

		if (slot->state != WORKER_WANTED || slot->queue->db != db)
			continue;
		worker_slot_set_state(slot, WORKER_STARTING);
		wanted[(*count)++] = (WantedProcess) {.slot = i, .generation = slot->generation, .role = slot->queue->role};
	}
	LWLockRelease(shared_lock);
	return soon || *count == max;
}

/*
 * When the scheduler must look again although nobody wakes it; 0: never.  The
 * pause of a role may end, code may stay in the role's own batch place until it is
 * overdue, and other work that waits is looked at every WAITING_TIME.
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
		TimestampTz at;

		if (queue->db != db || !queue_has_work(queue))
			continue;
		if (queue->retry_at > now)
			at = queue->retry_at;
		else if (queue->batch > 0 && queue_has_batch(queue))
			at = now + OVERDUE_TIME;
		else
			at = now + WAITING_TIME;
		if (first == 0 || at < first)
			first = at;
	}
	LWLockRelease(shared_lock);
	return first;
}

/*
 * Start no process for this role before the given time, or, if lacking, before
 * a process of the engine has ended.
 */
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

/* The server had no process: make an idle one leave. */
bool
places_make_room(void)
{
	bool		found;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	found = retire_idle();
	LWLockRelease(shared_lock);
	return found;
}

/* A process has ended: roles that lacked a process may get one. */
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
