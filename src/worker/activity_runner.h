/*
 * activity_runner.h
 *	  Activities that any worker of a role may run.
 */
#ifndef DURABLE_ACTIVITY_RUNNER_H
#define DURABLE_ACTIVITY_RUNNER_H

#include "common/model.h"

#include "sched/ready_queue.h"

/* of the range that the worker in this slot has taken; alone: one, in a long place */
extern void activity_runner_run(int slot, ReadyRange *range, bool alone);

#endif
