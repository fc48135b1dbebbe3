/*
 * failure_log.c
 *	  Messages in the server's log about instances that fail
 *	  (durable.log_failures).
 *
 * A line is made when the instance fails, and written when the transaction has
 * committed.  The lines of a transaction that was rolled back are forgotten when
 * the next one begins.
 *
 * Each role has at most LINES lines a minute in a database.  Further failures are
 * counted in shared memory, and the scheduler logs their number when the minute is
 * over.  The hash table has an entry only for a role with failures in the last
 * minute; if the table is full, a role without an entry is not limited.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
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

/* the minute that begins with a failure of a role */
typedef struct Window
{
	RoleKey	key;			/* hash key, must be first */
	TimestampTz since;
	int			lines;
	int64		further;		/* failures without a line */
} Window;

/* a failure in this transaction */
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
static int	unmade = 0;			/* failures for which lines has no room; all of one owner */

/* Bytes of shared memory. */
static Size
failure_log_shmem_size(void)
{
	return hash_estimate_size(MAX_ROLES, sizeof(Window));
}

/* Make the hash table at the start of the server. */
static void
failure_log_shmem_init(LWLock *log_lock)
{
	HASHCTL		ctl = {.keysize = sizeof(RoleKey), .entrysize = sizeof(Window)};

	lock = log_lock;
	windows = compat_shmem_init_hash("durable failure log", MAX_ROLES, &ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

/* Called when the library is loaded by the postmaster. */
void
failure_log_register(void)
{
	shmem_add(failure_log_shmem_size, failure_log_shmem_init);
}

/* A transaction begins: forget the lines of the last one. */
void
failure_log_begin(void)
{
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "durable failure log", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	nlines = unmade = 0;
}

/* The activity or sub-orchestration that made an instance fail; NULL if its orchestrator did. */
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

/* An instance fails in this transaction. */
void
failure_log_add(const InstanceRow *row, bool parent_told, Jsonb *failure)
{
	MemoryContext old;
	Line	   *line = &lines[nlines];
	char	   *message;

	if (durable_log_failures == LOG_FAILURES_NONE || (parent_told && durable_log_failures == LOG_FAILURES_TOP))
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

/* How many of these failures of a role may be logged now; the others are counted. */
static int
take_lines(Oid role, int failures)
{
	RoleKey	key = {.db = MyDatabaseId, .role = role};
	TimestampTz now = GetCurrentTimestamp();
	Window	   *window;
	bool		found;
	int			taken = failures;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	window = hash_search(windows, &key, HASH_ENTER_NULL, &found);
	if (window != NULL)
	{
		/* a minute that is over, unless the scheduler has a sum to log; or the clock was set back */
		if (!found || (window->further == 0 && now - window->since >= MINUTE) || window->since > now)
		{
			window->since = now;
			window->lines = 0;
			window->further = found ? window->further : 0;
		}
		taken = Min(failures, LINES - window->lines);
		window->lines += taken;
		window->further += failures - taken;
	}
	LWLockRelease(lock);
	return taken;
}

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

/* The transaction has committed: write its lines. */
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

/* Log how many failures of a role had no line. */
static void
write_sum(const Window *window)
{
	ereport(LOG,
			(errmsg("%lld further instances of role %s failed in the last minute",
					(long long) window->further, log_role(window->key.role)),
			 errhint("See durable.instances, or the setting durable.log_failures.")));
}

/* Remove the minutes of a database that are over, and log their sums. */
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

void
failure_log_forget(Oid db)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	shmem_forget(windows, db);
	LWLockRelease(lock);
}
