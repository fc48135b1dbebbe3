/*
 * quota.c
 *	  Quotas of roles, and how much of them is used; durable.max_payload.
 *
 * Each process keeps the rows of durable_internal.quotas in memory.  A trigger
 * on that table invalidates the relation cache entry, upon which each process
 * reads the rows again.
 *
 * The use of a role is the number of committed rows in the tables plus what
 * transactions have taken and not committed.  The latter, Use.open in shared
 * memory, is decreased when a transaction ends or a savepoint is rolled back.
 * A transaction that has taken something cannot be prepared, because no process
 * would decrease the number for it.  Counting rows is slow, so Use.bound is an
 * upper bound of the use, which each start increases and a count resets.  A
 * bound that is at most BOUND_AGE old and below the limit saves the count.  When
 * the hash table is full, the entries without uncommitted use are removed.
 *
 * Events in an instance's inbox count for its history.  Inbox.bound is an upper
 * bound of them in the same way.  Otherwise they are counted in the table, with
 * those of uncommitted transactions.
 *
 * shared_lock protects all of the shared memory here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "common/failure.h"
#include "common/hashfn.h"
#include "common/jsonb_util.h"
#include "common/payload_limit.h"
#include "engine/instance_cache.h"
#include "engine/quota.h"
#include "shmem/shmem.h"
#include "store/activity_rows.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"


#define COUNTED_KINDS	2		/* QUOTA_LIVE, QUOTA_PENDING */
/* rarely has a transaction uncommitted use of more than one role */
#define MAX_ROLES		(1024 + MaxBackends)
#define BOUND_AGE		(5 * USECS_PER_SEC)
#define MAX_RECOUNTS	10
#define INBOXES			1024

/* how much of its quotas a role uses, in shared memory */
typedef struct Use
{
	RoleKey		key;			/* hash key, must be first */
	int64		bound[COUNTED_KINDS];	/* upper bound of the use, uncommitted use included */
	int64		taken[COUNTED_KINDS];	/* how many were taken since the entry was made */
	int64		open[COUNTED_KINDS];	/* taken by transactions that have not ended */
	TimestampTz counted[COUNTED_KINDS]; /* when a count reset the bound */
} Use;

/* the inbox of an instance; another instance with the same hash takes over the entry */
typedef struct Inbox
{
	Oid			db;
	int64		key;
	int64		bound;			/* upper bound of the number of messages */
	int64		taken;			/* messages so far, for all instances with this hash */
} Inbox;

/* a row of durable_internal.quotas; -1: no limit */
typedef struct Quota
{
	Oid			role;			/* InvalidOid: the row for all roles that have none */
	int64		limits[QUOTA_KINDS];
} Quota;

/* what a subtransaction of the current transaction has taken */
typedef struct Taken
{
	RoleKey		key;
	SubTransactionId subid;
	int64		count[COUNTED_KINDS];
} Taken;

static HTAB *uses = NULL;
static Inbox *inboxes = NULL;

static Quota *quotas = NULL;
static int	nquotas = 0;
static int	quotas_size = 0;
static bool loaded = false;
static bool changed = false;	/* since load() began to read the rows */
static Oid	quotas_relid = InvalidOid;
static Taken *taken = NULL;
static int	ntaken = 0;
static int	taken_size = 0;

PG_FUNCTION_INFO_V1(durable_table_changed);

/* Bytes of shared memory. */
static Size
quota_shmem_size(void)
{
	return add_size(hash_estimate_size(MAX_ROLES, sizeof(Use)), INBOXES * sizeof(Inbox));
}

/* Make the shared memory at the start of the server. */
static void
quota_shmem_init(LWLock *own_lock)
{
	HASHCTL		ctl = {.keysize = sizeof(RoleKey), .entrysize = sizeof(Use)};
	bool		found;

	uses = compat_shmem_init_hash("durable quota uses", MAX_ROLES, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	inboxes = ShmemInitStruct("durable quota inboxes", INBOXES * sizeof(Inbox), &found);
	if (!found)
		memset(inboxes, 0, INBOXES * sizeof(Inbox));
}

/* Called when the library is loaded by the postmaster. */
void
quota_register(void)
{
	shmem_add(quota_shmem_size, quota_shmem_init);
}

/* Relation cache callback: the quotas must be read again. */
static void
relation_changed(Datum arg, Oid relid)
{
	if (relid != quotas_relid && relid != InvalidOid)
		return;
	loaded = false;
	changed = true;
}

/* Decrease the uncommitted use: the rows are committed now, or rolled back.  The caller holds shared_lock. */
static void
give_back(const Taken *gone)
{
	Use		   *use = hash_search(uses, &gone->key, HASH_FIND, NULL);

	for (int kind = 0; use != NULL && kind < COUNTED_KINDS; kind++)
		use->open[kind] -= gone->count[kind];
}

/* Transaction callback: all use is committed now, or rolled back. */
static void
quota_transaction_end(XactEvent event, void *arg)
{
	if (ntaken == 0)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot prepare a transaction that has started instances of a role with a quota of them"),
				 errhint("Use COMMIT, or have an administrator remove the quota with durable.set_quota.")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < ntaken; i++)
		give_back(&taken[i]);
	LWLockRelease(shared_lock);
	ntaken = 0;
}

/* Add what a subtransaction has taken to the entry of its parent, so that savepoints do not add entries. */
static void
hand_over(int i, SubTransactionId parent)
{
	for (int j = 0; j < ntaken; j++)
	{
		if (taken[j].subid != parent || memcmp(&taken[j].key, &taken[i].key, sizeof(RoleKey)) != 0)
			continue;
		for (int kind = 0; kind < COUNTED_KINDS; kind++)
			taken[j].count[kind] += taken[i].count[kind];
		taken[i] = taken[--ntaken];
		return;
	}
	taken[i].subid = parent;
}

/* Subtransaction callback: its use becomes its parent's, or is given back. */
static void
quota_subtransaction_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	for (int i = ntaken - 1; i >= 0; i--)
	{
		if (taken[i].subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			hand_over(i, parent);
		else if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			LWLockAcquire(shared_lock, LW_EXCLUSIVE);
			give_back(&taken[i]);
			LWLockRelease(shared_lock);
			taken[i] = taken[--ntaken];
		}
	}
}

/* Register the callbacks, once in a process. */
static void
register_quota_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	RegisterXactCallback(quota_transaction_end, NULL);
	RegisterSubXactCallback(quota_subtransaction_end, NULL);
	registered = true;
}

/* Remember a row of the table. */
static void
keep(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		owner = heap_getattr(tuple, 1, desc, &isnull);
	Quota	   *quota;

	/* a restored dump may name a role that does not exist */
	if (owner_absent(owner) != NULL)
		return;
	quotas = grow(TopMemoryContext, quotas, nquotas, &quotas_size, sizeof(Quota));
	quota = &quotas[nquotas++];
	quota->role = owner_role(owner);
	for (int kind = 0; kind < QUOTA_KINDS; kind++)
	{
		int64		limit = DatumGetInt64(heap_getattr(tuple, kind + 2, desc, &isnull));

		quota->limits[kind] = isnull ? -1 : limit;
	}
}

/* Read the table. */
static void
load(void)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	register_quota_callbacks();
	nquotas = 0;
	quotas_relid = get_relname_relid("quotas", get_namespace_oid(DURABLE_INTERNAL_SCHEMA, false));
	if (!OidIsValid(quotas_relid))
		return;					/* the extension is of an earlier version */
	rel = table_open(quotas_relid, AccessShareLock);
	/* an invalidation from here on makes the next call read the table again */
	changed = false;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		keep(tuple, RelationGetDescr(rel));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	loaded = !changed;
}

/* The limit of a role, -1 if it has none. */
static int64
limit_of(Oid role, QuotaKind kind)
{
	int64		others = -1;

	if (!loaded)
		load();
	for (int i = 0; i < nquotas; i++)
	{
		if (quotas[i].role == role)
			return quotas[i].limits[kind];
		if (quotas[i].role == InvalidOid)
			others = quotas[i].limits[kind];
	}
	return others;
}

bool
quota_is_set(Oid role, QuotaKind kind)
{
	return limit_of(role, kind) >= 0;
}

/* The failure that says which quota was exceeded. */
static Jsonb *
failure(Oid role, QuotaKind kind, int64 limit, int64 amount)
{
	static const char *const hints[] = {
		[QUOTA_LIVE] = "Wait until some of them have ended, or have an administrator raise it with durable.set_quota.",
		[QUOTA_PENDING] = "Schedule fewer activities at a time, or have an administrator raise it with durable.set_quota.",
		[QUOTA_PAYLOAD] = "Store large values in a table and pass their keys, or have an administrator raise it with durable.set_quota.",
		[QUOTA_HISTORY] = "Let the orchestrator use durable.continue_as_new or sub-orchestrations, or have an administrator raise it with durable.set_quota."
	};
	char	   *name = GetUserNameFromId(role, true);
	char	   *message = NULL;

	name = name ? name : psprintf("%u", role);
	switch (kind)
	{
		case QUOTA_LIVE:
			message = psprintf("role \"%s\" has its quota of " INT64_FORMAT " live instances", name, limit);
			break;
		case QUOTA_PENDING:
			message = psprintf("role \"%s\" has its quota of " INT64_FORMAT " pending activities", name, limit);
			break;
		case QUOTA_PAYLOAD:
			message = psprintf("a payload of " INT64_FORMAT " bytes exceeds the quota of role \"%s\", " INT64_FORMAT " bytes",
							   amount, name, limit);
			break;
		case QUOTA_HISTORY:
			message = psprintf("the history exceeds the quota of role \"%s\", " INT64_FORMAT " events", name, limit);
			break;
	}
	return failure_make(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, message, NULL, hints[kind]);
}

Jsonb *
quota_exceeded(Oid role, QuotaKind kind, int64 amount)
{
	int64		limit = limit_of(role, kind);

	return limit >= 0 && amount > limit ? failure(role, kind, limit, amount) : NULL;
}

Jsonb *
quota_payload(Oid role, const Jsonb *payload)
{
	int64		quota = limit_of(role, QUOTA_PAYLOAD);
	Jsonb	   *exceeded = payload_limit(payload);

	if (exceeded == NULL && quota >= 0 && payload_may_exceed(payload, quota))
		exceeded = quota_exceeded(role, QUOTA_PAYLOAD, Max(jsonb_text_size(payload), VARSIZE(payload)));
	return exceeded;
}

Jsonb *
quota_text(Oid role, const char *text)
{
	Jsonb	   *exceeded = text != NULL ? text_limit(text) : NULL;

	return exceeded == NULL && text != NULL ? quota_exceeded(role, QUOTA_PAYLOAD, strlen(text)) : exceeded;
}

/* How many of a kind the tables have of a role; counts up to limit + 1. */
static int64
count(Store *store, Oid role, QuotaKind kind, int64 limit)
{
	int64		result;

	store_sync(store);
	PushActiveSnapshot(GetLatestSnapshot());
	result = kind == QUOTA_LIVE ? instances_of(store, STATES_LIVE, owner_make(role, NULL), limit + 1, NULL) :
		tasks_count(store, role, limit + 1);
	PopActiveSnapshot();
	return result;
}

/* Count one for this subtransaction.  The caller holds shared_lock and has made room in taken, so nothing here throws. */
static void
remember(const RoleKey *key, QuotaKind kind)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	int			i = ntaken;

	while (i > 0 && (taken[i - 1].subid != subid || memcmp(&taken[i - 1].key, key, sizeof(RoleKey)) != 0))
		i--;
	if (i == 0)
	{
		memset(&taken[ntaken], 0, sizeof(Taken));
		taken[ntaken].key = *key;
		taken[ntaken].subid = subid;
		i = ++ntaken;
	}
	taken[i - 1].count[kind]++;
}

/* How many of a kind this transaction has taken. */
static int64
taken_here(const RoleKey *key, QuotaKind kind)
{
	int64		count = 0;

	for (int i = 0; i < ntaken; i++)
		if (memcmp(&taken[i].key, key, sizeof(RoleKey)) == 0)
			count += taken[i].count[kind];
	return count;
}

/* Remove the entries of roles without uncommitted use.  The caller holds shared_lock. */
static void
evict(void)
{
	HASH_SEQ_STATUS scan;
	Use		   *use;

	hash_seq_init(&scan, uses);
	while ((use = hash_seq_search(&scan)) != NULL)
	{
		/* a hash scan allows the removal of the entry that it returned last */
		if (use->open[QUOTA_LIVE] == 0 && use->open[QUOTA_PENDING] == 0)
			(void) hash_search(uses, &use->key, HASH_REMOVE, NULL);
	}
}

/* The entry of a role, made if there is none; NULL if too many roles have uncommitted use.  The caller holds shared_lock. */
static Use *
use_of(const RoleKey *key)
{
	bool		found;
	Use		   *use = hash_search(uses, key, HASH_ENTER_NULL, &found);

	if (use == NULL)
	{
		evict();
		use = hash_search(uses, key, HASH_ENTER_NULL, &found);
	}
	if (use != NULL && !found)
		memset((char *) use + sizeof(RoleKey), 0, sizeof(Use) - sizeof(RoleKey));
	return use;
}

/* The uncommitted use of a role by other transactions. */
static int64
taken_by_others(const RoleKey *key, QuotaKind kind)
{
	Use		   *use;
	int64		others = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	use = hash_search(uses, key, HASH_FIND, NULL);
	if (use != NULL)
		others = use->open[kind] - taken_here(key, kind);
	LWLockRelease(shared_lock);
	return others;
}

/*
 * The use of a role, with the uncommitted use of other transactions.  The latter
 * is read first, so that none is missed.  What is committed between both looks
 * is counted twice; if the total exceeds the limit, the count is repeated until
 * the uncommitted use has not changed.
 */
static int64
count_all(Store *store, const RoleKey *key, QuotaKind kind, int64 limit)
{
	int64		others = taken_by_others(key, kind);
	int64		total;

	for (int tries = 0;; tries++)
	{
		int64		before = others;

		/* the new activity is not stored yet */
		total = count(store, key->role, kind, limit) + others + (kind == QUOTA_PENDING);
		if (total <= limit || tries == MAX_RECOUNTS)
			return total;
		others = taken_by_others(key, kind);
		if (others == before)
			return total;
	}
}

/*
 * The transaction has stored an instance, or is about to store an activity: NULL,
 * or the failure if the role exceeds its quota with it.
 */
Jsonb *
quota_take(Store *store, Oid role, QuotaKind kind)
{
	RoleKey		key = {.db = MyDatabaseId, .role = role};
	int64		limit = limit_of(role, kind);
	int64		before = 0;
	int64		total;
	TimestampTz now;
	Use		   *use;
	bool		below = false;

	if (limit < 0 || !shmem_available())
		return NULL;
	/* remember() must not throw while the lock is held */
	taken = grow(TopMemoryContext, taken, ntaken, &taken_size, sizeof(Taken));
	now = GetCurrentTimestamp();
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	use = use_of(&key);
	if (use != NULL)
	{
		remember(&key, kind);
		use->open[kind]++;
		before = ++use->taken[kind];
		below = ++use->bound[kind] <= limit &&
			use->counted[kind] <= now && now - use->counted[kind] < BOUND_AGE;
	}
	LWLockRelease(shared_lock);
	if (below)
		return NULL;

	total = count_all(store, &key, kind, limit);
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	use = use_of(&key);
	if (use != NULL)
	{
		use->bound[kind] = total + use->taken[kind] - before;
		use->counted[kind] = now;
	}
	LWLockRelease(shared_lock);
	return total > limit ? failure(role, kind, limit, 0) : NULL;
}

/* The entry for an instance. */
static Inbox *
inbox_of(int64 key)
{
	return &inboxes[(hash_bytes((const unsigned char *) &key, sizeof(key)) ^ MyDatabaseId) % INBOXES];
}

/* Add a message to the bound; true if the bound is within the limit.  *ticket is for inbox_counted. */
static bool
inbox_take(int64 key, int64 room, int64 *ticket)
{
	Inbox	   *inbox = inbox_of(key);
	bool		fits;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (inbox->key != key || inbox->db != MyDatabaseId)
	{
		inbox->key = key;
		inbox->db = MyDatabaseId;
		inbox->bound = PG_INT64_MAX / 2;
	}
	fits = ++inbox->bound <= room;
	*ticket = ++inbox->taken;
	LWLockRelease(shared_lock);
	return fits;
}

/* Reset the bound to a count, plus the messages that came since inbox_take returned the ticket. */
static void
inbox_counted(int64 key, int64 count, int64 ticket)
{
	Inbox	   *inbox = inbox_of(key);

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (inbox->key == key && inbox->db == MyDatabaseId)
		inbox->bound = count + inbox->taken - ticket;
	LWLockRelease(shared_lock);
}

/* The events in an instance's history. */
static int64
history_length(const InstanceRow *row)
{
	return row->last_seq - row->first_seq;
}

/*
 * NULL, or the failure if the history of an instance and its inbox, with the
 * messages of uncommitted transactions, exceed the limit together.  The row is
 * read before the inbox, so that no event is counted twice.  If a worker has moved
 * messages into the history in between, the count is repeated.  Events that this
 * transaction has moved are in no table yet: instance_unsaved_events has them.
 */
static Jsonb *
inbox_exceeded(Store *store, const InstanceRow *row, int64 limit, int64 unstored, int64 ticket)
{
	InstanceRow now = *row;

	for (int tries = 0;; tries++)
	{
		InstanceRow before = now;
		int64		room = limit - history_length(&before);
		int64		count = messages_count(store, row->key, Max(room, 0) + 1) + unstored +
			instance_unsaved_events(&before);

		if (count > room)
			return failure(row->owner, QUOTA_HISTORY, limit, 0);
		if (tries == MAX_RECOUNTS || !instance_get(store, row->key, &now) ||
			(now.last_seq == before.last_seq && now.first_seq == before.first_seq))
		{
			inbox_counted(row->key, count, ticket);
			return NULL;
		}
	}
}

/* A message for an instance: NULL, or the failure if the owner's quota does not allow it. */
Jsonb *
quota_take_message(Store *store, const InstanceRow *row, int64 (*unstored) (int64 key))
{
	int64		limit = limit_of(row->owner, QUOTA_HISTORY);
	int64		ticket;

	if (limit < 0 || !shmem_available() || inbox_take(row->key, limit - history_length(row), &ticket))
		return NULL;
	return inbox_exceeded(store, row, limit, unstored != NULL ? unstored(row->key) : 0, ticket);
}

/* The transaction has put a message into an instance's inbox: an error if the owner's quota does not allow it. */
void
quota_check_message(Store *store, const InstanceRow *row)
{
	/* the message is in the table before it raises the bound, so that no concurrent count misses it */
	store_flush(store);
	failure_throw_any(quota_take_message(store, row, NULL));
}

/* durable_internal.table_changed(): trigger on tables that processes keep in memory */
Datum
durable_table_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("durable_internal.table_changed is a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	PG_RETURN_POINTER(NULL);
}
