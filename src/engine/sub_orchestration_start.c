/*
 * sub_orchestration_start.c
 *	  Starting sub-orchestrations.
 *
 * A child is an instance of the same owner with the parent's search_path.  To
 * start one, code of users runs: the function is looked up, and the input is
 * converted.  So this goes through the door of user_call.h, under the note of a
 * turn, and the instance is made afterwards from what the door has returned.
 * Only workers come here.  The scheduler, which loads instances too, cannot:
 * loading notes in the tasks what is to be started (child_note_start).
 *
 * The children of a turn are started before anything of the turn is stored, in
 * one subtransaction.  If one of them meets an obstacle that passes, such as an
 * id that an open transaction holds, that is rolled back, and the turn with it.
 * The children of later attempts and of rewinds are started one by one, and put
 * off one by one.  A child that cannot be started for good is a failure of its
 * task.
 *
 * No round waits for another transaction: an id that one holds is left to it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/fmgrprotos.h"
#include "utils/resowner.h"

#include "call/user_call.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "engine/instance_create.h"
#include "engine/quota.h"
#include "engine/retry_policy.h"
#include "engine/sub_orchestration.h"
#include "engine/sub_orchestration_start.h"
#include "shmem/crash_notes.h"
#include "store/runtime_status.h"
#include "store/timer_rows.h"

/* The parent's tags with the task's own. */
static Jsonb *
merged_tags(Instance *parent, Task *task)
{
	Jsonb	   *own = create_check_tags(jsonb_member(task->options, "tags"));

	if (own == NULL || parent->row.tags == NULL)
		return own ? own : parent->row.tags;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(parent->row.tags),
											  JsonbPGetDatum(own)));
}

/* What an error means for a task, and in *failure what is kept of it. */
static StartResult
classify(Task *task, ErrorData *error, bool expired, Jsonb **failure)
{
	*failure = failure_with_text(failure_from_error(error), "sub_orchestration", task->name);
	return !expired && sqlstate_is_passing(error->sqlerrcode) ? START_OBSTRUCTED : START_FAILED;
}

/* Find the orchestrator of a task and see that it takes the input. */
static StartResult
find_function(Instance *parent, Task *task, char **signature, Jsonb **failure)
{
	UserCall	call = {
		.limit = quota_payload,
		.owner = parent->row.owner,
		.resolve = resolve_name,
		.name = task->name,
		.input = task->input,
		.search_path = parent->row.search_path,
		.read_only = true,
		.check_only = true,
		.timeout = durable_turn_timeout
	};

	crash_note_write(parent->row.key, 0, false);
	user_call(&call);
	(void) crash_note_clear();
	*signature = call.signature;
	if (call.interruption != INTERRUPTION_NONE)
		return START_INTERRUPTED;
	if (call.error == NULL)
		return START_DONE;
	return classify(task, call.error, call.expired, failure);
}

/* Make the instance; throws what stands in the way. */
static void
create(Round *round, Instance *parent, Task *task, const char *signature)
{
	char	   *version = jsonb_member_text(task->options, "version");
	CreateRequest request = {
		.instance_id = child_id(parent, task, task->attempt),
		.name = task->name,
		.function = signature,
		.version = version ? version : parent->row.version,
		.search_path = parent->row.search_path,
		.tags = merged_tags(parent, task),
		.input = task->input,
		.owner = parent->row.owner,
		.now = round->now,
		.parent_key = parent->row.key,
		.parent_id = parent->row.instance_id,
		.parent_task = child_is_detached(task) ? 0 : task->id,
		.dedupe = STATUS_LIVE,
		.no_wait = true
	};

	create_check_id(request.instance_id);
	if (instance_create(round->store, &request) != CREATE_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_INSTANCE_EXISTS),
				 errmsg("instance \"%s\" exists already", request.instance_id)));
	store_flush(round->store);
}

/* Start the instance of a task's current attempt. */
static StartResult
start(Round *round, Instance *parent, Task *task, Jsonb **failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *signature;
	volatile StartResult result = find_function(parent, task, &signature, failure);

	if (result != START_DONE)
		return result;
	/* what is buffered belongs to the outer transaction */
	store_flush(round->store);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		create(round, parent, task, signature);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		store_discard(round->store);
		result = classify(task, error, false, failure);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

/* Whether a turn newly asks for this child; of a turn that continues as new only those count that nobody awaits. */
static bool
is_new_child(const Task *task, bool detached_only)
{
	return task->kind == TASK_CHILD && !task->recorded && (!detached_only || child_is_detached(task));
}

/* Start them in the current subtransaction, until one meets an obstacle or is interrupted. */
static StartResult
start_all(Round *round, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle)
{
	for (int i = first_new; i < parent->ntasks; i++)
	{
		Task	   *task = parent->tasks[i];
		StartResult result;

		if (!is_new_child(task, detached_only))
			continue;
		result = start(round, parent, task, obstacle);
		if (result == START_FAILED)
			task->unstartable = *obstacle;
		else if (result != START_DONE)
			return result;
	}
	return START_DONE;
}

/* Start the new children of a turn. */
StartResult
start_new_children(Round *round, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	StartResult result;
	int			first = first_new;

	while (first < parent->ntasks && !is_new_child(parent->tasks[first], detached_only))
		first++;
	if (first == parent->ntasks)
		return START_DONE;
	store_flush(round->store);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	result = start_all(round, parent, first, detached_only, obstacle);
	if (result != START_DONE)
		RollbackAndReleaseCurrentSubTransaction();
	else
		ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

/* The first task of an instance whose child is due. */
static Task *
first_due(Instance *parent)
{
	for (int i = 0; i < parent->ntasks; i++)
		if (parent->tasks[i]->start_due)
			return parent->tasks[i];
	elog(ERROR, "no sub-orchestration of instance \"%s\" is due", parent->row.instance_id);
}

/* It is no longer due. */
static void
not_due(Instance *parent, Task *task)
{
	task->start_due = false;
	parent->starts_due--;
}

/* Start one of those that are due; false if that was interrupted, and it is still due. */
bool
start_due_child(Round *round, Instance *parent)
{
	Task	   *task = first_due(parent);
	Jsonb	   *failure;

	switch (start(round, parent, task, &failure))
	{
		case START_DONE:
			break;
		case START_FAILED:
			instance_append_attempt(round, parent, task, EVENT_CHILD_FAILED, failure);
			break;
		case START_OBSTRUCTED:
			retry_put_off(round, parent, task, failure);
			break;
		case START_INTERRUPTED:
			return false;
	}
	not_due(parent, task);
	/* it has not killed the worker */
	parent->row.deliveries = 0;
	parent->dirty = true;
	return true;
}

/* Give those that the round has not got to their timers back, which fire at once. */
void
start_put_back(Round *round, Instance *parent)
{
	while (parent->starts_due > 0)
	{
		Task	   *task = first_due(parent);

		timer_insert(round->store, parent->row.key, task->id, round->now);
		parent->open_timers++;
		not_due(parent, task);
	}
}
