/*
 * guc.c
 *	  The definition of every setting.
 *
 * Settings that the engine's processes read are PGC_SIGHUP: a reload is enough.
 * Only durable.max_databases needs a restart, since it sizes shared memory.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "common/guc.h"

static char *durable_databases = NULL;
int			durable_max_databases = 1000;
int			durable_max_workers = 4;
int			durable_max_long_activities = 16;
int			durable_worker_idle_timeout = 60;
int			durable_batch_size = 200;
int			durable_batch_time = 20;
int			durable_poll_interval = 5000;
int			durable_max_activity_deliveries = 5;
int			durable_turn_timeout = 60000;
int			durable_history_cache = 32768;
int			durable_max_payload = 65536;
int			durable_notify = NOTIFY_NONE;
int			durable_notify_channel = NOTIFY_SHARED;
double		durable_notify_queue_limit = 0.5;
char	   *durable_http_base_url = NULL;
bool		durable_wakeups = true;
int			durable_log_failures = LOG_FAILURES_TOP;

/* only SET clauses of functions have an effect, and patience.c reads those */
static bool run_alone = false;

static const struct config_enum_entry notify_options[] = {
	{"none", NOTIFY_NONE, false},
	{"terminal", NOTIFY_TERMINAL, false},
	{"all", NOTIFY_ALL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry channel_options[] = {
	{"shared", NOTIFY_SHARED, false},
	{"owner", NOTIFY_OWNER, false},
	{NULL, 0, false}
};

static const struct config_enum_entry log_failures_options[] = {
	{"none", LOG_FAILURES_NONE, false},
	{"top", LOG_FAILURES_TOP, false},
	{"all", LOG_FAILURES_ALL, false},
	{NULL, 0, false}
};

/* Whether durable.databases names this database; the empty list names all. */
bool
guc_want_database(const char *name)
{
	char	   *list = pstrdup(durable_databases);
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(list, ',', &names))
	{
		ereport(LOG, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					  errmsg("invalid list syntax in parameter \"%s\"", "durable.databases")));
		return false;
	}
	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return names == NIL;
}

/* Settings that say where the engine runs and with how many processes. */
static void
define_process_settings(void)
{
	DefineCustomStringVariable("durable.databases",
							   "Databases in which the engine runs, separated by commas.",
							   "Empty: every database that has the extension.",
							   &durable_databases, "", PGC_SIGHUP, GUC_LIST_INPUT,
							   NULL, NULL, NULL);
	/* PostgreSQL does not let a library define this setting later */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("durable.max_databases",
								"Most databases of the server that the engine can look after.",
								"Databases without the extension count too, unless the setting durable.databases leaves them out. Each database takes about 150 bytes of shared memory.",
								&durable_max_databases, 1000, 1, 100000,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.max_workers",
							"Number of batch places of the whole server: so many workers run instances in batches at once.",
							"In a batch place no function keeps others waiting for longer than durable.batch_time. A free place goes to the role that has waited longest. About the number of processor cores is a good value. Each place takes one of max_worker_processes.",
							&durable_max_workers, 4, 1, DURABLE_PLACES_LIMIT,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.max_long_activities",
							"Number of long places of the whole server: so many functions run alone at once, for as long as they take.",
							"Activities and turns that wait for locks, take long or reach outside the server run in long places. A role gets a place while more places are free than the role has, so half of them at most. Each place takes one of max_worker_processes.",
							&durable_max_long_activities, 16, 1, DURABLE_PLACES_LIMIT,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.worker_idle_timeout",
							"How long a worker without work stays before it exits.",
							"A worker that stays starts the next work of its role sooner, and is one of max_worker_processes meanwhile.",
							&durable_worker_idle_timeout, 60, 0, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.poll_interval",
							"How often a scheduler looks for work that no wake-up told it of.",
							"A safety net: a commit announces ordinary work. A database in which nothing is due has no scheduler, and one looks there once an hour. Where an old snapshot keeps many dead rows a scheduler looks less often, but every five minutes at least, so that looking takes no more than a hundredth of a core.",
							&durable_poll_interval, 5000, 10, 3600000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable("durable.log_failures",
							 "Which failed instances the server's log mentions.",
							 "none: no instance. top: all but sub-orchestrations whose live parent is told. all: every one. The log has at most 20 lines a minute for each role of a database, and then the number of the others.",
							 &durable_log_failures, LOG_FAILURES_TOP, log_failures_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("durable.wakeups",
							 "Whether commits wake the engine.",
							 "For tests only. off: everything waits for durable.poll_interval, and schedulers stay.",
							 &durable_wakeups, true, PGC_SIGHUP, GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
}

/* Settings that bound what a worker does at a time. */
static void
define_batch_settings(void)
{
	DefineCustomIntVariable("durable.batch_size",
							"Most instances that a worker advances in one transaction.",
							"A batch has fewer instances if they take longer, so that it lasts about durable.batch_time.",
							&durable_batch_size, 200, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.batch_time",
							"A worker commits its batch when the batch has run for this long.",
							"A function that has run for this long is undone, and runs again alone in one of durable.max_long_activities places.",
							&durable_batch_time, 20, 1, 10000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.max_activity_deliveries",
							"How often an activity, or the turn of an orchestrator, is given to a worker that dies while running it.",
							"After that it fails with SQLSTATE OD007.",
							&durable_max_activity_deliveries, 5, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.turn_timeout",
							"Longest time that one turn of an orchestrator may take: its replay, and its code until it waits.",
							"An instance whose turn takes longer fails with SQLSTATE 57014. If the code handles the cancellation and goes on, its worker ends after as long again, 1 s at least and 10 s at most. 0: only statement_timeout limits a turn.",
							&durable_turn_timeout, 60000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("durable.history_cache",
							"Memory in which each worker keeps the histories of waiting instances.",
							"A history that is not there is read from its table for the next turn.",
							&durable_history_cache, 32768, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* Settings that clients see. */
static void
define_client_settings(void)
{
	DefineCustomIntVariable("durable.max_payload",
							"Longest text of an input, a result, an event, a custom status, a reason or anything else that is stored for an instance.",
							"A longer text is refused with SQLSTATE 54000. A lower limit holds for new values: instances go on with what is stored. With up to 100 MB every row can be dumped; PostgreSQL itself cannot write a row of more than 1 GB of text.",
							&durable_max_payload, 65536, 1, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomEnumVariable("durable.notify",
							 "Which lifecycle events go out as notifications.",
							 "none: no event. terminal: the end of an instance. all: each change of status. With all, a transaction that starts an instance cannot be prepared. Commits with a notification take a lock of the whole server.",
							 &durable_notify, NOTIFY_NONE, notify_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("durable.notify_channel",
							 "On which channels lifecycle events go out.",
							 "shared: on the channel durable, which everybody may hear. owner: on one channel for each owner, whose name the function durable.notify_channel tells to those who may see the owner's instances.",
							 &durable_notify_channel, NOTIFY_SHARED, channel_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("durable.notify_queue_limit",
							 "No lifecycle events go out while the server's notification queue is filled to this part.",
							 "So a session that listens and does not read cannot stop the engine. The log says how many events were dropped.",
							 &durable_notify_queue_limit, 0.5, 0, 0.9,
							 PGC_SIGHUP, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomBoolVariable(RUN_ALONE_SETTING,
							 "Whether a function always runs alone as an activity.",
							 "Only in ALTER FUNCTION f SET durable.run_alone = on; elsewhere the setting has no effect. For functions whose effects outside the server cannot be rolled back, and which therefore must not be begun, undone and run again.",
							 &run_alone, false, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomStringVariable("durable.http_base_url",
							   "Address at which clients reach the HTTP gateway.",
							   "durable.create_http_management_payload and durable.create_check_status_response build their URLs with it.",
							   &durable_http_base_url,
							   "http://localhost:8080/runtime/webhooks/durabletask",
							   PGC_SUSET, 0, NULL, NULL, NULL);
}

/* Define all settings; called once from _PG_init. */
void
guc_define(void)
{
	define_process_settings();
	define_batch_settings();
	define_client_settings();
	MarkGUCPrefixReserved("durable");
}
