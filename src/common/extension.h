/*
 * extension.h
 *	  Calls of SQL functions of the extension by the scheduler and by sessions of
 *	  administrators.
 */
#ifndef DURABLE_EXTENSION_H
#define DURABLE_EXTENSION_H

#include "postgres.h"

#include "storage/lockdefs.h"

/*
 * call durable_internal.<name>() with the rights of its owner; returns its
 * result if that is boolean, else false
 */
extern bool extension_call(const char *name);

/*
 * Take a lock of the extension until the end of the transaction.  Each
 * transaction of a worker shares the lock; a command that changes or drops the
 * extension takes it exclusively.
 */
extern void extension_lock(Oid extension, LOCKMODE mode);

#endif
