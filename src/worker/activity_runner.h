/*
 * activity_runner.h
 *	  A worker runs queued activities, which any worker of their role may run.
 */
#ifndef DURABLE_ACTIVITY_RUNNER_H
#define DURABLE_ACTIVITY_RUNNER_H

#include "common/model.h"

#include "sched/ready_queue.h"

/* run the range that the worker in this slot has taken; in_long_place: one activity, in a long place */
extern void activity_runner_run(int slot, ReadyRange *range, bool in_long_place);

#endif
