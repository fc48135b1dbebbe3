/*
 * own.h
 *	  Activities that an instance's own worker runs: within the turn that asks
 *	  for them, or right after it.
 */
#ifndef DURABLE_OWN_H
#define DURABLE_OWN_H

#include "durable.h"

#include "turn.h"

typedef enum OwnOutcome
{
	OWN_DONE,					/* the code can go on */
	OWN_OPEN,					/* some have not ended: it has to wait */
	OWN_PUT_OFF					/* the turn is to stop, and the next one to go on */
} OwnOutcome;

/* compute the first new tasks of the turn, so many as the code waits for */
extern OwnOutcome own_compute(Turn *turn, int count);
/* whether the worker is to run what the turn has left open */
extern bool own_follow(const Turn *turn);

#endif
