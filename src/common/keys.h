/*
 * keys.h
 *	  The keys of instances.
 */
#ifndef DURABLE_KEYS_H
#define DURABLE_KEYS_H

#include "postgres.h"

/* the order of keys, for qsort and bsearch */
extern int	compare_keys(const void *a, const void *b);

#endif
