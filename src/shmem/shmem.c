/*
 * shmem.c
 *	  Reserves shared memory and lets each module lay out its part.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "shmem/crash_notes.h"
#include "sched/database_slots.h"
#include "shmem/failure_log.h"
#include "sched/ready_lists.h"
#include "engine/quota.h"
#include "shmem/shmem.h"
#include "shmem/stats.h"
#include "shmem/function_durations.h"
#include "shmem/completion_waiters.h"

LWLock	   *shared_lock = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Ask for the memory and the lock. */
static void
request_hook(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(add_size(lists_shmem_size(),
									add_size(database_shmem_size(),
											 add_size(waiter_shmem_size(),
													  add_size(timing_shmem_size(),
															   add_size(stats_shmem_size(),
																		add_size(quota_shmem_size(), failure_log_shmem_size())))))));
	RequestNamedLWLockTranche("durable", 3);
}

/* Lay out the parts, or find them where another process has. */
static void
startup_hook(void)
{
	LWLockPadded *locks;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche("durable");
	shared_lock = &locks[0].lock;
	lists_shmem_init();
	database_shmem_init();
	waiter_shmem_init();
	timing_shmem_init();
	stats_shmem_init(&locks[1].lock);
	quota_shmem_init();
	failure_log_shmem_init(&locks[2].lock);
	LWLockRelease(AddinShmemInitLock);
	blackbox_open();
}

/* Install the hooks. */
void
shared_request(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_hook;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_hook;
}

/* Remove from a table what belongs to a database. */
void
shared_forget(HTAB *table, Oid db)
{
	HASH_SEQ_STATUS scan;
	RoleKey    *key;

	hash_seq_init(&scan, table);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->db == db)
			hash_search(table, key, HASH_REMOVE, NULL);
}

/* Tell whether shared memory is there. */
bool
shared_available(void)
{
	return shared_lock != NULL;
}

/* Throw the error that says what to configure where it is not. */
void
shared_require(void)
{
	if (!shared_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("durable must be loaded via shared_preload_libraries"),
				 errhint("Add 'durable' to shared_preload_libraries in postgresql.conf and restart the server.")));
}
