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

/* what running an activity after the turn takes besides its own time, in us */
#define RUN_TIME		13

/* what a fan-out may take with that for its own worker to run all of it */
#define OWN_FANOUT_TIME	(durable_batch_time * 1000 / 5)

/* what handing an activity to other workers takes at least: computing it is sooner done */
#define HANDING_OUT_TIME	10

/* how long a turn may compute, in us, whatever it has taken until then: at least, if the round has the time, and at most */
#define COMPUTING_MIN	(durable_batch_time * 1000 / 20)
#define COMPUTING_MAX	(durable_batch_time * 1000 * INT64CONST(10))

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
		!timing_is_slow(instance->row.search_path, task->name) && timing_mean(instance->row.search_path, task->name) >= 0;
}

/*
 * Set how long the turn may compute.  Whoever waits for it had to wait for the
 * replay, so it may take as long again; that is longer the more history there
 * is, so that few replays do for a long sequence.  A fan-out that is better
 * finished may take twice that.  Half of the time after which the turn would
 * fail is left to the code.
 */
static void
set_times(Turn *turn, int64 elapsed)
{
	int64		time = Max(elapsed, turn->round->full() ? 1 : COMPUTING_MIN);

	turn->computing_end = elapsed + Min(time, COMPUTING_MAX);
	turn->computing_limit = elapsed + 2 * time;
	if (turn->timeout > 0)
	{
		turn->computing_end = Min(turn->computing_end, turn->timeout / 2);
		turn->computing_limit = Min(turn->computing_limit, turn->timeout / 2);
	}
}

/* Whether the turn has time to compute, or to finish a fan-out. */
static bool
has_time(Turn *turn, bool finish)
{
	int64		elapsed = timing_since(turn->begun);

	if (turn->computing_end == 0)
		set_times(turn, elapsed);
	return elapsed < (finish ? turn->computing_limit : turn->computing_end);
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
	time = timing_since_ns(start);
	turn->computing += time;
	timing_add(instance->row.search_path, task->name, time / 1000, false);
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

/* Whether all of the new tasks up to a place are activities that are computed sooner than handed out. */
static bool
are_light(const Turn *turn, int end)
{
	Instance   *instance = turn->instance;

	for (int i = turn->known; i < end; i++)
	{
		Task	   *task = instance->tasks[i];
		int64		mean = task->kind == TASK_ACTIVITY ? timing_mean(instance->row.search_path, task->name) : -1;

		if (mean < 0 || mean > HANDING_OUT_TIME)
			return false;
	}
	return true;
}

/*
 * Whether computing the new tasks up to a place is to be put off: if the turn
 * has got any further, they are all that it asks for, more of what it has just
 * computed, and other workers would not have them done sooner.
 */
static bool
may_put_off(const Turn *turn, int end, bool light)
{
	Task	  **next = &turn->instance->tasks[turn->known];

	return turn->computed > 0 && end == turn->instance->ntasks && (light || end - turn->known == 1) &&
		strcmp(next[0]->name, next[-1]->name) == 0;
}

/*
 * Compute the first of the new tasks.  What there is no time for is put off: the
 * turn forgets these tasks, and the next one asks for them again.
 */
OwnOutcome
own_compute(Turn *turn, int count)
{
	Instance   *instance = turn->instance;
	int			end = turn->known + count;
	bool		light = count > 1 && are_light(turn, end);
	bool		begun = false;

	while (turn->known < end)
	{
		CHECK_FOR_INTERRUPTS();
		if (!may_compute(turn, instance->tasks[turn->known]))
			return OWN_OPEN;
		if (!has_time(turn, begun && light))
		{
			if (!may_put_off(turn, end, light))
				return OWN_OPEN;
			instance_forget_tasks(instance, turn->known);
			return OWN_PUT_OFF;
		}
		if (!compute(turn, instance->tasks[turn->known]))
			return OWN_OPEN;
		begun = true;
	}
	return OWN_DONE;
}

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
