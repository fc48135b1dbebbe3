/*
 * function_durations.c
 *	  A table of mean durations in shared memory.
 *
 * The hash of a function selects its place.  If two functions have the same
 * place, the place belongs to the one that was called last, and the other one
 * counts as unknown until its next call.  There is no lock: each place is one
 * atomic number of 40 bits of the hash and 24 bits of the duration (17 seconds
 * at most, which is slow whatever durable.batch_time is).
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"

#include "common/guc.h"
#include "shmem/function_durations.h"
#include "shmem/shmem.h"

#define PLACES			8192
#define DURATION_BITS	24
#define DURATION_MAX	((UINT64CONST(1) << DURATION_BITS) - 1)

static pg_atomic_uint64 *places = NULL;

/* Bytes of shared memory that the table takes. */
static Size
function_durations_size(void)
{
	return PLACES * sizeof(pg_atomic_uint64);
}

static void
function_durations_init(LWLock *own_lock)
{
	bool		found;

	places = ShmemInitStruct("durable timings", function_durations_size(), &found);
	for (int i = 0; !found && i < PLACES; i++)
		pg_atomic_init_u64(&places[i], 0);
}

void
function_durations_register(void)
{
	shmem_add(function_durations_size, function_durations_init);
}

/* The place of a function, and the part of its hash that is stored there. */
static pg_atomic_uint64 *
place_of(const char *search_path, const char *name, uint64 *tag)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) name, strlen(name),
										   ((uint64) MyDatabaseId << 32) | GetSessionUserId());

	hash = hash_bytes_extended((const unsigned char *) search_path, strlen(search_path), hash);
	*tag = hash >> DURATION_BITS;
	return &places[hash % PLACES];
}

/* The mean duration of a function; -1: unknown. */
int64
duration_mean(const char *search_path, const char *name)
{
	uint64		tag;
	uint64		entry = pg_atomic_read_u64(place_of(search_path, name, &tag));

	if (entry == 0 || entry >> DURATION_BITS != tag)
		return -1;
	return entry & DURATION_MAX;
}

/* Whether a call that takes this many microseconds is quick. */
static bool
is_quick(int64 time)
{
	return time < durable_batch_time * 1000 / 4;
}

/* Whether a function is known to be slow. */
bool
duration_is_slow(const char *search_path, const char *name)
{
	int64		mean = duration_mean(search_path, name);

	return mean >= 0 && !is_quick(mean);
}

/*
 * Count a call that took this many microseconds; later calls weigh more.  An
 * interrupted call would have taken longer, so its time does not count as
 * quick.
 */
void
duration_add(const char *search_path, const char *name, int64 time, bool interrupted)
{
	uint64		tag;
	pg_atomic_uint64 *place = place_of(search_path, name, &tag);
	uint64		entry = pg_atomic_read_u64(place);
	uint64		duration = Min(time + 1, DURATION_MAX);

	if (interrupted && is_quick(time))
		return;
	if (entry != 0 && entry >> DURATION_BITS == tag)
		duration = ((entry & DURATION_MAX) * 3 + duration + 2) / 4;
	pg_atomic_write_u64(place, tag << DURATION_BITS | Max(duration, 1));
}

/* The function must run alone, however long it takes, since it does something that a rollback does not undo. */
void
duration_alone(const char *search_path, const char *name)
{
	uint64		tag;
	pg_atomic_uint64 *place = place_of(search_path, name, &tag);

	pg_atomic_write_u64(place, tag << DURATION_BITS | DURATION_MAX);
}

int64
duration_since_ns(instr_time start)
{
	instr_time	end;

	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	return (int64) (INSTR_TIME_GET_DOUBLE(end) * 1e9);
}
