/*
 * instance.c
 *	  Loading an instance, adding to its history, and changing its state.
 *
 * A worker keeps the instances that it has run in a cache, so that the next
 * round reads only the row.  A cached one is valid when the row's last_seq and
 * execution_id are what they were: every change of the history changes the
 * row in the same transaction.  After a rollback the worker forgets the
 * instances of the round, since their memory may be ahead of the tables.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "engine/failure_log.h"
#include "engine/instance.h"
#include "engine/instance_create.h"
#include "engine/lifecycle_notify.h"
#include "engine/retry_policy.h"
#include "engine/rewind.h"
#include "engine/sub_orchestration.h"
#include "engine/worker_loss.h"
#include "sched/commit_wakeup.h"
#include "sched/ready_queue.h"
#include "shmem/stats.h"
#include "store/activity_rows.h"
#include "store/history_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/timer_rows.h"

static HTAB *cache = NULL;
static dlist_head cache_order = DLIST_STATIC_INIT(cache_order);	/* least recently used first */
static MemoryContext cache_context = NULL;
static Size cache_size = 0;		/* sum of the sizes of all instances in it */

/* Make the cache at the first use. */
static void
cache_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Instance)};

	if (cache != NULL)
		return;
	cache_context = AllocSetContextCreate(TopMemoryContext, "durable instances",
										  ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = cache_context;
	cache = hash_create("durable instances", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Drop an instance from memory. */
void
instance_forget(int64 key)
{
	Instance   *instance = cache ? hash_search(cache, &key, HASH_FIND, NULL) : NULL;

	if (instance == NULL)
		return;
	cache_size -= instance->size;
	dlist_delete(&instance->link);
	MemoryContextDelete(instance->context);
	hash_search(cache, &key, HASH_REMOVE, NULL);
}

/* How much longer an instance's history is than its stored row says, in the round that changes it. */
int64
instance_unsaved_events(const InstanceRow *stored)
{
	Instance   *instance = cache ? hash_search(cache, &stored->key, HASH_FIND, NULL) : NULL;

	if (instance == NULL || !instance->dirty)
		return 0;
	return (instance->row.last_seq - instance->row.first_seq) - (stored->last_seq - stored->first_seq);
}

/* Drop the least recently used instances until the cache is within its limit. */
void
instance_trim_cache(void)
{
	Size		limit = (Size) durable_history_cache * 1024;

	while (!dlist_is_empty(&cache_order) && cache_size > limit)
		instance_forget(dlist_container(Instance, link, dlist_head_node(&cache_order))->key);
}

/* The task of a number, or NULL if this execution has none. */
Task *
instance_task(Instance *instance, int task_id)
{
	int			index = task_id - instance->row.first_task;

	return index >= 0 && index < instance->ntasks ? instance->tasks[index] : NULL;
}

/* Add the next task; name and input must belong to the instance's context. */
Task *
instance_new_task(Instance *instance, TaskKind kind, const char *name, Jsonb *input)
{
	Task	   *task = MemoryContextAllocZero(instance->context, sizeof(Task));

	instance->tasks = grow(instance->context, instance->tasks, instance->ntasks, &instance->tasks_size, sizeof(Task *));
	task->id = instance->row.first_task + instance->ntasks;
	task->kind = kind;
	task->name = name;
	task->input = input;
	task->attempt = 1;
	task->turn_event = -1;
	if (kind == TASK_EVENT)
	{
		MemoryContext old = MemoryContextSwitchTo(instance->context);

		task->event_name = str_tolower(name, strlen(name), DEFAULT_COLLATION_OID);
		MemoryContextSwitchTo(old);
	}
	instance->tasks[instance->ntasks++] = task;
	return task;
}

/* The task that an event of history schedules: added, or already there unrecorded. */
static Task *
decode_scheduled(Instance *instance, TaskKind kind, const HistoryRow *row)
{
	Task	   *task = instance_task(instance, row->task_id);

	if (task == NULL)
	{
		if (row->task_id != instance->row.first_task + instance->ntasks)
			elog(ERROR, "history of instance \"%s\" skips to task %d",
				 instance->row.instance_id, row->task_id);
		task = instance_new_task(instance, kind, row->name, row->input);
	}
	task->recorded = true;
	task->scheduled_seq = row->seq;
	task->scheduled_time = row->event_time;
	return task;
}

/* The end of a task; that of an activity may stand for its beginning too. */
static void
decode_done(Instance *instance, const HistoryRow *row)
{
	Task	   *task = row->input != NULL ? decode_scheduled(instance, TASK_ACTIVITY, row) :
		instance_task(instance, row->task_id);

	/* it ends once, whatever came later */
	if (task == NULL || task->done_seq != 0)
		return;
	task->failed = row->event == EVENT_TASK_FAILED || row->event == EVENT_CHILD_FAILED;
	task->result = row->result;
	if (row->attempt != 0)
		task->attempt = row->attempt;
	task->done_seq = row->seq;
	task->done_time = row->event_time;
}

/* What is known from the beginning. */
static void
decode_started(Instance *instance, const HistoryRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(instance->context);

	instance->input = row->input;
	instance->parent_id = jsonb_to_text(row->result);
	MemoryContextSwitchTo(old);
}

/* A raised event. */
static void
decode_raised(Instance *instance, const HistoryRow *row)
{
	RaisedEvent *event;
	MemoryContext old = MemoryContextSwitchTo(instance->context);

	instance->events = grow(instance->context, instance->events, instance->nevents, &instance->events_size, sizeof(RaisedEvent));
	event = &instance->events[instance->nevents++];
	event->name = str_tolower(row->name, strlen(row->name), DEFAULT_COLLATION_OID);
	event->data = row->result;
	event->seq = row->seq;
	event->time = row->event_time;
	event->taken = false;
	instance->events_new = true;
	MemoryContextSwitchTo(old);
}

/* What came while the instance was suspended becomes visible when it is resumed. */
static void
decode_resumed(Instance *instance, const HistoryRow *row)
{
	for (int i = 0; i < instance->ntasks; i++)
		if (instance->tasks[i]->done_seq > instance->visible_from)
			instance->tasks[i]->done_time = row->event_time;
	for (int i = 0; i < instance->nevents; i++)
		if (instance->events[i].seq > instance->visible_from)
			instance->events[i].time = row->event_time;
}

/* A pause before the next attempt, or before the same one again, if that was put off. */
static void
decode_retried(Instance *instance, const HistoryRow *row)
{
	Task	   *task = instance_task(instance, row->task_id);

	instance->open_timers++;
	if (task == NULL)
		return;
	task->put_off_time = row->attempt < task->attempt ? row->event_time : 0;
	task->attempt = row->attempt + 1;
}

/* Take an event of history into memory; its data belong to the instance's context. */
static void
decode(Instance *instance, const HistoryRow *row)
{
	Task	   *task;

	switch ((EventType) row->event)
	{
		case EVENT_EXECUTION_STARTED:
			decode_started(instance, row);
			break;
		case EVENT_TASK_SCHEDULED:
			decode_scheduled(instance, TASK_ACTIVITY, row)->options = row->result;
			break;
		case EVENT_TASK_COMPLETED:
		case EVENT_TASK_FAILED:
		case EVENT_CHILD_COMPLETED:
		case EVENT_CHILD_FAILED:
			decode_done(instance, row);
			break;
		case EVENT_TASK_RETRIED:
			decode_retried(instance, row);
			break;
		case EVENT_CHILD_CREATED:
			decode_scheduled(instance, TASK_CHILD, row)->options = row->result;
			break;
		case EVENT_TIMER_CREATED:
			decode_scheduled(instance, TASK_TIMER, row);
			instance->open_timers++;
			break;
		case EVENT_TIMER_FIRED:
			decode_done(instance, row);
			instance->open_timers--;
			break;
		case EVENT_TIMER_CANCELED:
			instance->open_timers--;
			/* FALLTHROUGH */
		case EVENT_TASK_CANCELED:
			task = instance_task(instance, row->task_id);
			if (task != NULL)
				task->cancel_recorded = true;
			break;
		case EVENT_EVENT_SUBSCRIBED:
			decode_scheduled(instance, TASK_EVENT, row);
			break;
		case EVENT_EVENT_RAISED:
			decode_raised(instance, row);
			break;
		case EVENT_EVENT_SENT:
			task = decode_scheduled(instance, TASK_SEND, row);
			task->done_seq = row->seq;
			task->done_time = row->event_time;
			task->result = row->result;
			task->failed = row->result != NULL;
			break;
		case EVENT_EXECUTION_SUSPENDED:
			instance->visible_from = row->seq;
			break;
		case EVENT_EXECUTION_RESUMED:
			decode_resumed(instance, row);
			break;
		case EVENT_EXECUTION_REWOUND:
			rewind_decode(instance, row);
			break;
		case EVENT_EXECUTION_FAILED:
			rewind_decode_failed(instance, row);
			break;
		case EVENT_CUSTOM_STATUS_SET:
		case EVENT_CONTINUE_AS_NEW:
		case EVENT_EXECUTION_TERMINATED:
		case EVENT_EXECUTION_COMPLETED:
			break;
	}
}

/* Let an instance's memory own the strings of a row. */
static void
row_own(Instance *instance, const InstanceRow *row)
{
	MemoryContext context = instance->context;

	instance->row = *row;
	instance->row.instance_id = MemoryContextStrdup(context, row->instance_id);
	if (row->absent != NULL)
		instance->row.absent = MemoryContextStrdup(context, row->absent);
	instance->row.name = MemoryContextStrdup(context, row->name);
	instance->row.function = MemoryContextStrdup(context, row->function);
	if (row->version != NULL)
		instance->row.version = MemoryContextStrdup(context, row->version);
	instance->row.search_path = MemoryContextStrdup(context, row->search_path);
	instance->row.tags = jsonb_copy(context, row->tags);
	instance->row.custom_status = jsonb_copy(context, row->custom_status);
}

/* Make an instance in memory and decode the history that the row speaks of. */
static Instance *
cache_fill(Round *round, const InstanceRow *row)
{
	Instance   *instance;
	MemoryContext context = AllocSetContextCreate(cache_context, "durable instance",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ListCell   *cell;
	List	   *events;

	instance = hash_search(cache, &row->key, HASH_ENTER, NULL);
	memset(&instance->link, 0, sizeof(Instance) - offsetof(Instance, link));
	instance->context = context;
	dlist_push_tail(&cache_order, &instance->link);
	row_own(instance, row);
	events = history_between(round->store, row->key, row->first_seq + 1, PG_INT32_MAX);
	stats_count(STATS_LOADS, 1);
	stats_count(STATS_LOADED, list_length(events));
	foreach(cell, events)
		decode(instance, lfirst(cell));
	instance->put_aside = row->awaiting < 0;
	instance->open_timers += instance->put_aside;
	MemoryContextSwitchTo(old);
	return instance;
}

/*
 * Append an event to the history, in the table and in memory.  The caller
 * fills in what is particular to it; seq 0 means the next one, event_time 0 now.
 */
void
instance_append(Round *round, Instance *instance, HistoryRow *row)
{
	row->key = instance->row.key;
	if (row->event_time == 0)
		row->event_time = round->now;
	/* an event that stands for its task's beginning too leaves room for that */
	instance->row.last_seq += row->seq == 0 ? 1 : row->seq;
	row->seq = instance->row.last_seq;
	if (row->name != NULL)
		row->name = MemoryContextStrdup(instance->context, row->name);
	row->input = jsonb_copy(instance->context, row->input);
	row->result = jsonb_copy(instance->context, row->result);
	decode(instance, row);
	history_append(round->store, row);
	instance->dirty = true;
}

/* Append an event about an attempt of a task. */
void
instance_append_attempt(Round *round, Instance *instance, Task *task, EventType event, Jsonb *result)
{
	HistoryRow	row = {
		.event = event, .task_id = task->id, .attempt = task->attempt, .name = task->name, .result = result
	};

	instance_append(round, instance, &row);
}

/* Tell the parent, if there is one, how this instance ended. */
static void
tell_parent(Round *round, Instance *instance, Jsonb *result)
{
	MessageRow	message = {
		.key = instance->row.parent_key,
		.kind = instance->row.state == STATE_COMPLETED ? MESSAGE_CHILD_COMPLETED : MESSAGE_CHILD_FAILED,
		.time = round->now,
		.task_id = instance->row.parent_task,
		.name = instance->row.name,
		.payload = result
	};

	if (instance->row.parent_key != 0 && instance->row.parent_task != 0)
		message_send(round->store, instance->row.owner, &message);
}

/* Whether nothing more is to come for an instance that has ended. */
static bool
is_spent(const Instance *instance)
{
	for (int i = 0; i < instance->ntasks; i++)
		if (instance->tasks[i]->done_seq == 0)
			return false;
	return true;
}

/* Enter a terminal state: the parent gets the result, clients are told the reason, or NULL. */
static void
finish(Round *round, Instance *instance, InstanceState state, Jsonb *result, const char *reason)
{
	stats_count(state == STATE_COMPLETED ? STATS_COMPLETED : state == STATE_FAILED ? STATS_FAILED : STATS_TERMINATED, 1);
	instance->row.state = state;
	instance->row.completed_time = round->now;
	instance->row.turn_seq = instance->row.last_seq;
	instance->next_activity = NULL;
	instance->put_aside = false;
	/* no child is started any more */
	for (int i = 0; i < instance->ntasks; i++)
		instance->tasks[i]->start_due = false;
	instance->starts_due = 0;
	instance->dirty = true;
	instance->spent = is_spent(instance);
	if (instance->open_timers > 0 || instance->row.scheduled_start_time != 0)
		timers_delete(round->store, instance->row.key);
	tell_parent(round, instance, result);
	wakeup_ended(instance->row.key);
	notify_status(&instance->row, reason, round->now);
}

/* The orchestrator returned. */
void
instance_complete(Round *round, Instance *instance, Jsonb *output)
{
	HistoryRow	row = {.event = EVENT_EXECUTION_COMPLETED, .result = output};

	instance_append(round, instance, &row);
	finish(round, instance, STATE_COMPLETED, row.result, NULL);
}

/* Fail an instance with the marks of its tasks. */
static void
fail(Round *round, Instance *instance, Jsonb *marks, Jsonb *failure)
{
	HistoryRow	row = {.event = EVENT_EXECUTION_FAILED, .input = marks, .result = failure};
	InstanceRow parent;

	instance_append(round, instance, &row);
	failure_log_add(&instance->row, instance_get_waiting_parent(round->store, &instance->row, &parent), row.result);
	finish(round, instance, STATE_FAILED, failure_with_text(row.result, "instance_id", instance->row.instance_id),
		   failure_get(row.result, "message"));
}

/* The orchestrator failed, and its tasks are marked with what was handled. */
void
instance_fail(Round *round, Instance *instance, Jsonb *failure)
{
	fail(round, instance, rewind_marks(round, instance), failure);
}

/* The instance failed outside a turn: no failure of a task led to it. */
void
instance_fail_whole(Round *round, Instance *instance, Jsonb *failure)
{
	for (int i = 0; i < instance->ntasks; i++)
	{
		instance->tasks[i]->handled = instance->tasks[i]->failed;
		instance->tasks[i]->expired = instance->tasks[i]->halted = false;
	}
	instance_fail(round, instance, failure);
}

/*
 * The same for one that is not in memory and whose row is locked.  Its history,
 * messages and tasks are not read, as they may be larger than the memory of a
 * process that serves everybody; they stay for a rewind.
 */
void
instance_fail_unread(Round *round, const InstanceRow *row, Jsonb *failure)
{
	Instance	instance = {.context = CurrentMemoryContext, .row = *row, .open_timers = 1};

	fail(round, &instance, rewind_marks_unread(round->store, row->key), failure);
	instance.row.awaiting = 0;
	instance.row.last_updated_time = round->now;
	instance_update(round->store, &instance.row);
}

/* Pass a termination on to the live children. */
static void
terminate_children(Round *round, Instance *instance, Jsonb *payload)
{
	ListCell   *cell;

	foreach(cell, instance_children(round->store, instance->row.key))
	{
		MessageRow	message = {
			.key = *(int64 *) lfirst(cell),
			.kind = MESSAGE_TERMINATE,
			.time = round->now,
			.payload = payload
		};

		message_send(round->store, instance->row.owner, &message);
	}
}

/* A client asked to terminate the instance. */
static void
receive_terminate(Round *round, Instance *instance, const MessageRow *message)
{
	char	   *reason = jsonb_member_text(message->payload, "reason");
	HistoryRow	row = {.event = EVENT_EXECUTION_TERMINATED, .result = jsonb_from_text(reason)};
	char	   *text = reason != NULL ?
		psprintf("instance \"%s\" was terminated: %s", instance->row.instance_id, reason) :
		psprintf("instance \"%s\" was terminated", instance->row.instance_id);

	instance_append(round, instance, &row);
	tasks_delete(round->store, instance->row.key);
	if (jsonb_member_bool(message->payload, "cancelActivities", false))
		wakeup_cancel(instance->row.key);
	if (jsonb_member_bool(message->payload, "recursive", true))
		terminate_children(round, instance, message->payload);
	finish(round, instance, STATE_TERMINATED,
		   failure_with_text(failure_make(ERRCODE_DURABLE_CHILD_TERMINATED, text, NULL, NULL),
							 "instance_id", instance->row.instance_id), reason);
}

/* A client asked to suspend or resume; in vain where it is so already. */
static void
receive_suspend(Round *round, Instance *instance, const MessageRow *message)
{
	bool		suspend = message->kind == MESSAGE_SUSPEND;
	HistoryRow	row = {
		.event = suspend ? EVENT_EXECUTION_SUSPENDED : EVENT_EXECUTION_RESUMED,
		.result = jsonb_from_text(jsonb_member_text(message->payload, "reason"))
	};

	if (suspend == (instance->row.state == STATE_SUSPENDED))
		return;
	instance_append(round, instance, &row);
	if (suspend)
		instance->row.state = STATE_SUSPENDED;
	else if (instance->row.started_time == 0 && instance->row.scheduled_start_time > round->now)
		instance->row.state = STATE_WAITING;
	else
		instance->row.state = STATE_READY;
	notify_status(&instance->row, jsonb_member_text(message->payload, "reason"), round->now);
}

/* The event that a message about an attempt of a task becomes, if that was the last; 0 for other messages. */
static int
done_event(int kind)
{
	switch ((MessageKind) kind)
	{
		case MESSAGE_TASK_COMPLETED:
			return EVENT_TASK_COMPLETED;
		case MESSAGE_TASK_FAILED:
		case MESSAGE_TASK_PUT_OFF:
			return EVENT_TASK_FAILED;
		case MESSAGE_CHILD_COMPLETED:
			return EVENT_CHILD_COMPLETED;
		case MESSAGE_CHILD_FAILED:
			return EVENT_CHILD_FAILED;
		default:
			return 0;
	}
}

/* The event that such a message becomes. */
static HistoryRow
done_row(const MessageRow *message)
{
	return (HistoryRow) {
		.event = done_event(message->kind),
		.task_id = message->task_id,
		.attempt = message->attempt,
		.name = message->name,
		.result = message->payload
	};
}

/*
 * A task was done elsewhere, by another worker or by a child, or its activity met
 * an obstacle that passes.  It is tried again, now or later, unless nobody waits
 * for it any more.
 */
static void
receive_done(Round *round, Instance *instance, const MessageRow *message)
{
	Task	   *task = instance_task(instance, message->task_id);
	HistoryRow	row = done_row(message);
	bool		failed = row.event == EVENT_TASK_FAILED || row.event == EVENT_CHILD_FAILED;

	/* of an earlier execution */
	if (task == NULL || task->done_seq != 0)
		return;
	if (!failed || instance->row.state == STATE_FAILED || task->cancel_recorded)
		instance_append(round, instance, &row);
	else if (message->kind == MESSAGE_TASK_PUT_OFF)
		retry_put_off(round, instance, task, message->payload);
	else if (!retry_task(round, instance, task, message->payload))
		instance_append(round, instance, &row);
}

/* Apply one message. */
static void
receive_message(Round *round, Instance *instance, const MessageRow *message)
{
	HistoryRow	raised = {.event = EVENT_EVENT_RAISED, .result = message->payload};

	switch ((MessageKind) message->kind)
	{
		case MESSAGE_TASK_COMPLETED:
		case MESSAGE_TASK_FAILED:
		case MESSAGE_CHILD_COMPLETED:
		case MESSAGE_CHILD_FAILED:
		case MESSAGE_TASK_PUT_OFF:
			receive_done(round, instance, message);
			break;
		case MESSAGE_EVENT:
			raised.name = message->name;
			instance_append(round, instance, &raised);
			break;
		case MESSAGE_TERMINATE:
			receive_terminate(round, instance, message);
			break;
		case MESSAGE_SUSPEND:
		case MESSAGE_RESUME:
			receive_suspend(round, instance, message);
			break;
		case MESSAGE_CUSTOM_STATUS:
			instance_set_custom_status(round, instance, message->payload);
			break;
		case MESSAGE_REWIND:
			rewind_receive(round, instance, message->payload);
			break;
		case MESSAGE_WORKER_LOST:
		case MESSAGE_TURN_OVERDUE:
			lost_receive(round, instance, message);
			break;
	}
}

/*
 * Whether a message still matters.  A failed instance may be rewound, so the
 * ends of what it had begun, and events, go into its history.
 */
static bool
is_wanted(const Instance *instance, const MessageRow *message)
{
	if (instance->row.state == STATE_FAILED)
		return done_event(message->kind) != 0 || message->kind == MESSAGE_EVENT || message->kind == MESSAGE_REWIND;
	return !STATE_IS_TERMINAL(instance->row.state);
}

/* A timer of the instance is due. */
static void
receive_timer(Round *round, Instance *instance, const TimerRow *timer)
{
	Task	   *task = instance_task(instance, timer->task_id);
	HistoryRow	row = {.event = EVENT_TIMER_FIRED, .task_id = timer->task_id};

	/* one whose time had passed when it was made is not late for that */
	stats_timer(Max(timer->fire_at, task != NULL ? task->scheduled_time : instance->row.created_time), round->now);
	if (timer->task_id == 0 || timer->task_id == TURN_TIMER)
	{
		instance->open_timers -= timer->task_id == TURN_TIMER;
		if (instance->row.state == STATE_WAITING)
			instance->row.state = STATE_READY;
		instance->dirty = true;
	}
	else if (task == NULL || task->done_seq != 0)
		return;
	else if (task->kind == TASK_TIMER && !task->cancel_recorded)
		instance_append(round, instance, &row);
	else if (task->kind == TASK_ACTIVITY || task->kind == TASK_CHILD)
	{
		/* the pause before the next attempt is over */
		instance->open_timers--;
		if (task->kind == TASK_CHILD)
			child_note_start(instance, task);
		else
			instance_queue_activity(round, instance, task, LONE_NO);
	}
}

/* Take in all that has happened to the instance; nothing any more once it ended. */
static void
receive(Round *round, Instance *instance, List *messages, int flags)
{
	ListCell   *cell;

	if (flags & READY_TIMER)
		foreach(cell, timers_take(round->store, instance->row.key, round->now))
			if (!STATE_IS_TERMINAL(instance->row.state))
				receive_timer(round, instance, lfirst(cell));
	foreach(cell, messages)
		if (is_wanted(instance, lfirst(cell)))
			receive_message(round, instance, lfirst(cell));
}

/* Use an instance in memory again, if its history is what the locked row speaks of. */
static bool
cache_renew(Instance *instance, const InstanceRow *row)
{
	if (instance->row.last_seq != row->last_seq ||
		memcmp(&instance->row.execution_id, &row->execution_id, sizeof(pg_uuid_t)) != 0)
		return false;
	/* what others change without touching the history */
	instance->row.tid = row->tid;
	instance->row.root = row->root;
	instance->row.state = row->state;
	instance->row.deliveries = row->deliveries;
	if (!jsonb_same(instance->row.custom_status, row->custom_status))
		instance->row.custom_status = jsonb_copy(instance->context, row->custom_status);
	dlist_delete(&instance->link);
	dlist_push_tail(&cache_order, &instance->link);
	return true;
}

/*
 * Take in messages without knowing the history: possible while the orchestrator
 * waits for more ends of tasks than have come, and nothing else has.  A fan-out
 * of thousands would otherwise be read again by each worker that has a result.
 * A failed child is no case for that: once rewound it ends a second time.  Nor is
 * an activity that met an obstacle, which has not ended.
 */
static bool
receive_blindly(Round *round, InstanceRow *row, List *messages)
{
	ListCell   *cell;

	if (row->state != STATE_WAITING || list_length(messages) >= row->awaiting)
		return false;
	foreach(cell, messages)
	{
		int			kind = ((MessageRow *) lfirst(cell))->kind;

		if (done_event(kind) == 0 || kind == MESSAGE_CHILD_FAILED || kind == MESSAGE_TASK_PUT_OFF)
			return false;
	}
	foreach(cell, messages)
	{
		HistoryRow	event = done_row(lfirst(cell));

		if (event.task_id < row->first_task)
			continue;			/* of an earlier execution */
		event.key = row->key;
		event.seq = ++row->last_seq;
		event.event_time = round->now;
		history_append(round->store, &event);
		row->awaiting--;
	}
	row->last_updated_time = round->now;
	instance_update(round->store, row);
	return true;
}

/*
 * Lock an instance's row for this round, have the instance in memory, and take
 * in what has happened to it.  NULL when it has gone (*result FETCH_ABSENT),
 * when a transaction other than a round has it, which announces it at its end
 * (FETCH_LOCKED; see commit_wakeup.c), when it is another role's than the round's, to
 * which it is announced (FETCH_FOREIGN), and when all was taken in without it
 * (FETCH_FOUND).  Nothing of users is run here: what has to be started is noted
 * in the tasks.
 */
Instance *
instance_load(Round *round, int64 key, int flags, FetchResult *result)
{
	Instance   *instance;
	InstanceRow row;
	List	   *messages = NIL;

	cache_init();
	instance = hash_search(cache, &key, HASH_FIND, NULL);
	if (instance != NULL)
		row.root = instance->row.root;
	else
		ItemPointerSetInvalid(&row.root);
	*result = instance_claim(round->store, key, round->owner, &row);
	if (*result != FETCH_FOUND)
	{
		instance_forget(key);
		if (*result == FETCH_FOREIGN)
			wakeup_instance(row.owner, key, NULL, READY_ALL);
		return NULL;
	}
	if (flags & READY_MESSAGE)
		messages = messages_take(round->store, key);
	if (instance == NULL || !cache_renew(instance, &row))
	{
		instance_forget(key);
		if (row.awaiting > 0 && flags == READY_MESSAGE &&
			receive_blindly(round, &row, messages))
			return NULL;
		instance = cache_fill(round, &row);
	}
	receive(round, instance, messages, flags);
	return instance;
}

/* Whether a turn would get further than the last one did. */
bool
instance_can_turn(Instance *instance)
{
	int			done = 0;

	if (STATE_IS_TERMINAL(instance->row.state) || instance->row.state == STATE_SUSPENDED)
		return false;
	if (instance->row.started_time == 0 && instance->row.state == STATE_WAITING)
		return false;
	if (instance->wait_mode == WAIT_NONE)
		return true;
	for (int i = 0; i < instance->nwaits; i++)
	{
		Task	   *task = instance_task(instance, instance->waits[i]);

		if (task->kind == TASK_EVENT ? instance->events_new : task->done_seq != 0)
		{
			if (instance->wait_mode == WAIT_ANY)
				return true;
			done++;
		}
		else if (instance->wait_mode == WAIT_ALL)
			return false;
	}
	return instance->wait_mode == WAIT_ALL && done == instance->nwaits;
}

/* The end of an activity that this worker ran between two turns: one event says that it was scheduled and how it ended. */
void
instance_activity_done(Round *round, Instance *instance, Task *task, bool failed, Jsonb *result)
{
	HistoryRow	row = {
		.event = failed ? EVENT_TASK_FAILED : EVENT_TASK_COMPLETED,
		.event_time = round->now,
		.seq = 2,
		.task_id = task->id,
		.attempt = task->attempt,
		.name = task->name,
		.input = task->input,
		.result = result
	};
	static const JsonbValue null_value = {.type = jbvNull};

	instance->next_activity = task->id < instance->last_activity ? instance_task(instance, task->id + 1) : NULL;
	instance->row.deliveries = 0;
	if (row.input == NULL)
		row.input = JsonbValueToJsonb(unconstify(JsonbValue *, &null_value));
	instance_append(round, instance, &row);
}

/* Set the custom status, in the row and as an event, if it changes. */
void
instance_set_custom_status(Round *round, Instance *instance, Jsonb *status)
{
	HistoryRow	row = {.event = EVENT_CUSTOM_STATUS_SET, .result = status};
	Jsonb	   *before = instance->row.custom_status;

	if (before == status ||
		(before != NULL && status != NULL && VARSIZE(before) == VARSIZE(status) &&
		 memcmp(before, status, VARSIZE(before)) == 0))
		return;
	instance_append(round, instance, &row);
	instance->row.custom_status = row.result;
}

/* Where an execution's numbers begin; after a thousand million they start again. */
static int
next_number(int number)
{
	return number < 1000000000 ? number : 1;
}

/*
 * Begin a new execution: the history starts afresh, with the events that the
 * old one has not taken if they are to be kept.  What the old one has left
 * open is given up; tasks get higher numbers, so late results find no taker.
 */
void
instance_continue_as_new(Round *round, Instance *instance, Jsonb *input,
						 bool keep_events, const char *version)
{
	HistoryRow	started = {
		.event = EVENT_EXECUTION_STARTED, .name = instance->row.name, .input = input,
		.result = jsonb_from_text(instance->parent_id)
	};
	RaisedEvent *events = instance->events;
	int			nevents = instance->nevents;

	history_delete(round->store, instance->row.key, instance->row.first_seq);
	if (instance->open_timers > 0)
		timers_delete(round->store, instance->row.key);
	tasks_delete(round->store, instance->row.key);

	instance->row.first_task = next_number(instance->row.first_task + instance->ntasks);
	instance->row.first_seq = instance->row.last_seq = next_number(instance->row.last_seq);
	instance->row.turn_seq = 0;
	instance->row.started_time = round->now;
	instance->row.execution_id = create_uuid();
	if (version != NULL)
		instance->row.version = unconstify(char *, version);
	instance->ntasks = instance->nevents = instance->events_size = 0;
	instance->events = NULL;
	instance->open_timers = 0;
	instance->wait_mode = WAIT_NONE;
	instance->visible_from = 0;
	instance->spent = true;
	instance_append(round, instance, &started);
	for (int i = 0; keep_events && i < nevents; i++)
	{
		HistoryRow	raised = {
			.event = EVENT_EVENT_RAISED, .name = events[i].name, .result = events[i].data
		};

		if (!events[i].taken)
			instance_append(round, instance, &raised);
	}
}

/*
 * How many ends of tasks must come before a turn makes sense, 0 if counting
 * does not tell: then whoever receives something must know the history.
 */
static int
count_awaited(Instance *instance)
{
	int			count = 0;

	if (instance->row.state != STATE_WAITING || instance->wait_mode != WAIT_ALL)
		return 0;
	for (int i = 0; i < instance->nwaits; i++)
	{
		Task	   *task = instance_task(instance, instance->waits[i]);

		if (task->kind != TASK_ACTIVITY && task->kind != TASK_CHILD)
			return 0;
		/* some ended as soon as they were asked for */
		count += task->done_seq == 0;
	}
	for (int i = 0; i < instance->ntasks; i++)
	{
		Task	   *task = instance->tasks[i];

		/* the failure of one that has a policy is not its end; a failed child may be rewound by itself and tell of another */
		if (task->done_seq == 0 ? task->options != NULL :
			task->kind == TASK_CHILD && (task->failed || task->attempt > 1))
			return 0;
	}
	return count;
}

/* Write the row if anything in it changed. */
void
instance_save(Round *round, Instance *instance)
{
	Size		size = MemoryContextMemAllocated(instance->context, true);

	/* asking all instances each time would cost more than running them */
	cache_size += size - instance->size;
	instance->size = size;
	if (!STATE_IS_TERMINAL(instance->row.state) && instance->row.state != STATE_SUSPENDED)
	{
		char		state = instance->next_activity != NULL || instance_can_turn(instance) ?
			STATE_READY : STATE_WAITING;

		instance->dirty |= state != instance->row.state;
		instance->row.state = state;
	}
	if (!instance->dirty)
		return;
	if (!instance->put_aside)
		instance->row.awaiting = count_awaited(instance);
	instance->row.last_updated_time = round->now;
	instance_update(round->store, &instance->row);
	instance->dirty = false;
}
