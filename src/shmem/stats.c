/*
 * stats.c
 *	  Counters in shared memory: one set for each (database, role) and one for
 *	  each function.
 *
 * Both hash tables are guarded by the part's lock, which is taken once for each
 * batch.  If there is no room for another function, or a role has
 * ROLE_FUNCTIONS of them, the calls of further functions count under
 * OTHER_FUNCTIONS.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "common/call_context.h"
#include "shmem/shmem.h"
#include "shmem/stats.h"

#define MAX_ROLES		1024
#define MAX_FUNCTIONS	8192
#define ROLE_FUNCTIONS	512		/* entries of one role, at most */
#define MAX_PENDING		64		/* functions that are counted in one transaction */
#define NAME_SIZE		128
#define OTHER_FUNCTIONS "(others)"

typedef struct RoleStats
{
	RoleKey		key;			/* hash key, must be first */
	int			functions;		/* entries in functions */
	int64		counters[STATS_COUNTERS];
	int64		max_lateness;	/* microseconds */
	TimestampTz since;
} RoleStats;

typedef struct FunctionKey
{
	RoleKey		owner;
	StatsKind	kind;
	char		name[NAME_SIZE];	/* padded with zeros */
} FunctionKey;

typedef struct Calls
{
	int64		calls;
	int64		failures;
	int64		time;			/* nanoseconds */
	int64		max_time;
} Calls;

typedef struct FunctionStats
{
	FunctionKey key;			/* hash key, must be first */
	Calls		calls;
} FunctionStats;

static LWLock *lock = NULL;
static HTAB *roles = NULL;
static HTAB *functions = NULL;

/* counts of the current transaction */
static int64 counters[STATS_COUNTERS];
static int64 max_lateness;
static int	npending = 0;
static FunctionStats pending[MAX_PENDING];

PG_FUNCTION_INFO_V1(durable_role_stats);
PG_FUNCTION_INFO_V1(durable_function_stats);
PG_FUNCTION_INFO_V1(durable_reset_stats);

/* Bytes of shared memory that the counters take. */
static Size
stats_size(void)
{
	return add_size(hash_estimate_size(MAX_ROLES, sizeof(RoleStats)),
					hash_estimate_size(MAX_FUNCTIONS, sizeof(FunctionStats)));
}

static void
stats_init(LWLock *stats_lock)
{
	HASHCTL		role_ctl = {.keysize = sizeof(RoleKey), .entrysize = sizeof(RoleStats)};
	HASHCTL		function_ctl = {.keysize = sizeof(FunctionKey), .entrysize = sizeof(FunctionStats)};

	lock = stats_lock;
	roles = compat_shmem_init_hash("durable role stats", MAX_ROLES, &role_ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	functions = compat_shmem_init_hash("durable function stats", MAX_FUNCTIONS, &function_ctl,
									   HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

void
stats_register(void)
{
	shmem_add(stats_size, stats_init);
}

void
stats_count(StatsCounter counter, int64 by)
{
	counters[counter] += by;
}

/* Count a timer that was due. */
void
stats_timer(TimestampTz due, TimestampTz now)
{
	int64		lateness = Max(now - due, 0);

	counters[STATS_TIMERS]++;
	counters[STATS_LATENESS] += lateness;
	max_lateness = Max(max_lateness, lateness);
}

/* Add calls to the counts of a function. */
static void
add_calls(Calls *to, const Calls *calls)
{
	to->calls += calls->calls;
	to->failures += calls->failures;
	to->time += calls->time;
	to->max_time = Max(to->max_time, calls->max_time);
}

/* Add the counts of this transaction to a role and its functions.  The caller holds the lock. */
static void
add_pending(void)
{
	RoleKey		key = {.db = MyDatabaseId, .role = GetSessionUserId()};
	RoleStats  *role;
	bool		found;

	role = hash_search(roles, &key, HASH_ENTER_NULL, &found);
	if (role == NULL)
		return;
	if (!found)
	{
		memset((char *) role + sizeof(RoleKey), 0, sizeof(RoleStats) - sizeof(RoleKey));
		role->since = GetCurrentTimestamp();
	}
	for (int i = 0; i < STATS_COUNTERS; i++)
		role->counters[i] += counters[i];
	role->max_lateness = Max(role->max_lateness, max_lateness);
	for (int i = 0; i < npending; i++)
	{
		FunctionStats *function;

		function = hash_search(functions, &pending[i].key, HASH_FIND, &found);
		if (function == NULL && role->functions >= ROLE_FUNCTIONS)
			strncpy(pending[i].key.name, OTHER_FUNCTIONS, NAME_SIZE);
		if (function == NULL)
			function = hash_search(functions, &pending[i].key, HASH_ENTER_NULL, &found);
		if (function == NULL)
			continue;
		if (!found)
		{
			memset(&function->calls, 0, sizeof(Calls));
			role->functions++;
		}
		add_calls(&function->calls, &pending[i].calls);
	}
}

/* Reset the counts of this transaction. */
static void
clear_pending(void)
{
	memset(counters, 0, sizeof(counters));
	max_lateness = 0;
	npending = 0;
}

/*
 * Transaction callback.  A session that the commit wakes finds the work
 * counted; a rollback is counted with the next commit.
 */
static void
stats_at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && counters[STATS_BATCHES] > 0)
	{
		LWLockAcquire(lock, LW_EXCLUSIVE);
		add_pending();
		LWLockRelease(lock);
		clear_pending();
	}
	else if (event == XACT_EVENT_ABORT)
	{
		int64		rollbacks = counters[STATS_ROLLBACKS];

		clear_pending();
		counters[STATS_ROLLBACKS] = rollbacks + 1;
	}
}

/* Make the transactions of this process count. */
void
stats_begin(void)
{
	RegisterXactCallback(stats_at_transaction_end, NULL);
}

/* Count a call of a function that took this many nanoseconds. */
void
stats_call(StatsKind kind, const char *name, int64 time, bool failed)
{
	Calls		call = {.calls = 1, .failures = failed, .time = time, .max_time = time};
	FunctionKey key;
	int			i;

	memset(&key, 0, sizeof(key));
	key.owner.db = MyDatabaseId;
	key.owner.role = GetSessionUserId();
	key.kind = kind;
	memcpy(key.name, name, pg_mbcliplen(name, strlen(name), NAME_SIZE - 1));
	for (i = 0; i < npending; i++)
		if (memcmp(&pending[i].key, &key, sizeof(key)) == 0)
			break;
	if (i == MAX_PENDING)
		strncpy(pending[--i].key.name, OTHER_FUNCTIONS, NAME_SIZE);
	else if (i == npending)
	{
		npending++;
		pending[i].key = key;
		memset(&pending[i].calls, 0, sizeof(Calls));
	}
	add_calls(&pending[i].calls, &call);
}

void
stats_reset(Oid db)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shmem_forget(functions, db);
	shmem_forget(roles, db);
	LWLockRelease(lock);
}

/* durable_internal.reset_stats() */
Datum
durable_reset_stats(PG_FUNCTION_ARGS)
{
	shmem_require();
	orchestrator_forbid("durable.reset_stats");
	stats_reset(MyDatabaseId);
	PG_RETURN_VOID();
}

/* A time in milliseconds, the unit of statistics views. */
static Datum
milliseconds(double us)
{
	return Float8GetDatum(us / 1000.0);
}

/* Copies of a table's entries for this database, so that the caller makes rows without the lock. */
static char *
copy_entries(HTAB *table, long max, Size size, int *count)
{
	char	   *copies = palloc(max * size);
	HASH_SEQ_STATUS scan;
	RoleKey    *entry;

	*count = 0;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->db == MyDatabaseId)
			memcpy(copies + size * (*count)++, entry, size);
	LWLockRelease(lock);
	return copies;
}

/* durable_internal.role_stats(): the counters of each role in this database, in the order of StatsCounter */
Datum
durable_role_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	RoleStats  *copies;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (!shmem_available())
		return (Datum) 0;
	copies = (RoleStats *) copy_entries(roles, MAX_ROLES, sizeof(RoleStats), &count);
	for (RoleStats *role = copies; role < copies + count; role++)
	{
		Datum		values[STATS_COUNTERS + 3];
		bool		nulls[STATS_COUNTERS + 3] = {false};
		int			n = 0;

		values[n++] = ObjectIdGetDatum(role->key.role);
		for (int i = 0; i < STATS_COUNTERS; i++)
			values[n++] = i == STATS_LATENESS ? milliseconds(role->counters[i]) : Int64GetDatum(role->counters[i]);
		values[n++] = milliseconds(role->max_lateness);
		values[n++] = TimestampTzGetDatum(role->since);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* durable_internal.function_stats(): the calls of each function in this database */
Datum
durable_function_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	FunctionStats *copies;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (!shmem_available())
		return (Datum) 0;
	copies = (FunctionStats *) copy_entries(functions, MAX_FUNCTIONS, sizeof(FunctionStats), &count);
	for (FunctionStats *function = copies; function < copies + count; function++)
	{
		bool		nulls[7] = {false};
		Datum		values[] = {
			ObjectIdGetDatum(function->key.owner.role),
			CStringGetTextDatum(function->key.kind == STATS_ACTIVITY ? "activity" : "orchestrator"),
			CStringGetTextDatum(function->key.name),
			Int64GetDatum(function->calls.calls),
			Int64GetDatum(function->calls.failures),
			milliseconds(function->calls.time / 1000.0),
			milliseconds(function->calls.max_time / 1000.0)
		};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
