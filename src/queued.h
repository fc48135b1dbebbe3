/*
 * queued.h
 *	  Activities that any worker of a role may run.
 */
#ifndef DURABLE_QUEUED_H
#define DURABLE_QUEUED_H

#include "durable.h"

#include "ready.h"

/* of the range that the worker in this slot has taken; alone: one, in a long place */
extern void queued_run(int slot, ReadyRange *range, bool alone);

#endif
