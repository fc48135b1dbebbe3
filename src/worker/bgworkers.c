/*
 * bgworkers.c
 *	  Builds every BackgroundWorker struct, and has what the loops of the
 *	  launcher, the schedulers and the workers share.
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
static bool connecting = false; /* in InitPostgres; the role or the database may just have been dropped */
static emit_log_hook_type next_log_hook = NULL;

/* Set what all processes have in common. */
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

/* The postmaster starts the launcher, and restarts it when it ends. */
void
launcher_register(void)
{
	BackgroundWorker worker;

	fill_struct(&worker, "launcher", (Datum) 0);
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

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
 * Log hook of the engine's processes: keeps two FATAL messages out of the log
 * that report no failure.
 *
 * SIGTERM ends the processes whenever the engine leaves a database.  And a role
 * or a database may be dropped after a process for it was requested; for a role,
 * the scheduler logs the reason.  A database whose directory is missing is a
 * failure: that message has a detail.
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

static void
read_configuration(void)
{
	/* first, since another SIGHUP may arrive while the files are read */
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
}

/*
 * Install the signal handlers, and override settings that would end the process:
 * an orchestrator that waits leaves its code by an error, which exit_on_error
 * would make fatal, and transaction_timeout would end a worker because of what
 * earlier functions of the transaction took.
 *
 * A background worker has the settings that the postmaster had at the fork, and
 * ignores SIGHUP until its handler is installed.  Since a reload in between would
 * be lost, the files are read again after that.
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

void
bgworker_connect(Oid db, Oid role)
{
	static const char *const prints[] = {"debug_print_parse", "debug_print_rewritten", "debug_print_plan"};

	connecting = true;
	BackgroundWorkerInitializeConnectionByOid(db, role, 0);
	connecting = false;
	/* ALTER DATABASE ... SET may have set another role, and settings that fill the log */
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_OVERRIDE);
	if (OidIsValid(role))
		return;
	SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);
	for (int i = 0; i < lengthof(prints); i++)
		SetConfigOption(prints[i], "off", PGC_USERSET, PGC_S_OVERRIDE);
}

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

void
bgworker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(transaction_context);
}

bool
bgworker_reloaded(void)
{
	return reloaded;
}

void
bgworker_handle_interrupts(void)
{
	/* a cancellation is meant for a function, and none runs now */
	QueryCancelPending = false;
	/* the postmaster does not restart a process that exits with 0, so the launcher exits with 1 */
	if (ProcDiePending)
		proc_exit(MyBgworkerEntry->bgw_restart_time == BGW_NEVER_RESTART ? 0 : 1);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		read_configuration();
		reloaded = true;
	}
}

void
bgworker_wait(long timeout_ms)
{
	/* PostgreSQL may have reset the latch that the signal set, in a wait for a lock or a standby */
	if (process_is_engine() && (ConfigReloadPending || ProcDiePending))
		return;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}
