/*
 * own.c
 *	  Activities that the worker of an instance runs right after the turn that
 *	  asks for them.
 *
 * They are those that the code waits for, if no other worker would have them
 * done sooner.  All others go to the queue.
 */
#include "postgres.h"

#include "own.h"
#include "settings.h"
#include "timing.h"

/* what running an activity after the turn takes besides its own time, in us */
#define RUN_TIME		13

/* what a fan-out may take with that for its own worker to run all of it */
#define OWN_FANOUT_TIME	(durable_batch_time * 1000 / 5)

/*
 * Whether this worker is to run the new tasks itself: activities that the code
 * waits for and nothing else, either one, or several that together take less
 * time than it would take to hand them to other workers.  A crash is to be
 * counted for the right one, so several are not run after one.
 */
bool
own_follow(const Turn *turn)
{
	Instance   *instance = turn->instance;
	int			count = instance->ntasks - turn->known;
	int64		time = 0;

	if (count == 0 || instance->nwaits != count ||
		(count > 1 && (instance->wait_mode != WAIT_ALL || instance->row.deliveries > 0 ||
					   durable_max_activity_deliveries == 1)))
		return false;
	for (int i = 0; i < count; i++)
	{
		Task	   *task = instance->tasks[turn->known + i];

		if (task->kind != TASK_ACTIVITY || task->options != NULL || task->canceled ||
			instance->waits[i] != task->id)
			return false;
		if (count > 1)
		{
			int64		mean = timing_mean(instance->row.search_path, task->name);

			if (mean < 0)
				return false;
			time += mean + RUN_TIME;
		}
	}
	return time <= OWN_FANOUT_TIME;
}
