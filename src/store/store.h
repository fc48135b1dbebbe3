/*
 * store.h
 *	  The tables of the engine, row by row, through the table access layer.
 *
 * Neither SQL nor SPI: no plan to go wrong, no search_path, no user id to
 * switch, no trigger or policy between the engine and its rows.  A Store is
 * opened in a transaction with an active snapshot and closed before its end;
 * inserts are buffered and written together by store_flush; store_sync makes
 * them visible to scans too.  Rows read are
 * allocated in the current memory context.
 */
#ifndef DURABLE_STORE_H
#define DURABLE_STORE_H

#include "common/model.h"

#include "storage/itemptr.h"
#include "utils/snapshot.h"

typedef struct Store Store;

#define STORE_MISMATCH_HINT \
	"Run ALTER EXTENSION durable UPDATE; if that has been done, restart the server, so that it loads the new library."

extern Store *store_open(void);
/* with all tables open, so that nobody changes them before the transaction ends; NULL if they do not fit */
extern Store *store_open_all(void);
extern void store_flush(Store *store);
extern void store_sync(Store *store);
extern void store_discard(Store *store);
extern void store_close(Store *store);
/* what is read next is read as of one moment; NULL ends that */
extern void store_use_snapshot(Store *store, Snapshot snapshot);

/* a number larger than all before, for a key or a message id */
extern int64 store_number(Store *store);


/* instances; a time of 0 and a key of 0 are SQL null */
typedef struct InstanceRow
{
	int64		key;
	char	   *instance_id;
	pg_uuid_t	execution_id;
	char		state;
	Oid			owner;			/* InvalidOid: the role is absent */
	char	   *absent;			/* which one then, see owner.h; else NULL */
	char	   *name;
	char	   *function;
	char	   *version;		/* or NULL */
	char	   *search_path;
	Jsonb	   *tags;			/* or NULL */
	TimestampTz created_time;
	TimestampTz last_updated_time;
	TimestampTz completed_time;
	TimestampTz scheduled_start_time;
	TimestampTz started_time;
	int64		parent_key;
	int			parent_task;
	int			first_seq;		/* the history begins after it */
	int			last_seq;		/* of the history */
	int			turn_seq;		/* what the last turn has seen of it */
	int			first_task;		/* number of the execution's first task */
	int			awaiting;		/* ends of tasks before a turn makes sense; 0: any event; < 0: how often the turn was put aside */
	int			deliveries;		/* workers that died while running it */
	Jsonb	   *custom_status;	/* or NULL */
	ItemPointerData tid;
	ItemPointerData root;		/* where indexes lead for it: tid, or a version from before */
} InstanceRow;

typedef enum FetchResult
{
	FETCH_FOUND,
	FETCH_ABSENT,
	FETCH_LOCKED,				/* another transaction is changing the row */
	FETCH_FOREIGN				/* it is another role's */
} FetchResult;

extern FetchResult instance_claim(Store *store, int64 key, Oid owner, InstanceRow *row);
extern FetchResult instance_lock(Store *store, int64 key, bool wait, InstanceRow *row);
extern bool instance_get(Store *store, int64 key, InstanceRow *row);
/* the same of its live parent; false if there is none, or if that does not await its end */
extern bool instance_get_waiting_parent(Store *store, const InstanceRow *row, InstanceRow *parent);
extern bool instance_owner(Store *store, int64 key, Oid *owner);
/* whether a transaction that has not ended, other than this one, has written a row of the id */
extern bool instance_id_is_held(Store *store, const char *instance_id);
extern bool instance_find(Store *store, const char *instance_id, InstanceRow *row);
extern void instance_insert(Store *store, const InstanceRow *row);
extern void instance_update(Store *store, InstanceRow *row);
extern void instance_delete(Store *store, const InstanceRow *row);
/* calls back for each ready instance whose role is not absent, owner by owner, until it returns false for the owner */
extern void instances_ready(Store *store, bool (*callback) (const InstanceRow *row, void *arg),
							void *arg);
/* the owner that comes after the given one, which it replaces, among the instances of a state; false if there is none */
extern bool instances_next_owner(Store *store, char state, Datum *owner);
/* the instances of an owner in these states, at most max: how many, and their keys in order unless keys is NULL */
extern int64 instances_of(Store *store, const char *states, Datum owner, int64 max, int64 *keys);
/* give at most max instances of an owner to a role, in whatever state; returns how many it got */
extern int64 instances_move(Store *store, Datum owner, Oid role, int64 max, bool wait);
/* keys of the children, as a List of palloc'd int64 */
extern List *instance_children(Store *store, int64 parent_key);

/* history */
typedef struct HistoryRow
{
	int64		key;
	int			seq;
	int			event;			/* EventType */
	TimestampTz event_time;
	int			task_id;		/* 0: none */
	int			attempt;		/* 0: none */
	const char *name;			/* or NULL */
	Jsonb	   *input;			/* or NULL */
	Jsonb	   *result;			/* or NULL */
} HistoryRow;

extern void history_append(Store *store, const HistoryRow *row);
extern bool history_get(Store *store, int64 key, int seq, HistoryRow *row);
extern List *history_between(Store *store, int64 key, int first_seq, int last_seq);
/* the name in one event of a task, without its payloads, which may be large; NULL if there is none */
extern char *history_name(Store *store, int64 key, int seq, int task_id);
extern void history_delete(Store *store, int64 key, int after_seq);

/* messages */
typedef struct MessageRow
{
	int64		key;
	int64		id;
	int			kind;			/* MessageKind */
	TimestampTz time;
	int			task_id;
	int			attempt;
	const char *name;			/* or NULL */
	Jsonb	   *payload;		/* or NULL */
} MessageRow;

extern void message_send(Store *store, Oid owner, MessageRow *row);
/* the messages of an instance in order, deleted */
extern List *messages_take(Store *store, int64 key);
/* the same without reading them */
extern void messages_delete(Store *store, int64 key);
/* the largest id of a message of any instance */
extern int64 messages_largest_id(Store *store);
/* how many there are, up to a maximum, with those of transactions that have not ended */
extern int64 messages_count(Store *store, int64 key, int64 max);

/* queued activities */
typedef struct TaskRow
{
	int64		key;
	int			task_id;
	int			seq;
	int			attempt;
	int			deliveries;
	int			rewinds;		/* how often it was begun anew by a rewind */
	ItemPointerData tid;
} TaskRow;

extern void task_insert(Store *store, const TaskRow *row);
/* the rows low..high that no other worker has, locked */
extern List *tasks_lock(Store *store, int64 key, int low, int high);
/* the same, for who does not run them */
extern List *tasks_seize(Store *store, int64 key, int low, int high);
/* whether it is there, locked or not */
extern bool task_exists(Store *store, int64 key, int task_id);
extern void task_set_deliveries(Store *store, TaskRow *row, int deliveries);
extern void task_delete(Store *store, const TaskRow *row);
extern void tasks_delete(Store *store, int64 key);
/* how many are queued for a role, up to a maximum */
extern int64 tasks_count(Store *store, Oid role, int64 max);

/* timers; task_id 0 is the delayed start of the instance, TURN_TIMER a turn that is to be run again */
typedef struct TimerRow
{
	int			task_id;
	TimestampTz fire_at;
} TimerRow;

extern void timer_insert(Store *store, int64 key, int task_id, TimestampTz fire_at);
extern bool timer_cancel(Store *store, int64 key, int task_id);
extern List *timers_tasks(Store *store, int64 key);
extern void timers_delete(Store *store, int64 key);
/* delete at most so many rows of each of these tables that belong to an instance which does not exist; false if there may be more */
extern bool queue_remove_orphans(Store *store, int64 key, int64 max);
/* the due timers of an instance as TimerRows in order of time, deleted */
extern List *timers_take(Store *store, int64 key, TimestampTz now);

/* scans for the scheduler; callbacks return false to stop, and then the next one is to begin with the key returned */
extern int64 messages_scan(Store *store, int64 from, bool (*callback) (int64 key, void *arg), void *arg);
extern int64 tasks_scan(Store *store, int64 from, bool (*callback) (int64 key, int low, int high, void *arg), void *arg);
/* timers are in the order of time, those of one time in that of keys; fire_at 0: none */
typedef struct TimerPlace
{
	TimestampTz fire_at;
	int64		key;
} TimerPlace;

extern TimerPlace timers_scan(Store *store, TimerPlace from, TimestampTz until,
							  bool (*callback) (TimerPlace place, void *arg), void *arg);

#endif
