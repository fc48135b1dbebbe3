/*
 * keys.c
 *	  The keys of instances.
 */
#include "postgres.h"

#include "common/keys.h"

int
compare_keys(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}
