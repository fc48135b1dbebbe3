/*
 * need.c
 *	  Which roles need another worker, and who makes way for it.
 *
 * A role with work and no worker at all comes first: idle workers of others
 * leave for it, busy ones too if all slots are taken.
 */
#include "postgres.h"

#include "storage/latch.h"

#include "database.h"
#include "lists.h"
#include "need.h"
#include "shared.h"

#define LONGEST_PAUSE	(10 * USECS_PER_SEC)

/*
 * A worker has left or gone idle, so a queue that was refused one might get it
 * now: its scheduler looks again.  Nobody else would tell it.  Lock held.
 */
void
need_wake(void)
{
	if (!lists->needy)
		return;
	lists->needy = false;
	for (int i = 0; i < READY_QUEUES; i++)
		if (lists->queues[i].db != InvalidOid && lists->queues[i].needed_since != 0)
			database_poke(lists->queues[i].db);
}

/* Tell one idle worker to leave, to make room, but none of a queue. */
static void
retire_idle(const Queue *except)
{
	for (int i = 0; i < DURABLE_WORKERS_LIMIT; i++)
	{
		Slot	   *slot = &lists->slots[i];

		if (slot_may_leave(slot, except))
		{
			slot->retire = true;
			SetLatch(slot->latch);
			return;
		}
	}
}

/*
 * The roles of a database that have work and no worker who will take it; where
 * one is being started, that has them looked at again if it is not enough.
 * The starving count, which makes busy workers of other roles leave, is kept here.
 * *soon is set when something was left to a worker that should be back soon.
 */
int
need_list(Oid db, Need *needs, int max, bool *soon)
{
	TimestampTz now = GetCurrentTimestamp();
	int			count = 0;
	int			used;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	used = slots_used();
	lists->starving = 0;
	for (int i = 0; i < READY_QUEUES; i++)
	{
		Queue	   *queue = &lists->queues[i];
		bool		lasts;

		if (queue->db == db && queue->left)
		{
			queue->left = queue_has_work(queue) && queue_can_wait(queue);
			if (queue->left)
				*soon = true;
			else
				queue_wake(queue);
		}
		/* another worker may have become possible, so that slow activities need not wait any more */
		if (queue->db == db && queue->idle > 0)
			queue_wake(queue);
		if (!queue_waits(queue))
			queue->needed_since = 0;
		else if (queue->needed_since == 0 || queue->needed_since > now)
			queue->needed_since = now;
		/* the clock may have been set back */
		queue->retry_at = Min(queue->retry_at, now + LONGEST_PAUSE);
		if (queue->needed_since == 0 || queue->retry_at > now)
			continue;
		lists->needy = true;
		if (queue_has_starting(queue))
			continue;
		lasts = now - queue->needed_since >= NEED_BACKLOG_US;
		if (used >= durable_max_workers)
		{
			lists->starving += queue_starves(queue);
			if (queue->workers == 0 || (lasts && slots_idle(queue) > 1))
				retire_idle(queue);
		}
		/* its idle ones are kept for quick work, and take what is slow once there is room for another */
		if (queue->idle > 0)
		{
			*soon |= queue->db == db && !lasts;
			continue;
		}
		if (queue->db == db && count < max)
			needs[count++] = (Need)
		{
			.role = queue->role, .queued = queue->queued, .workers = queue->workers,
			.since = queue->needed_since
		};
	}
	LWLockRelease(shared_lock);
	return count;
}

/*
 * When the pause of some role of a database ends that has work and no worker
 * who will take it, 0 if there is none: nobody else wakes the scheduler then.
 */
TimestampTz
need_retry_at(Oid db)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz first = 0;

	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < READY_QUEUES; i++)
	{
		const Queue *queue = &lists->queues[i];

		if (queue->db == db && queue->retry_at > now && queue_waits(queue) &&
			(first == 0 || queue->retry_at < first))
			first = queue->retry_at;
	}
	LWLockRelease(shared_lock);
	return first;
}

/* Have one idle worker leave: the server has no process left for another role. */
void
need_retire_one(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	retire_idle(NULL);
	LWLockRelease(shared_lock);
}

/* Whether some role waits for a worker while all slots are taken. */
bool
need_starving(void)
{
	return lists->starving > 0;
}

/* Start no worker for this role before the given time. */
void
need_back_off(Oid db, Oid role, TimestampTz until)
{
	Queue	   *queue;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	queue = queue_get(db, role, false);
	if (queue != NULL)
		queue->retry_at = until;
	LWLockRelease(shared_lock);
}
