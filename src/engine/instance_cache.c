/*
 * instance_cache.c
 *	  The instances that a worker keeps in memory.
 *
 * A worker keeps the instances that it has run, so that its next transaction
 * with them reads only their rows.  An instance in memory is current if the
 * locked row has the same last_seq and execution_id, because every transaction
 * that changes the history also changes the row.  After a rollback the worker
 * forgets the instances of the transaction, whose memory may be ahead of the
 * tables.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/guc.h"
#include "common/jsonb_util.h"
#include "engine/history_decode.h"
#include "engine/instance_cache.h"
#include "shmem/stats.h"
#include "store/history_rows.h"

static HTAB *cache = NULL;
static dlist_head cache_order = DLIST_STATIC_INIT(cache_order);	/* least recently used first */
static MemoryContext cache_context = NULL;
static Size cache_size = 0;		/* sum of Instance.size of all instances */

/* Make the cache at the first use. */
static void
cache_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Instance)};

	if (cache != NULL)
		return;
	cache_context = AllocSetContextCreate(TopMemoryContext, "durable instances",
										  ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = cache_context;
	cache = hash_create("durable instances", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

Instance *
instance_cached(int64 key)
{
	return cache ? hash_search(cache, &key, HASH_FIND, NULL) : NULL;
}

/* Remove an instance from memory. */
void
instance_forget(int64 key)
{
	Instance   *instance = instance_cached(key);

	if (instance == NULL)
		return;
	cache_size -= instance->size;
	dlist_delete(&instance->link);
	MemoryContextDelete(instance->context);
	hash_search(cache, &key, HASH_REMOVE, NULL);
}

/* How many events this transaction has appended that the stored row does not count. */
int64
instance_unsaved_events(const InstanceRow *stored)
{
	Instance   *instance = instance_cached(stored->key);

	if (instance == NULL || !instance->dirty)
		return 0;
	return (instance->row.last_seq - instance->row.first_seq) - (stored->last_seq - stored->first_seq);
}

void
instance_trim_cache(void)
{
	Size		limit = (Size) durable_history_cache * 1024;

	while (!dlist_is_empty(&cache_order) && cache_size > limit)
		instance_forget(dlist_container(Instance, link, dlist_head_node(&cache_order))->key);
}

/* Copy a row into the instance's memory. */
static void
row_own(Instance *instance, const InstanceRow *row)
{
	MemoryContext context = instance->context;

	instance->row = *row;
	instance->row.instance_id = MemoryContextStrdup(context, row->instance_id);
	if (row->absent != NULL)
		instance->row.absent = MemoryContextStrdup(context, row->absent);
	instance->row.name = MemoryContextStrdup(context, row->name);
	instance->row.function = MemoryContextStrdup(context, row->function);
	if (row->version != NULL)
		instance->row.version = MemoryContextStrdup(context, row->version);
	instance->row.search_path = MemoryContextStrdup(context, row->search_path);
	instance->row.tags = jsonb_copy(context, row->tags);
	instance->row.custom_status = jsonb_copy(context, row->custom_status);
}

/* Read an instance into memory: decode the events that the row counts. */
Instance *
instance_cache_fill(WorkerTransaction *txn, const InstanceRow *row)
{
	Instance   *instance;
	MemoryContext context;
	MemoryContext old;
	ListCell   *cell;
	List	   *events;

	cache_init();
	context = AllocSetContextCreate(cache_context, "durable instance", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	instance = hash_search(cache, &row->key, HASH_ENTER, NULL);
	memset(&instance->link, 0, sizeof(Instance) - offsetof(Instance, link));
	instance->context = context;
	dlist_push_tail(&cache_order, &instance->link);
	row_own(instance, row);
	events = history_between(txn->store, row->key, row->first_seq + 1, PG_INT32_MAX);
	stats_count(STATS_LOADS, 1);
	stats_count(STATS_LOADED, list_length(events));
	foreach(cell, events)
		history_decode(instance, lfirst(cell));
	instance->put_aside = row->awaiting < 0;
	instance->open_timers += instance->put_aside;
	MemoryContextSwitchTo(old);
	return instance;
}

/* Use an instance in memory again, if its history is the one that the locked row counts. */
bool
instance_cache_renew(Instance *instance, const InstanceRow *row)
{
	if (instance->row.last_seq != row->last_seq ||
		memcmp(&instance->row.execution_id, &row->execution_id, sizeof(pg_uuid_t)) != 0)
		return false;
	/* columns that other transactions change without appending to the history */
	instance->row.tid = row->tid;
	instance->row.root = row->root;
	instance->row.state = row->state;
	instance->row.deliveries = row->deliveries;
	if (!jsonb_same(instance->row.custom_status, row->custom_status))
		instance->row.custom_status = jsonb_copy(instance->context, row->custom_status);
	dlist_delete(&instance->link);
	dlist_push_tail(&cache_order, &instance->link);
	return true;
}

/* Count the memory that an instance takes now. */
void
instance_cache_measure(Instance *instance)
{
	Size		size = MemoryContextMemAllocated(instance->context, true);

	/* measuring all instances each time would cost more than running them */
	cache_size += size - instance->size;
	instance->size = size;
}
