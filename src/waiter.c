/*
 * waiter.c
 *	  One slot a backend says for which instance it waits.
 *
 * A waiter takes its slot before it reads the instance's status, and a worker
 * looks at the slots after its commit, so no end is missed.  The count of
 * waiters lets a worker pass by when nobody waits.  Fields are guarded by
 * shared_lock; the count is read without it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "shared.h"
#include "waiter.h"

typedef struct Waiter
{
	Oid			db;				/* InvalidOid: not waiting */
	int64		key;
	Latch	   *latch;
} Waiter;

typedef struct WaiterShared
{
	pg_atomic_uint32 count;
	Waiter		waiters[FLEXIBLE_ARRAY_MEMBER];
} WaiterShared;

static WaiterShared *shared = NULL;

#define WAITERS (MaxBackends + NUM_AUXILIARY_PROCS)

/* Bytes of shared memory: a slot for each process there can be. */
Size
waiter_shmem_size(void)
{
	return MAXALIGN(offsetof(WaiterShared, waiters) + WAITERS * sizeof(Waiter));
}

/* Lay the slots out, nobody waiting. */
void
waiter_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("durable waiters", waiter_shmem_size(), &found);
	if (!found)
		memset(shared, 0, waiter_shmem_size());
}

/* Wait for this instance of the current database from now on. */
void
waiter_begin(int64 key)
{
	Waiter	   *waiter = &shared->waiters[CompatMyProcNumber];

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	waiter->db = MyDatabaseId;
	waiter->key = key;
	waiter->latch = MyLatch;
	pg_atomic_fetch_add_u32(&shared->count, 1);
	LWLockRelease(shared_lock);
}

/* Wait no longer. */
void
waiter_end(void)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->waiters[CompatMyProcNumber].db = InvalidOid;
	pg_atomic_fetch_sub_u32(&shared->count, 1);
	LWLockRelease(shared_lock);
}

/* Order of keys, for bsearch. */
static int
compare_keys(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* Wake all who wait for one of these instances; the keys are sorted. */
void
waiter_wake(const int64 *keys, int count)
{
	if (count == 0)
		return;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->count) == 0)
		return;
	LWLockAcquire(shared_lock, LW_SHARED);
	for (int i = 0; i < WAITERS; i++)
	{
		Waiter	   *waiter = &shared->waiters[i];

		if (waiter->db == MyDatabaseId &&
			bsearch(&waiter->key, keys, count, sizeof(int64), compare_keys) != NULL)
			SetLatch(waiter->latch);
	}
	LWLockRelease(shared_lock);
}
