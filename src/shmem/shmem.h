/*
 * shmem.h
 *	  Shared memory: one request at server start, one lock, and the parts that
 *	  the modules keep in it.
 *
 * Shared memory contains advice and facts about live processes.  A crash of
 * the server resets it, and the tables contain all that is needed to build it
 * again.  shared_lock guards every field of every part unless the part says
 * otherwise.  The lock is held for short list operations, never across code
 * that can throw an error or wait.
 *
 * Readers take their lock in LW_EXCLUSIVE mode, too.  PostgreSQL lets a reader
 * join other readers while a writer waits, so a sequence of readers would keep
 * a worker from the lock.
 */
#ifndef DURABLE_SHMEM_H
#define DURABLE_SHMEM_H

#include "postgres.h"

#include "storage/lwlock.h"
#include "utils/hsearch.h"

extern LWLock *shared_lock;

/* the first part of the key of a hash table in shared memory with an entry for each role of a database */
typedef struct RoleKey
{
	Oid			db;
	Oid			role;
} RoleKey;

/* remove the entries of a database from such a table; the caller holds the table's lock */
extern void shmem_forget(HTAB *table, Oid db);

/*
 * Add a part; called from _PG_init under shared_preload_libraries.  size
 * returns the bytes that the part needs.  init lays out the part, or finds it
 * if another process has laid it out, and gets a lock for the part.
 */
extern void shmem_add(Size (*size) (void), void (*init) (LWLock *lock));
/* false if the library is not in shared_preload_libraries */
extern bool shmem_available(void);
/* error 55000 with a hint if it is not */
extern void shmem_require(void);

#endif
