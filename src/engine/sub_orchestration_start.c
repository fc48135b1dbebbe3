/*
 * sub_orchestration_start.c
 *	  Starting sub-orchestrations.
 *
 * A child is an instance with the owner and the search_path of its parent.
 * Looking its function up and converting its input runs code of users.  So
 * user_call does both first, with the crash note of a turn, and the instance is
 * made afterwards.  Loading an instance only marks the children that are due
 * (sub_orchestration_note_start), so that it runs no code of users.
 *
 * The children of a turn are started in one subtransaction before the effects of
 * the turn are stored.  A temporary obstacle for one of them, such as an open
 * transaction that holds its id, undoes the subtransaction and the turn.  Later
 * attempts and rewinds start children one by one, and postpone them one by one.
 * Any other error is a failure of the child's task.
 *
 * Nothing here waits for another transaction (CreateRequest.no_wait).
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
#include "engine/lifecycle.h"
#include "engine/quota.h"
#include "engine/retry_policy.h"
#include "engine/sub_orchestration.h"
#include "engine/sub_orchestration_start.h"
#include "shmem/crash_notes.h"
#include "store/runtime_status.h"
#include "store/timer_rows.h"

/* The tags of the parent, overridden by those that the task names. */
static Jsonb *
merged_tags(Instance *parent, Task *task)
{
	Jsonb	   *tags = create_check_tags(jsonb_member(task->options, "tags"));

	if (tags == NULL || parent->row.tags == NULL)
		return tags ? tags : parent->row.tags;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(parent->row.tags),
											  JsonbPGetDatum(tags)));
}

/* Whether an error is a temporary obstacle or a failure; *failure is the error as a failure. */
static StartResult
classify(Task *task, ErrorData *error, bool expired, Jsonb **failure)
{
	*failure = failure_with_text(failure_from_error(error), "sub_orchestration", task->name);
	return !expired && sqlstate_is_passing(error->sqlerrcode) ? START_OBSTRUCTED : START_FAILED;
}

/* Find the function of a child and check that it takes the input. */
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

/* Make the instance of a child, or raise an error. */
static void
create(WorkerTransaction *txn, Instance *parent, Task *task, const char *signature)
{
	char	   *version = jsonb_member_text(task->options, "version");
	CreateRequest request = {
		.instance_id = sub_orchestration_id(parent, task, task->attempt),
		.name = task->name,
		.function = signature,
		.version = version ? version : parent->row.version,
		.search_path = parent->row.search_path,
		.tags = merged_tags(parent, task),
		.input = task->input,
		.owner = parent->row.owner,
		.now = txn->now,
		.parent_key = parent->row.key,
		.parent_id = parent->row.instance_id,
		.parent_task = sub_orchestration_is_detached(task) ? 0 : task->id,
		.dedupe = STATUS_LIVE,
		.no_wait = true
	};

	create_check_id(request.instance_id);
	if (instance_create(txn->store, &request) != CREATE_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_INSTANCE_EXISTS),
				 errmsg("instance \"%s\" exists already", request.instance_id)));
	store_flush(txn->store);
}

/* Start the current attempt of a child. */
static StartResult
start_child(WorkerTransaction *txn, Instance *parent, Task *task, Jsonb **failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *signature;
	volatile StartResult result = find_function(parent, task, &signature, failure);

	if (result != START_DONE)
		return result;
	/* rows that the store has buffered belong to the outer transaction */
	store_flush(txn->store);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		create(txn, parent, task, signature);
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
		store_discard(txn->store);
		result = classify(task, error, false, failure);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return result;
}

/* Whether a turn starts this child.  A turn that continues as new starts only detached ones. */
static bool
is_new_child(const Task *task, bool detached_only)
{
	return task->kind == TASK_CHILD && !task->recorded && (!detached_only || sub_orchestration_is_detached(task));
}

/* Start the new children in the current subtransaction, until one meets an obstacle or is interrupted. */
static StartResult
start_all(WorkerTransaction *txn, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle)
{
	for (int i = first_new; i < parent->ntasks; i++)
	{
		Task	   *task = parent->tasks[i];
		StartResult result;

		if (!is_new_child(task, detached_only))
			continue;
		result = start_child(txn, parent, task, obstacle);
		if (result == START_FAILED)
			task->unstartable = *obstacle;
		else if (result != START_DONE)
			return result;
	}
	return START_DONE;
}

StartResult
start_new_children(WorkerTransaction *txn, Instance *parent, int first_new, bool detached_only, Jsonb **obstacle)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	StartResult result;
	int			first = first_new;

	while (first < parent->ntasks && !is_new_child(parent->tasks[first], detached_only))
		first++;
	if (first == parent->ntasks)
		return START_DONE;
	store_flush(txn->store);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	result = start_all(txn, parent, first, detached_only, obstacle);
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

static void
not_due(Instance *parent, Task *task)
{
	task->start_due = false;
	parent->starts_due--;
}

bool
start_due_child(WorkerTransaction *txn, Instance *parent)
{
	Task	   *task = first_due(parent);
	Jsonb	   *failure;

	switch (start_child(txn, parent, task, &failure))
	{
		case START_DONE:
			break;
		case START_FAILED:
			instance_append_attempt(txn, parent, task, EVENT_CHILD_FAILED, failure);
			break;
		case START_OBSTRUCTED:
			retry_put_off(txn, parent, task, failure);
			break;
		case START_INTERRUPTED:
			return false;
	}
	not_due(parent, task);
	/* the start has not killed the worker */
	parent->row.deliveries = 0;
	parent->dirty = true;
	return true;
}

/* Set timers, due at once, for the children that this transaction has not started. */
void
start_put_back(WorkerTransaction *txn, Instance *parent)
{
	while (parent->starts_due > 0)
	{
		Task	   *task = first_due(parent);

		timer_insert(txn->store, parent->row.key, task->id, txn->now);
		parent->open_timers++;
		not_due(parent, task);
	}
}
