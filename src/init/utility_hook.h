/*
 * utility_hook.h
 *	  Keeps the engine out of a database while a command needs the database, or
 *	  the extension's tables, for itself.
 */
#ifndef DURABLE_UTILITY_HOOK_H
#define DURABLE_UTILITY_HOOK_H

#include "postgres.h"

/* once, in _PG_init */
extern void utility_hook_install(void);

#endif
