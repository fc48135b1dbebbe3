/*
 * inbox_rows.h
 *	  Rows of durable_internal.messages: what instances have yet to take in.
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
/* the messages of an instance in order, deleted */
extern List *messages_take(Store *store, int64 key);
/* the same without reading them */
extern void messages_delete(Store *store, int64 key);
/* the largest id of a message of any instance */
extern int64 messages_largest_id(Store *store);
/* how many there are, up to a maximum, with those of transactions that have not ended */
extern int64 messages_count(Store *store, int64 key, int64 max);

/* a scan for the scheduler; the callback returns false to stop, and then the next scan is to begin with the key returned */
extern int64 messages_scan(Store *store, int64 from, bool (*callback) (int64 key, void *arg), void *arg);

/* delete at most so many rows of each of these tables that belong to an instance which does not exist; false if there may be more */
extern bool queue_remove_orphans(Store *store, int64 key, int64 max);

#endif
