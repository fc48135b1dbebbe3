/*
 * function_durations.h
 *	  How long functions take, known to all workers through shared memory.
 *
 * A function is *slow* if its calls took a quarter of durable.batch_time or
 * more on average, or if it did something that a rollback does not undo.  A
 * slow function is run alone from the beginning if a long place is free
 * (places.h).  The table is only advice: a wrong entry makes a function run
 * earlier or later and never keeps it from running.
 */
#ifndef DURABLE_FUNCTION_DURATIONS_H
#define DURABLE_FUNCTION_DURATIONS_H

#include "common/model.h"

#include "portability/instr_time.h"

extern void function_durations_register(void);

/* a function is identified by its name, the search_path of the look-up, the database and the session's role */
extern bool duration_is_slow(const char *search_path, const char *name);
/* the average time of a call in microseconds; -1: unknown */
extern int64 duration_mean(const char *search_path, const char *name);
/* count a call; time in microseconds */
extern void duration_add(const char *search_path, const char *name, int64 time, bool interrupted);
/* the function must run alone from now on */
extern void duration_alone(const char *search_path, const char *name);
extern int64 duration_since_ns(instr_time start);

#endif
