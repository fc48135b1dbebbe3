/*
 * instance_rows.h
 *	  Rows of durable_internal.instances.
 */
#ifndef DURABLE_INSTANCE_ROWS_H
#define DURABLE_INSTANCE_ROWS_H

#include "store/store.h"

/* a time or a key of 0 stands for SQL null */
typedef struct InstanceRow
{
	int64		key;
	char	   *instance_id;
	pg_uuid_t	execution_id;
	char		state;
	Oid			owner;			/* InvalidOid: the role is absent */
	char	   *absent;			/* the absent text if the role is absent, see owner.h; else NULL */
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
	int			first_seq;		/* the history of the current execution begins after this */
	int			last_seq;		/* the last event of the history */
	int			turn_seq;		/* the last event that the last turn has seen */
	int			first_task;		/* number of the first task of the current execution */
	int			awaiting;		/* how many tasks must end before the next turn; 0: any event starts it; < 0: how often the turn was put off */
	int			deliveries;		/* workers that died while they ran it */
	Jsonb	   *custom_status;	/* or NULL */
	ItemPointerData tid;
	ItemPointerData root;		/* where indexes lead to find the row: tid, or an older version */
} InstanceRow;

typedef enum FetchResult
{
	FETCH_FOUND,
	FETCH_ABSENT,
	FETCH_LOCKED,				/* another transaction holds the row */
	FETCH_FOREIGN				/* the row belongs to another role */
} FetchResult;

extern FetchResult instance_claim(Store *store, int64 key, Oid owner, InstanceRow *row);
extern FetchResult instance_lock(Store *store, int64 key, bool wait, InstanceRow *row);
extern bool instance_get(Store *store, int64 key, InstanceRow *row);
/* read the live parent that waits for the end of the instance; false if there is none */
extern bool instance_get_waiting_parent(Store *store, const InstanceRow *row, InstanceRow *parent);
extern bool instance_owner(Store *store, int64 key, Oid *owner);
/* whether a transaction that has not ended, other than this one, has written a row with the id */
extern bool instance_id_is_held(Store *store, const char *instance_id);
extern bool instance_find(Store *store, const char *instance_id, InstanceRow *row);
extern void instance_insert(Store *store, const InstanceRow *row);
extern void instance_update(Store *store, InstanceRow *row);
extern void instance_delete(Store *store, const InstanceRow *row);
/*
 * call back for each ready instance whose role is not absent, owner by owner;
 * false: skip the rest of the owner
 */
extern void instances_ready(Store *store, bool (*callback) (const InstanceRow *row, void *arg),
							void *arg);
/* replace the owner with the next one among the instances of a state; false if there is none */
extern bool instances_next_owner(Store *store, char state, Datum *owner);
/*
 * the number of instances of an owner in these states, at most max; keys: an
 * array for their sorted keys, or NULL
 */
extern int64 instances_of(Store *store, const char *states, Datum owner, int64 max, int64 *keys);
/* give the instances of an owner to a role, at most max, in any state; returns how many it got */
extern int64 instances_move(Store *store, Datum owner, Oid role, int64 max, bool wait);
/* keys of the children, as a List of palloc'd int64 */
extern List *instance_children(Store *store, int64 parent_key);

/* the next key or message id, larger than all before */
extern int64 store_number(Store *store);

/* columns in the order of CREATE TABLE, counted from 0 */
enum
{
	COL_KEY, COL_INSTANCE_ID, COL_EXECUTION_ID, COL_STATE, COL_OWNER, COL_NAME,
	COL_FUNCTION, COL_VERSION, COL_SEARCH_PATH, COL_TAGS, COL_CREATED, COL_UPDATED,
	COL_COMPLETED, COL_SCHEDULED, COL_STARTED, COL_PARENT_KEY, COL_PARENT_TASK,
	COL_FIRST_SEQ, COL_LAST_SEQ, COL_TURN_SEQ, COL_FIRST_TASK, COL_AWAITING, COL_DELIVERIES, COL_CUSTOM_STATUS
};

/* the row as a value of the table's row type, for SQL */
extern Datum instance_datum(Table *table, const InstanceRow *row);

#endif
