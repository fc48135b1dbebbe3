/*
 * turn.c
 *	  A turn: running an orchestrator against the history of its instance.
 *
 * A replay is deterministic because everything that the code can see depends
 * only on the history up to the last event that the code has consumed: the order
 * in which tasks end is the order of their events (await.c), durable.now is the
 * time at which that event became visible, and each task that the code asks for
 * is compared with the one in the history.  turn.h explains how a turn stops.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"

#include "call/user_call.h"
#include "common/call_context.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "common/payload_limit.h"
#include "engine/history_decode.h"
#include "engine/lifecycle.h"
#include "engine/lifecycle_notify.h"
#include "engine/quota.h"
#include "engine/retry_policy.h"
#include "engine/sub_orchestration.h"
#include "engine/sub_orchestration_start.h"
#include "engine/turn.h"
#include "engine/turn_effects.h"
#include "shmem/crash_notes.h"
#include "shmem/function_durations.h"
#include "shmem/stats.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* us until a turn that was put aside is repeated: the first pause, which doubles each time, and the longest */
#define ASIDE_FIRST	(USECS_PER_SEC / 2)
#define ASIDE_LAST	(10 * USECS_PER_SEC)

#define WRITE_HINT "Write in an activity, called with durable.call_activity or durable.call_sql."

/* a message quotes an input whose text has at most so many bytes */
#define DESCRIBED_INPUT (64 * 1024)
/* and shows so many bytes of the text, or of a name */
#define DESCRIBED_TEXT	200

Turn	   *current_turn = NULL;

/* Leave the orchestrator by an error of which only the SQLSTATE matters. */
_Noreturn void
turn_stop(void)
{
	current_turn->stopped = true;
	/* saves the time to make a context that no one reads */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg_internal("the orchestrator waits"),
			 errdetail_internal("This is how durable leaves the orchestrator until it can continue.")));
	pg_unreachable();
}

/* Make the turn fail with this failure, even if the code catches the error. */
_Noreturn static void
turn_refuse(Jsonb *failure)
{
	current_turn->misuse = jsonb_copy(current_turn->instance->context, failure);
	current_turn->stopped = true;
	failure_throw(current_turn->misuse);
}

/* Refuse if there is a failure that says which limit is exceeded. */
static void
refuse_exceeded(Jsonb *exceeded)
{
	if (exceeded != NULL)
		turn_refuse(exceeded);
}

/* Refuse a value that exceeds the owner's quota or durable.max_payload. */
static void
turn_check_payload(Jsonb *payload)
{
	refuse_exceeded(quota_payload(current_turn->instance->row.owner, payload));
}

/* Refuse a new task if its event in the history would exceed the owner's quota. */
static void
turn_check_history(void)
{
	Instance   *instance = current_turn->instance;
	int			events = instance->row.last_seq - instance->row.first_seq + instance->ntasks - current_turn->known;

	refuse_exceeded(quota_exceeded(instance->row.owner, QUOTA_HISTORY, events + 1));
}

/* The hint for a caller outside of an orchestrator. */
static const char *
client_function(const char *function)
{
	if (strcmp(function, "send_event") == 0 || strcmp(function, "wait_for_external_event") == 0)
		return "Others raise events with durable.raise_event.";
	if (strcmp(function, "set_custom_status") == 0)
		return "Others use durable.set_custom_status(instance_id, custom_status).";
	/* the activity may be an orchestrator by mistake */
	if (current_activity != NULL)
		return "Start an orchestrator with durable.start_new. In an orchestrator call another one with durable.call_sub_orchestrator.";
	return "Start an orchestrator with durable.start_new.";
}

void
turn_require(const char *function)
{
	if (current_turn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_NOT_IN_ORCHESTRATOR),
				 errmsg("durable.%s can only be called by a running orchestrator", function),
				 current_activity != NULL ?
				 errdetail("It was called by an activity.") : 0,
				 errhint("%s", client_function(function))));
	if (current_turn->misuse != NULL)
		failure_throw(current_turn->misuse);
	if (current_turn->stopped)
		turn_stop();
}

/* A task as messages describe it. */
static char *
describe_task(TaskKind kind, const char *name, Jsonb *input)
{
	static const char *const kinds[] = {
		[TASK_ACTIVITY] = "activity", [TASK_CHILD] = "sub-orchestration",
		[TASK_TIMER] = "timer", [TASK_EVENT] = "wait for event", [TASK_SEND] = "event sent to"
	};
	StringInfoData text;
	int64		size = input != NULL && kind != TASK_TIMER ? jsonb_text_size(input) : 0;

	initStringInfo(&text);
	appendStringInfoString(&text, kinds[kind]);
	if (name != NULL)
		appendStringInfo(&text, " \"%s\"", text_clip(name, DESCRIBED_TEXT));
	/* the text of a huge input cannot be made: that error would hide the message */
	if (size > DESCRIBED_INPUT)
		appendStringInfo(&text, " with an input of " INT64_FORMAT " bytes", size);
	else if (size > 0)
		appendStringInfo(&text, " with input %s",
						 text_clip(JsonbToCString(NULL, &input->root, VARSIZE(input)), DESCRIBED_TEXT));
	return text.data;
}

/* The number of the event that scheduled a task, as durable.history shows it. */
static int
sequence_number(const Task *task)
{
	/* an event that stands for two has the number of the second */
	return task->scheduled_seq - current_turn->instance->row.first_seq -
		(task->scheduled_seq == task->done_seq && task->kind != TASK_SEND);
}

/* OD004: the code did something else than the history says. */
static Jsonb *
nondeterminism(const Task *before, const char *now)
{
	return failure_make(ERRCODE_DURABLE_NONDETERMINISTIC,
						psprintf("orchestrator %s is not deterministic at sequence number %d",
								 current_turn->instance->row.name, sequence_number(before)),
						psprintf("The history holds %s; the code %s.",
								 describe_task(before->kind, before->name, before->input), now),
						"Orchestrators must do the same on each replay: no random values, clocks, or changing data outside activities. If its code was changed, start new instances or rewind with the old code.");
}

/*
 * Refuse parts of the next task's input or options that exceed
 * durable.max_payload, before they are put together.  A task of the history is
 * not refused, because the limit may have been higher when it was stored.
 */
void
turn_check_parts(int count, Jsonb *const *parts)
{
	for (int i = 0; current_turn->next >= current_turn->instance->ntasks && i < count; i++)
		refuse_exceeded(payload_limit(parts[i]));
}

/* The next task of the code: the one that the history has at this position, or a new one. */
Task *
turn_task(TaskKind kind, const char *name, Jsonb *input, Jsonb *options)
{
	Instance   *instance = current_turn->instance;
	Task	   *task;

	current_turn->steps++;
	if (current_turn->next >= instance->ntasks)
	{
		turn_check_payload(input);
		turn_check_payload(options);
		refuse_exceeded(quota_text(instance->row.owner, name));
		turn_check_history();
		current_turn->next++;
		task = instance_new_task(instance, kind,
								 name ? MemoryContextStrdup(instance->context, name) : NULL,
								 jsonb_copy(current_turn->instance->context, input));
		task->options = jsonb_copy(current_turn->instance->context, options);
		return task;
	}
	task = instance->tasks[current_turn->next++];
	if (task->kind != kind ||
		(name == NULL) != (task->name == NULL) ||
		(name != NULL && strcmp(name, task->name) != 0) ||
		(kind != TASK_TIMER && !jsonb_same(input, task->input)))
		turn_refuse(nondeterminism(task, psprintf("did %s", describe_task(kind, name, input))));
	return task;
}

/* Whether this turn starts an instance of this id as a child. */
static bool
will_start(const char *instance_id)
{
	Instance   *instance = current_turn->instance;

	for (int i = current_turn->known; i < instance->ntasks; i++)
		if (instance->tasks[i]->kind == TASK_CHILD &&
			strcmp(sub_orchestration_id(instance, instance->tasks[i], 1), instance_id) == 0)
			return true;
	return false;
}

/* How many events this turn has sent to an instance so far. */
static int64
sends_to(int64 key)
{
	int64		count = 0;

	for (int i = current_turn->known; i < current_turn->instance->ntasks; i++)
		count += current_turn->instance->tasks[i]->target == key && !current_turn->instance->tasks[i]->failed;
	return count;
}

/* Let the sending of an event fail. */
static void
fail_to_send(Task *task, Jsonb *failure)
{
	task->failed = true;
	task->result = jsonb_copy(current_turn->instance->context, failure);
}

/* Find the instance that gets an event; turn_effects.c sends the event at the end of the turn. */
void
turn_send(Task *task)
{
	InstanceRow target;
	Jsonb	   *exceeded;

	if (will_start(task->name))
		return;
	if (!instance_find(current_turn->txn->store, task->name, &target) ||
		!is_member_of_role(GetUserId(), target.owner))
	{
		fail_to_send(task, failure_make(ERRCODE_DURABLE_NO_INSTANCE,
										psprintf("no such instance: \"%s\"", task->name), NULL, NULL));
		return;
	}
	task->target = target.key;
	exceeded = quota_payload(target.owner, jsonb_member(task->input, "data"));
	if (exceeded == NULL)
		exceeded = quota_take_message(current_turn->txn->store, &target, sends_to);
	if (exceeded != NULL)
		fail_to_send(task, exceeded);
}

/* The task of a number; an error unless the code has got that number in this turn. */
Task *
turn_find_task(int task_id)
{
	Task	   *task = instance_task(current_turn->instance, task_id);

	if (task == NULL || task_id - current_turn->instance->row.first_task >= current_turn->next)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task %d does not belong to this execution", task_id)));
	if (task->canceled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task %d was canceled", task_id)));
	return task;
}

Instance *
turn_instance(void)
{
	return current_turn->instance;
}

TimestampTz
turn_now(void)
{
	return current_turn->now;
}

uint32
turn_next_guid(void)
{
	return ++current_turn->guids;
}

bool
turn_replaying(void)
{
	return current_turn->seen > 0 && current_turn->position <= current_turn->seen && current_turn->next <= current_turn->known;
}

/* Remember the custom status, which is stored when the turn ends. */
void
turn_set_status(Jsonb *status)
{
	turn_check_payload(status);
	current_turn->status_set = true;
	current_turn->status = jsonb_copy(current_turn->instance->context, status);
}

void
turn_continue_as_new(Jsonb *input, bool keep_events, const char *version)
{
	turn_check_payload(input);
	refuse_exceeded(quota_text(current_turn->instance->row.owner, version));
	current_turn->continued = true;
	current_turn->new_input = jsonb_copy(current_turn->instance->context, input);
	current_turn->keep_events = keep_events;
	current_turn->new_version = version ? MemoryContextStrdup(current_turn->instance->context, version) : NULL;
	turn_stop();
}

void
replay_reset(void)
{
	current_turn = NULL;
	current_orchestrator_refuse = NULL;
	current_activity = NULL;
}

/* Begin a turn, in which the code has consumed no event yet. */
static void
turn_begin(Turn *new_turn, WorkerTransaction *txn, Instance *instance)
{
	memset(new_turn, 0, sizeof(Turn));
	new_turn->context = CurrentMemoryContext;
	new_turn->txn = txn;
	new_turn->instance = instance;
	new_turn->known = instance->ntasks;
	new_turn->seen = instance->row.turn_seq;
	if (instance->row.started_time == 0)
	{
		instance->row.started_time = txn->now;
		instance->dirty = true;
	}
	new_turn->now = instance->row.started_time;
	for (int i = 0; i < instance->ntasks; i++)
	{
		instance->tasks[i]->turn_event = -1;
		instance->tasks[i]->turn_consumed = false;
		/* the code cancels the task again when it gets there */
		instance->tasks[i]->canceled = false;
		instance->tasks[i]->halted = false;
	}
	for (int i = 0; i < instance->nevents; i++)
		instance->events[i].taken = false;
	instance->events_new = false;
	instance->wait_mode = WAIT_NONE;
	instance->nwaits = 0;
}

/* The failure of an orchestrator that tried to write, whether it handled the error or not. */
static Jsonb *
write_failure(ErrorData *error)
{
	bool		uncaught = error != NULL && error->sqlerrcode == ERRCODE_DURABLE_FORBIDDEN;

	return failure_make(ERRCODE_DURABLE_FORBIDDEN,
						uncaught ? psprintf("an orchestrator cannot write: %s", error->message) :
						"an orchestrator cannot write, and handled the error that said so",
						"An orchestrator is replayed and must not have effects of its own.",
						WRITE_HINT);
}

/* The failure for an error of the orchestrator. */
static Jsonb *
turn_failure(ErrorData *error, bool timed_out)
{
	if (timed_out)
		return failure_make(ERRCODE_QUERY_CANCELED,
							psprintf("a turn of the orchestrator took longer than durable.turn_timeout (%d ms)",
									 durable_turn_timeout),
							NULL,
							"Let activities do what takes long, or check for an endless loop.");
	/* the code has let the failure of a task pass, whose details are better than those of the error */
	if (current_turn->raised != NULL && failure_sqlstate(current_turn->raised) == error->sqlerrcode &&
		failure_get(current_turn->raised, "message") != NULL && error->message != NULL &&
		strcmp(failure_get(current_turn->raised, "message"), error->message) == 0)
		return current_turn->raised;
	return failure_from_error(error);
}

/* The failure that the code asked for fewer tasks than the history has, or NULL. */
static Jsonb *
missing_task(void)
{
	if (current_turn->next >= current_turn->known)
		return NULL;
	return nondeterminism(current_turn->instance->tasks[current_turn->next],
						  current_turn->stopped && !current_turn->continued ? "waits for something else" : "ended without it");
}

/*
 * Mark the tasks for a rewind: which failures the code handled, and which timeout
 * it failed on.  The code has handled the failures that it has seen, except the
 * last one if it failed without another step.
 */
static void
mark_handled(void)
{
	Instance   *instance = current_turn->instance;

	for (int i = 0; i < instance->ntasks; i++)
	{
		instance->tasks[i]->handled = instance->tasks[i]->failed && instance->tasks[i]->turn_consumed;
		instance->tasks[i]->expired = false;
	}
	if (current_turn->steps != current_turn->raised_at)
		return;
	for (int i = 0; i < current_turn->nraised; i++)
	{
		current_turn->raised_tasks[i]->handled = false;
		current_turn->raised_tasks[i]->expired = current_turn->raised_tasks[i]->kind == TASK_TIMER;
	}
}

/*
 * Error context callback: turn the error of an attempt to write into OD009
 * before an exception handler sees it, and remember the attempt, which makes the
 * turn fail even if the code handles the error.  The same error raised for an
 * activity that tried to write is not an attempt of the orchestrator.
 */
static void
notice_write(void *arg)
{
	bool		raising = current_turn->raising;

	current_turn->raising = false;
	if (raising || geterrcode() != ERRCODE_READ_ONLY_SQL_TRANSACTION)
		return;
	current_turn->wrote = true;
	errcode(ERRCODE_DURABLE_FORBIDDEN);
	errhint(WRITE_HINT);
}

/* Count a turn for the statistics. */
static void
count_turn(int64 time, bool failed)
{
	stats_call(STATS_ORCHESTRATOR, current_turn->instance->row.name, time, failed);
	stats_count(STATS_TURNS, 1);
	stats_count(STATS_REPLAYS, current_turn->known > 0);
	stats_count(STATS_REPLAYED, current_turn->known);
}

/* Run the function of the orchestrator. */
static TurnOutcome
turn_call(UserCall *call, Jsonb **failure)
{
	Instance   *instance = current_turn->instance;
	instr_time	start;
	int64		time;
	ErrorContextCallback callback = {.callback = notice_write, .previous = error_context_stack};

	INSTR_TIME_SET_CURRENT(start);
	error_context_stack = &callback;
	crash_note_write(instance->row.key, 0, false);
	user_call(call);
	error_context_stack = callback.previous;
	time = duration_since_ns(start);
	(void) crash_note_clear();
	if (call->interruption == INTERRUPTION_OUTSIDE)
		duration_alone(instance->row.search_path, instance->row.function);
	else if (call->interruption != INTERRUPTION_PLACE)
		duration_add(instance->row.search_path, instance->row.function, time / 1000, false);
	if (call->interruption != INTERRUPTION_NONE)
		return TURN_INTERRUPTED;
	current_turn->txn->now = Max(current_turn->txn->now, GetCurrentTimestamp());
	if (current_turn->misuse != NULL)
		*failure = current_turn->misuse;
	else if (current_turn->wrote)
		*failure = write_failure(call->error);
	else if (!current_turn->stopped && call->error != NULL)
		*failure = turn_failure(call->error, call->timed_out);
	else
		*failure = missing_task();
	count_turn(time, *failure != NULL);
	if (*failure != NULL)
	{
		mark_handled();
		return TURN_FAILED;
	}
	if (current_turn->continued)
		return TURN_CONTINUED;
	return current_turn->stopped ? TURN_WAITING : TURN_COMPLETED;
}

/* Undo a turn: restore the row.  The tasks in memory are useless, so the instance is forgotten. */
static TurnRun
undo_turn(Instance *instance, const InstanceRow *before)
{
	instance->row = *before;
	instance->dirty = instance->spent = true;
	instance->next_activity = NULL;
	/* a turn is due */
	instance->wait_mode = WAIT_NONE;
	instance->nwaits = 0;
	return TURN_RUN_INTERRUPTED;
}

/*
 * Put a turn aside because a temporary obstacle keeps it from starting a child.
 * None of its effects are stored, and a timer (TURN_TIMER) repeats the whole
 * turn.  row.awaiting counts the attempts as a negative number.
 */
static void
put_aside(WorkerTransaction *txn, Instance *instance, const InstanceRow *before, Jsonb *obstacle)
{
	int			tries = before->awaiting < 0 ? Min(1 - before->awaiting, 30) : 1;

	(void) undo_turn(instance, before);
	instance->row.awaiting = -tries;
	instance->put_aside = true;
	/* a turn is not due before the timer fires or a message comes */
	instance->wait_mode = WAIT_ANY;
	/* a message may have caused this turn before the last timer fired */
	(void) timer_cancel(txn->store, instance->row.key, TURN_TIMER);
	timer_insert(txn->store, instance->row.key, TURN_TIMER,
				 txn->now + Min(ASIDE_FIRST << (tries - 1), ASIDE_LAST));
	retry_log(instance, "a turn", obstacle);
}

/* A turn that was put aside before has succeeded. */
static void
not_aside(WorkerTransaction *txn, Instance *instance)
{
	if (timer_cancel(txn->store, instance->row.key, TURN_TIMER))
		instance->open_timers--;
	instance->put_aside = false;
}

TurnRun
turn_run(WorkerTransaction *txn, Instance *instance)
{
	Turn		this_turn;
	TurnOutcome outcome;
	InstanceRow before = instance->row;
	Jsonb	   *failure;
	Jsonb	   *obstacle;
	StartResult children;
	ListCell   *cell;
	UserCall	call = {
		.limit = quota_payload,
		.owner = instance->row.owner,
		.resolve = resolve_signature,
		.name = instance->row.function,
		.input = instance->input,
		.search_path = instance->row.search_path,
		.read_only = true,
		.timeout = durable_turn_timeout
	};

	turn_begin(&this_turn, txn, instance);
	call.expected = &this_turn.stopped;
	current_turn = &this_turn;
	current_orchestrator_refuse = turn_refuse;
	outcome = turn_call(&call, &failure);
	current_turn = NULL;
	current_orchestrator_refuse = NULL;
	if (outcome == TURN_INTERRUPTED)
		return undo_turn(instance, &before);
	children = start_new_children(txn, instance, this_turn.known, outcome == TURN_CONTINUED, &obstacle);
	if (children == START_INTERRUPTED)
		return undo_turn(instance, &before);
	if (children == START_OBSTRUCTED)
	{
		put_aside(txn, instance, &before, obstacle);
		return TURN_RUN_STOPS;
	}
	if (instance->put_aside)
		not_aside(txn, instance);
	if (before.started_time == 0)
		lifecycle_notify_status(&instance->row, NULL, txn->now);
	if (outcome == TURN_WAITING && instance_runs_own(instance, this_turn.known))
	{
		instance->next_activity = instance->tasks[this_turn.known];
		instance->last_activity = instance->tasks[instance->ntasks - 1]->id;
	}
	if (outcome == TURN_CONTINUED)
		instance_emit_last(txn, instance, this_turn.known);
	else
	{
		foreach(cell, this_turn.canceled)
			instance_cancel(txn, instance, lfirst(cell));
		instance_emit(txn, instance, this_turn.known);
	}
	/* the turn has not killed its worker; crashes of its next activity are counted from 0 */
	if (instance->next_activity == NULL)
		instance->row.deliveries = 0;
	if (this_turn.status_set)
		instance_set_custom_status(txn, instance, this_turn.status);
	instance->row.turn_seq = instance->row.last_seq;
	instance->dirty = true;
	if (outcome == TURN_COMPLETED)
		instance_complete(txn, instance, call.result);
	else if (outcome == TURN_FAILED)
		instance_fail(txn, instance, failure);
	else if (outcome == TURN_CONTINUED)
		instance_continue_as_new(txn, instance, this_turn.new_input,
								 this_turn.keep_events, this_turn.new_version);
	return outcome == TURN_COMPLETED || outcome == TURN_FAILED ? TURN_RUN_STOPS : TURN_RUN_GOES_ON;
}
