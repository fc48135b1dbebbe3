/*
 * guc.h
 *	  The settings (GUCs).  guc.c describes each of them.
 */
#ifndef DURABLE_GUC_H
#define DURABLE_GUC_H

#include "postgres.h"

/* the upper limit of the number of places of each kind; the number of processes is limited to both together */
#define DURABLE_PLACES_LIMIT	128
#define DURABLE_WORKERS_LIMIT	(2 * DURABLE_PLACES_LIMIT)

/* this setting has an effect only in the SET clause of a function */
#define RUN_ALONE_SETTING		"durable.run_alone"

typedef enum NotifyMode
{
	NOTIFY_NONE,
	NOTIFY_TERMINAL,
	NOTIFY_ALL
} NotifyMode;

/* durable.notify_channel */
typedef enum NotifyChannel
{
	NOTIFY_SHARED,
	NOTIFY_OWNER
} NotifyChannel;

/* durable.log_failures */
typedef enum LogFailures
{
	LOG_FAILURES_NONE,
	LOG_FAILURES_TOP,
	LOG_FAILURES_ALL
} LogFailures;

extern int	durable_max_databases;
extern int	durable_max_workers;
extern int	durable_max_long_activities;
extern int	durable_worker_idle_timeout;
extern int	durable_batch_size;
extern int	durable_batch_time;
extern int	durable_poll_interval;
extern int	durable_max_activity_deliveries;
extern int	durable_turn_timeout;
extern int	durable_history_cache;
extern int	durable_max_payload;
extern int	durable_notify;
extern int	durable_notify_channel;
extern double durable_notify_queue_limit;
extern char *durable_http_base_url;
extern bool durable_wakeups;
extern int	durable_log_failures;

extern void guc_define(void);
/* whether durable.databases lets the engine into this database */
extern bool guc_want_database(const char *name);

#endif
