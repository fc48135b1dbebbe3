/*
 * notify.c
 *	  Lifecycle events for any client that listens.
 *
 * An event is a NOTIFY of the transaction that changes the status: it goes out
 * if that commits, and costs nothing unless durable.notify asks, as a commit
 * with a NOTIFY takes a lock of the whole server.
 *
 * A listener that does not read fills the server's notification queue, and
 * when that is full every commit with a NOTIFY fails.  So that this neither
 * stops the engine nor a client that starts an instance, events are dropped,
 * and the log says so, while the queue is filled to a part of its size
 * (durable.notify_queue_limit).  What the transaction at hand has added is not
 * in the queue yet and is counted here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"

#include "notify.h"
#include "settings.h"

#define CHANNEL				"durable"
#define PAYLOAD_LIMIT		7999	/* what Async_Notify takes */
#define NAME_LIMIT			512		/* bytes of a function's name */
#define QUEUE_PAGES			1048576 /* where max_notify_queue_pages does not exist */
#define WARNING_INTERVAL	(60 * USECS_PER_SEC)

/* bytes of an entry in the queue besides its payload, and rounding */
#define ENTRY_OVERHEAD		40

/* of the transaction that began at this time */
static TimestampTz transaction_start = 0;
static double queue_used;		/* when it looked, as a part of the whole */
static Size queue_added;		/* bytes */

static TimestampTz last_warning = 0;
static int64 dropped = 0;		/* since then */

/* Size of the queue in bytes. */
static double
queue_size(void)
{
	const char *pages = GetConfigOption("max_notify_queue_pages", true, false);

	return (pages ? strtod(pages, NULL) : QUEUE_PAGES) * BLCKSZ;
}

/* Whether another event of this size may go into the queue. */
static bool
queue_has_room(Size size)
{
	if (transaction_start != GetCurrentTransactionStartTimestamp())
	{
		LOCAL_FCINFO(fcinfo, 0);

		InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
		queue_used = DatumGetFloat8(pg_notification_queue_usage(fcinfo));
		queue_added = 0;
		transaction_start = GetCurrentTransactionStartTimestamp();
	}
	if (queue_used + (queue_added + size) / queue_size() > durable_notify_queue_limit)
		return false;
	queue_added += size;
	return true;
}

/* Count an event that is not sent, and say so from time to time. */
static void
drop(void)
{
	TimestampTz now = GetCurrentTimestamp();

	dropped++;
	if (now < last_warning + WARNING_INTERVAL)
		return;
	/* a client has not asked for this */
	ereport(compat_is_background_worker() ? WARNING : LOG,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg_plural("durable dropped %lld lifecycle event because the notification queue is too full",
						   "durable dropped %lld lifecycle events because the notification queue is too full",
						   (unsigned long) dropped, (long long) dropped),
			 errdetail("A session that listens does not read, perhaps as it is in a long transaction."),
			 errhint("End that session, or set durable.notify to none or terminal.")));
	last_warning = now;
	dropped = 0;
}

/* Append a string member, with at most this many bytes of the value, or null. */
static void
append_member(StringInfo json, const char *name, const char *value, int limit)
{
	appendStringInfo(json, "%s\"%s\": ", json->len > 1 ? ", " : "", name);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, pnstrdup(value, pg_mbcliplen(value, strlen(value), limit)));
}

/* The payload with at most this many bytes of the reason. */
static char *
payload(const InstanceRow *row, RuntimeStatus status, const char *reason, TimestampTz time, int limit)
{
	StringInfoData json;
	char		time_text[MAXDATELEN + 1];

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	JsonEncodeDateTime(time_text, TimestampTzGetDatum(time), TIMESTAMPTZOID, NULL);
	append_member(&json, "instanceId", row->instance_id, PAYLOAD_LIMIT);
	append_member(&json, "name", row->name, NAME_LIMIT);
	append_member(&json, "runtimeStatus", status_name(status), PAYLOAD_LIMIT);
	append_member(&json, "reason", reason, limit);
	append_member(&json, "time", time_text, PAYLOAD_LIMIT);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* An instance has come to a status. */
void
notify_lifecycle(const InstanceRow *row, RuntimeStatus status, const char *reason, TimestampTz time)
{
	int			limit = PAYLOAD_LIMIT;
	char	   *text;

	if (durable_notify == NOTIFY_NONE ||
		(durable_notify == NOTIFY_TERMINAL && !(STATUS_BIT(status) & ~STATUS_LIVE)))
		return;
	/* characters that JSON escapes take more */
	do
	{
		text = payload(row, status, reason, time, limit);
		limit /= 2;
	} while (strlen(text) > PAYLOAD_LIMIT);
	if (queue_has_room(strlen(text) + ENTRY_OVERHEAD))
		Async_Notify(CHANNEL, text);
	else
		drop();
}

/* The status of an instance has changed to what the row says. */
void
notify_status(const InstanceRow *row, const char *reason, TimestampTz time)
{
	if (durable_notify != NOTIFY_NONE)
		notify_lifecycle(row, status_of(row), reason, time);
}
