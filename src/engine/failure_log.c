/*
 * failure_log.c
 *	  Tells the server's log of instances that fail (durable.log_failures).
 *
 * A line is made when the instance fails and written when the transaction has
 * committed, so that a round that is undone tells nothing.  What was made in
 * an undone one is forgotten when the next begins.
 *
 * For each role of a database there are at most LINES lines a minute.  What
 * is beyond that is counted in shared memory, and the scheduler tells the
 * number when the minute is over.  The table has an entry only for roles with
 * failures in the last minute; a role that finds no room in it is not limited.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "common/compat.h"
#include "common/failure.h"
#include "common/guc.h"
#include "common/log_text.h"
#include "engine/failure_log.h"
#include "shmem/shmem.h"
#include "store/instance_rows.h"

#define LINES			20		/* of a role in a minute */
#define MINUTE			(60 * USECS_PER_SEC)
#define MAX_ROLES		1024

/* a minute of a role, from its first failure on */
typedef struct Window
{
	RoleKey	key;			/* hash key, must be first */
	TimestampTz since;
	int			lines;
	int64		further;		/* that were not told of */
} Window;

/* a failure in the transaction at hand */
typedef struct Line
{
	Oid			owner;
	int			sqlstate;
	char	   *message;
	char	   *detail;			/* or NULL */
} Line;

static LWLock *lock = NULL;
static HTAB *windows = NULL;	/* guarded by lock */

static MemoryContext context = NULL;	/* of the texts of the lines */
static Line lines[LINES];
static int	nlines = 0;
static int	unmade = 0;			/* failures for which there was no room in lines, all of one owner */

/* Bytes of shared memory that the table takes. */
static Size
shmem_size(void)
{
	return hash_estimate_size(MAX_ROLES, sizeof(Window));
}

/* Lay it out, empty. */
static void
shmem_init(LWLock *log_lock)
{
	HASHCTL		ctl = {.keysize = sizeof(RoleKey), .entrysize = sizeof(Window)};

	lock = log_lock;
	windows = compat_shmem_init_hash("durable failure log", MAX_ROLES, &ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

/* Have the part laid out at the start of the server. */
void
failure_log_register(void)
{
	shmem_add(shmem_size, shmem_init);
}

/* A transaction begins. */
void
failure_log_begin(void)
{
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "durable failure log", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	nlines = unmade = 0;
}

/* Which activity or sub-orchestration led to a failure; NULL if the orchestrator's own code did. */
static char *
cause_text(Jsonb *failure)
{
	char	   *activity = failure_get(failure, "activity");
	char	   *task = failure_get(failure, "task_id");
	char	   *child = failure_get(failure, "instance_id");
	char	   *unstarted = failure_get(failure, "sub_orchestration");

	if (activity != NULL)
		return psprintf("Activity %s failed, task %s.", log_text(activity, LOG_NAME, true),
						task != NULL ? log_text(task, LOG_NAME, false) : "unknown");
	if (child != NULL)
		return psprintf("Sub-orchestration %s failed.", log_text(child, LOG_NAME, true));
	if (unstarted != NULL)
		return psprintf("Sub-orchestration %s could not be started.", log_text(unstarted, LOG_NAME, true));
	return NULL;
}

/* An instance fails in this transaction; told: a live parent hears of it. */
void
failure_log_add(const InstanceRow *row, bool told, Jsonb *failure)
{
	MemoryContext old;
	Line	   *line = &lines[nlines];
	char	   *message;

	if (durable_log_failures == LOG_FAILURES_NONE || (told && durable_log_failures == LOG_FAILURES_TOP))
		return;
	if (nlines == LINES)
	{
		unmade++;
		return;
	}
	old = MemoryContextSwitchTo(context);
	message = failure_get(failure, "message");
	line->owner = row->owner;
	line->sqlstate = failure_sqlstate(failure);
	line->message = psprintf("instance %s of orchestrator %s, role %s, failed: %s: %s",
							 log_text(row->instance_id, LOG_NAME, true), log_text(row->name, LOG_NAME, true),
							 log_role(row->owner), unpack_sql_state(line->sqlstate),
							 log_text(message, LOG_MESSAGE, false));
	line->detail = cause_text(failure);
	nlines++;
	MemoryContextSwitchTo(old);
}

/* How many of so many failures of a role may be told of now; the others are counted. */
static int
take_lines(Oid role, int wanted)
{
	RoleKey	key = {.db = MyDatabaseId, .role = role};
	TimestampTz now = GetCurrentTimestamp();
	Window	   *window;
	bool		found;
	int			taken = wanted;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	window = hash_search(windows, &key, HASH_ENTER_NULL, &found);
	if (window != NULL)
	{
		/* one that is over and has nothing left to be told; the clock may have been set back */
		if (!found || (window->further == 0 && now - window->since >= MINUTE) || window->since > now)
		{
			window->since = now;
			window->lines = 0;
			window->further = found ? window->further : 0;
		}
		taken = Min(wanted, LINES - window->lines);
		window->lines += taken;
		window->further += wanted - taken;
	}
	LWLockRelease(lock);
	return taken;
}

/* Write a line. */
static void
write_line(const Line *line)
{
	ereport(LOG,
			(errcode(line->sqlstate),
			 errmsg_internal("%s", line->message),
			 line->detail != NULL ? errdetail_internal("%s", line->detail) : 0,
			 errhidestmt(true),
			 errhidecontext(true)));
}

/* The transaction has committed. */
void
failure_log_commit(void)
{
	for (int i = 0; i < nlines;)
	{
		int			end = i + 1;
		int			may;

		while (end < nlines && lines[end].owner == lines[i].owner)
			end++;
		may = take_lines(lines[i].owner, end - i + (end == nlines ? unmade : 0));
		for (int j = i; j < Min(end, i + may); j++)
			write_line(&lines[j]);
		i = end;
	}
	failure_log_begin();
}

/* Tell how many failures of a role there were besides those of the lines. */
static void
write_sum(const Window *window)
{
	ereport(LOG,
			(errmsg("%lld further instances of role %s failed in the last minute",
					(long long) window->further, log_role(window->key.role)),
			 errhint("See durable.instances, or the setting durable.log_failures.")));
}

/* Remove the minutes of a database that are over, and tell what they have left.  In a transaction of the scheduler's. */
void
failure_log_sum_up(Oid db)
{
	TimestampTz now = GetCurrentTimestamp();
	Window	   *over = palloc(MAX_ROLES * sizeof(Window));
	int			count = 0;
	HASH_SEQ_STATUS scan;
	Window	   *window;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, windows);
	while ((window = hash_seq_search(&scan)) != NULL)
	{
		if (window->key.db != db || now - window->since < MINUTE)
			continue;
		if (window->further > 0)
			over[count++] = *window;
		hash_search(windows, &window->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(lock);
	for (int i = 0; i < count; i++)
		write_sum(&over[i]);
	pfree(over);
}

/* Whether the log is to be told of failures in a database when a minute is over. */
bool
failure_log_pending(Oid db)
{
	bool		pending = false;
	HASH_SEQ_STATUS scan;
	Window	   *window;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, windows);
	while ((window = hash_seq_search(&scan)) != NULL)
		pending |= window->key.db == db && window->further > 0;
	LWLockRelease(lock);
	return pending;
}

/* The engine leaves a database. */
void
failure_log_forget(Oid db)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shmem_forget(windows, db);
	LWLockRelease(lock);
}
