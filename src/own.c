/*
 * own.c
 *	  Activities that an instance's own worker runs.
 *
 * What only computes is run within the turn, while there is time for that: the
 * code goes on at once.  What else is quick is run right after the turn.  The
 * rest, and fan-outs that several workers would run sooner, go to the queue.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"

#include "call.h"
#include "json.h"
#include "own.h"
#include "quota.h"
#include "settings.h"
#include "stats.h"
#include "timing.h"
#include "usercode.h"

/* what it takes to have an activity run by other workers, in us, besides what it takes by itself */
#define HANDING_OUT_TIME	10

/* what a fan-out may take more than that on average, in us, for its own worker to run all of it */
#define OWN_FANOUT_TIME	(durable_batch_time * 1000 / 5)

/* what a turn may take for computing in any case, in us, if the round has the time */
#define COMPUTING_TIME	(durable_batch_time * 1000 / 20)

/*
 * Whether a turn may compute a new task itself: a quick activity, if the code
 * has not changed what names mean, and has given up nothing, which would come
 * before it in the history.  After a crash it is not the turn's to be blamed
 * for, so then each is run by itself.
 */
static bool
may_compute(const Turn *turn, const Task *task)
{
	Instance   *instance = turn->instance;

	return task->kind == TASK_ACTIVITY && !task->canceled && task->options == NULL && turn->canceled == NIL &&
		instance->row.deliveries == 0 && durable_max_activity_deliveries > 1 &&
		GetUserId() == instance->row.owner &&
		strcmp(namespace_search_path, instance->row.search_path) == 0 &&
		timing_is_quick(instance->row.search_path, task->name);
}

/*
 * Whether the turn has time to compute.  Whoever waits for it had to wait for
 * the replay, so it may take as long again; that is longer the more history
 * there is, so that few replays do for a long sequence.  Half of the time after
 * which the turn would fail is left to the code.
 */
static bool
has_time(Turn *turn, bool light)
{
	int64		elapsed = timing_since(turn->begun);

	if (turn->computing_limit == 0)
	{
		int64		timeout = user_call_timeout(durable_turn_timeout) * INT64CONST(1000);

		turn->computing_limit = timeout > 0 ? timeout / 2 : PG_INT64_MAX;
		turn->computing_end = Min(elapsed + Max(elapsed, turn->round->full() ? 1 : COMPUTING_TIME),
								  turn->computing_limit);
	}
	return elapsed < (light ? turn->computing_limit : turn->computing_end) && !turn->round->wanted();
}

/*
 * Compute an activity within the turn, if that is all it does: its result
 * depends on its input alone, so a crash may take it back, and nothing has to be
 * committed before the code goes on.  False if it is to be run like others,
 * which also tells what is wrong with it.
 */
static bool
compute(Turn *turn, Task *task)
{
	Instance   *instance = turn->instance;
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;
	volatile bool computed = false;
	bool		wrote = turn->wrote;
	instr_time	start;
	int64		time;

	INSTR_TIME_SET_CURRENT(start);
	PG_TRY();
	{
		Jsonb	   *value;

		computed = function_compute(resolve_name(task->name), task->input, &value) &&
			quota_payload(instance->row.owner, value) == NULL;
		if (computed)
			result = value;
	}
	PG_CATCH();
	{
		/* the turn stops now, and its subtransaction ends; the error is not the code's */
		turn->wrote = wrote;
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	if (!computed)
		return false;
	time = timing_since(start);
	turn->computing += time;
	timing_add(instance->row.search_path, task->name, time, false);
	stats_call(STATS_ACTIVITY, task->name, time, false);
	stats_count(STATS_ACTIVITIES, 1);
	turn->round->now = Max(turn->round->now, GetCurrentTimestamp());
	turn->known++;
	turn->computed++;
	task->recorded = true;
	task->result = jsonb_copy(instance->context, result);
	task->done_seq = instance->row.last_seq + 2 * turn->computed;
	task->done_time = turn->round->now;
	return true;
}

/* Whether all of the new tasks up to a place are activities that are run sooner than handed out. */
static bool
are_light(const Turn *turn, int end)
{
	Instance   *instance = turn->instance;

	for (int i = turn->known; i < end; i++)
		if (instance->tasks[i]->kind != TASK_ACTIVITY ||
			timing_mean(instance->row.search_path, instance->tasks[i]->name) > HANDING_OUT_TIME)
			return false;
	return true;
}

/*
 * Compute the first of the new tasks.  Of a fan-out that was begun in time all
 * is computed if that is sooner done than handed out; else what is left when
 * the time is over goes to others.  Whatever else there is no time for is put
 * off, if the turn has got any further: it forgets these tasks, and the next one
 * asks for them again.
 */
OwnOutcome
own_compute(Turn *turn, int count)
{
	Instance   *instance = turn->instance;
	int			end = turn->known + count;
	bool		light = are_light(turn, end);
	bool		goes_on = has_time(turn, false);

	while (turn->known < end)
	{
		if (!may_compute(turn, instance->tasks[turn->known]))
			return OWN_OPEN;
		if (!goes_on)
		{
			if (turn->computed == 0 || end < instance->ntasks || (!light && end - turn->known > 1))
				return OWN_OPEN;
			instance_forget_tasks(instance, turn->known);
			return OWN_PUT_OFF;
		}
		if (!compute(turn, instance->tasks[turn->known]))
			return OWN_OPEN;
		goes_on = has_time(turn, light);
	}
	return OWN_DONE;
}

/*
 * Whether this worker is to run the new tasks itself: activities that the code
 * waits for and nothing else, either one, or several that together take little
 * more time than to hand them to other workers.  A crash is to be counted for
 * the right one, so several are not run after one.
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
			time += mean - HANDING_OUT_TIME;
		}
	}
	return time <= OWN_FANOUT_TIME;
}
