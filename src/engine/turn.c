/*
 * turn_state.c
 *	  Turns: what orchestrator_api.c's functions do to a running orchestrator.
 *
 * Replay is deterministic because everything that the code can see is a
 * function of the history up to the last event that it has consumed: which
 * task ends first is decided by sequence number, now() is the time at which
 * that event became visible, and what the code asks for is compared with what
 * it asked for before.  See turn.h for how a turn stops.
 */
#include "postgres.h"

#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"

#include "call/user_call.h"
#include "common/call_context.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "common/payload_limit.h"
#include "engine/lifecycle_notify.h"
#include "engine/quota.h"
#include "engine/retry_policy.h"
#include "engine/sub_orchestration.h"
#include "engine/sub_orchestration_start.h"
#include "engine/turn.h"
#include "engine/turn_state.h"
#include "shmem/crash_notes.h"
#include "shmem/function_durations.h"
#include "shmem/stats.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

/* us until a turn that was put aside is run again: at first, doubled each time, and at most */
#define ASIDE_FIRST	(USECS_PER_SEC / 2)
#define ASIDE_LAST	(10 * USECS_PER_SEC)

#define WRITE_HINT "Write in an activity, called with durable.call_activity or durable.call_sql."

/* how long the text of an input may be for a message to quote it */
#define DESCRIBED_INPUT (64 * 1024)
/* and how many bytes of it, or of a name, the message has */
#define DESCRIBED_TEXT	200

static Turn *turn = NULL;

/* Leave the orchestrator; nothing of the error but its SQLSTATE matters. */
_Noreturn static void
turn_stop(void)
{
	turn->stopped = true;
	/* nobody will read the context, so do not pay for it */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg_internal("the orchestrator waits"),
			 errdetail_internal("This is how durable leaves the orchestrator until it can continue.")));
	pg_unreachable();
}

/* The turn fails with this failure even if the code catches it. */
_Noreturn static void
turn_refuse(Jsonb *failure)
{
	turn->misuse = jsonb_copy(turn->instance->context, failure);
	turn->stopped = true;
	failure_throw(turn->misuse);
}

/* Refuse what exceeds a limit, if there is a failure that says so. */
static void
refuse_exceeded(Jsonb *exceeded)
{
	if (exceeded != NULL)
		turn_refuse(exceeded);
}

/* Refuse a value that is too large, for the owner's quota or for anybody. */
static void
turn_check_payload(Jsonb *payload)
{
	refuse_exceeded(quota_payload(turn->instance->row.owner, payload));
}

/* Refuse another event in the history if that exceeds the owner's quota. */
static void
turn_check_history(void)
{
	Instance   *instance = turn->instance;
	int			events = instance->row.last_seq - instance->row.first_seq + instance->ntasks - turn->known;

	refuse_exceeded(quota_exceeded(instance->row.owner, QUOTA_HISTORY, events + 1));
}

/* What somebody who is not in an orchestrator may have looked for. */
static const char *
client_function(const char *function)
{
	if (strcmp(function, "send_event") == 0 || strcmp(function, "wait_for_external_event") == 0)
		return "Others raise events with durable.raise_event.";
	if (strcmp(function, "set_custom_status") == 0)
		return "Others use durable.set_custom_status(instance_id, custom_status).";
	/* an orchestrator that was called as an activity */
	if (current_activity != NULL)
		return "Start an orchestrator with durable.start_new. In an orchestrator call another one with durable.call_sub_orchestrator.";
	return "Start an orchestrator with durable.start_new.";
}

/* Check that an orchestrator runs and may still make calls, or throw. */
void
turn_require(const char *function)
{
	if (turn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_NOT_IN_ORCHESTRATOR),
				 errmsg("durable.%s can only be called by a running orchestrator", function),
				 current_activity != NULL ?
				 errdetail("It was called by an activity.") : 0,
				 errhint("%s", client_function(function))));
	if (turn->misuse != NULL)
		failure_throw(turn->misuse);
	if (turn->stopped)
		turn_stop();
}

/* How a task is called in messages. */
static char *
describe(TaskKind kind, const char *name, Jsonb *input)
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
	/* making the text of a huge one would fail, and hide what this is about */
	if (size > DESCRIBED_INPUT)
		appendStringInfo(&text, " with an input of " INT64_FORMAT " bytes", size);
	else if (size > 0)
		appendStringInfo(&text, " with input %s",
						 text_clip(JsonbToCString(NULL, &input->root, VARSIZE(input)), DESCRIBED_TEXT));
	return text.data;
}

/* The number of the event that scheduled a task, as durable.history has it. */
static int
sequence_number(const Task *task)
{
	/* an event that stands for two has the number of the second */
	return task->scheduled_seq - turn->instance->row.first_seq -
		(task->scheduled_seq == task->done_seq && task->kind != TASK_SEND);
}

/* OD004: the code did not do what history says it did. */
static Jsonb *
nondeterminism(const Task *before, const char *now)
{
	return failure_make(ERRCODE_DURABLE_NONDETERMINISTIC,
						psprintf("orchestrator %s is not deterministic at sequence number %d",
								 turn->instance->row.name, sequence_number(before)),
						psprintf("The history holds %s; the code %s.",
								 describe(before->kind, before->name, before->input), now),
						"Orchestrators must do the same on each replay: no random values, clocks, or changing data outside activities. If its code was changed, start new instances or rewind with the old code.");
}

/*
 * Refuse parts of the next task's input or options that are too large for
 * anybody, before their texts are put together.  What history has already is not
 * refused: the limit may have been higher then.
 */
void
turn_check_parts(int count, Jsonb *const *parts)
{
	for (int i = 0; turn->next >= turn->instance->ntasks && i < count; i++)
		refuse_exceeded(payload_limit(parts[i]));
}

/*
 * The next task of the code: the one that history has at this place, or a new
 * one.  name and input may be in short-lived memory.
 */
Task *
turn_task(TaskKind kind, const char *name, Jsonb *input, Jsonb *options)
{
	Instance   *instance = turn->instance;
	Task	   *task;

	turn->steps++;
	if (turn->next >= instance->ntasks)
	{
		turn_check_payload(input);
		turn_check_payload(options);
		refuse_exceeded(quota_text(instance->row.owner, name));
		turn_check_history();
		turn->next++;
		task = instance_new_task(instance, kind,
								 name ? MemoryContextStrdup(instance->context, name) : NULL,
								 jsonb_copy(turn->instance->context, input));
		task->options = jsonb_copy(turn->instance->context, options);
		return task;
	}
	task = instance->tasks[turn->next++];
	if (task->kind != kind ||
		(name == NULL) != (task->name == NULL) ||
		(name != NULL && strcmp(name, task->name) != 0) ||
		(kind != TASK_TIMER && !jsonb_same(input, task->input)))
		turn_refuse(nondeterminism(task, psprintf("did %s", describe(kind, name, input))));
	return task;
}

/*
 * The event that a subscription gets: the first one of its name that neither
 * was taken in this turn nor belongs to an earlier waiter.
 */
static RaisedEvent *
event_for(Task *task)
{
	Instance   *instance = turn->instance;
	int			ahead = 0;

	for (int i = 0; i < task->id - instance->row.first_task; i++)
	{
		Task	   *other = instance->tasks[i];

		if (other->kind == TASK_EVENT && other->turn_event < 0 && !other->canceled &&
			strcmp(other->event_name, task->event_name) == 0)
			ahead++;
	}
	for (int i = 0; i < instance->nevents; i++)
	{
		RaisedEvent *event = &instance->events[i];

		if (!event->taken && strcmp(event->name, task->event_name) == 0 && ahead-- == 0)
			return event;
	}
	return NULL;
}

/* The sequence number at which a task ended, 0 if it is open. */
static int
task_done(Task *task)
{
	RaisedEvent *event;

	if (task->canceled)
		return 0;
	if (task->kind != TASK_EVENT)
		return task->done_seq;
	if (task->turn_event >= 0)
		return turn->instance->events[task->turn_event].seq;
	event = event_for(task);
	return event ? event->seq : 0;
}

/* The code has seen the end of a task: time goes on. */
static void
consume(Task *task)
{
	int			seq = task->done_seq;
	TimestampTz time = task->done_time;

	if (task->kind == TASK_EVENT)
	{
		RaisedEvent *event = task->turn_event >= 0 ?
			&turn->instance->events[task->turn_event] : event_for(task);

		event->taken = true;
		task->turn_event = event - turn->instance->events;
		seq = event->seq;
		time = event->time;
	}
	/* seeing it once more is no step */
	if (!task->turn_consumed)
		task->turn_step = ++turn->steps;
	task->turn_consumed = true;
	turn->position = Max(turn->position, seq);
	turn->now = Max(turn->now, time);
}

/* Order of task numbers. */
static int
compare_numbers(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/* Stop the turn until one or all of these tasks end. */
_Noreturn static void
stop_for(Task **tasks, int count, WaitMode mode)
{
	Instance   *instance = turn->instance;

	instance->wait_mode = mode;
	instance->nwaits = 0;
	if (instance->waits != NULL)
		pfree(instance->waits);
	instance->waits = MemoryContextAlloc(instance->context, count * sizeof(int));
	for (int i = 0; i < count; i++)
		if (!tasks[i]->turn_consumed && task_done(tasks[i]) == 0)
			instance->waits[instance->nwaits++] = tasks[i]->id;
	/* the code may name one twice, which ends once */
	qsort(instance->waits, instance->nwaits, sizeof(int), compare_numbers);
	instance->nwaits = qunique(instance->waits, instance->nwaits, sizeof(int), compare_numbers);
	turn_stop();
}

/* The first of some tasks to end; stops the turn while none has. */
Task *
turn_await_any(Task **tasks, int count)
{
	Task	   *first = NULL;
	int			first_seq = 0;

	for (int i = 0; i < count; i++)
	{
		int			seq = task_done(tasks[i]);

		if (seq != 0 && (first == NULL || seq < first_seq))
		{
			first = tasks[i];
			first_seq = seq;
		}
	}
	if (first == NULL)
		stop_for(tasks, count, WAIT_ANY);
	consume(first);
	return first;
}

/* Stop the turn until all of these tasks have ended. */
void
turn_await_all(Task **tasks, int count)
{
	int			before = turn->steps;

	for (int i = 0; i < count; i++)
		if (!tasks[i]->turn_consumed && task_done(tasks[i]) == 0)
			stop_for(tasks, count, WAIT_ALL);
	for (int i = 0; i < count; i++)
		consume(tasks[i]);
	/* all of them in one step */
	for (int i = 0; i < count; i++)
		if (tasks[i]->turn_step > before)
			tasks[i]->turn_step = turn->steps;
}

/* The failure of a task with a detail that says of which task it is. */
static Jsonb *
failure_of_task(Task *task)
{
	char	   *detail = failure_get(task->result, "detail");
	char	   *which;

	if (task->kind == TASK_SEND)
		return task->result;
	which = psprintf("It is the failure of %s \"%s\", task %d, attempt %d.",
					 task->kind == TASK_CHILD ? "sub-orchestration" : "activity",
					 task->name, task->id, task->attempt);
	return failure_with_text(task->result, "detail",
							 detail ? psprintf("%s\n%s", detail, which) : which);
}

/*
 * Remember what the code is told to have failed.  If it fails without another
 * step, this is why, and a rewind runs these tasks again; but not those whose
 * end it had seen before and gone on from there.
 */
void
turn_note_failures(Task **tasks, int count)
{
	turn->raised_tasks = MemoryContextAlloc(turn->context, Max(count, 1) * sizeof(Task *));
	turn->nraised = 0;
	for (int i = 0; i < count; i++)
		if ((tasks[i]->failed || tasks[i]->kind == TASK_TIMER) && tasks[i]->turn_step == turn->steps)
			turn->raised_tasks[turn->nraised++] = tasks[i];
	turn->raised_at = turn->steps;
}

/* The result of a task whose end was awaited, or its failure raised. */
Jsonb *
turn_result(Task *task)
{
	if (task->kind == TASK_EVENT)
		return turn->instance->events[task->turn_event].data;
	if (task->failed)
	{
		turn->raised = task->result;
		turn->raising = true;
		failure_throw(failure_of_task(task));
	}
	return task->result;
}

/*
 * Give up a task.  Unless the code has seen its end already it never will, so
 * that it does not matter on replay when the end came.
 */
void
turn_cancel(Task *task)
{
	if (task->canceled || task->turn_consumed)
		return;
	task->canceled = true;
	if (task->recorded && task->done_seq == 0 && (!task->cancel_recorded || task->kind == TASK_ACTIVITY))
	{
		MemoryContext old = MemoryContextSwitchTo(turn->context);

		turn->canceled = lappend(turn->canceled, task);
		MemoryContextSwitchTo(old);
	}
}

/* Whether an instance is a child that this turn will start. */
static bool
is_new_child(const char *instance_id)
{
	Instance   *instance = turn->instance;

	for (int i = turn->known; i < instance->ntasks; i++)
		if (instance->tasks[i]->kind == TASK_CHILD &&
			strcmp(child_id(instance, instance->tasks[i], 1), instance_id) == 0)
			return true;
	return false;
}

/* How many events this turn sends to an instance. */
static int64
sends_to(int64 key)
{
	int64		count = 0;

	for (int i = turn->known; i < turn->instance->ntasks; i++)
		count += turn->instance->tasks[i]->target == key && !turn->instance->tasks[i]->failed;
	return count;
}

/* The event is not sent, for this reason. */
static void
fail_to_send(Task *task, Jsonb *failure)
{
	task->failed = true;
	task->result = jsonb_copy(turn->instance->context, failure);
}

/* A new event for another instance, which is looked for now and told at the end of the turn. */
void
turn_send(Task *task)
{
	InstanceRow target;
	Jsonb	   *exceeded;

	if (is_new_child(task->name))
		return;
	if (!instance_find(turn->round->store, task->name, &target) ||
		!is_member_of_role(GetUserId(), target.owner))
	{
		fail_to_send(task, failure_make(ERRCODE_DURABLE_NO_INSTANCE,
										psprintf("no such instance: \"%s\"", task->name), NULL, NULL));
		return;
	}
	task->target = target.key;
	exceeded = quota_payload(target.owner, jsonb_member(task->input, "data"));
	if (exceeded == NULL)
		exceeded = quota_take_message(turn->round->store, &target, sends_to);
	if (exceeded != NULL)
		fail_to_send(task, exceeded);
}

/* The task of a number that the code has been given, or an error. */
Task *
turn_find_task(int task_id)
{
	Task	   *task = instance_task(turn->instance, task_id);

	if (task == NULL || task_id - turn->instance->row.first_task >= turn->next)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task %d does not belong to this execution", task_id)));
	if (task->canceled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("task %d was canceled", task_id)));
	return task;
}

/* The instance that runs, and its time. */
Instance *
turn_instance(void)
{
	return turn->instance;
}

TimestampTz
turn_now(void)
{
	return turn->now;
}

/* How often this has been called in the turn. */
uint32
turn_next_guid(void)
{
	return ++turn->guids;
}

/* Whether what the code does now was done by an earlier turn already. */
bool
turn_replaying(void)
{
	return turn->seen > 0 && turn->position <= turn->seen && turn->next <= turn->known;
}

/* Have the custom status stored when the turn ends. */
void
turn_set_status(Jsonb *status)
{
	turn_check_payload(status);
	turn->status_set = true;
	turn->status = jsonb_copy(turn->instance->context, status);
}

/* End this execution and begin a new one. */
void
turn_continue_as_new(Jsonb *input, bool keep_events, const char *version)
{
	turn_check_payload(input);
	refuse_exceeded(quota_text(turn->instance->row.owner, version));
	turn->continued = true;
	turn->new_input = jsonb_copy(turn->instance->context, input);
	turn->keep_events = keep_events;
	turn->new_version = version ? MemoryContextStrdup(turn->instance->context, version) : NULL;
	turn_stop();
}

/* Forget a turn that an error has ended; after a rollback. */
void
replay_reset(void)
{
	turn = NULL;
	current_orchestrator_refuse = NULL;
	current_activity = NULL;
}

/* Begin a turn: nothing is consumed yet. */
static void
turn_begin(Turn *new_turn, Round *round, Instance *instance)
{
	memset(new_turn, 0, sizeof(Turn));
	new_turn->context = CurrentMemoryContext;
	new_turn->round = round;
	new_turn->instance = instance;
	new_turn->known = instance->ntasks;
	new_turn->seen = instance->row.turn_seq;
	if (instance->row.started_time == 0)
	{
		instance->row.started_time = round->now;
		instance->dirty = true;
	}
	new_turn->now = instance->row.started_time;
	for (int i = 0; i < instance->ntasks; i++)
	{
		instance->tasks[i]->turn_event = -1;
		instance->tasks[i]->turn_consumed = false;
		/* the code will give it up again when it gets there */
		instance->tasks[i]->canceled = false;
		instance->tasks[i]->halted = false;
	}
	for (int i = 0; i < instance->nevents; i++)
		instance->events[i].taken = false;
	instance->events_new = false;
	instance->wait_mode = WAIT_NONE;
	instance->nwaits = 0;
}

/* The failure of an orchestrator that tried to write, whatever it made of the error. */
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

/* What an error of the orchestrator means: a failure as jsonb. */
static Jsonb *
turn_failure(ErrorData *error, bool timed_out)
{
	if (timed_out)
		return failure_make(ERRCODE_QUERY_CANCELED,
							psprintf("a turn of the orchestrator took longer than durable.turn_timeout (%d ms)",
									 durable_turn_timeout),
							NULL,
							"Let activities do what takes long, or check for an endless loop.");
	/* an error raised for a task names that task */
	if (turn->raised != NULL && failure_sqlstate(turn->raised) == error->sqlerrcode &&
		failure_get(turn->raised, "message") != NULL && error->message != NULL &&
		strcmp(failure_get(turn->raised, "message"), error->message) == 0)
		return turn->raised;
	return failure_from_error(error);
}

/* The failure that history holds more tasks than the code asked for; NULL if it does not. */
static Jsonb *
missing_task(void)
{
	if (turn->next >= turn->known)
		return NULL;
	return nondeterminism(turn->instance->tasks[turn->next],
						  turn->stopped && !turn->continued ? "waits for something else" : "ended without it");
}

/*
 * Mark on the tasks what a rewind is to leave and what it is to do again.  The
 * failures that the code has seen were handled, but for the last one if the
 * code failed on it without doing anything more.
 */
static void
mark_handled(void)
{
	Instance   *instance = turn->instance;

	for (int i = 0; i < instance->ntasks; i++)
	{
		instance->tasks[i]->handled = instance->tasks[i]->failed && instance->tasks[i]->turn_consumed;
		instance->tasks[i]->expired = false;
	}
	if (turn->steps != turn->raised_at)
		return;
	for (int i = 0; i < turn->nraised; i++)
	{
		turn->raised_tasks[i]->handled = false;
		turn->raised_tasks[i]->expired = turn->raised_tasks[i]->kind == TASK_TIMER;
	}
}

/*
 * Error context callback: an attempt to write is turned into OD009 before any
 * handler sees it, and remembered, since it counts even if it is handled.  The
 * failure of a task that tried is no such attempt.
 */
static void
notice_write(void *arg)
{
	bool		raising = turn->raising;

	turn->raising = false;
	if (raising || geterrcode() != ERRCODE_READ_ONLY_SQL_TRANSACTION)
		return;
	turn->wrote = true;
	errcode(ERRCODE_DURABLE_FORBIDDEN);
	errhint(WRITE_HINT);
}

/* Count a turn for the statistics. */
static void
count_turn(int64 time, bool failed)
{
	stats_call(STATS_ORCHESTRATOR, turn->instance->row.name, time, failed);
	stats_count(STATS_TURNS, 1);
	stats_count(STATS_REPLAYS, turn->known > 0);
	stats_count(STATS_REPLAYED, turn->known);
}

/* Run the function of the orchestrator. */
static TurnOutcome
turn_call(UserCall *call, Jsonb **failure)
{
	Instance   *instance = turn->instance;
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
	turn->round->now = Max(turn->round->now, GetCurrentTimestamp());
	if (turn->misuse != NULL)
		*failure = turn->misuse;
	else if (turn->wrote)
		*failure = write_failure(call->error);
	else if (!turn->stopped && call->error != NULL)
		*failure = turn_failure(call->error, call->timed_out);
	else
		*failure = missing_task();
	count_turn(time, *failure != NULL);
	if (*failure != NULL)
	{
		mark_handled();
		return TURN_FAILED;
	}
	if (turn->continued)
		return TURN_CONTINUED;
	return turn->stopped ? TURN_WAITING : TURN_COMPLETED;
}

/* Nothing came of a turn: the instance is as it was before, and its memory of no further use. */
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
 * Something that passes keeps a turn from starting a child.  Nothing of the turn
 * has been stored, and nothing will be: the row is as it was before, and the
 * whole turn is run again when its timer fires.  The tasks in memory are of no
 * further use.
 */
static void
put_aside(Round *round, Instance *instance, const InstanceRow *before, Jsonb *obstacle)
{
	int			tries = before->awaiting < 0 ? Min(1 - before->awaiting, 30) : 1;

	(void) undo_turn(instance, before);
	instance->row.awaiting = -tries;
	instance->put_aside = true;
	/* no turn before the timer, nor before anything else comes */
	instance->wait_mode = WAIT_ANY;
	/* it may have come to this turn before the timer of the last one fired */
	(void) timer_cancel(round->store, instance->row.key, TURN_TIMER);
	timer_insert(round->store, instance->row.key, TURN_TIMER,
				 round->now + Min(ASIDE_FIRST << (tries - 1), ASIDE_LAST));
	retry_log(instance, "a turn", obstacle);
}

/* A turn has got through that was put aside before. */
static void
not_aside(Round *round, Instance *instance)
{
	if (timer_cancel(round->store, instance->row.key, TURN_TIMER))
		instance->open_timers--;
	instance->put_aside = false;
}

/* Run a turn of an instance and store what came of it. */
TurnRun
turn_run(Round *round, Instance *instance)
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

	turn_begin(&this_turn, round, instance);
	call.expected = &this_turn.stopped;
	turn = &this_turn;
	current_orchestrator_refuse = turn_refuse;
	outcome = turn_call(&call, &failure);
	turn = NULL;
	current_orchestrator_refuse = NULL;
	if (outcome == TURN_INTERRUPTED)
		return undo_turn(instance, &before);
	children = start_new_children(round, instance, this_turn.known, outcome == TURN_CONTINUED, &obstacle);
	if (children == START_INTERRUPTED)
		return undo_turn(instance, &before);
	if (children == START_OBSTRUCTED)
	{
		put_aside(round, instance, &before, obstacle);
		return TURN_RUN_STOPS;
	}
	if (instance->put_aside)
		not_aside(round, instance);
	if (before.started_time == 0)
		notify_status(&instance->row, NULL, round->now);
	if (outcome == TURN_WAITING && instance_runs_own(instance, this_turn.known))
	{
		instance->next_activity = instance->tasks[this_turn.known];
		instance->last_activity = instance->tasks[instance->ntasks - 1]->id;
	}
	if (outcome == TURN_CONTINUED)
		instance_emit_last(round, instance, this_turn.known);
	else
	{
		foreach(cell, this_turn.canceled)
			instance_cancel(round, instance, lfirst(cell));
		instance_emit(round, instance, this_turn.known);
	}
	/* the turn has not killed its worker, and what it asked for is counted by itself now */
	if (instance->next_activity == NULL)
		instance->row.deliveries = 0;
	if (this_turn.status_set)
		instance_set_custom_status(round, instance, this_turn.status);
	instance->row.turn_seq = instance->row.last_seq;
	instance->dirty = true;
	if (outcome == TURN_COMPLETED)
		instance_complete(round, instance, call.result);
	else if (outcome == TURN_FAILED)
		instance_fail(round, instance, failure);
	else if (outcome == TURN_CONTINUED)
		instance_continue_as_new(round, instance, this_turn.new_input,
								 this_turn.keep_events, this_turn.new_version);
	return outcome == TURN_COMPLETED || outcome == TURN_FAILED ? TURN_RUN_STOPS : TURN_RUN_GOES_ON;
}
