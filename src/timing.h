/*
 * timing.h
 *	  How long functions take: known to all workers, through shared memory.
 *
 * A function is *quick* if its calls so far took a small part of
 * durable.batch_time on average, *slow* if they took more; one of which nothing
 * is known is neither, but slow for as long as its first call takes.  Only quick
 * ones may keep the other instances of a transaction waiting.
 */
#ifndef DURABLE_TIMING_H
#define DURABLE_TIMING_H

#include "durable.h"

#include "portability/instr_time.h"

extern Size timing_shmem_size(void);
extern void timing_shmem_init(void);

/* a name means a function together with the search_path that it is looked up with */
extern bool timing_is_quick(const char *search_path, const char *name);
extern bool timing_is_slow(const char *search_path, const char *name);
/* microseconds that a call takes on average; -1: nothing is known */
extern int64 timing_mean(const char *search_path, const char *name);
/* whether a function that is about to be called may be quick: it is, or this is the first call */
extern bool timing_try(const char *search_path, const char *name);
/* a call of the current role has ended that took so many microseconds */
extern void timing_add(const char *search_path, const char *name, int64 time, bool interrupted);
extern int64 timing_since(instr_time start);
extern int64 timing_since_ns(instr_time start);

#endif
