/*
 * shmem.c
 *	  Reserves shared memory and lets each module lay out its part.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "shmem/shmem.h"

#define MAX_PARTS		16

typedef struct ShmemPart
{
	Size		(*size) (void);
	void		(*init) (LWLock *lock);
} ShmemPart;

LWLock	   *shared_lock = NULL;

static ShmemPart parts[MAX_PARTS];
static int	nparts = 0;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Request the memory and the locks: shared_lock and one lock for each part. */
static void
request_hook(void)
{
	if (previous_request_hook)
		previous_request_hook();
	for (int i = 0; i < nparts; i++)
		RequestAddinShmemSpace(parts[i].size());
	RequestNamedLWLockTranche("durable", 1 + nparts);
}

/* Lay out the parts, or find them if another process has laid them out. */
static void
startup_hook(void)
{
	LWLockPadded *locks;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche("durable");
	shared_lock = &locks[0].lock;
	for (int i = 0; i < nparts; i++)
		parts[i].init(&locks[1 + i].lock);
	LWLockRelease(AddinShmemInitLock);
}

void
shmem_add(Size (*size) (void), void (*init) (LWLock *lock))
{
	Assert(nparts < MAX_PARTS);
	if (nparts == 0)
	{
		previous_request_hook = shmem_request_hook;
		shmem_request_hook = request_hook;
		previous_startup_hook = shmem_startup_hook;
		shmem_startup_hook = startup_hook;
	}
	parts[nparts++] = (ShmemPart) {.size = size, .init = init};
}

void
shmem_forget(HTAB *table, Oid db)
{
	HASH_SEQ_STATUS scan;
	RoleKey    *key;

	hash_seq_init(&scan, table);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->db == db)
			hash_search(table, key, HASH_REMOVE, NULL);
}

bool
shmem_available(void)
{
	return shared_lock != NULL;
}

void
shmem_require(void)
{
	if (!shmem_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("durable must be loaded via shared_preload_libraries"),
				 errhint("Add 'durable' to shared_preload_libraries in postgresql.conf and restart the server.")));
}
