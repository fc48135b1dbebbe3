/*
 * instance_create.c
 *	  Making instances: the row, its first event, and what wakes the engine.
 *
 * A generated id is unique, so the store inserts the row, buffered, like all
 * other rows.  With an id that a user chose, the unique index must decide between
 * concurrent sessions without an error, which would abort the transaction.  INSERT
 * ... ON CONFLICT does this, so such a row is inserted by SQL.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "common/call_context.h"
#include "common/failure.h"
#include "common/jsonb_util.h"
#include "engine/instance_create.h"
#include "engine/instance_delete.h"
#include "engine/lifecycle_notify.h"
#include "engine/quota.h"
#include "sched/commit_wakeup.h"
#include "sched/ready_queue.h"
#include "store/history_rows.h"
#include "store/instance_rows.h"
#include "store/runtime_status.h"
#include "store/table_access.h"
#include "store/timer_rows.h"

#define ID_LENGTH		256
/* ms; longer than a process holds a lock that is not held until the end of its transaction */
#define HELD_TIMEOUT	100

/* all names are qualified, so the search_path does not matter; $1 is a row of the table */
#define INSERT_QUERY \
	"INSERT INTO durable_internal.instances SELECT ($1::durable_internal.instances).* ON CONFLICT (instance_id) DO NOTHING"

static SPIPlanPtr insert_plan = NULL;
static Oid	insert_type;		/* row type of the table for which the plan was made; DROP and CREATE EXTENSION change it */

/* Error unless a user may choose this id. */
void
create_check_id(const char *instance_id)
{
	int			length = pg_mbstrlen(instance_id);
	const char *problem = NULL;

	if (length < 1 || length > ID_LENGTH)
		problem = "An id has 1 to 256 characters.";
	else if (instance_id[0] == '@')
		problem = "An id must not begin with \"@\".";
	else
		for (const char *p = instance_id; *p != '\0'; p++)
			if (strchr("/\\#?", *p) != NULL || (unsigned char) *p < ' ' || *p == 0x7f)
				problem = "An id must not contain \"/\", \"\\\", \"#\", \"?\" or control characters.";
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid instance id \"%s\"",
						pnstrdup(instance_id, pg_mbcharcliplen(instance_id, strlen(instance_id), 64))),
				 errdetail("%s", problem),
				 errhint("Choose another id, or none: then one is made.")));
}

/* The tags of a new instance, NULL for none; error unless they are an object. */
Jsonb *
create_check_tags(Jsonb *tags)
{
	if (tags == NULL)
		return NULL;
	if (!JB_ROOT_IS_OBJECT(tags))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tags must be a JSON object")));
	return JB_ROOT_COUNT(tags) == 0 ? NULL : tags;
}

/* Eight random bytes.  pg_strong_random is slow, so one call makes 64 times as many. */
static void
random_bytes(unsigned char *bytes)
{
	static unsigned char pool[64][8];
	static int	unused = 0;

	if (unused == 0 && !pg_strong_random(pool, sizeof(pool)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	unused = unused == 0 ? lengthof(pool) - 1 : unused - 1;
	memcpy(bytes, pool[unused], sizeof(pool[unused]));
}

/* A time-ordered UUID: 60 bits of time, 62 random bits. */
pg_uuid_t
create_uuid(void)
{
	static int64 last = 0;
	int64		time = GetCurrentTimestamp() +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	int64		milliseconds;
	int			fraction;
	pg_uuid_t	uuid;

	/* a process makes no two in the same microsecond, so its UUIDs ascend */
	last = time = Max(time, last + 1);
	milliseconds = time / 1000;
	fraction = (time % 1000) * 4096 / 1000;
	random_bytes(uuid.data + 8);
	for (int i = 0; i < 6; i++)
		uuid.data[i] = milliseconds >> (40 - 8 * i);
	uuid.data[6] = 0x70 | (fraction >> 8);
	uuid.data[7] = fraction & 0xff;
	uuid.data[8] = 0x80 | (uuid.data[8] & 0x3f);
	return uuid;
}

/*
 * Generate the id of an instance: the 32 hexadecimal digits of a UUID.  This is
 * not the UUID of the execution, from which the ids of sub-orchestrations and the
 * results of new_guid are derived, because other users can learn the id.
 */
static char *
make_id(void)
{
	pg_uuid_t	uuid = create_uuid();
	char	   *result = palloc0(2 * UUID_LEN + 1);

	hex_encode((const char *) uuid.data, UUID_LEN, result);
	return result;
}

/* The row of a new instance, palloc'd because the store keeps pointers into the row until it is written. */
static InstanceRow *
new_row(Store *store, const CreateRequest *request)
{
	InstanceRow *row = palloc0(sizeof(InstanceRow));

	row->key = store_number(store);
	row->execution_id = create_uuid();
	row->instance_id = request->instance_id != NULL ?
		unconstify(char *, request->instance_id) : make_id();
	row->state = request->start_at > request->now ? STATE_WAITING : STATE_READY;
	row->owner = request->owner;
	row->name = unconstify(char *, request->name);
	row->function = unconstify(char *, request->function);
	row->version = unconstify(char *, request->version);
	row->search_path = unconstify(char *, request->search_path);
	row->tags = request->tags;
	row->created_time = row->last_updated_time = request->now;
	row->scheduled_start_time = request->start_at;
	row->parent_key = request->parent_key;
	row->parent_task = request->parent_task;
	row->last_seq = 1;
	row->first_task = 1;
	return row;
}

/* Run the INSERT as the current user; false if another instance has the id. */
static bool
run_insert(Table *table, const InstanceRow *row)
{
	Oid			type = table->rel->rd_rel->reltype;
	Datum		value = instance_datum(table, row);
	bool		inserted;

	SPI_connect();
	if (insert_plan != NULL && insert_type != type)
	{
		SPI_freeplan(insert_plan);
		insert_plan = NULL;
	}
	if (insert_plan == NULL)
	{
		/* generic: a custom plan contains the row, which debug_print_plan would show to the client of a SECURITY DEFINER function */
		SPIPlanPtr	plan = SPI_prepare_cursor(INSERT_QUERY, 1, &type, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL)
			elog(ERROR, "could not prepare the insertion of an instance: %s",
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		insert_plan = plan;
		insert_type = type;
	}
	if (SPI_execute_plan(insert_plan, &value, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert an instance");
	inserted = SPI_processed == 1;
	SPI_finish();
	return inserted;
}

/* Raise the error that another transaction holds the id. */
static void
report_held(const char *instance_id)
{
	/* an activity that fails with this error is postponed (activity.c) */
	if (current_activity != NULL)
		current_activity->obstructed = true;
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("the id \"%s\" is held by another transaction", instance_id),
			 errdetail("That transaction starts, changes or removes an instance of this id and has not ended.")));
}

/*
 * Insert the row unless another instance has the id.  This waits for a
 * transaction that has written a row with the id; with no_wait such a transaction
 * is an error (55P03).  One that writes the row after instance_id_is_held makes
 * the INSERT wait for HELD_TIMEOUT, which is long enough for short locks such as the
 * one for extending a table.  The INSERT runs as the owner of the table, as
 * foreign-key checks do, because clients have no privileges on the table.
 */
static bool
insert_unless_exists(Store *store, const InstanceRow *row, bool no_wait)
{
	Table	   *table = table_get(store, TABLE_INSTANCES);
	Oid			user;
	int			context;
	bool		inserted = false;
	int			lock_timeout = LockTimeout;
	MemoryContext memory = CurrentMemoryContext;

	if (no_wait && instance_id_is_held(store, row->instance_id))
		report_held(row->instance_id);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rel->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (no_wait)
		LockTimeout = HELD_TIMEOUT;
	PG_TRY();
	{
		inserted = run_insert(table, row);
	}
	PG_CATCH();
	{
		LockTimeout = lock_timeout;
		SetUserIdAndSecContext(user, context);
		if (!no_wait || geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		MemoryContextSwitchTo(memory);
		FlushErrorState();
		report_held(row->instance_id);
	}
	PG_END_TRY();
	LockTimeout = lock_timeout;
	SetUserIdAndSecContext(user, context);
	return inserted;
}

/* The result if the instance that has the id is kept.  A start of another role must not count it as its own. */
static CreateResult
kept(const InstanceRow *row, const CreateRequest *request)
{
	return row->owner == request->owner ? CREATE_EXISTS : CREATE_FOREIGN;
}

/*
 * Another instance has the id: delete that instance, unless it must be kept.
 * CREATE_DONE: it is gone, so the caller tries the INSERT again.  Uses the latest
 * snapshot, whatever the isolation level.
 */
static CreateResult
replace_instance(Store *store, const CreateRequest *request)
{
	InstanceRow row;
	CreateResult result = CREATE_DONE;
	FetchResult locked;

	PushActiveSnapshot(GetLatestSnapshot());
	if (instance_find(store, request->instance_id, &row))
	{
		if (!status_may_manage(&row))
			result = CREATE_FOREIGN;
		else if (request->dedupe & STATUS_BIT(status_of(&row)))
			result = kept(&row, request);
		else if (current_activity != NULL &&
				 strcmp(current_activity->instance_id, request->instance_id) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DURABLE_WRONG_STATUS),
					 errmsg("an activity cannot replace the instance that it belongs to"),
					 errhint("Use durable.continue_as_new in the orchestrator.")));
		else if ((locked = instance_lock(store, row.key, !request->no_wait, &row)) == FETCH_LOCKED)
			report_held(request->instance_id);
		else if (locked == FETCH_FOUND)
		{
			/* the row is the newest version already; other tables may have changed while this waited for the lock */
			PopActiveSnapshot();
			PushActiveSnapshot(GetLatestSnapshot());
			if (request->dedupe & STATUS_BIT(status_of(&row)))
				result = kept(&row, request);
			else if (instance_remove(store, &row, !request->no_wait, request->now) == 0)
				report_held(request->instance_id);
		}
	}
	PopActiveSnapshot();
	store_sync(store);
	return result;
}

CreateResult
instance_create(Store *store, CreateRequest *request)
{
	InstanceRow *row = new_row(store, request);
	HistoryRow	started = {
		.key = row->key,
		.seq = 1,
		.event = EVENT_EXECUTION_STARTED,
		.event_time = request->now,
		.name = request->name,
		.input = request->input,
		.result = jsonb_from_text(request->parent_id)
	};

	/* an activity runs in a worker's transaction, which must not wait for another one */
	request->no_wait |= current_activity != NULL;

	failure_throw_any(quota_payload(request->owner, request->input));
	failure_throw_any(quota_payload(request->owner, request->tags));
	failure_throw_any(quota_text(request->owner, request->version));
	failure_throw_any(quota_text(request->owner, request->name));
	failure_throw_any(quota_text(request->owner, request->search_path));
	if (request->instance_id == NULL)
		instance_insert(store, row);
	else
	{
		/* SQL and look-ups do not see what the store has buffered */
		store_sync(store);
		while (!insert_unless_exists(store, row, request->no_wait))
		{
			CreateResult result;

			CHECK_FOR_INTERRUPTS();
			result = replace_instance(store, request);
			if (result != CREATE_DONE)
				return result;
		}
	}
	failure_throw_any(quota_take(store, row->owner, QUOTA_LIVE));
	history_append(store, &started);
	if (row->state == STATE_WAITING)
		timer_insert(store, row->key, 0, row->scheduled_start_time);
	else
		wakeup_instance(row->owner, row->key, row->name, READY_RUN);
	lifecycle_notify_status(row, NULL, request->now);
	request->instance_id = row->instance_id;
	request->key = row->key;
	return CREATE_DONE;
}
