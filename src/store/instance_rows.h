/*
 * instance_rows.h
 *	  Rows of durable_internal.instances.
 */
#ifndef DURABLE_INSTANCE_ROWS_H
#define DURABLE_INSTANCE_ROWS_H

#include "store/store.h"

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

/* a number larger than all before, for a key or a message id */
extern int64 store_number(Store *store);

/* columns, counted from 0, in the order of CREATE TABLE */
enum
{
	COL_KEY, COL_INSTANCE_ID, COL_EXECUTION_ID, COL_STATE, COL_OWNER, COL_NAME,
	COL_FUNCTION, COL_VERSION, COL_SEARCH_PATH, COL_TAGS, COL_CREATED, COL_UPDATED,
	COL_COMPLETED, COL_SCHEDULED, COL_STARTED, COL_PARENT_KEY, COL_PARENT_TASK,
	COL_FIRST_SEQ, COL_LAST_SEQ, COL_TURN_SEQ, COL_FIRST_TASK, COL_AWAITING, COL_DELIVERIES, COL_CUSTOM_STATUS
};

/* for SQL */
extern Datum instance_datum(Table *table, const InstanceRow *row);

#endif
