/*
 * worker.c
 *	  A worker: advances the instances of one role, a batch in a transaction.
 *
 * A *round* is one transaction: lock and load the instances of the batch, take
 * in what happened to them, run for each at most one activity (or as many as
 * durable.steps_per_commit says, or a small fan-out) and the turns before and
 * after it, write the histories and rows, commit.  Instances that can go on stay
 * in the batch for the next round; the others are let go.
 *
 * What goes wrong in a round with many instances is undone and each is tried
 * alone; what goes wrong alone is the instance's own failure.  An activity is
 * a subtransaction, and past 64 of those that wrote, snapshots of the whole
 * server get slow: a round ends before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity.h"
#include "blackbox.h"
#include "call.h"
#include "database.h"
#include "hint.h"
#include "instance.h"
#include "obstacle.h"
#include "process.h"
#include "ready.h"
#include "replay.h"
#include "retry.h"
#include "settings.h"
#include "stats.h"
#include "timing.h"
#include "usercode.h"
#include "wanted.h"

#define MAX_BATCH		1000	/* the largest durable.batch_size */
#define MAX_WRITERS		60		/* subtransactions with a transaction id in a round */
#define RANGE_TASKS		16		/* queued activities taken at a time */
#define PLACES			20		/* one of so many places in a batch is left to those that wait after each round */

static int	my_slot;
static Oid	my_extension;
static ReadyItem items[MAX_BATCH];
static int	nitems = 0;
static MemoryContext round_context;
static int	step_us = 0;		/* what an instance takes in a round, the commit aside */

/* the round at hand */
static Round round;
static TimestampTz round_end;	/* no activity is begun after this */
static bool round_stop;			/* commit before anything else is run */
static int	round_writers;
static int	round_steps;		/* turns and activities so far */
static int	round_size;			/* instances in it */
static int64 round_keys[MAX_BATCH];	/* their keys */

/* Give back what the worker holds, whatever the process ends of. */
static void
worker_exit(int code, Datum arg)
{
	bool		overdue = blackbox_is_overdue();

	if (overdue)
		ereport(LOG,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("a durable worker ended itself because a function ignored its timeout"),
				 errdetail("The function handled the cancellation (SQLSTATE 57014) and went on.")));
	blackbox_leave();
	worker_slot_detach(my_slot, overdue);
}

/* The time of a round begins now. */
static void
round_start_clock(void)
{
	round_end = GetCurrentTimestamp() + durable_batch_time * INT64CONST(1000);
}

/* Take note of what a round with so many instances took. */
static void
round_measure(TimestampTz begun, int count)
{
	int64		us = (GetCurrentTimestamp() - begun) / count;

	us = Min(Max(us, 1), USECS_PER_SEC);
	step_us = step_us == 0 ? us : (3 * step_us + us) / 4;
}

/* Whether somebody waits for the row of an instance of the round. */
static bool
round_wanted(void)
{
	return wanted_any(round_keys, round_size);
}

/*
 * Whether a round must end before another turn or activity is begun.  Each
 * round does something, however long it took to load the instances.
 */
static bool
round_full(void)
{
	if (!round_stop && round_steps > 0 &&
		(round_writers >= MAX_WRITERS || GetCurrentTimestamp() >= round_end || round_wanted()))
		round_stop = true;
	return round_stop;
}

/* Begin the transaction of a round. */
static void
round_begin(int size)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* whatever the role's defaults; user code gets its read-only one */
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	MemoryContextSwitchTo(round_context);
	PushActiveSnapshot(GetTransactionSnapshot());
	/* DROP EXTENSION waits for the round, and the round never for some of its tables */
	LockDatabaseObject(ExtensionRelationId, my_extension, 0, AccessShareLock);
	if (!store_fits())
		proc_exit(0);
	/* the role was dropped or may not connect any more: the scheduler says so */
	if (!role_still_welcome())
		proc_exit(0);
	round.store = store_open();
	round.now = GetCurrentTimestamp();
	round.full = round_full;
	round.computed = 0;
	round_stop = false;
	round_writers = 0;
	round_steps = 0;
	round_start_clock();
	round_size = size;
}

/* Commit it. */
static void
round_commit(void)
{
	store_close(round.store);
	PopActiveSnapshot();
	stats_count(STATS_BATCHES, 1);
	CommitTransactionCommand();
	MemoryContextSwitchTo(round_context);
	MemoryContextReset(round_context);
	pgstat_report_stat(false);
}

/* Undo it; the caller has the error. */
static void
round_abort(void)
{
	AbortOutOfAnyTransaction();
	replay_reset();
	(void) blackbox_clear();
	MemoryContextSwitchTo(round_context);
}

/* Take note of a finished activity. */
static void
round_ran(bool wrote)
{
	round_writers += wrote;
	round_steps++;
	/* its deferred triggers were brought forward: the next one needs a clean slate */
	if (user_call_deferrable())
		round_stop = true;
}

/*
 * Run the activity that an instance goes on with.  False when it has to wait
 * for another round.  One that is not known to be quick goes to the queue: this
 * transaction commits first, and neither the others in it nor what a client
 * wants of this instance have to wait.  turned: this round has asked for it.
 */
static bool
run_activity(Instance *instance, ReadyItem *item, bool turned)
{
	Task	   *task = instance->next_activity;
	ActivityRun run = {
		.instance = &instance->row,
		.task_id = task->id,
		.attempt = task->attempt,
		.name = task->name,
		.input = task->input,
		.wanted = round_wanted,
		.alone = round_size == 1,
		.tries = instance->conflicts
	};
	ActivityOutcome outcome;

	if (instance->row.deliveries >= durable_max_activity_deliveries)
	{
		Jsonb	   *failure = activity_lost(&run, instance->row.deliveries);

		instance_activity_done(&round, instance, task, true, failure);
		return true;
	}
	/* what may kill its worker is counted for itself in the queue */
	if (!timing_is_quick(instance->row.search_path, task->name) ||
		(instance->row.deliveries > 0 && task->id < instance->last_activity))
	{
		instance_defer_activities(&round, instance);
		return true;
	}
	if (round_full())
	{
		/* if the cache does not keep the turn it would be run again, to come no further */
		if (turned)
			instance_defer_activities(&round, instance);
		return turned;
	}
	outcome = activity_run(&run);
	round.now = Max(round.now, GetCurrentTimestamp());
	round_ran(run.wrote);
	if (outcome == ACTIVITY_YIELDS)
	{
		instance_defer_activities(&round, instance);
		round_stop = true;
		return true;
	}
	if (outcome == ACTIVITY_AGAIN)
	{
		instance->conflicts++;
		item->solo = true;
		round_stop = true;
		return false;
	}
	/* the termination comes before what the orchestrator makes of the failure */
	round_stop |= run.canceled;
	instance_activity_done(&round, instance, task, outcome == ACTIVITY_FAILED, run.result);
	instance->conflicts = 0;
	return true;
}

/*
 * Advance one instance by at most durable.steps_per_commit steps.  A step is
 * one activity, or several that were scheduled together; of these there are no
 * more in a transaction than of a range.  Those that only compute are no steps.
 */
static void
advance(Instance *instance, ReadyItem *item)
{
	int			steps = 0;
	int			step_end = 0;	/* number of the last activity of the step */
	int			activities = 0;
	bool		turned = false;
	/* one at a time after a worker's death, so that the right one is counted */
	int			limit = instance->row.deliveries > 0 ? 1 : durable_steps_per_commit;

	/* what may kill its worker must not take others along */
	if (instance->row.deliveries > 0 && round_size > 1)
	{
		item->solo = true;
		return;
	}
	for (;;)
	{
		if (instance->next_activity != NULL)
		{
			steps += instance->next_activity->id > step_end;
			step_end = instance->last_activity;
			if (steps > limit || activities++ >= Max(limit, RANGE_TASKS) ||
				!run_activity(instance, item, turned))
				return;
		}
		else if (!instance_can_turn(instance) || round_full())
			return;
		else if (round_size > 1 &&
				 !timing_is_quick(instance->row.search_path, instance->row.function))
		{
			item->solo = true;
			return;
		}
		else
		{
			int			computed = round.computed;
			int			first_seq = instance->row.first_seq;

			round_steps++;
			turned = true;
			if (!turn_run(&round, instance))
				return;
			/* a new execution begins with a new round, as one that does nothing else would fill this one */
			if (instance->row.first_seq != first_seq)
				return;
			activities += round.computed - computed;
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
run_round(ReadyItem *batch, int count)
{
	Instance  **instances;
	FetchResult result;
	int			reached;
	int64		forget[MAX_BATCH];
	int			spent = 0;
	TimestampTz begun = GetCurrentTimestamp();

	for (int i = 0; i < count; i++)
		round_keys[i] = batch[i].key;
	round_begin(count);
	instances = palloc0(count * sizeof(Instance *));
	for (int i = 0; i < count; i++)
	{
		instances[i] = instance_load(&round, batch[i].key, batch[i].flags, &result);
		if (result == FETCH_ABSENT)
		{
			/* it was purged or replaced: nobody wants what came for it */
			(void) messages_take(round.store, batch[i].key);
			timers_delete(round.store, batch[i].key);
		}
	}
	round_start_clock();
	reached = advance_all(instances, batch, count);
	for (int i = 0; i < count; i++)
	{
		batch[i].flags = 0;
		if (instances[i] == NULL)
			continue;
		instance_save(&round, instances[i]);
		if (instances[i]->row.state == STATE_READY)
			batch[i].flags = READY_RUN;
		else
			batch[i].solo = false;
		if (instances[i]->spent)
			forget[spent++] = batch[i].key;
	}
	round_measure(begun, reached);
	round_commit();
	for (int i = 0; i < spent; i++)
		instance_forget(forget[i]);
}

/* Whether an error says nothing about the instance, so that trying again may help. */
static bool
is_transient(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return true;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case MAKE_SQLSTATE('4', '0', 0, 0, 0) & 0xfff:	/* transaction rollback */
		case MAKE_SQLSTATE('5', '3', 0, 0, 0) & 0xfff:	/* insufficient resources */
		case MAKE_SQLSTATE('5', '7', 0, 0, 0) & 0xfff:	/* operator intervention */
		case MAKE_SQLSTATE('5', '8', 0, 0, 0) & 0xfff:	/* system error */
			return true;
	}
	return false;
}

/* Fail an instance because of an error that its turn or activity is not to blame for. */
static void
fail_instance(ReadyItem *item, ErrorData *error)
{
	Instance   *instance;
	FetchResult result;

	round_begin(1);
	instance = instance_load(&round, item->key, READY_ALL, &result);
	if (instance != NULL)
	{
		if (!STATE_IS_TERMINAL(instance->row.state))
			instance_fail_whole(&round, instance, failure_from_error(error));
		instance_save(&round, instance);
	}
	round_commit();
	item->flags = 0;
}

/*
 * What has gone wrong even in dealing with an error is reported; true if it
 * will pass, so that trying again makes sense.
 */
static bool
report_error(void)
{
	ErrorData  *error;
	bool		transient;

	MemoryContextSwitchTo(round_context);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	round_abort();
	transient = is_transient(error);
	if (transient)
		process_wait(200);
	return transient;
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
		item->flags = report_error() ? READY_ALL : 0;
		instance_forget(item->key);
	}
	PG_END_TRY();
}

/* A round has failed: try its instances one by one, or deal with the only one. */
static void
round_failed(ReadyItem *batch, int count, ErrorData *error)
{
	for (int i = 0; i < count; i++)
	{
		instance_forget(batch[i].key);
		batch[i].flags = READY_ALL;
		batch[i].solo = true;
	}
	if (count > 1)
		return;
	if (is_transient(error))
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("durable will try an instance again: %s", error->message)));
		process_wait(200);
	}
	else
		try_fail_instance(batch, error);
}

/* Run a round and deal with its failure as a whole. */
static void
try_round(ReadyItem *batch, int count)
{
	PG_TRY();
	{
		run_round(batch, count);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(round_context);
		error = CopyErrorData();
		FlushErrorState();
		round_abort();
		round_failed(batch, count, error);
		MemoryContextReset(round_context);
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

/* Order in which instances leave a batch that is too large: those that have had most of it first. */
static int
compare_rounds(const void *a, const void *b)
{
	const ReadyItem *x = a;
	const ReadyItem *y = b;

	if (x->late != y->late)
		return x->late - y->late;
	return x->rounds != y->rounds ? y->rounds - x->rounds : compare_items(x, y);
}

/*
 * Keep the items that go on; let the others go.  Of those that are too many, or
 * as many as to leave others no place, the ones that have had most go to the end
 * of the queue.
 */
static void
settle(void)
{
	ReadyItem	gone[MAX_BATCH];
	int			ngone = 0;
	int			kept = 0;
	int			limit = batch_limit();
	int			places = (limit + PLACES - 1) / PLACES;
	int			excess;

	for (int i = 0; i < nitems; i++)
	{
		if (items[i].flags == 0)
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
		memcpy(&gone[ngone], items, excess * sizeof(ReadyItem));
		ngone += excess;
		nitems -= excess;
		memmove(items, &items[excess], nitems * sizeof(ReadyItem));
	}
	if (ngone > 0)
		ready_release(my_slot, gone, ngone, false);
	instance_trim_cache();
}

/* Move those that are to be alone before the others, the one that has waited longest first; tells how many they are. */
static int
part_items(void)
{
	ReadyItem	others[MAX_BATCH];
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
	try_round(&items[alone], nitems - alone);
	settle();
}

/* Run one queued activity, as its history has it, and send its end to the instance. */
static bool
run_task(const InstanceRow *instance, TaskRow *task, const HistoryRow *scheduled, bool alone, int tries)
{
	MessageRow	message = {.key = task->key, .task_id = task->task_id, .attempt = task->attempt};
	ActivityOutcome outcome = ACTIVITY_FAILED;
	ActivityRun run = {
		.instance = instance,
		.task_id = task->task_id,
		.attempt = task->attempt,
		.queued = true,
		.alone = alone,
		.tries = tries
	};

	message.name = run.name = scheduled->name;
	run.input = scheduled->input;
	run.timeout = retry_timeout(scheduled->result);
	if (task->deliveries >= durable_max_activity_deliveries)
		run.result = activity_lost(&run, task->deliveries);
	else
		outcome = activity_run(&run);
	round_ran(run.wrote);
	if (outcome == ACTIVITY_AGAIN)
		return false;
	message.kind = outcome == ACTIVITY_COMPLETED ? MESSAGE_TASK_COMPLETED : MESSAGE_TASK_FAILED;
	message.time = GetCurrentTimestamp();
	message.payload = run.result;
	message_send(round.store, instance->owner, &message);
	task_delete(round.store, task);
	return true;
}

/* Whether a queued activity must not share a transaction, or its worker, with others. */
static bool
must_be_alone(const InstanceRow *instance, const TaskRow *task, const char *function)
{
	return task->deliveries > 0 || !timing_is_quick(instance->search_path, function);
}

/* Whether one that is to be alone may be run although it may be on the last worker of its role. */
static bool
may_be_last(const InstanceRow *instance, const TaskRow *task, const char *function)
{
	return task->deliveries == 0 && timing_try(instance->search_path, function);
}

/* Announce queued activities of an instance, for any worker of this role. */
static void
push_tasks(int64 key, int low, int high, bool slow)
{
	ReadyHint	hint = {
		.role = GetSessionUserId(), .key = key, .low = low, .high = high, .slow = slow
	};

	if (!ready_push(MyDatabaseId, &hint, 1))
		database_request_scan(MyDatabaseId);
}

/* Give the rest of a range to other workers while this one is busy with its first task. */
static void
share_rest(ReadyRange *range)
{
	if (range->low < range->high)
	{
		push_tasks(range->key, range->low + 1, range->high, range->slow);
		range->high = range->low;
	}
}

/*
 * One transaction with activities of a range, from range->low on, which moves
 * past what is done.  tries: how often the first one has been tried alone, or
 * is to be now; then it is the only one.
 */
static void
run_range_round(ReadyRange *range, int tries)
{
	InstanceRow instance;
	bool		found;
	int			count = 0;

	round_begin(1);
	found = instance_get(round.store, range->key, &instance);
	while (range->low <= range->high && !round_full())
	{
		List	   *rows = tasks_lock(round.store, range->key, range->low, range->low);
		TaskRow    *task = rows != NIL ? linitial(rows) : NULL;

		HistoryRow	scheduled;

		if (task != NULL &&
			(!found || instance.state == STATE_TERMINATED ||
			 !history_get(round.store, task->key, task->seq, &scheduled) || scheduled.task_id != task->task_id))
		{
			/* the instance, or the execution that scheduled it, is over */
			task_delete(round.store, task);
		}
		else if (task != NULL)
		{
			bool		only = tries > 0 || must_be_alone(&instance, task, scheduled.name);

			if (only && count > 0)
				break;
			if (only && tries == 0 && !range->slow && !may_be_last(&instance, task, scheduled.name) &&
				!ready_may_be_slow(my_slot))
			{
				/* nobody knew: once its row is free, a worker that may be slow takes it */
				hint_tasks(instance.owner, range->key, range->low, range->low, true);
				range->low++;
				continue;
			}
			if (only)
			{
				share_rest(range);
				if (!range->slow)
					ready_range_is_slow(my_slot);
			}
			if (!run_task(&instance, task, &scheduled, count == 0, tries))
				break;
			count++;
		}
		range->low++;
	}
	round_commit();
}

/* Fail a queued activity whose end could not be stored. */
static void
fail_task(const ReadyRange *range, ErrorData *error)
{
	InstanceRow instance;
	ListCell   *cell;
	MessageRow	message = {
		.key = range->key,
		.kind = MESSAGE_TASK_FAILED,
		.time = GetCurrentTimestamp(),
		.task_id = range->low
	};

	round_begin(1);
	foreach(cell, tasks_lock(round.store, range->key, range->low, range->low))
	{
		TaskRow    *task = lfirst(cell);

		message.attempt = task->attempt;
		message.payload = failure_from_error(error);
		if (instance_get(round.store, range->key, &instance))
			message_send(round.store, instance.owner, &message);
		task_delete(round.store, task);
	}
	round_commit();
}

/* Fail it; if even that fails for good it is left to the scheduler's next look into the tables. */
static void
try_fail_task(const ReadyRange *range, ErrorData *error)
{
	PG_TRY();
	{
		fail_task(range, error);
	}
	PG_CATCH();
	{
		if (report_error())
			push_tasks(range->key, range->low, range->low, range->slow);
	}
	PG_END_TRY();
}

/*
 * A transaction with activities of a range has failed: the first one is tried
 * alone, and fails if that does not help, unless the error will pass.
 */
static void
range_failed(ReadyRange *range, bool alone)
{
	ErrorData  *error;

	MemoryContextSwitchTo(round_context);
	error = CopyErrorData();
	FlushErrorState();
	round_abort();
	if (alone)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("durable could not store the end of an activity: %s", error->message)));
		if (is_transient(error))
		{
			process_wait(200);
			push_tasks(range->key, range->low, range->low, range->slow);
		}
		else
			try_fail_task(range, error);
		range->low++;
	}
	MemoryContextReset(round_context);
}

/* Run the activities of a range, as many in a transaction as is good. */
static void
run_range(ReadyRange *range)
{
	volatile int tries = 0;		/* of the first one alone */

	while (range->low <= range->high)
	{
		int			before = range->low;

		process_handle_interrupts();
		PG_TRY();
		{
			run_range_round(range, tries);
		}
		PG_CATCH();
		{
			range->low = before;
			range_failed(range, tries > 0);
		}
		PG_END_TRY();
		/* nothing went: the first one wants to be alone */
		tries = range->low == before ? tries + 1 : 0;
	}
	ready_range_done(my_slot);
}

/* Wait for work; false when it is time to leave. */
static bool
wait_for_work(void)
{
	TimestampTz until = GetCurrentTimestamp() + durable_worker_idle_timeout * USECS_PER_SEC;

	if (!worker_slot_idle(my_slot))
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

/* Take work and do it until there is none for a while. */
static void
work(void)
{
	for (;;)
	{
		ReadyRange	range;
		bool		retire;
		bool		ranges;
		int			batch = batch_limit();

		process_handle_interrupts();
		nitems = ready_take(my_slot, items, nitems, batch, step_us, &retire);
		if (nitems > 0)
		{
			pgstat_report_activity(STATE_RUNNING, "advancing instances");
			run_items();
		}
		/* after a reload a new process takes over, with the role's settings as they are now */
		if (retire || process_reloaded())
		{
			ready_release(my_slot, items, nitems, true);
			return;
		}
		ranges = ranges_are_due() && ready_take_range(my_slot, RANGE_TASKS, &range);
		if (ranges)
		{
			/* the first activity may take long: nobody else is to wait for it */
			if (nitems > 0)
				ready_release(my_slot, items, nitems, true);
			nitems = 0;
			pgstat_report_activity(STATE_RUNNING, "running queued activities");
			run_range(&range);
		}
		if (nitems == 0 && !ranges && !wait_for_work())
			return;
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
	process_init();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), extra.role, 0);
	pgstat_report_appname("durable worker");
	blackbox_attach(my_slot);
	stats_register();
	StartTransactionCommand();
	my_extension = get_extension_oid("durable", true);
	CommitTransactionCommand();
	worker_slot_connected(my_slot);
	round_context = AllocSetContextCreate(TopMemoryContext, "durable round", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round_context);
	work();
	proc_exit(0);
}
