/*
 * completion_waiters.c
 *	  A slot for each process says for which instance the process waits.
 *
 * A waiter fills its slot before it reads the status of the instance, and a
 * worker reads the slots after its commit, so no end is missed.  As long as
 * the waiter does not know the key of the instance it waits for any instance,
 * so it may be woken for nothing.  There is no lock, since a worker that wakes
 * many sessions would hold it for long; a worker that reads a slot while its
 * owner fills it may also wake the owner for nothing.  The count of waiters
 * lets a worker skip the slots if no session waits.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "common/keys.h"
#include "shmem/completion_waiters.h"
#include "shmem/shmem.h"

typedef struct Waiter
{
	pg_atomic_uint64 key;		/* 0: not waiting; ANY_KEY */
	Oid			db;
} Waiter;

typedef struct WaiterShared
{
	pg_atomic_uint32 count;
	Waiter		waiters[FLEXIBLE_ARRAY_MEMBER];
} WaiterShared;

#define ANY_KEY PG_UINT64_MAX

static WaiterShared *shared = NULL;

#define WAITERS (MaxBackends + NUM_AUXILIARY_PROCS)

/* Bytes of shared memory: a slot for each possible process. */
static Size
completion_waiters_size(void)
{
	return MAXALIGN(offsetof(WaiterShared, waiters) + WAITERS * sizeof(Waiter));
}

static void
completion_waiters_init(LWLock *own_lock)
{
	bool		found;

	shared = ShmemInitStruct("durable waiters", completion_waiters_size(), &found);
	if (found)
		return;
	memset(shared, 0, completion_waiters_size());
	pg_atomic_init_u32(&shared->count, 0);
	for (int i = 0; i < WAITERS; i++)
		pg_atomic_init_u64(&shared->waiters[i].key, 0);
}

void
completion_waiters_register(void)
{
	shmem_add(completion_waiters_size, completion_waiters_init);
}

/* Wait for any instance of the current database from now on. */
void
completion_waiter_begin(void)
{
	Waiter	   *waiter = &shared->waiters[CompatMyProcNumber];

	waiter->db = MyDatabaseId;
	pg_write_barrier();
	pg_atomic_write_u64(&waiter->key, ANY_KEY);
	/* a full barrier: the caller reads the status after this */
	pg_atomic_fetch_add_u32(&shared->count, 1);
}

/* Wait only for this instance, whose status the caller has read since completion_waiter_begin. */
void
completion_waiter_for(int64 key)
{
	pg_atomic_write_u64(&shared->waiters[CompatMyProcNumber].key, key);
}

void
completion_waiter_end(void)
{
	pg_atomic_write_u64(&shared->waiters[CompatMyProcNumber].key, 0);
	pg_atomic_fetch_sub_u32(&shared->count, 1);
}

/* Wake the sessions that wait for one of these instances. */
void
completion_waiter_wake(int64 *keys, int count)
{
	/* orders the commit before the reads below */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->count) == 0)
		return;
	qsort(keys, count, sizeof(int64), compare_keys);
	for (int i = 0; i < WAITERS; i++)
	{
		uint64		key = pg_atomic_read_u64(&shared->waiters[i].key);

		if (key == 0 || (key != ANY_KEY && bsearch(&key, keys, count, sizeof(int64), compare_keys) == NULL))
			continue;
		pg_read_barrier();
		if (shared->waiters[i].db == MyDatabaseId)
			SetLatch(&GetPGProcByNumber(i)->procLatch);
	}
}
