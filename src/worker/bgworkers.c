/*
 * bgworkers.c
 *	  Builds every BackgroundWorker struct, and what the processes' loops share.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "common/call_context.h"
#include "worker/bgworkers.h"

StaticAssertDecl(sizeof(WorkerExtra) <= BGW_EXTRALEN, "worker data must fit into bgw_extra");

static bool reloaded = false;
static MemoryContext transaction_context;	/* in which bgworker_begin was called */
static bool connecting = false; /* as somebody who, or to what, may just have gone */
static emit_log_hook_type next_log_hook = NULL;

/* A zeroed struct with what all processes have in common. */
static void
fill_struct(BackgroundWorker *worker, const char *kind, Datum arg)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "durable", sizeof(worker->bgw_library_name));
	snprintf(worker->bgw_function_name, sizeof(worker->bgw_function_name), "durable_%s_main", kind);
	snprintf(worker->bgw_name, BGW_MAXLEN, "durable %s", kind);
	worker->bgw_main_arg = arg;
}

/* Have the postmaster start the launcher, and again whenever it ends. */
void
launcher_register(void)
{
	BackgroundWorker worker;

	fill_struct(&worker, "launcher", (Datum) 0);
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/* Start the scheduler of a database, or a worker in a reserved slot (extra); false when max_worker_processes is reached. */
bool
bgworker_start(Oid db, const WorkerExtra *extra, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	bool		ok;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	fill_struct(&worker, extra != NULL ? "worker" : "scheduler", ObjectIdGetDatum(db));
	if (extra != NULL)
		memcpy(worker.bgw_extra, extra, sizeof(*extra));
	worker.bgw_notify_pid = MyProcPid;
	ok = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return ok;
}

/*
 * Log hook of the engine's processes.  They are ended with SIGTERM whenever the
 * engine leaves a database or the server stops, which PostgreSQL would report
 * as FATAL.  A role or database that goes between the look of whoever starts a
 * process and its start is no failure either: for a role the scheduler looks
 * again and says why.  A database without its directory is one; that message
 * has a detail.
 */
static void
leave_in_order(ErrorData *error)
{
	if (error->elevel == FATAL &&
		(error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		 (connecting && (error->sqlerrcode == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION ||
						 (error->sqlerrcode == ERRCODE_UNDEFINED_DATABASE && error->detail == NULL)))))
		error->output_to_server = false;
	if (next_log_hook != NULL)
		next_log_hook(error);
}

/* Read the configuration files. */
static void
read_configuration(void)
{
	/* first, as another SIGHUP may come meanwhile */
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

/*
 * Signal handlers of every process of the engine, and the settings that no role
 * may give it: with exit_on_error a process ends when an orchestrator waits,
 * as that leaves it by an error, and with transaction_timeout a worker would end
 * in the middle of a function that is not to blame.
 *
 * A background worker begins with the settings that the postmaster had when it
 * forked, and PostgreSQL ignores SIGHUP until the handler is here: a reload
 * between the two would be lost.  So the files are read once the handler is here.
 */
void
bgworker_init(ProcessKind kind)
{
	process_kind = kind;
	SetConfigOption("exit_on_error", "off", PGC_SUSET, PGC_S_OVERRIDE);
	compat_no_transaction_timeout();
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	next_log_hook = emit_log_hook;
	emit_log_hook = leave_in_order;
	BackgroundWorkerUnblockSignals();
	read_configuration();
}

/* Connect a worker to its database as its role, a scheduler as the bootstrap superuser. */
void
bgworker_connect(Oid db, Oid role)
{
	static const char *const prints[] = {"debug_print_parse", "debug_print_rewritten", "debug_print_plan"};

	connecting = true;
	BackgroundWorkerInitializeConnectionByOid(db, role, 0);
	connecting = false;
	/* the owner of the database may have set another role for it, and settings that fill the log */
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_OVERRIDE);
	if (OidIsValid(role))
		return;
	SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);
	for (int i = 0; i < lengthof(prints); i++)
		SetConfigOption(prints[i], "off", PGC_USERSET, PGC_S_OVERRIDE);
}

/* Begin a transaction of a trusted process. */
void
bgworker_begin(void)
{
	transaction_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(transaction_context);
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* End it. */
void
bgworker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(transaction_context);
}

/* Whether the configuration has been reloaded since the process began. */
bool
bgworker_reloaded(void)
{
	return reloaded;
}

/* To be called at each turn of a loop. */
void
bgworker_handle_interrupts(void)
{
	/* a cancellation is for a function that runs, which is none now: this one came too late */
	QueryCancelPending = false;
	/* the postmaster forgets a process that ends with 0, so the launcher never does */
	if (ProcDiePending)
		proc_exit(MyBgworkerEntry->bgw_restart_time == BGW_NEVER_RESTART ? 0 : 1);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		read_configuration();
		reloaded = true;
	}
}

/*
 * Sleep until the latch is set or the time is over.  A process of the engine
 * does not sleep while it has a signal to handle: PostgreSQL resets the latch
 * that the signal set when the process waits for a lock or a standby.
 */
void
bgworker_wait(long timeout_ms)
{
	if (process_is_engine() && (ConfigReloadPending || ProcDiePending))
		return;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}
