/*
 * model.h
 *	  Words that every module shares: instance states, history event types,
 *	  message kinds and SQLSTATEs.
 *
 * An *instance* is one run of an *orchestrator* function.  Its *history* is an
 * append-only list of *events*.  A *turn* replays the orchestrator against the
 * history and appends the events of what the orchestrator newly asks for.  Each
 * thing that it asks for is a *task*; tasks are numbered from 1 in the order of
 * the code.  A *message* tells an instance that something happened; the worker
 * that holds the instance appends it to the history.
 */
#ifndef DURABLE_H
#define DURABLE_H

#include "postgres.h"

#include "common/compat.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define DURABLE_SCHEMA			"durable"
#define DURABLE_INTERNAL_SCHEMA "durable_internal"

/*
 * docs/errors.tsv describes the cause and the cure of each SQLSTATE that the
 * extension raises, PostgreSQL's too
 */
#define ERRCODE_DURABLE_NO_INSTANCE			MAKE_SQLSTATE('O','D','0','0','1')
#define ERRCODE_DURABLE_WRONG_STATUS		MAKE_SQLSTATE('O','D','0','0','2')
#define ERRCODE_DURABLE_INSTANCE_EXISTS		MAKE_SQLSTATE('O','D','0','0','3')
#define ERRCODE_DURABLE_NONDETERMINISTIC	MAKE_SQLSTATE('O','D','0','0','4')
#define ERRCODE_DURABLE_NOT_IN_ORCHESTRATOR	MAKE_SQLSTATE('O','D','0','0','5')
#define ERRCODE_DURABLE_TIMED_OUT			MAKE_SQLSTATE('O','D','0','0','6')
#define ERRCODE_DURABLE_ACTIVITY_LOST		MAKE_SQLSTATE('O','D','0','0','7')
#define ERRCODE_DURABLE_CHILD_TERMINATED	MAKE_SQLSTATE('O','D','0','0','8')
#define ERRCODE_DURABLE_FORBIDDEN			MAKE_SQLSTATE('O','D','0','0','9')

/*
 * The values of instances.state.  The public status is derived: an instance
 * that is ready or waiting is Pending before its first turn and Running
 * afterwards.
 *
 *	Ready		a worker has something to do: a turn, or an activity in between
 *	Waiting		for a message or a timer
 *
 *	Ready <-> Waiting <-> Suspended;  each of them -> Completed | Failed |
 *	Terminated;  Failed -> Ready by rewind.
 */
typedef enum InstanceState
{
	STATE_READY = 'R',
	STATE_WAITING = 'W',
	STATE_SUSPENDED = 'S',
	STATE_COMPLETED = 'C',
	STATE_FAILED = 'F',
	STATE_TERMINATED = 'T'
} InstanceState;

#define STATES_LIVE		"RWS"
#define STATES_ENDED	"CFT"
#define STATES_ALL		STATES_LIVE STATES_ENDED

#define STATE_IS_TERMINAL(s) \
	((s) == STATE_COMPLETED || (s) == STATE_FAILED || (s) == STATE_TERMINATED)

/* history.event: the numbers are stored on disk and never change; history_rows.c has the names */
typedef enum EventType
{
	EVENT_EXECUTION_STARTED = 1,
	EVENT_TASK_SCHEDULED = 2,
	EVENT_TASK_COMPLETED = 3,
	EVENT_TASK_FAILED = 4,
	EVENT_TASK_RETRIED = 5,
	EVENT_CHILD_CREATED = 6,
	EVENT_CHILD_COMPLETED = 7,
	EVENT_CHILD_FAILED = 8,
	EVENT_TIMER_CREATED = 9,
	EVENT_TIMER_FIRED = 10,
	EVENT_TIMER_CANCELED = 11,
	EVENT_EVENT_SUBSCRIBED = 12,
	EVENT_EVENT_RAISED = 13,
	EVENT_EVENT_SENT = 14,
	EVENT_CUSTOM_STATUS_SET = 15,
	EVENT_CONTINUE_AS_NEW = 16,
	EVENT_EXECUTION_SUSPENDED = 17,
	EVENT_EXECUTION_RESUMED = 18,
	EVENT_EXECUTION_REWOUND = 19,
	EVENT_EXECUTION_TERMINATED = 20,
	EVENT_EXECUTION_COMPLETED = 21,
	EVENT_EXECUTION_FAILED = 22,
	EVENT_TASK_CANCELED = 23
} EventType;

#define EVENT_TYPE_LAST EVENT_TASK_CANCELED

/* messages.kind: the numbers are stored on disk and never change */
typedef enum MessageKind
{
	MESSAGE_TASK_COMPLETED = 1, /* the result of a queued activity */
	MESSAGE_TASK_FAILED = 2,	/* the failure of a queued activity */
	MESSAGE_CHILD_COMPLETED = 3,
	MESSAGE_CHILD_FAILED = 4,
	MESSAGE_EVENT = 5,			/* raise_event, send_event */
	MESSAGE_TERMINATE = 6,
	MESSAGE_SUSPEND = 7,
	MESSAGE_RESUME = 8,
	MESSAGE_CUSTOM_STATUS = 9,	/* an operator's set_custom_status */
	MESSAGE_REWIND = 10,
	MESSAGE_TASK_PUT_OFF = 11,	/* a queued activity met an obstacle that may pass */
	MESSAGE_WORKER_LOST = 12,	/* a worker died while it ran a turn (task_id 0) or an activity of a turn */
	MESSAGE_TURN_OVERDUE = 13	/* a worker ended itself because a turn ignored its timeout */
} MessageKind;

/* make room for one more element in an array, which is NULL as long as it is empty */
static inline void *
grow(MemoryContext context, void *array, int count, int *size, Size width)
{
	if (count < *size)
		return array;
	*size = Max(8, *size * 2);
	return array == NULL ? MemoryContextAllocHuge(context, *size * width) : repalloc_huge(array, *size * width);
}

/* timers.task_id of a turn that will be run again; 0 is the delayed start of the instance */
#define TURN_TIMER (-1)

#endif
