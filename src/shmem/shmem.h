/*
 * shmem.h
 *	  Shared memory: one request at server start, one lock, and the parts that
 *	  the modules keep in it.
 *
 * Everything in shared memory is a hint or a fact about living processes; a
 * crash resets it and the tables say all that is needed to build it anew.
 * shared_lock guards every field of every part unless the part says
 * otherwise.  It is held for short list operations only, never across
 * anything that can throw or wait.  Readers take their lock in LW_EXCLUSIVE as
 * well, here and elsewhere: PostgreSQL lets a reader in beside others while a
 * writer waits, so readers who come one after another would keep a worker out.
 */
#ifndef DURABLE_SHMEM_H
#define DURABLE_SHMEM_H

#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/hsearch.h"

extern LWLock *shared_lock;

/* what hash tables in shared memory that have an entry for each role of a database begin their keys with */
typedef struct RoleKey
{
	Oid			db;
	Oid			role;
} RoleKey;

/* remove from such a table what belongs to a database; its lock is held */
extern void shmem_forget(HTAB *table, Oid db);

/*
 * Add a part, from _PG_init under shared_preload_libraries: how many bytes it
 * takes, and what lays it out or finds it, which gets a lock of the part's own.
 */
extern void shmem_add(Size (*size) (void), void (*init) (LWLock *lock));
/* false where the library isn't in shared_preload_libraries */
extern bool shmem_available(void);
/* error saying what to add where shared memory is missing */
extern void shmem_require(void);

#endif
