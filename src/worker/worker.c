/*
 * worker.c
 *	  A worker: advances the instances of one role, a batch in a transaction.
 *
 * Each transaction (worker_transaction.h) locks and loads the instances of the
 * batch and receives their messages.  For each instance it runs one activity at
 * most, or a small fan-out, and the turns before and after it.  Then it writes
 * histories and rows, and commits.  Instances that have more to do stay in the
 * batch for the next transaction; the worker releases the others.
 *
 * If a transaction with several instances fails, each of them gets a transaction
 * of its own.  If that fails, too, the instance fails, unless the error passes.
 *
 * Between two transactions the worker runs queued activities (activity_runner.c).
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
#include "engine/inbox.h"
#include "engine/instance.h"
#include "engine/instance_cache.h"
#include "engine/lifecycle.h"
#include "engine/sub_orchestration_start.h"
#include "engine/turn.h"
#include "engine/turn_effects.h"
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

#define TURNOVER		20		/* one in this many instances of a batch leaves it after each transaction if others wait */

static int	my_slot;
static ReadyItem items[MAX_BATCH_INSTANCES];	/* the instances that the worker holds */
static int	nitems = 0;
static int	step_us = 0;		/* average time of an instance in a transaction, without the commit */

/* Release what the worker holds, for whatever reason the process ends. */
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
	/* what ran goes to the scheduler, which counts the delivery before another worker runs it again */
	worker_slot_detach(my_slot, running);
}

/* Update step_us. */
static void
batch_measure(TimestampTz begun, int count)
{
	int64		us = (GetCurrentTimestamp() - begun) / count;

	us = Min(Max(us, 1), USECS_PER_SEC);
	step_us = step_us == 0 ? us : (3 * step_us + us) / 4;
}

/*
 * Run the next activity of an instance; false if it has to wait for another
 * transaction.  An activity that takes long is queued instead, so that neither
 * the other instances nor clients that lock this instance's row wait for it.
 * turned: a turn of this transaction scheduled the activity.
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
		.alone = worker_transaction_alone(),
		.tries = instance->conflicts
	};
	ActivityOutcome outcome;

	if (instance->row.deliveries >= durable_max_activity_deliveries)
	{
		Jsonb	   *failure = activity_lost(&run, instance->row.deliveries);

		instance_activity_done(&worker_transaction, instance, task, true, failure);
		return true;
	}
	/* in the queue an activity has a delivery counter of its own */
	if (worker_transaction_in_long_place() || duration_is_slow(instance->row.search_path, task->name))
	{
		instance_defer_activities(&worker_transaction, instance, LONE_NO, NULL);
		return true;
	}
	if (worker_transaction_full())
	{
		/* else the turn might be replayed in each transaction without ever reaching the activity */
		if (turned)
			instance_defer_activities(&worker_transaction, instance, LONE_NO, NULL);
		return turned;
	}
	outcome = activity_run(&run);
	worker_transaction.now = Max(worker_transaction.now, GetCurrentTimestamp());
	worker_transaction_ran(run.wrote);
	if (outcome == ACTIVITY_PUT_OFF)
	{
		instance_defer_activities(&worker_transaction, instance, LONE_NO, run.result);
		return true;
	}
	if (outcome == ACTIVITY_INTERRUPTED)
	{
		instance_defer_activities(&worker_transaction, instance, run.interruption == INTERRUPTION_LOCK ? LONE_MAY : LONE_MUST, NULL);
		worker_transaction_stop();
		return true;
	}
	if (outcome == ACTIVITY_AGAIN)
	{
		instance->conflicts++;
		item->solo = true;
		worker_transaction_stop();
		return false;
	}
	/* the next transaction terminates the instance before another turn sees the failure */
	if (run.canceled)
		worker_transaction_stop();
	instance_activity_done(&worker_transaction, instance, task, outcome == ACTIVITY_FAILED, run.result);
	instance->conflicts = 0;
	return true;
}

/* Have the next turn of an instance run in a long place. */
static void
move_to_long_place(ReadyItem *item, Lone lone)
{
	item->lone = lone;
	item->solo = false;
}

/* Start the sub-orchestrations that are due; false if that was interrupted. */
static bool
start_children(Instance *instance)
{
	while (instance->starts_due > 0 && !worker_transaction_full())
	{
		worker_transaction_step();
		if (!start_due_child(&worker_transaction, instance))
		{
			worker_transaction_stop();
			return false;
		}
	}
	return true;
}

/*
 * Advance one instance by a step: one activity, or up to MAX_BATCH_ACTIVITIES that
 * one turn scheduled together, and the turns around them.
 */
static void
advance(Instance *instance, ReadyItem *item)
{
	int			step_end = 0;	/* task id of the last activity of the step */
	int			activities = 0;
	bool		turned = false;

	/* it may have killed a worker: no other instance is held with it */
	if (instance->row.deliveries > 0)
		item->lone = LONE_MUST;
	if (item->lone == LONE_MUST && !worker_transaction_in_long_place())
		return;
	if (!start_children(instance))
	{
		move_to_long_place(item, LONE_MUST);
		return;
	}
	for (;;)
	{
		if (instance->next_activity != NULL)
		{
			if (activities == 0)
				step_end = instance->last_activity;
			if (instance->next_activity->id > step_end || activities++ == MAX_BATCH_ACTIVITIES ||
				!run_activity(instance, item, turned))
				return;
		}
		else if (!instance_can_turn(instance) || worker_transaction_full())
			return;
		else if (!worker_transaction_in_long_place() && item->lone == LONE_NO &&
				 duration_is_slow(instance->row.search_path, instance->row.function))
		{
			move_to_long_place(item, LONE_MAY);
			return;
		}
		else
		{
			worker_transaction_step();
			turned = true;
			switch (turn_run(&worker_transaction, instance))
			{
				case TURN_RUN_STOPS:
					return;
				case TURN_RUN_INTERRUPTED:
					move_to_long_place(item, LONE_MUST);
					worker_transaction_stop();
					return;
				case TURN_RUN_GOES_ON:
					break;
			}
			item->lone = LONE_NO;
			/* it has continued as new, and could do so for ever in this transaction */
			if (instance->wait_mode == WAIT_NONE)
				return;
		}
	}
}

/* Order by key, in which all workers lock rows of instances. */
static int
compare_items(const void *a, const void *b)
{
	int64		x = ((const ReadyItem *) a)->key;
	int64		y = ((const ReadyItem *) b)->key;

	return (x > y) - (x < y);
}

/* Order in which a transaction advances instances: first those that it did not reach for most transactions. */
static int
compare_missed(const void *a, const void *b)
{
	const ReadyItem *x = *(ReadyItem *const *) a;
	const ReadyItem *y = *(ReadyItem *const *) b;

	return x->late != y->late ? y->late - x->late : compare_items(x, y);
}

/* Advance as many instances as there is time for, at least one; returns how many. */
static int
advance_all(Instance **instances, ReadyItem *batch, int count)
{
	ReadyItem **order = palloc(count * sizeof(ReadyItem *));
	int			reached = 0;

	for (int i = 0; i < count; i++)
		order[i] = &batch[i];
	qsort(order, count, sizeof(ReadyItem *), compare_missed);
	for (int i = 0; i < count; i++)
	{
		ReadyItem  *item = order[i];
		Instance   *instance = instances[item - batch];

		if (instance != NULL && worker_transaction_full())
		{
			item->late++;
			continue;
		}
		item->late = 0;
		item->rounds = Min(item->rounds, PG_INT32_MAX - 1) + 1;
		reached++;
		/* an instance that could not be loaded counts as reached, and leaves the batch */
		if (instance != NULL)
		{
			stats_count(STATS_ADVANCED, 1);
			advance(instance, item);
		}
	}
	return reached;
}

/* Run one transaction with these instances.  Afterwards flags is 0 for those that have nothing more to do. */
static void
run_batch(ReadyItem *batch, int count, bool in_long_place)
{
	Instance  **instances;
	FetchResult result;
	int			reached;
	int64		forget[MAX_BATCH_INSTANCES];
	int			spent = 0;
	TimestampTz begun = GetCurrentTimestamp();

	worker_transaction_begin(count, in_long_place);
	instances = palloc0(count * sizeof(Instance *));
	for (int i = 0; i < count; i++)
	{
		instances[i] = instance_load(&worker_transaction, batch[i].key, batch[i].flags, &result);
		if (result == FETCH_ABSENT)
		{
			/* it was purged or replaced */
			messages_delete(worker_transaction.store, batch[i].key);
			timers_delete(worker_transaction.store, batch[i].key);
		}
	}
	worker_transaction_start_clock();
	reached = advance_all(instances, batch, count);
	for (int i = 0; i < count; i++)
	{
		batch[i].flags = 0;
		if (instances[i] == NULL)
			continue;
		if (instances[i]->starts_due > 0)
		{
			start_put_back(&worker_transaction, instances[i]);
			batch[i].flags = READY_TIMER;
		}
		instance_save(&worker_transaction, instances[i]);
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
	if (!in_long_place)
		batch_measure(begun, reached);
	worker_transaction_commit();
	for (int i = 0; i < spent; i++)
		instance_forget(forget[i]);
}

/* Fail an instance whose transaction failed outside of its turns and activities. */
static void
fail_instance(ReadyItem *item, ErrorData *error)
{
	Instance   *instance;
	FetchResult result;

	worker_transaction_begin(1, false);
	instance = instance_load(&worker_transaction, item->key, READY_ALL, &result);
	if (instance != NULL)
	{
		if (!STATE_IS_TERMINAL(instance->row.state))
			instance_fail_whole(&worker_transaction, instance, failure_from_error(error));
		instance_save(&worker_transaction, instance);
	}
	worker_transaction_commit();
	item->flags = 0;
}

/* Fail an instance.  If that fails, too, the scheduler's next scan finds the instance again. */
static void
try_fail_instance(ReadyItem *item, ErrorData *error)
{
	PG_TRY();
	{
		fail_instance(item, error);
	}
	PG_CATCH();
	{
		item->flags = worker_transaction_report() ? READY_ALL : 0;
		instance_forget(item->key);
	}
	PG_END_TRY();
}

/* A transaction has failed: try its instances one by one, or fail the only one. */
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
		bgworker_wait(200);
	}
	else
		try_fail_instance(batch, error);
}

/* Run one transaction and handle its failure. */
static void
try_batch(ReadyItem *batch, int count, bool in_long_place)
{
	PG_TRY();
	{
		run_batch(batch, count, in_long_place);
	}
	PG_CATCH();
	{
		batch_failed(batch, count, worker_transaction_failure());
		worker_transaction_clear();
	}
	PG_END_TRY();
}

/* How many instances the worker holds at most: as many as a transaction reaches. */
static int
batch_limit(void)
{
	return step_us == 0 ? durable_batch_size :
		Min(durable_batch_size, Max(durable_batch_time * 1000 / step_us, 1));
}

/* Order in a batch that is too large: the last ones leave, which are those that were advanced most often. */
static int
compare_advanced(const void *a, const void *b)
{
	const ReadyItem *x = a;
	const ReadyItem *y = b;

	if (x->late != y->late)
		return y->late - x->late;
	return x->rounds != y->rounds ? x->rounds - y->rounds : compare_items(x, y);
}

/*
 * Release the instances that have nothing more to do.  If the batch is too large,
 * or leaves no room for instances that wait in the queue, the ones that were
 * advanced most often go to the end of the queue.
 */
static void
release_done_items(void)
{
	ReadyItem	gone[MAX_BATCH_INSTANCES];
	int			ngone = 0;
	int			kept = 0;
	int			limit = batch_limit();
	int			leaving = (limit + TURNOVER - 1) / TURNOVER;
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
	if (excess + leaving > 0 && ready_queued(my_slot))
		excess += leaving;
	if (excess > 0)
	{
		qsort(items, nitems, sizeof(ReadyItem), compare_advanced);
		nitems -= excess;
		memcpy(&gone[ngone], &items[nitems], excess * sizeof(ReadyItem));
		ngone += excess;
	}
	if (ngone > 0)
		ready_release(my_slot, gone, ngone, false);
	instance_trim_cache();
}

/* Move the instances that need a transaction of their own to the front, first the one that waits longest; returns their number. */
static int
move_solo_items(void)
{
	ReadyItem	others[MAX_BATCH_INSTANCES];
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
 * Run one transaction: either with all instances that may be together, or, in
 * turns with that, with one that needs a transaction of its own.  The latter may
 * take long, so all other instances are released first.
 */
static void
run_items(void)
{
	static bool was_alone = false;
	int			alone = move_solo_items();

	was_alone = alone > 0 && (alone == nitems || !was_alone);
	if (was_alone)
	{
		ready_release(my_slot, &items[1], nitems - 1, true);
		nitems = 1;
		/* the next transaction may have it together with others again */
		items[0].solo = false;
		alone = 0;
	}
	for (int i = 0; i < alone; i++)
		items[i].late++;
	qsort(&items[alone], nitems - alone, sizeof(ReadyItem), compare_items);
	try_batch(&items[alone], nitems - alone, false);
	release_done_items();
}

/* Wait for work and a place; false if the worker has to end. */
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

		bgworker_wait(rest);
		bgworker_handle_interrupts();
		if (!worker_slot_is_idle(my_slot))
		{
			stats_count(STATS_WAKEUPS, 1);
			return true;
		}
		if (rest <= 0 || worker_slot_unwanted(my_slot) || bgworker_reloaded())
			return !worker_slot_leave(my_slot);
	}
}

/* Whether to take queued activities now: if the batch has room, or else after some time. */
static bool
ranges_are_due(void)
{
	static TimestampTz last = 0;
	TimestampTz now;

	if (nitems < durable_batch_size)
		return true;
	now = GetCurrentTimestamp();
	/* the clock may have been set back */
	if (last <= now && now - last < TURNOVER * durable_batch_time * INT64CONST(1000))
		return false;
	last = now;
	return true;
}

/* Release all instances that the worker holds. */
static void
release_items(void)
{
	if (nitems > 0)
		ready_release(my_slot, items, nitems, true);
	nitems = 0;
}

/* Run one turn or activity in a long place; false if none waits, or no long place is free. */
static bool
run_alone(void)
{
	ReadyRange	range;
	ReadyItem	item;
	LoneWork	work = ready_take_lone(my_slot, &item, &range);

	if (work == LONE_NOTHING)
		return false;
	/* other workers can take these instances meanwhile */
	release_items();
	if (work == LONE_TURN)
	{
		pgstat_report_activity(STATE_RUNNING, "advancing an instance alone");
		item.solo = false;
		try_batch(&item, 1, true);
		ready_release(my_slot, &item, 1, true);
		instance_trim_cache();
	}
	else
	{
		pgstat_report_activity(STATE_RUNNING, "running an activity alone");
		activity_runner_run(my_slot, &range, true);
	}
	worker_slot_return(my_slot);
	return true;
}

/* Run queued activities; false if there are none. */
static bool
run_range(void)
{
	ReadyRange	range;

	if (!ranges_are_due() || !ready_take_range(my_slot, MAX_BATCH_ACTIVITIES, &range))
		return false;
	release_items();
	pgstat_report_activity(STATE_RUNNING, "running queued activities");
	activity_runner_run(my_slot, &range, false);
	return true;
}

/* Take work and do it; returns when the worker has to end. */
static void
worker_loop(void)
{
	bool		alone_first = false;
	bool		woken = true;	/* just now, by a process that gave this worker a place */

	for (;;)
	{
		bool		yield = false;
		bool		did = false;

		bgworker_handle_interrupts();
		/* its code ran for so long that it was counted as long, and another worker has the batch place */
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
		/* the settings of the role may have changed, too: a new process reads them */
		if (bgworker_reloaded())
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
	bgworker_init(PROCESS_WORKER);
	bgworker_connect(DatumGetObjectId(arg), extra.role);
	pgstat_report_appname("durable worker");
	crash_note_attach(my_slot);
	stats_begin();
	patience_install();
	worker_transaction_init();
	worker_slot_connected(my_slot);
	worker_loop();
	proc_exit(0);
}
