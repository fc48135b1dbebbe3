/*
 * waiters.c
 *	  Requests that wait for the end of an instance.
 *
 * One connection that LISTENs serves them all, so a client that waits costs
 * some memory and a socket. A notification of an end wakes who waits for that
 * id. Whether there are notifications, and on which channels for this role, are
 * settings of the server (durable.notify, durable.notify_channel), which are
 * asked for again every ten seconds; where there are none, one query a second
 * asks for all ids that are waited for. With notifications the same query runs every ten seconds, as the engine drops
 * some rather than be held up by a full queue.
 *
 * A new waiter's instance may have ended before it got here, so the ids of new
 * waiters are asked for once, together, after FRESH_DELAY; most short
 * orchestrations are answered by that. What lived through a lost connection is
 * asked for when there is a new one.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "database.h"
#include "options.h"
#include "pool.h"
#include "waiters.h"

#define BUCKETS			8192
#define FRESH_DELAY		20
#define POLL_INTERVAL	1000
#define SLOW_INTERVAL	10000

static Database listener;
static Request *buckets[BUCKETS];
static Request *first = NULL;
static int	count = 0;
static int	fresh = 0;			/* of them, how many are new */
static bool listens = false;	/* to the channels as they were last */
static bool notifies = false;	/* and durable.notify is not none */
static int64_t fresh_at;		/* when to ask for the new ones */
static int64_t poll_at = 0;		/* when to ask for all */
static int64_t listen_at = 0;	/* when to ask for the channels */
static int64_t setting_at = 0;	/* when to read durable.notify */
static int64_t expiry = INT64_MAX;	/* not later than the first wait_until */

static Request **
bucket(const char *id)
{
	uint32_t	hash = 2166136261u;

	while (*id != '\0')
		hash = (hash ^ (unsigned char) *id++) * 16777619u;
	return &buckets[hash % BUCKETS];
}

static void
waiter_remove(Request *request)
{
	Request   **link = bucket(request->instance_id);

	while (*link != request)
		link = &(*link)->bucket_next;
	*link = request->bucket_next;
	if (request->wait_previous)
		request->wait_previous->wait_next = request->wait_next;
	else
		first = request->wait_next;
	if (request->wait_next)
		request->wait_next->wait_previous = request->wait_previous;
	count--;
	fresh -= request->fresh;
	request->waiting = false;
	loop_unwatch(&request->hangup);
}

static void
waiter_wake(Request *request, bool ended)
{
	waiter_remove(request);
	request->wake(request, ended);
}

/* Its client has gone: nobody need be told anything. */
static void
waiter_hangup(void *arg, uint32_t events)
{
	Request    *request = arg;

	if (request->waiting)
		waiter_wake(request, false);
}

static void
wake_id(const char *id)
{
	Request    *next;

	for (Request *request = *bucket(id); request != NULL; request = next)
	{
		next = request->bucket_next;
		if (strcmp(request->instance_id, id) == 0)
			waiter_wake(request, true);
	}
}

void
waiters_add(Request *request, void (*wake) (Request *, bool))
{
	Request   **link = bucket(request->instance_id);

	request->wake = wake;
	request->waiting = true;
	request->fresh = true;
	request->bucket_next = *link;
	*link = request;
	request->wait_previous = NULL;
	request->wait_next = first;
	if (first)
		first->wait_previous = request;
	first = request;
	count++;
	if (fresh++ == 0)
		fresh_at = now_ms() + FRESH_DELAY;
	if (request->wait_until < expiry)
		expiry = request->wait_until;
	if (request->hangup.ready == NULL)
	{
		request->hangup.ready = waiter_hangup;
		request->hangup.arg = request;
	}
}

void
waiters_wake_all(void)
{
	while (first != NULL)
		waiter_wake(first, false);
}

static void
poll_done(void *arg, Outcome outcome, PGresult *result)
{
	for (int row = 0; outcome == OUTCOME_OK && row < PQntuples(result); row++)
		wake_id(PQgetvalue(result, row, 0));
}

static void
listen_done(void *arg, Outcome outcome, PGresult *result)
{
	listens = outcome == OUTCOME_OK;
}

static void
setting_done(void *arg, Outcome outcome, PGresult *result)
{
	if (outcome == OUTCOME_OK && PQntuples(result) == 1)
		notifies = listens && strcmp(PQgetvalue(result, 0, 0), "none") != 0;
}

/* What is next for the listener, if it is idle. */
static void
waiters_poll(int64_t now)
{
	bool		all = now >= poll_at;
	Buffer		ids = {0};
	Statement  *statement;

	if (listener.state != DATABASE_IDLE || count == 0)
		return;
	if (now >= listen_at)
	{
		listen_at = now + SLOW_INTERVAL;
		database_run(&listener, statement_new(QUERY_LISTEN, listen_done, NULL));
		return;
	}
	if (now >= setting_at)
	{
		setting_at = now + SLOW_INTERVAL;
		database_run(&listener, statement_new(QUERY_NOTIFY, setting_done, NULL));
		return;
	}
	if (!all && (fresh == 0 || now < fresh_at))
		return;
	buffer_add(&ids, "{");
	for (Request *request = first; request != NULL; request = request->wait_next)
	{
		if (all || request->fresh)
			buffer_add_element(&ids, request->instance_id);
		request->fresh = false;
	}
	buffer_add(&ids, "}");
	fresh = 0;
	if (all)
		poll_at = now + (notifies ? SLOW_INTERVAL : POLL_INTERVAL);
	statement = statement_new(QUERY_ENDED, poll_done, NULL);
	statement->parameters[0] = ids.data;
	database_run(&listener, statement);
}

static void
listener_idle(Database *db)
{
	waiters_poll(now_ms());
}

static void
listener_down(Database *db)
{
	/* ask for everything when it is back */
	poll_at = listen_at = setting_at = 0;
}

static void
listener_notified(Database *db, const char *payload)
{
	char	   *status = json_get_string(payload, "runtimeStatus");
	char	   *id;

	if (status != NULL && (strcmp(status, "Completed") == 0 || strcmp(status, "Failed") == 0 || strcmp(status, "Terminated") == 0))
	{
		id = json_get_string(payload, "instanceId");
		if (id != NULL)
			wake_id(id);
		free(id);
	}
	free(status);
}

void
waiters_start(void)
{
	listener.setup = session_setup("");
	listener.idle = listener_idle;
	listener.down = listener_down;
	listener.notified = listener_notified;
	database_start(&listener);
}

bool
waiters_lend(Statement *statement)
{
	if (listener.state != DATABASE_IDLE)
		return false;
	database_run(&listener, statement);
	return true;
}

int
waiters_count(void)
{
	return count;
}

bool
waiters_listening(void)
{
	return database_up(&listener);
}

int64_t
waiters_next(void)
{
	int64_t		next = database_next(&listener);

	if (count == 0)
		return next;
	next = expiry < next ? expiry : next;
	if (listener.state == DATABASE_IDLE)
	{
		next = poll_at < next ? poll_at : next;
		next = fresh > 0 && fresh_at < next ? fresh_at : next;
	}
	return next;
}

void
waiters_tick(int64_t now)
{
	database_tick(&listener, now);
	if (now >= expiry)
	{
		Request    *next;

		expiry = INT64_MAX;
		for (Request *request = first; request != NULL; request = next)
		{
			next = request->wait_next;
			if (request->wait_until <= now)
				waiter_wake(request, false);
			else if (request->wait_until < expiry)
				expiry = request->wait_until;
		}
	}
	waiters_poll(now);
}

void
waiters_close(void)
{
	database_close(&listener);
	free((char *) listener.setup);
}
