/*
 * utility_hook.h
 *	  The engine leaves a database to which a command needs sole access.
 */
#ifndef DURABLE_UTILITY_HOOK_H
#define DURABLE_UTILITY_HOOK_H

#include "postgres.h"

#include "storage/lockdefs.h"

extern void utility_hook_install(void);

#endif
