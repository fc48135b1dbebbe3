/*
 * function_durations.h
 *	  How long functions take: known to all workers, through shared memory.
 *
 * A function is *slow* if its calls so far took a quarter of durable.batch_time
 * or more on average, or do what no rollback takes back.  That is a hint: it is
 * run alone at once if there is a place for that.  Whatever is not true of it any
 * more makes it run sooner or later, and never keeps it from running.
 */
#ifndef DURABLE_FUNCTION_DURATIONS_H
#define DURABLE_FUNCTION_DURATIONS_H

#include "common/model.h"

#include "portability/instr_time.h"

extern void function_durations_register(void);

/* a name means a function together with the search_path that it is looked up with */
extern bool duration_is_slow(const char *search_path, const char *name);
/* microseconds that a call takes on average; -1: nothing is known */
extern int64 duration_mean(const char *search_path, const char *name);
/* a call of the current role has ended that took so many microseconds */
extern void duration_add(const char *search_path, const char *name, int64 time, bool interrupted);
/* it is to be called alone */
extern void duration_alone(const char *search_path, const char *name);
extern int64 duration_since_ns(instr_time start);

#endif
