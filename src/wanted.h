/*
 * wanted.h
 *	  Rows of instances that somebody waits for while a worker's round has them.
 *
 * A client that replaces, rewinds or purges an instance waits for its row.  A
 * round has the rows of its instances until it commits, and one of the
 * activities that it runs may take long, waiting for a lock perhaps.  So who
 * waits says what for (here) and interrupts the activity (blackbox.h); the
 * worker undoes it, leaves it to the queue, where it runs without the row, and
 * commits.  It begins no other one while a row of its round is wanted.
 */
#ifndef DURABLE_WANTED_H
#define DURABLE_WANTED_H

#include "durable.h"

extern Size wanted_shmem_size(void);
extern void wanted_shmem_init(void);

/* this process is about to wait for the row of an instance; afterwards, also after an error, it no longer does */
extern void wanted_begin(int64 key);
extern void wanted_end(void);
/* whether somebody waits for the row of one of these instances of the current database */
extern bool wanted_any(const int64 *keys, int count);

#endif
