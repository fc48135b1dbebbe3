/*
 * lifecycle_notify.c
 *	  Lifecycle events: a NOTIFY when the status of an instance changes.
 *
 * The transaction that changes the status makes the NOTIFY, so the event goes out
 * when that transaction commits.  durable.notify chooses the events, because a
 * commit with a NOTIFY takes a lock of the whole server.
 *
 * A session that listens and does not read fills the server's notification queue.
 * When the queue is full, every commit with a NOTIFY fails, also those of the
 * engine and of clients that start instances.  So events are dropped, with a
 * message in the log, while the used part of the queue is above
 * durable.notify_queue_limit.  The events of the current transaction are not in
 * the queue yet and are counted here.
 *
 * PostgreSQL has no privileges for LISTEN.  With durable.notify_channel = owner,
 * the channel of an owner has a name that other users cannot guess: a keyed hash of
 * the owner's OID.  CREATE EXTENSION makes the key and stores it in a table that
 * users cannot read and dumps do not contain.  Without a key (before ALTER
 * EXTENSION UPDATE) no events are sent.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/call_context.h"
#include "common/guc.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "engine/lifecycle_notify.h"
#include "store/instance_rows.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"


#define CHANNEL				"durable"
#define CHANNEL_BYTES		16		/* of the hash, in the name of an owner's channel */
#define PAYLOAD_LIMIT		7999	/* the longest that Async_Notify accepts */
#define NAME_LIMIT			512		/* bytes of a function's name */
#define QUEUE_PAGES			1048576 /* where max_notify_queue_pages does not exist */
#define WARNING_INTERVAL	(60 * USECS_PER_SEC)

/* bytes of an entry in the queue besides its payload, and rounding */
#define ENTRY_OVERHEAD		40

/* the queue as the transaction that began at transaction_start knows it */
static TimestampTz transaction_start = 0;
static double queue_used;		/* used part of the queue at the first event */
static Size queue_added;		/* bytes of the transaction's events */

/* the owner channel that was used last; owner InvalidOid: none, or the key has changed */
static Oid	channel_owner = InvalidOid;
static char channel_name[NAMEDATALEN];
static Oid	secret_relid = InvalidOid;

static TimestampTz last_warning = 0;
static int64 dropped = 0;		/* events dropped since the last warning */

/* Size of the queue in bytes. */
static double
queue_size(void)
{
	const char *pages = GetConfigOption("max_notify_queue_pages", true, false);

	return (pages ? strtod(pages, NULL) : QUEUE_PAGES) * BLCKSZ;
}

/* Whether the queue has room for another event of this size. */
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

/* Count an event that is not sent, and log the count at most once in WARNING_INTERVAL. */
static void
drop(void)
{
	TimestampTz now = GetCurrentTimestamp();

	dropped++;
	if (now < last_warning + WARNING_INTERVAL)
		return;
	/* a client does not get a warning about sessions of others */
	ereport(compat_is_background_worker() ? WARNING : LOG,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg_plural("durable dropped %lld lifecycle event because the notification queue is too full",
						   "durable dropped %lld lifecycle events because the notification queue is too full",
						   (unsigned long) dropped, (long long) dropped),
			 errdetail("A session that listens does not read, perhaps because it is in a long transaction."),
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

/* Relation cache callback: the key may have changed. */
static void
forget_channel(Datum arg, Oid relid)
{
	if (relid == secret_relid || relid == InvalidOid)
		channel_owner = InvalidOid;
}

/* The key of the hash, NULL if there is none. */
static bytea *
read_secret(void)
{
	static bool registered = false;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bytea	   *secret = NULL;

	if (!registered)
		CacheRegisterRelcacheCallback(forget_channel, (Datum) 0);
	registered = true;
	secret_relid = get_relname_relid("notify_secret", get_namespace_oid(DURABLE_INTERNAL_SCHEMA, false));
	if (!OidIsValid(secret_relid))
		return NULL;
	rel = table_open(secret_relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull);

		if (!isnull)
			secret = DatumGetByteaPCopy(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return secret;
}

/* The channel of a role's instances, NULL if there is none. */
static const char *
owner_channel(Oid owner)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint32		number = pg_hton32(owner);
	bytea	   *secret;
	pg_hmac_ctx *hmac;
	char	   *end = channel_name + strlen(CHANNEL "_");

	if (channel_owner == owner)
		return channel_name;
	secret = read_secret();
	if (secret == NULL)
		return NULL;
	hmac = pg_hmac_create(PG_SHA256);
	if (pg_hmac_init(hmac, (uint8 *) VARDATA(secret), VARSIZE(secret) - VARHDRSZ) < 0 ||
		pg_hmac_update(hmac, (uint8 *) &number, sizeof(number)) < 0 ||
		pg_hmac_final(hmac, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the name of a channel");
	pg_hmac_free(hmac);
	pfree(secret);
	strcpy(channel_name, CHANNEL "_");
	end[hex_encode((const char *) digest, CHANNEL_BYTES, end)] = '\0';
	channel_owner = owner;
	return channel_name;
}

/* The channel for events of a role's instances; NULL if there is none, as for a role that does not exist. */
static const char *
channel_of(Oid owner)
{
	if (durable_notify_channel != NOTIFY_OWNER)
		return CHANNEL;
	return OidIsValid(owner) ? owner_channel(owner) : NULL;
}

PG_FUNCTION_INFO_V1(durable_get_notify_channel);

/* durable.notify_channel(role) */
Datum
durable_get_notify_channel(PG_FUNCTION_ARGS)
{
	Oid			role = PG_ARGISNULL(0) ? GetUserId() : PG_GETARG_OID(0);
	const char *channel;

	orchestrator_forbid("durable.notify_channel");
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	if (!is_member_of_role(GetUserId(), role) && !has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("you may not see the instances of role \"%s\"", GetUserNameFromId(role, false)),
				 errhint("Members of the role and of pg_monitor may.")));
	channel = channel_of(role);
	if (channel == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(channel));
}

/*
 * Send an event.  trace_notify is off, because it would show the channel to a client
 * that calls a SECURITY DEFINER function of the owner.
 */
static void
send_untraced(const char *channel, const char *text)
{
	bool		trace = Trace_notify;

	Trace_notify = false;
	PG_TRY();
	{
		Async_Notify(channel, text);
	}
	PG_FINALLY();
	{
		Trace_notify = trace;
	}
	PG_END_TRY();
}

/* Send an event about a status, if durable.notify asks for it. */
void
lifecycle_notify(const InstanceRow *row, RuntimeStatus status, const char *reason, TimestampTz time)
{
	int			limit = PAYLOAD_LIMIT;
	const char *channel;
	char	   *text;

	if (durable_notify == NOTIFY_NONE ||
		(durable_notify == NOTIFY_TERMINAL && !(STATUS_BIT(status) & ~STATUS_LIVE)))
		return;
	channel = channel_of(row->owner);
	if (channel == NULL)
		return;
	/* escaped characters may make the JSON text longer than the limit */
	do
	{
		text = payload(row, status, reason, time, limit);
		limit /= 2;
	} while (strlen(text) > PAYLOAD_LIMIT);
	if (queue_has_room(strlen(text) + ENTRY_OVERHEAD))
		send_untraced(channel, text);
	else
		drop();
}

/* Send an event about the status that the row has. */
void
lifecycle_notify_status(const InstanceRow *row, const char *reason, TimestampTz time)
{
	lifecycle_notify(row, status_of(row), reason, time);
}
