/*
 * owner_adoption.c
 *	  Instances whose owner does not exist, and durable.reassign_owner.
 *
 * The scheduler looks which owners the instances have: at its start, when any
 * role was created, renamed or dropped in the server, and every
 * durable.poll_interval.  Where no scheduler is, one comes when a role was
 * dropped, and for another one if some owner is missing.  For each owner that steps once through the index
 * instances_listing, however many instances the owner has.
 *
 * An owner that is *missing*, since the role did not exist when the instances
 * were restored, has no OID, so no worker gets its instances.  As soon as a role
 * has its name, the rows are given to that role: so many in one transaction, of
 * instances that have ended too.  Until then a line in the log says, once for
 * each name, how many wait.
 *
 * The live instances of a role that was *dropped*, here or before the dump, are
 * failed, each in a transaction of its own.  Workers that still run as the role
 * are ended first.
 *
 * A look has to pass over dead rows that an old snapshot keeps, so looks take no
 * more than a twentieth of a core.
 *
 * Nothing here waits for another transaction: a row, or a table, that somebody
 * has locked is left for the next look.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "common/extension.h"
#include "common/guc.h"
#include "common/hashfn.h"
#include "common/log_text.h"
#include "sched/commit_wakeup.h"
#include "sched/database_slots.h"
#include "sched/worker_slots.h"
#include "shmem/shmem.h"
#include "store/instance_rows.h"
#include "store/owner.h"
#include "store/store.h"
#include "worker/bgworkers.h"
#include "worker/owner_adoption.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"


#define MOVED_AT_ONCE	1000	/* rows that get another owner in one transaction */
#define FAILED_AT_ONCE	64		/* instances that fail before the scheduler does something else */
#define LOOK_SHARE		20		/* a look is followed by a pause of so many times what it took */
#define LOOK_PAUSE_MAX	(10 * USECS_PER_SEC)
#define FOUND_MAX		16384	/* instances to fail that are remembered */

PG_FUNCTION_INFO_V1(durable_move_instances);

/* an instance of a dropped role, to be failed */
typedef struct Doomed
{
	Oid			role;			/* as it was where the role existed */
	int64		key;
} Doomed;

static bool requested = true;
static bool missing = false;	/* the last look has seen something of a role that does not exist */
static bool unsettled = false;	/* it has found something to do, which may not be done as somebody has a row */
static TimestampTz look_at = 0; /* not before */
static Doomed *doomed = NULL;	/* has room for FOUND_MAX; NULL: none */
static int	ndoomed = 0;
static int	next_doomed = 0;	/* the first that has not been tried */
static bool progress = false;	/* some have been failed */
static List *told = NIL;		/* names that this process has told the log, in TopMemoryContext */

/* Have the owners looked at. */
void
adopt_request(void)
{
	requested = true;
}

/* Whether a role exists. */
static bool
role_exists(Oid role)
{
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
}

/* Remember the live instances of a dropped role, to fail them. */
static void
doom(Store *store, Datum owner)
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

/* Say in the log, once for each name, that instances wait for a role. */
static void
tell(Store *store, Datum owner, const char *name)
{
	int64		count;
	MemoryContext old;

	if (list_member(told, makeString(unconstify(char *, name))))
		return;
	count = instances_of(store, STATES_LIVE, owner, PG_INT64_MAX, NULL);
	if (count == 0)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	told = lappend(told, makeString(pstrdup(name)));
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
 * Look at the owners of instances in one state; true if some are left to be
 * given to a role.  Of those that have ended only absent owners matter, which
 * come first.  Missing owners of live ones are added to *waiting.
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

			/* if it is dropped and its name missed again, that is news */
			told = list_delete(told, makeString(unconstify(char *, name)));
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
			doom(store, owner);
		}
	}
	return false;
}

/* End the workers of roles that do not exist any more, which may hold their instances. */
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
 * Tell the log which missing roles have instances that wait.  Shared memory has a
 * sum of the names that the log has, so that the next scheduler does not repeat
 * them; where the names have changed it tells all of them.
 */
static void
tell_all(Store *store, const List *waiting)
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
		tell(store, PointerGetDatum(lfirst(cell)), owner_missing(owner_absent(PointerGetDatum(lfirst(cell)))));
}

/* Look at all owners; true if some instances are left to be given to a role. */
static bool
look(void)
{
	Store	   *store;
	List	   *waiting = NIL;
	bool		more = false;

	process_begin();
	end_workers_of_dropped();
	/* the quotas and schedules of missing roles that exist now */
	missing = extension_call("adopt_settings");
	unsettled = false;
	store = store_open();
	for (const char *state = STATES_ALL; *state != '\0' && !more; state++)
		more = look_at_state(store, *state, strchr(STATES_LIVE, *state) != NULL, &waiting);
	if (!more)
		tell_all(store, waiting);
	store_close(store);
	process_commit();
	return more;
}

/*
 * Fail one instance; one that cannot be loaded, such as one that is just being
 * restored, is not to keep the others.  Nothing waits for the disk, as whatever
 * a crash undoes is done again.
 */
static void
fail_one(bool (*fail) (Oid role, int64 key), const Doomed *one)
{
	MemoryContext context = CurrentMemoryContext;
	int			commit = synchronous_commit;

	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	PG_TRY();
	{
		progress |= fail(one->role, one->key);
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

/* Fail some of those that are to fail; true if there are more. */
static bool
fail_some(bool (*fail) (Oid role, int64 key))
{
	for (int i = 0; i < FAILED_AT_ONCE && next_doomed < ndoomed; i++)
	{
		process_handle_interrupts();
		fail_one(fail, &doomed[next_doomed++]);
	}
	return next_doomed < ndoomed;
}

/* Forget those that were to be failed; there may be more than there was room for. */
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

/* Do a part of what there is to be done. */
bool
adopt_work(bool (*fail) (Oid role, int64 key))
{
	TimestampTz start;

	if (fail_some(fail))
		return true;
	doomed_done();
	if (!requested)
		return false;
	start = GetCurrentTimestamp();
	/* the clock may have been set back */
	look_at = Min(look_at, start + LOOK_PAUSE_MAX);
	if (start < look_at)
		return true;
	requested = look();
	if (requested || ndoomed > 0)
		return true;
	look_at = Min(LOOK_SHARE * (GetCurrentTimestamp() - start), LOOK_PAUSE_MAX) + GetCurrentTimestamp();
	return false;
}

/* Whether nothing was left to the next look. */
bool
adopt_settled(void)
{
	return !requested && !unsettled && doomed == NULL;
}

/* Whether something in the database waits for a role to be created.  True as well while this process has not finished its look. */
bool
adopt_missing(void)
{
	return missing || !adopt_settled();
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
