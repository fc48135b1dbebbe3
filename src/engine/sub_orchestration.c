/*
 * sub_orchestration.c
 *	  Sub-orchestrations: their options in history and their ids.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/jsonb_util.h"
#include "common/sha1.h"
#include "engine/retry_policy.h"
#include "engine/sub_orchestration.h"
#include "engine/turn.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

Jsonb *
sub_orchestration_options(const SubOrchestrationOptions *options)
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
	turn_check_parts(lengthof(values), values);
	for (int i = 0; i < lengthof(values); i++)
		if (values[i] != NULL)
			return jsonb_from_members(lengthof(values), names, values);
	return NULL;
}

/* Whether start_sub_orchestrator has started the child. */
bool
sub_orchestration_is_detached(const Task *task)
{
	return jsonb_member(task->options, "detached") != NULL;
}

/* The first UUID_LEN bytes of the SHA-1 hash of an execution's id and some numbers. */
void
execution_hash(const Instance *instance, const uint32 *numbers, int count, uint8 *result)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA1);
	uint8		digest[SHA1_DIGEST_LENGTH];
	bool		failed = pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, instance->row.execution_id.data, UUID_LEN) < 0;

	for (int i = 0; i < count; i++)
	{
		uint32		number = pg_hton32(numbers[i]);

		failed = failed || pg_cryptohash_update(hash, (uint8 *) &number, sizeof(number)) < 0;
	}
	if (failed || pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA1 hash");
	pg_cryptohash_free(hash);
	memcpy(result, digest, UUID_LEN);
}

/* 32 hexadecimal digits that depend on the parent's execution, the task and the attempt. */
static char *
derived_id(Instance *parent, Task *task, int attempt)
{
	uint8		digest[UUID_LEN];
	uint32		numbers[2] = {task->id, attempt};
	char	   *id = palloc0(2 * UUID_LEN + 1);

	execution_hash(parent, numbers, lengthof(numbers), digest);
	hex_encode((const char *) digest, UUID_LEN, id);
	return id;
}

char *
sub_orchestration_id(Instance *parent, Task *task, int attempt)
{
	char	   *chosen = jsonb_member_text(task->options, "instance_id");

	return chosen ? chosen : derived_id(parent, task, attempt);
}

void
sub_orchestration_note_start(Instance *parent, Task *task)
{
	task->start_due = true;
	parent->starts_due++;
}
