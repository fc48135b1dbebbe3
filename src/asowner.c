/*
 * asowner.c
 *	  Doing something as another role in a session that may have more rights.
 *
 * A superuser may restart somebody's instance and check somebody's function.
 * Both reach code of that role: conditions of domains, and functions that the
 * planner calls.  This code runs here and nowhere else, under five rules:
 *
 * 1. It runs as that role, in a security-restricted operation: it cannot take
 *	  another role, nor leave temporary tables, prepared statements, cursors or
 *	  channels to listen to.
 * 2. It is read-only, and runs in a subtransaction that is always rolled back.
 *	  So settings, locks, notifications and triggers that wait for the end of
 *	  the transaction are gone afterwards, whether it succeeded or failed.
 * 3. Functions whose effect on the session no rollback takes back cannot be
 *	  called: advisory locks of the session, setseed(), descriptors of large
 *	  objects.
 * 4. Cursors of the session can be neither read nor closed.
 * 5. It runs within the caller's statement, so the caller's statement_timeout
 *	  and cancel requests apply.
 *
 * No lock is needed: all of this is the session's own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"

#include "asowner.h"

#define CURSORS_QUERY "SELECT c.name FROM pg_catalog.pg_cursor() c"

static object_access_hook_type next_hook = NULL;

/* calls of as_owner under way */
static int	depth = 0;

/* Whether a function changes the session for longer than the subtransaction lasts. */
static bool
outlasts_rollback(Oid function)
{
	switch (function)
	{
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_INT8:
		case F_PG_ADVISORY_UNLOCK_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT8:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_ALL:
		case F_SETSEED:
		case F_LO_OPEN:
		case F_LO_CLOSE:
		case F_LOREAD:
		case F_LOWRITE:
		case F_LO_LSEEK:
		case F_LO_LSEEK64:
		case F_LO_TELL:
		case F_LO_TELL64:
		case F_LO_TRUNCATE:
		case F_LO_TRUNCATE64:
			return true;
		default:
			return false;
	}
}

/* Hook: refuse such a function while code runs as another role. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_hook != NULL)
		next_hook(access, class_id, object_id, sub_id, arg);
	if (depth > 0 && access == OAT_FUNCTION_EXECUTE && outlasts_rollback(object_id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot execute function %s while durable checks code of another role",
						get_func_name(object_id))));
}

/* Install the hook; each process that loads the library does so once. */
void
asowner_install(void)
{
	next_hook = object_access_hook;
	object_access_hook = object_access;
}

/* The names of the session's cursors. */
static List *
cursor_names(MemoryContext context)
{
	List	   *names = NIL;

	SPI_connect();
	if (SPI_execute(CURSORS_QUERY, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list cursors");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return names;
}

/*
 * Mark the cursors that could be read as running, so that PostgreSQL refuses
 * to read or to drop them; returns which.
 */
static List *
hold_cursors(void)
{
	List	   *held = NIL;
	ListCell   *cell;

	foreach(cell, cursor_names(CurrentMemoryContext))
	{
		Portal		portal = GetPortalByName(lfirst(cell));

		if (!PortalIsValid(portal) || portal->status != PORTAL_READY)
			continue;
		portal->status = PORTAL_ACTIVE;
		held = lappend(held, portal);
	}
	return held;
}

/* Give them back. */
static void
release_cursors(List *held)
{
	ListCell   *cell;

	foreach(cell, held)
		((Portal) lfirst(cell))->status = PORTAL_READY;
}

/* Run it in a subtransaction, which is rolled back; returns the error, NULL if there was none. */
static ErrorData *
run_undone(Oid role, const char *search_path, void (*run) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	BeginInternalSubTransaction(NULL);
	depth++;
	PG_TRY();
	{
		/* what it returns is to outlive the subtransaction */
		MemoryContextSwitchTo(context);
		SetUserIdAndSecContext(role,
							   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		XactReadOnly = true;
		(void) set_config_option("search_path", search_path, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		run(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	depth--;
	/* the role and its rights are the caller's again, too */
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return error;
}

/* Run something as a role. */
ErrorData *
as_owner(Oid role, const char *search_path, void (*run) (void *arg), void *arg)
{
	List	   *volatile held = hold_cursors();
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		error = run_undone(role, search_path, run, arg);
	}
	PG_FINALLY();
	{
		release_cursors(held);
	}
	PG_END_TRY();
	return error;
}
