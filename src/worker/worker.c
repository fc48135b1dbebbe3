/*
 * worker.c
 *	  A worker: advances the instances of one role, a batch in a transaction.
 *
 * A *round* is one transaction: lock and load the instances of the batch, take
 * in what happened to them, run for each at most one activity (or a small
 * fan-out) and the turns before and after it, write the histories and rows, commit.  Instances that can go on stay
 * in the batch for the next round; the others are let go.
 *
 * What goes wrong in a round with many instances is undone and each is tried
 * alone; what goes wrong alone is the instance's own failure.  Between two
 * rounds the worker runs activities of the queue (activity_runner.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"

#include "common/call_context.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/log_text.h"
#include "engine/activity.h"
#include "engine/instance.h"
#include "engine/sub_orchestration_start.h"
#include "engine/turn.h"
#include "sched/patience.h"
#include "sched/ready_queue.h"
#include "sched/worker_slots.h"
#include "shmem/crash_notes.h"
#include "shmem/function_durations.h"
#include "shmem/stats.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"
#include "worker/activity_runner.h"
#include "worker/bgworkers.h"
#include "worker/worker_transaction.h"

#define PLACES			20		/* one of so many places in a batch is left to those that wait after each round */

static int	my_slot;
static ReadyItem items[ROUND_INSTANCES];
static int	nitems = 0;
static int	step_us = 0;		/* what an instance takes in a round, the commit aside */

/* Give back what the worker holds, whatever the process ends of. */
static void
worker_exit(int code, Datum arg)
{
	bool		running = crash_note_is_running();

	if (crash_note_is_overdue())
		ereport(LOG,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("a durable worker ended itself because a function ignored its timeout"),
				 errdetail("The function handled the cancellation (SQLSTATE 57014) and went on.")));
	else if (running)
		ereport(LOG,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("a durable worker was ended while it ran a function"),
				 errdetail("What the function did is undone, and it runs again.")));
	crash_note_leave();
	/* another worker, which may be there already, is not to run it again before it is counted */
	worker_slot_detach(my_slot, running);
}

/* Take note of what a round with so many instances took. */
static void
batch_measure(TimestampTz begun, int count)
{
	int64		us = (GetCurrentTimestamp() - begun) / count;

	us = Min(Max(us, 1), USECS_PER_SEC);
	step_us = step_us == 0 ? us : (3 * step_us + us) / 4;
}

/*
 * Run the activity that an instance goes on with.  False when it has to wait
 * for another round.  One that takes long, or is interrupted as it does, goes to
 * the queue: this transaction commits first, and neither the others in it nor what
 * a client wants of this instance have to wait.  turned: this round has asked for it.
 */
static bool
run_activity(Instance *instance, ReadyItem *item, bool turned)
{
	Task	   *task = instance->next_activity;
	ActivityRun run = {
		.instance = &instance->row,
		.task_id = task->id,
		.attempt = task->attempt,
		.rewinds = task->rewinds,
		.name = task->name,
		.input = task->input,
		.alone = round_alone(),
		.tries = instance->conflicts
	};
	ActivityOutcome outcome;

	if (instance->row.deliveries >= durable_max_activity_deliveries)
	{
		Jsonb	   *failure = activity_lost(&run, instance->row.deliveries);

		instance_activity_done(&this_round, instance, task, true, failure);
		return true;
	}
	/* what may kill its worker is counted for itself in the queue */
	if (round_lone() || duration_is_slow(instance->row.search_path, task->name))
	{
		instance_defer_activities(&this_round, instance, LONE_NO, NULL);
		return true;
	}
	if (round_full())
	{
		/* if the cache does not keep the turn it would be run again, to come no further */
		if (turned)
			instance_defer_activities(&this_round, instance, LONE_NO, NULL);
		return turned;
	}
	outcome = activity_run(&run);
	this_round.now = Max(this_round.now, GetCurrentTimestamp());
	round_ran(run.wrote);
	if (outcome == ACTIVITY_PUT_OFF)
	{
		instance_defer_activities(&this_round, instance, LONE_NO, run.result);
		return true;
	}
	if (outcome == ACTIVITY_INTERRUPTED)
	{
		instance_defer_activities(&this_round, instance, run.interruption == INTERRUPTION_LOCK ? LONE_MAY : LONE_MUST, NULL);
		round_stop();
		return true;
	}
	if (outcome == ACTIVITY_AGAIN)
	{
		instance->conflicts++;
		item->solo = true;
		round_stop();
		return false;
	}
	/* the termination comes before what the orchestrator makes of the failure */
	if (run.canceled)
		round_stop();
	instance_activity_done(&this_round, instance, task, outcome == ACTIVITY_FAILED, run.result);
	instance->conflicts = 0;
	return true;
}

/* The next turn of an instance is to be run alone. */
static void
leave_alone(ReadyItem *item, Lone lone)
{
	item->lone = lone;
	item->solo = false;
}

/* Start the children that are due; false if that was interrupted. */
static bool
start_children(Instance *instance)
{
	while (instance->starts_due > 0 && !round_full())
	{
		round_step();
		if (!start_due_child(&this_round, instance))
		{
			round_stop();
			return false;
		}
	}
	return true;
}

/*
 * Advance one instance by a step: one activity, or several that were scheduled
 * together, of which a transaction has no more than of a range.
 */
static void
advance(Instance *instance, ReadyItem *item)
{
	int			step_end = 0;	/* number of the last activity of the step */
	int			activities = 0;
	bool		turned = false;

	/* what may kill its worker must not take others along */
	if (instance->row.deliveries > 0)
		item->lone = LONE_MUST;
	if (item->lone == LONE_MUST && !round_lone())
		return;
	if (!start_children(instance))
	{
		leave_alone(item, LONE_MUST);
		return;
	}
	for (;;)
	{
		if (instance->next_activity != NULL)
		{
			if (activities == 0)
				step_end = instance->last_activity;
			if (instance->next_activity->id > step_end || activities++ == ROUND_ACTIVITIES ||
				!run_activity(instance, item, turned))
				return;
		}
		else if (!instance_can_turn(instance) || round_full())
			return;
		else if (!round_lone() && item->lone == LONE_NO &&
				 duration_is_slow(instance->row.search_path, instance->row.function))
		{
			leave_alone(item, LONE_MAY);
			return;
		}
		else
		{
			round_step();
			turned = true;
			switch (turn_run(&this_round, instance))
			{
				case TURN_RUN_STOPS:
					return;
				case TURN_RUN_INTERRUPTED:
					leave_alone(item, LONE_MUST);
					round_stop();
					return;
				case TURN_RUN_GOES_ON:
					break;
			}
			item->lone = LONE_NO;
			/* it waits for nothing: it has begun anew, and would fill this round */
			if (instance->wait_mode == WAIT_NONE)
				return;
		}
	}
}

/* Order of instances: everybody locks them in the same one. */
static int
compare_items(const void *a, const void *b)
{
	int64		x = ((const ReadyItem *) a)->key;
	int64		y = ((const ReadyItem *) b)->key;

	return (x > y) - (x < y);
}

/* Order of places in a round: those first that have waited longest for their turn. */
static int
compare_late(const void *a, const void *b)
{
	const ReadyItem *x = *(ReadyItem *const *) a;
	const ReadyItem *y = *(ReadyItem *const *) b;

	return x->late != y->late ? y->late - x->late : compare_items(x, y);
}

/* Advance as many instances as there is time for, at least one; tells how many. */
static int
advance_all(Instance **instances, ReadyItem *batch, int count)
{
	ReadyItem **order = palloc(count * sizeof(ReadyItem *));
	int			reached = 0;

	for (int i = 0; i < count; i++)
		order[i] = &batch[i];
	qsort(order, count, sizeof(ReadyItem *), compare_late);
	for (int i = 0; i < count; i++)
	{
		ReadyItem  *item = order[i];
		Instance   *instance = instances[item - batch];

		if (instance != NULL && round_full())
		{
			item->late++;
			continue;
		}
		item->late = 0;
		item->rounds = Min(item->rounds, PG_INT32_MAX - 1) + 1;
		reached++;
		/* without one it has taken its time, too, and leaves */
		if (instance != NULL)
		{
			stats_count(STATS_ADVANCED, 1);
			advance(instance, item);
		}
	}
	return reached;
}

/* Do one round with these instances; afterwards flags tell which of them go on. */
static void
run_round(ReadyItem *batch, int count, bool lone)
{
	Instance  **instances;
	FetchResult result;
	int			reached;
	int64		forget[ROUND_INSTANCES];
	int			spent = 0;
	TimestampTz begun = GetCurrentTimestamp();

	round_begin(count, lone);
	instances = palloc0(count * sizeof(Instance *));
	for (int i = 0; i < count; i++)
	{
		instances[i] = instance_load(&this_round, batch[i].key, batch[i].flags, &result);
		if (result == FETCH_ABSENT)
		{
			/* it was purged or replaced: nobody wants what came for it */
			messages_delete(this_round.store, batch[i].key);
			timers_delete(this_round.store, batch[i].key);
		}
	}
	round_start_clock();
	reached = advance_all(instances, batch, count);
	for (int i = 0; i < count; i++)
	{
		batch[i].flags = 0;
		if (instances[i] == NULL)
			continue;
		if (instances[i]->starts_due > 0)
		{
			start_put_back(&this_round, instances[i]);
			batch[i].flags = READY_TIMER;
		}
		instance_save(&this_round, instances[i]);
		if (instances[i]->row.state == STATE_READY)
			batch[i].flags |= READY_RUN;
		if (batch[i].flags == 0)
		{
			batch[i].solo = false;
			batch[i].lone = LONE_NO;
		}
		if (instances[i]->spent)
			forget[spent++] = batch[i].key;
	}
	if (!lone)
		batch_measure(begun, reached);
	round_commit();
	for (int i = 0; i < spent; i++)
		instance_forget(forget[i]);
}

/* Fail an instance because of an error that its turn or activity is not to blame for. */
static void
fail_instance(ReadyItem *item, ErrorData *error)
{
	Instance   *instance;
	FetchResult result;

	round_begin(1, false);
	instance = instance_load(&this_round, item->key, READY_ALL, &result);
	if (instance != NULL)
	{
		if (!STATE_IS_TERMINAL(instance->row.state))
			instance_fail_whole(&this_round, instance, failure_from_error(error));
		instance_save(&this_round, instance);
	}
	round_commit();
	item->flags = 0;
}

/* Fail an instance; if even that fails for good it is left to the scheduler's next look into the tables. */
static void
try_fail_instance(ReadyItem *item, ErrorData *error)
{
	PG_TRY();
	{
		fail_instance(item, error);
	}
	PG_CATCH();
	{
		item->flags = round_report() ? READY_ALL : 0;
		instance_forget(item->key);
	}
	PG_END_TRY();
}

/* A round has failed: try its instances one by one, or deal with the only one. */
static void
batch_failed(ReadyItem *batch, int count, ErrorData *error)
{
	for (int i = 0; i < count; i++)
	{
		instance_forget(batch[i].key);
		batch[i].flags = READY_ALL;
		batch[i].solo = true;
	}
	if (count > 1)
		return;
	if (sqlstate_is_passing(error->sqlerrcode))
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("durable will try an instance again: %s", log_text(error->message, LOG_MESSAGE, false))));
		process_wait(200);
	}
	else
		try_fail_instance(batch, error);
}

/* Run a round and deal with its failure as a whole. */
static void
try_round(ReadyItem *batch, int count, bool lone)
{
	PG_TRY();
	{
		run_round(batch, count, lone);
	}
	PG_CATCH();
	{
		batch_failed(batch, count, round_failure());
		round_clear();
	}
	PG_END_TRY();
}

/* How many instances the worker takes at most: no more than it gets to in a round. */
static int
batch_limit(void)
{
	return step_us == 0 ? durable_batch_size :
		Min(durable_batch_size, Max(durable_batch_time * 1000 / step_us, 1));
}

/* Order in which instances leave a batch that is too large: those that have had most of it are last, and leave first. */
static int
compare_rounds(const void *a, const void *b)
{
	const ReadyItem *x = a;
	const ReadyItem *y = b;

	if (x->late != y->late)
		return y->late - x->late;
	return x->rounds != y->rounds ? x->rounds - y->rounds : compare_items(x, y);
}

/*
 * Keep the items that go on; let the others go.  Of those that are too many, or
 * as many as to leave others no place, the ones that have had most go to the end
 * of the queue.
 */
static void
settle(void)
{
	ReadyItem	gone[ROUND_INSTANCES];
	int			ngone = 0;
	int			kept = 0;
	int			limit = batch_limit();
	int			places = (limit + PLACES - 1) / PLACES;
	int			excess;

	for (int i = 0; i < nitems; i++)
	{
		if (items[i].flags == 0 || items[i].lone != LONE_NO)
			gone[ngone++] = items[i];
		else
			items[kept++] = items[i];
	}
	nitems = kept;
	excess = nitems - limit;
	if (excess + places > 0 && ready_queued(my_slot))
		excess += places;
	if (excess > 0)
	{
		qsort(items, nitems, sizeof(ReadyItem), compare_rounds);
		nitems -= excess;
		memcpy(&gone[ngone], &items[nitems], excess * sizeof(ReadyItem));
		ngone += excess;
	}
	if (ngone > 0)
		ready_release(my_slot, gone, ngone, false);
	instance_trim_cache();
}

/* Move those that are to be alone before the others, the one that has waited longest first; tells how many they are. */
static int
part_items(void)
{
	ReadyItem	others[ROUND_INSTANCES];
	int			nothers = 0;
	int			alone = 0;
	int			first = 0;

	for (int i = 0; i < nitems; i++)
	{
		if (!items[i].solo)
			others[nothers++] = items[i];
		else
		{
			if (alone == 0 || items[i].late > items[first].late)
				first = alone;
			items[alone++] = items[i];
		}
	}
	memcpy(&items[alone], others, nothers * sizeof(ReadyItem));
	if (alone > 0)
	{
		ReadyItem	longest = items[first];

		items[first] = items[0];
		items[0] = longest;
	}
	return alone;
}

/*
 * Run the instances at hand, together, and in turn with them one that is to be
 * alone, all others being given back to the queue, since it may take long.
 */
static void
run_items(void)
{
	static bool was_alone = false;
	int			alone = part_items();

	was_alone = alone > 0 && (alone == nitems || !was_alone);
	if (was_alone)
	{
		ready_release(my_slot, &items[1], nitems - 1, true);
		nitems = 1;
		/* its next round may be with others again */
		items[0].solo = false;
		alone = 0;
	}
	for (int i = 0; i < alone; i++)
		items[i].late++;
	qsort(&items[alone], nitems - alone, sizeof(ReadyItem), compare_items);
	try_round(&items[alone], nitems - alone, false);
	settle();
}

/* Wait for work and a place; false when it is time to leave. */
static bool
wait_for_work(void)
{
	TimestampTz until = GetCurrentTimestamp() + durable_worker_idle_timeout * USECS_PER_SEC;

	if (!worker_slot_rest(my_slot))
		return true;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	for (;;)
	{
		long		rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		process_wait(rest);
		process_handle_interrupts();
		if (!worker_slot_is_idle(my_slot))
		{
			stats_count(STATS_WAKEUPS, 1);
			return true;
		}
		if (rest <= 0 || worker_slot_unwanted(my_slot) || process_reloaded())
			return !worker_slot_leave(my_slot);
	}
}

/* Whether queued activities are to be looked for: if there is room in the batch, and from time to time if not. */
static bool
ranges_are_due(void)
{
	static TimestampTz last = 0;
	TimestampTz now;

	if (nitems < durable_batch_size)
		return true;
	now = GetCurrentTimestamp();
	/* the clock may have been set back */
	if (last <= now && now - last < PLACES * durable_batch_time * INT64CONST(1000))
		return false;
	last = now;
	return true;
}

/* Give back all instances that the worker holds. */
static void
release_items(void)
{
	if (nitems > 0)
		ready_release(my_slot, items, nitems, true);
	nitems = 0;
}

/* Run a turn or an activity alone, if one waits and there is a long place for it; false if not. */
static bool
run_alone(void)
{
	ReadyRange	range;
	ReadyItem	item;
	LoneWork	work = ready_take_lone(my_slot, &item, &range);

	if (work == LONE_NOTHING)
		return false;
	/* it may take long: nobody else is to wait for it */
	release_items();
	if (work == LONE_TURN)
	{
		pgstat_report_activity(STATE_RUNNING, "advancing an instance alone");
		item.solo = false;
		try_round(&item, 1, true);
		ready_release(my_slot, &item, 1, true);
		instance_trim_cache();
	}
	else
	{
		pgstat_report_activity(STATE_RUNNING, "running an activity alone");
		queued_run(my_slot, &range, true);
	}
	worker_slot_return(my_slot);
	return true;
}

/* Run activities of the queue together, if there are any. */
static bool
run_range(void)
{
	ReadyRange	range;

	if (!ranges_are_due() || !ready_take_range(my_slot, ROUND_ACTIVITIES, &range))
		return false;
	release_items();
	pgstat_report_activity(STATE_RUNNING, "running queued activities");
	queued_run(my_slot, &range, false);
	return true;
}

/* Take work and do it until there is none for a while. */
static void
work(void)
{
	bool		alone_first = false;
	bool		woken = true;	/* by who has given it a place */

	for (;;)
	{
		bool		yield = false;
		bool		did = false;

		process_handle_interrupts();
		/* others have taken the batch place, as its code did not come back; the long place was for that code alone */
		if (!woken && worker_slot_place(my_slot) == PLACE_LONG)
		{
			release_items();
			worker_slot_return(my_slot);
		}
		woken = false;
		if (worker_slot_place(my_slot) == PLACE_BATCH)
		{
			nitems = ready_take(my_slot, items, nitems, batch_limit(), step_us, &yield);
			did = nitems > 0;
			if (nitems > 0)
			{
				pgstat_report_activity(STATE_RUNNING, "advancing instances");
				run_items();
				if (worker_slot_place(my_slot) != PLACE_BATCH)
					continue;
			}
		}
		/* after a reload a new process takes over, with the role's settings as they are now */
		if (process_reloaded())
		{
			release_items();
			return;
		}
		if (yield)
		{
			release_items();
			worker_slot_yield(my_slot);
		}
		else if (worker_slot_place(my_slot) == PLACE_LONG)
			did = run_alone();
		else if (worker_slot_place(my_slot) == PLACE_BATCH)
		{
			/* in turns, so that neither is in the way of the other */
			alone_first = !alone_first;
			did |= alone_first ? run_alone() || run_range() : run_range() || run_alone();
		}
		if (!did && nitems == 0)
		{
			if (!wait_for_work())
				return;
			woken = true;
		}
	}
}

/* Main function of a worker. */
void
durable_worker_main(Datum arg)
{
	WorkerExtra extra;

	memcpy(&extra, MyBgworkerEntry->bgw_extra, sizeof(extra));
	my_slot = extra.slot;
	on_shmem_exit(worker_exit, (Datum) 0);
	worker_slot_attach(my_slot);
	process_init(PROCESS_WORKER);
	process_connect(DatumGetObjectId(arg), extra.role);
	pgstat_report_appname("durable worker");
	crash_note_attach(my_slot);
	stats_begin();
	patience_install();
	round_init();
	worker_slot_connected(my_slot);
	work();
	proc_exit(0);
}
