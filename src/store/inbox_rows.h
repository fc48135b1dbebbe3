/*
 * inbox_rows.h
 *	  Rows of durable_internal.messages: the inboxes of instances.
 */
#ifndef DURABLE_INBOX_ROWS_H
#define DURABLE_INBOX_ROWS_H

#include "store/store.h"

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
/* read the messages of an instance in order, and delete them */
extern List *messages_take(Store *store, int64 key);
/* delete the messages of an instance without reading them */
extern void messages_delete(Store *store, int64 key);
/* the largest id of a message of any instance */
extern int64 messages_largest_id(Store *store);
/* the number of messages, at most max; those of transactions that may still commit count, too */
extern int64 messages_count(Store *store, int64 key, int64 max);

/*
 * A scan for the scheduler, from a key on.  The callback returns false to
 * stop; the result is the key with which the next scan begins, 0: the scan is
 * complete.
 */
extern int64 messages_scan(Store *store, int64 from, bool (*callback) (int64 key, void *arg), void *arg);

/*
 * delete rows of an instance that does not exist, at most max from each of the
 * tables messages, tasks and timers; false if there may be more
 */
extern bool queue_remove_orphans(Store *store, int64 key, int64 max);

#endif
