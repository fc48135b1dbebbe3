/*
 * owner_adoption.c
 *	  Instances whose owner does not exist, and durable.reassign_owner.
 *
 * The scheduler looks which owners the instances have: at its start, after a role
 * was created, renamed or dropped anywhere in the server, and every
 * durable.poll_interval.  A database without a scheduler gets one when a role was
 * dropped, and, if it has a missing owner, when a role was created or renamed.  A
 * look takes one step through the index instances_listing for each owner, however
 * many instances the owner has.
 *
 *	missing		the role did not exist when the instances were restored.  The owner
 *				has no OID, so no worker gets the instances.  As soon as a role
 *				with the owner's name exists, it gets them, MOVED_AT_ONCE in a
 *				transaction, including those that have ended.  Until then one line
 *				in the log for each name says how many instances wait.
 *	dropped		the role was dropped, here or before the dump.  Workers that still
 *				run as the role are ended, and its live instances fail, each in a
 *				transaction of its own.
 *
 * A look has to pass over dead rows that an old snapshot keeps; the pause after a
 * look limits looks to a twentieth of a core.
 *
 * Nothing here waits for another transaction: rows and tables that are locked are
 * left for the next look.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "common/extension.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/hashfn.h"
#include "common/log_text.h"
#include "engine/failure_log.h"
#include "engine/instance.h"
#include "engine/lifecycle.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "sched/worker_slots.h"
#include "shmem/shmem.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/store.h"
#include "worker/bgworkers.h"
#include "worker/owner_adoption.h"

#define MOVED_AT_ONCE	1000	/* rows that one transaction gives to another owner */
#define FAILED_AT_ONCE	64		/* instances that fail before the scheduler goes on with its loop */
#define FAILED_TIME_MS	100
#define LOOK_SHARE		20		/* the pause after a look, in durations of that look */
#define LOOK_PAUSE_MAX	(10 * USECS_PER_SEC)
#define FOUND_MAX		16384	/* instances of dropped roles that are remembered */

PG_FUNCTION_INFO_V1(durable_move_instances);

/* an instance of a dropped role, which will fail */
typedef struct Doomed
{
	Oid			role;			/* the role's former OID */
	int64		key;
} Doomed;

static bool requested = true;	/* a look is due, at look_at */
static TimestampTz look_at = 0;
static bool missing = false;	/* the last look found an instance, a quota or a schedule of a missing role */
static bool unsettled = false;	/* the last look found work, which a locked row may have held up */
static Doomed *doomed = NULL;	/* room for FOUND_MAX, in TopMemoryContext; NULL: none */
static int	ndoomed = 0;
static int	next_doomed = 0;	/* the first one that has not been tried */
static bool progress = false;	/* some of them have failed */
static List *logged = NIL;		/* names of missing roles that this process has logged, in TopMemoryContext */

void
owner_adoption_request(void)
{
	requested = true;
}

static bool
role_exists(Oid role)
{
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
}

/* Remember the live instances of a dropped role, as far as there is room. */
static void
remember_doomed(Store *store, Datum owner)
{
	int64	   *keys = palloc(FOUND_MAX * sizeof(int64));
	int64		count = instances_of(store, STATES_LIVE, owner, FOUND_MAX - ndoomed, keys);
	Oid			role = owner_role(owner);

	if (!OidIsValid(role))
		role = atooid(owner_dropped(owner_absent(owner)));
	if (doomed == NULL)
		doomed = MemoryContextAlloc(TopMemoryContext, FOUND_MAX * sizeof(Doomed));
	for (int64 i = 0; i < count; i++)
		doomed[ndoomed++] = (Doomed) {.role = role, .key = keys[i]};
	pfree(keys);
}

/* Log once for each name how many instances wait for the role. */
static void
log_missing_owner(Store *store, Datum owner, const char *name)
{
	int64		count;
	MemoryContext old;

	if (list_member(logged, makeString(unconstify(char *, name))))
		return;
	count = instances_of(store, STATES_LIVE, owner, PG_INT64_MAX, NULL);
	if (count == 0)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	logged = lappend(logged, makeString(pstrdup(name)));
	MemoryContextSwitchTo(old);
	ereport(LOG,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("durable cannot run instances in database %s: role %s does not exist",
					log_database(MyDatabaseId), log_text(name, LOG_NAME, true)),
			 errdetail_plural("%lld instance that has not ended waits for the role.",
							  "%lld instances that have not ended wait for the role.", count, (long long) count),
			 errhint("Create the role, or call durable.reassign_owner.")));
}

/*
 * Look at the owners of the instances in one state.  Returns true if a role has
 * more instances to get than one transaction may give it.  Missing owners of live
 * instances are added to *waiting.  Of ended instances only missing owners matter,
 * which come first in the index.
 */
static bool
look_at_state(Store *store, char state, bool live, List **waiting)
{
	Datum		owner = owner_make(InvalidOid, NULL);

	while (instances_next_owner(store, state, &owner))
	{
		Oid			role = owner_role(owner);
		char	   *absent = owner_absent(owner);
		const char *name = owner_missing(absent);
		Oid			found = owner_find(absent);

		CHECK_FOR_INTERRUPTS();
		if (!live && OidIsValid(role))
			break;
		missing |= name != NULL;
		unsettled |= OidIsValid(found);
		if (OidIsValid(found))
		{
			int64		moved = instances_move(store, owner, found, MOVED_AT_ONCE, false);

			/* if the name is missing once more, the log says so once more */
			logged = list_delete(logged, makeString(unconstify(char *, name)));
			if (moved > 0)
				wakeup_look();
			if (moved == MOVED_AT_ONCE)
				return true;
		}
		else if (name != NULL && live)
			*waiting = lappend(*waiting, DatumGetPointer(owner_make(InvalidOid, absent)));
		else if (name == NULL && live && ndoomed < FOUND_MAX && !role_exists(role))
		{
			unsettled = true;
			remember_doomed(store, owner);
		}
	}
	return false;
}

/* End the workers of dropped roles, which may hold instances of these roles. */
static void
end_workers_of_dropped(void)
{
	WorkerInfo	workers[DURABLE_WORKERS_LIMIT];
	int			count = worker_slot_list(workers);

	for (int i = 0; i < count; i++)
		if (workers[i].db == MyDatabaseId && workers[i].pid != 0 && !role_exists(workers[i].role))
			kill(workers[i].pid, SIGTERM);
}

/*
 * Log the missing roles that have waiting instances.  Shared memory has a checksum
 * of the names that were logged, so that the next scheduler does not repeat them;
 * a scheduler that finds another checksum logs all names.
 */
static void
log_missing_owners(Store *store, const List *waiting)
{
	List	   *names = NIL;
	uint32		sum = 0;
	ListCell   *cell;

	foreach(cell, waiting)
		names = list_append_unique(names, makeString((char *) owner_missing(owner_absent(PointerGetDatum(lfirst(cell))))));
	foreach(cell, names)
		sum ^= hash_bytes((const unsigned char *) strVal(lfirst(cell)), strlen(strVal(lfirst(cell))));
	if (database_note(MyDatabaseId, NOTE_WAITING, sum) == sum)
		return;
	foreach(cell, waiting)
		log_missing_owner(store, PointerGetDatum(lfirst(cell)), owner_missing(owner_absent(PointerGetDatum(lfirst(cell)))));
}

/* Look at all owners; true if a role has more instances to get. */
static bool
look_at_owners(void)
{
	Store	   *store;
	List	   *waiting = NIL;
	bool		more = false;

	bgworker_begin();
	end_workers_of_dropped();
	/* gives quotas and schedules to the roles that exist now */
	missing = extension_call("adopt_settings");
	unsettled = false;
	store = store_open();
	for (const char *state = STATES_ALL; *state != '\0' && !more; state++)
		more = look_at_state(store, *state, strchr(STATES_LIVE, *state) != NULL, &waiting);
	if (!more)
		log_missing_owners(store, waiting);
	store_close(store);
	bgworker_commit();
	return more;
}

/*
 * Fail an instance of a dropped role.  Its messages and queued activities stay, in
 * case durable.reassign_owner gives the instance to another role later.  Returns
 * false if another transaction has locked the row.
 */
static bool
fail_instance_of_dropped(Oid role, int64 key)
{
	WorkerTransaction txn = {.now = GetCurrentTimestamp()};
	InstanceRow row;
	FetchResult result;

	bgworker_begin();
	failure_log_begin();
	txn.store = store_open();
	ItemPointerSetInvalid(&row.root);
	result = instance_claim(txn.store, key, InvalidOid, &row);
	/* durable.reassign_owner may have given the instance to another role */
	if (result == FETCH_FOUND && !STATE_IS_TERMINAL(row.state) && !role_exists(row.owner))
		instance_fail_unread(&txn, &row,
							 failure_make(ERRCODE_UNDEFINED_OBJECT,
										  psprintf("the role with OID %u that owned the instance was dropped", role),
										  NULL, NULL));
	store_close(txn.store);
	bgworker_commit();
	failure_log_commit();
	return result != FETCH_LOCKED;
}

/*
 * Fail one instance.  An error is logged and does not keep the others: a restore
 * may not have inserted all rows of the instance yet.  The commit does not wait
 * for the disk, since the next scheduler repeats what a crash undoes.
 */
static void
fail_one(const Doomed *one)
{
	MemoryContext context = CurrentMemoryContext;
	int			commit = synchronous_commit;

	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	PG_TRY();
	{
		progress |= fail_instance_of_dropped(one->role, one->key);
	}
	PG_CATCH();
	{
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
	}
	PG_END_TRY();
	synchronous_commit = commit;
}

/*
 * Fail the next FAILED_AT_ONCE remembered instances, or fewer if that takes
 * longer than FAILED_TIME_MS: an instance may have many timers, which go with
 * the instance.  Returns true if there are more.
 */
static bool
fail_some(void)
{
	TimestampTz start = GetCurrentTimestamp();

	for (int i = 0; i < FAILED_AT_ONCE && next_doomed < ndoomed &&
		 !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), FAILED_TIME_MS); i++)
	{
		bgworker_handle_interrupts();
		fail_one(&doomed[next_doomed++]);
	}
	return next_doomed < ndoomed;
}

/* Forget the remembered instances; if there was no room for all, another look finds the rest. */
static void
doomed_done(void)
{
	requested |= ndoomed == FOUND_MAX && progress;
	if (doomed != NULL)
		pfree(doomed);
	doomed = NULL;
	ndoomed = next_doomed = 0;
	progress = false;
}

bool
owner_adoption_work(void)
{
	TimestampTz start;

	if (fail_some())
		return true;
	doomed_done();
	if (!requested)
		return false;
	start = GetCurrentTimestamp();
	/* the clock may have been set back */
	look_at = Min(look_at, start + LOOK_PAUSE_MAX);
	if (start < look_at)
		return true;
	requested = look_at_owners();
	if (requested || ndoomed > 0)
		return true;
	look_at = Min(LOOK_SHARE * (GetCurrentTimestamp() - start), LOOK_PAUSE_MAX) + GetCurrentTimestamp();
	return false;
}

bool
owner_adoption_settled(void)
{
	return !requested && !unsettled && doomed == NULL;
}

bool
owner_adoption_missing(void)
{
	return missing || !owner_adoption_settled();
}

/* durable_internal.move_instances(owner_name, role) */
Datum
durable_move_instances(PG_FUNCTION_ARGS)
{
	Oid			role = PG_GETARG_OID(1);
	Store	   *store = store_open();
	int64		moved = 0;
	ListCell   *cell;

	shmem_require();
	wakeup_look();
	foreach(cell, owner_values(text_to_cstring(PG_GETARG_TEXT_PP(0))))
	{
		Datum		owner = PointerGetDatum(lfirst(cell));

		if (owner_role(owner) != role)
			moved += instances_move(store, owner, role, PG_INT64_MAX, true);
	}
	store_close(store);
	CommandCounterIncrement();
	PG_RETURN_INT64(moved);
}
