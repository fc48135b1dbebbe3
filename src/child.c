/*
 * child.c
 *	  Starting sub-orchestrations.
 *
 * A child is an instance of the same owner with the parent's search_path.  It
 * is made in the transaction that stores the parent's turn, inside a
 * subtransaction, since an unknown function or a taken id is a failure of the
 * task and not of the turn.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "common/cryptohash.h"
#include "common/sha1.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "call.h"
#include "child.h"
#include "create.h"
#include "json.h"
#include "retry.h"
#include "status.h"

/* What history keeps of a child's options. */
Jsonb *
child_options(const ChildOptions *options)
{
	static const char *const names[] = {"instance_id", "retry", "version", "tags", "detached"};
	Jsonb	   *values[5] = {0};
	Jsonb	   *retry = retry_options(options->retry, NULL);

	values[0] = jsonb_from_text(options->instance_id);
	values[1] = jsonb_member(retry, "retry");
	values[2] = jsonb_from_text(options->version);
	values[3] = options->tags;
	if (options->detached)
		values[4] = jsonb_from_integer(1);
	for (int i = 0; i < lengthof(values); i++)
		if (values[i] != NULL)
			return jsonb_from_members(lengthof(values), names, values);
	return NULL;
}

/* Whether nobody awaits the child: start_sub_orchestrator. */
bool
child_is_detached(const Task *task)
{
	return jsonb_member(task->options, "detached") != NULL;
}

/* 32 hex digits that depend on the parent's execution, the task and the attempt. */
static char *
derived_id(Instance *parent, Task *task, int attempt)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA1);
	uint8		digest[SHA1_DIGEST_LENGTH];
	uint32		numbers[2] = {pg_hton32(task->id), pg_hton32(attempt)};
	char	   *id = palloc(33);

	if (pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, parent->row.execution_id.data, UUID_LEN) < 0 ||
		pg_cryptohash_update(hash, (uint8 *) numbers, sizeof(numbers)) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA1 hash");
	pg_cryptohash_free(hash);
	hex_encode((const char *) digest, 16, id);
	id[32] = '\0';
	return id;
}

/* The id of the instance that runs an attempt of the task. */
char *
child_id(Instance *parent, Task *task, int attempt)
{
	char	   *chosen = jsonb_member_text(task->options, "instance_id");

	return chosen ? chosen : derived_id(parent, task, attempt);
}

/* The parent's tags with the task's own. */
static Jsonb *
merged_tags(Instance *parent, Task *task)
{
	Jsonb	   *own = create_check_tags(jsonb_member(task->options, "tags"));

	if (own == NULL || parent->row.tags == NULL)
		return own ? own : parent->row.tags;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(parent->row.tags),
											  JsonbPGetDatum(own)));
}

/* Make the instance; throws what stands in the way. */
static void
create(Round *round, Instance *parent, Task *task)
{
	Oid			function;
	char	   *version = jsonb_member_text(task->options, "version");
	CreateRequest request = {
		.instance_id = child_id(parent, task, task->attempt),
		.name = task->name,
		.version = version ? version : parent->row.version,
		.search_path = parent->row.search_path,
		.tags = merged_tags(parent, task),
		.input = task->input,
		.owner = parent->row.owner,
		.now = round->now,
		.parent_key = parent->row.key,
		.parent_id = parent->row.instance_id,
		.parent_task = child_is_detached(task) ? 0 : task->id,
		.dedupe = STATUS_LIVE
	};

	if (strcmp(namespace_search_path, parent->row.search_path) != 0)
		(void) set_config_option("search_path", parent->row.search_path, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	create_check_id(request.instance_id);
	function = function_lookup(task->name);
	function_check(function, parent->row.owner, task->input);
	request.function = function_signature(function);
	if (instance_create(round->store, &request) != CREATE_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_DURABLE_INSTANCE_EXISTS),
				 errmsg("instance \"%s\" exists already", request.instance_id)));
	store_flush(round->store);
}

/* Start the instance of a task's attempt. */
Jsonb *
child_start(Round *round, Instance *parent, Task *task)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile failure = NULL;

	/* what is buffered belongs to the outer transaction */
	store_flush(round->store);
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		int			nest_level = NewGUCNestLevel();

		create(round, parent, task);
		AtEOXact_GUC(false, nest_level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		store_discard(round->store);
		failure = failure_with_text(failure_from_error(error), "sub_orchestration", task->name);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return failure;
}
