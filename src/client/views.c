/*
 * views.c
 *	  Shared memory for the views: workers, queues, and the work that waits for a
 *	  long place.
 *
 * A *place* is the permission for a process to run work: in a batch, or alone for
 * a long time.  The views in src/sql/30-views.sql and 31-stats.sql hide rows that
 * the caller may not see; the functions here do not.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "client/client.h"
#include "common/arguments.h"
#include "common/call_context.h"
#include "common/guc.h"
#include "sched/ready_queue.h"
#include "sched/worker_slots.h"
#include "shmem/crash_notes.h"
#include "shmem/shmem.h"
#include "store/instance_rows.h"
#include "store/runtime_status.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(durable_workers);
PG_FUNCTION_INFO_V1(durable_blocked_by);
PG_FUNCTION_INFO_V1(durable_queues);
PG_FUNCTION_INFO_V1(durable_lone_ranges);
PG_FUNCTION_INFO_V1(durable_turn_state);

/* durable_internal.workers(): the workers of this database */
Datum
durable_workers(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		[WORKER_FREE] = "free", [WORKER_WANTED] = "starting", [WORKER_STARTING] = "starting",
		[WORKER_BUSY] = "busy", [WORKER_IDLE] = "idle"
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerInfo	infos[DURABLE_WORKERS_LIMIT];
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	count = shmem_available() ? worker_slot_list(infos) : 0;
	for (int i = 0; i < count; i++)
	{
		Datum		values[9];
		bool		nulls[9] = {false};
		CrashNote	note;
		bool		runs;

		if (infos[i].db != MyDatabaseId)
			continue;
		runs = crash_note_running(infos[i].slot, infos[i].pid, &note);
		values[0] = Int32GetDatum(infos[i].slot);
		values[1] = Int32GetDatum(infos[i].pid);
		values[2] = ObjectIdGetDatum(infos[i].role);
		values[3] = CStringGetTextDatum(states[infos[i].state]);
		values[4] = CStringGetTextDatum(infos[i].place == PLACE_LONG ? "long" : "batch");
		nulls[4] = infos[i].place == PLACE_NONE;
		values[5] = Int32GetDatum(infos[i].claims);
		values[6] = TimestampTzGetDatum(runs ? note.since : infos[i].since);
		nulls[7] = nulls[8] = !runs;
		if (runs)
		{
			values[7] = Int64GetDatum(note.key);
			values[8] = Int32GetDatum(note.task_id);
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * durable_internal.blocked_by(pid): the pids that a process waits for, NULL unless
 * it waits for a lock.  pg_blocking_pids locks the lock manager, so it is called
 * only for a process that waits.
 */
Datum
durable_blocked_by(PG_FUNCTION_ARGS)
{
	PGPROC	   *proc = BackendPidGetProc(PG_GETARG_INT32(0));

	if (proc == NULL || (*(volatile uint32 *) &proc->wait_event_info & 0xFF000000) != PG_WAIT_LOCK)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(pg_blocking_pids, PG_GETARG_DATUM(0)));
}

/* Why no process can start for a role now, or NULL. */
static const char *
start_obstacle(const QueueInfo *info)
{
	if (!info->pausing)
		return NULL;
	return info->lacking ? "the server has no free process; see max_worker_processes" :
		"the last one could not start; see the server's log";
}

/* durable_internal.queues(): the queue of each role in this database */
Datum
durable_queues(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	QueueInfo  *infos = NULL;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	count = shmem_available() ? queue_list(MyDatabaseId, &infos) : 0;
	for (int i = 0; i < count; i++)
	{
		const char *obstacle = start_obstacle(&infos[i]);
		Datum		values[10];
		bool		nulls[10] = {false};

		values[0] = ObjectIdGetDatum(infos[i].role);
		values[1] = Int32GetDatum(infos[i].instances);
		values[2] = Int32GetDatum(infos[i].claimed);
		values[3] = Int32GetDatum(infos[i].activities);
		values[4] = Int32GetDatum(infos[i].alone);
		values[5] = BoolGetDatum(infos[i].complete);
		values[6] = Int32GetDatum(infos[i].workers);
		values[7] = TimestampTzGetDatum(queue_waiting_since(&infos[i]));
		nulls[7] = queue_waiting_since(&infos[i]) == 0;
		values[8] = TimestampTzGetDatum(infos[i].for_long.since);
		nulls[8] = infos[i].for_long.since == 0;
		nulls[9] = obstacle == NULL;
		if (obstacle != NULL)
			values[9] = CStringGetTextDatum(obstacle);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* durable_internal.lone_ranges(): the activities of this database that wait for a long place */
Datum
durable_lone_ranges(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ReadyRange *ranges = NULL;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	count = shmem_available() ? ready_lone_ranges(MyDatabaseId, &ranges) : 0;
	for (int i = 0; i < count; i++)
	{
		Datum		values[3] = {Int64GetDatum(ranges[i].key), Int32GetDatum(ranges[i].low), Int32GetDatum(ranges[i].high)};
		bool		nulls[3] = {false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* durable.turn_state(instance_id) */
Datum
durable_turn_state(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		[TURN_UNLISTED] = NULL, [TURN_QUEUED] = "queued", [TURN_ALONE] = "waiting for a place", [TURN_HELD] = "held"
	};
	char	   *instance_id = text_argument(fcinfo, 0);
	InstanceRow row;
	Store	   *store;
	const char *state = NULL;

	orchestrator_forbid("durable.turn_state");
	if (instance_id == NULL || !shmem_available())
		PG_RETURN_NULL();
	store = client_open();
	if (instance_find(store, instance_id, &row) && status_may_see(&row))
		state = states[ready_turn_state(MyDatabaseId, row.owner, row.key)];
	store_close(store);
	PopActiveSnapshot();
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(state));
}
