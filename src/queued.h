/*
 * queued.h
 *	  Activities that any worker of a role may run.
 */
#ifndef DURABLE_QUEUED_H
#define DURABLE_QUEUED_H

#include "durable.h"

#include "ready.h"

/* of the range that the worker in this slot has taken */
extern void queued_run(int slot, ReadyRange *range);

#endif
