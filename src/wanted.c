/*
 * wanted.c
 *	  One slot in shared memory for each process, which it alone writes.
 *
 * Who waits writes its slot, then looks for an activity to interrupt; a worker
 * notes its activity, then looks into the slots.  Each has a memory barrier in
 * between, so one of them sees the other.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "compat.h"
#include "wanted.h"

typedef struct Wanted
{
	volatile Oid db;
	volatile int64 key;			/* 0: nothing */
} Wanted;

typedef struct WantedShared
{
	pg_atomic_uint32 count;		/* slots in use */
	Wanted		slots[FLEXIBLE_ARRAY_MEMBER];
} WantedShared;

static WantedShared *shared = NULL;

#define SLOTS (MaxBackends + NUM_AUXILIARY_PROCS)

/* Bytes of shared memory: a slot for each process there can be. */
Size
wanted_shmem_size(void)
{
	return MAXALIGN(offsetof(WantedShared, slots) + SLOTS * sizeof(Wanted));
}

/* Lay the slots out, nothing wanted. */
void
wanted_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("durable wanted rows", wanted_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, wanted_shmem_size());
	pg_atomic_init_u32(&shared->count, 0);
}

/* Say that this process waits for the row of an instance. */
void
wanted_begin(int64 key)
{
	Wanted	   *slot = &shared->slots[CompatMyProcNumber];

	slot->db = MyDatabaseId;
	slot->key = key;
	/* a full barrier */
	pg_atomic_fetch_add_u32(&shared->count, 1);
}

/* It waits no longer. */
void
wanted_end(void)
{
	shared->slots[CompatMyProcNumber].key = 0;
	pg_atomic_fetch_sub_u32(&shared->count, 1);
}

/* Whether somebody waits for the row of one of these instances. */
bool
wanted_any(const int64 *keys, int count)
{
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->count) == 0)
		return false;
	for (int i = 0; i < SLOTS; i++)
	{
		const Wanted *slot = &shared->slots[i];

		if (slot->key == 0 || slot->db != MyDatabaseId)
			continue;
		for (int j = 0; j < count; j++)
			if (keys[j] == slot->key)
				return true;
	}
	return false;
}
