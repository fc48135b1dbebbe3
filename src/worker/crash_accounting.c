/*
 * crash_accounting.c
 *	  The scheduler counts the deliveries of functions whose worker died.
 *
 * Each worker notes in crash_notes.h which function it runs.  If the worker
 * dies, the scheduler reads the note and has the delivery counted
 * (worker_loss.c), so that a function that kills its worker is not run for ever.
 * The note is released once that transaction has committed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "engine/failure_log.h"
#include "engine/worker_loss.h"
#include "shmem/crash_notes.h"
#include "store/store.h"
#include "worker/bgworkers.h"
#include "worker/crash_accounting.h"

/* a note that could not be counted is tried again after this time */
#define RETRY_PAUSE	(USECS_PER_SEC / 2)

static TimestampTz retry_at = 0;

TimestampTz
crash_accounting_retry_at(void)
{
	return retry_at;
}

/*
 * Count one note in a transaction of its own.  Returns false if another
 * transaction has locked the row.  An error is logged, and the note is given up,
 * so that it does not keep the scheduler from the other notes.
 */
static bool
try_count(const CrashNote *note)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool counted = true;

	PG_TRY();
	{
		Store	   *store;

		bgworker_begin();
		failure_log_begin();
		store = store_open();
		counted = worker_loss_count(store, note);
		store_close(store);
		bgworker_commit();
		failure_log_commit();
	}
	PG_CATCH();
	{
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
	}
	PG_END_TRY();
	return counted;
}

void
crash_accounting_run(void)
{
	TimestampTz now = GetCurrentTimestamp();
	CrashNote note;

	/* the clock may have been set back */
	if (retry_at > now && retry_at - now <= RETRY_PAUSE)
		return;
	retry_at = 0;
	for (int i = 0; (i = crash_note_next(MyDatabaseId, i, &note)) >= 0; i++)
	{
		if (try_count(&note))
			crash_note_release(i, &note);
		else
			retry_at = now + RETRY_PAUSE;
	}
}
