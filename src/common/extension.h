/*
 * extension.h
 *	  Calls of SQL functions of the extension by the scheduler and by sessions of
 *	  administrators.
 */
#ifndef DURABLE_EXTENSION_H
#define DURABLE_EXTENSION_H

#include "postgres.h"

#include "storage/lockdefs.h"

/* call durable_internal.<name>() as its owner; what it returns, if that is a boolean */
extern bool extension_call(const char *name);

/* a lock that each round of a worker shares; what changes or drops the extension takes it alone */
extern void extension_lock(Oid extension, LOCKMODE mode);

#endif
