/*
 * waiters.c
 *	  Requests that wait for the end of an instance.
 *
 * One connection that LISTENs serves all of them.  A wait ends when a query says
 * that the instance has ended or does not exist: the connection runs one query at
 * a time, QUERY_ENDED, for the ids of all waiters whose look_at has come.
 *
 * Any user can send a notification with any text.  So a notification only sets
 * look_at of the waiters for its id to now.  If the instance had not ended, another
 * notification for that waiter counts only after HINT_PAUSE, and queries are
 * LOOK_INTERVAL apart.  This limits the queries, however many notifications come.
 *
 * look_at of a new waiter is FRESH_DELAY later, since its instance may have ended
 * before the waiter was added; that query answers most requests for short
 * orchestrations.  Besides, all ids are queried every SLOW_INTERVAL, since the
 * engine drops notifications when their queue is full, or every POLL_INTERVAL if
 * there are no notifications, and after a reconnect.  The settings durable.notify
 * and durable.notify_channel, which say whether there are notifications and on
 * which channels, are read every SLOW_INTERVAL.
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
/* in ms */
#define FRESH_DELAY		20
#define LOOK_INTERVAL	10
#define HINT_PAUSE		1000
#define POLL_INTERVAL	1000
#define SLOW_INTERVAL	10000

/* bytes; a notification's text has at most 8000 */
#define MAX_ID			8000

static Database listener;
static Request *buckets[BUCKETS];
static Request *first = NULL;
static int	count = 0;
static bool notifies = false;	/* it listens, and durable.notify is not none */
static int64_t look_at = INT64_MAX; /* not later than the first waiter's */
static int64_t looked_at = 0;	/* when the last query began */
static Queue lent;				/* statements of waiters_lend, which run next */
static int64_t poll_at = 0;		/* when to query all ids */
static int64_t listen_at = 0;	/* when to LISTEN and to read durable.notify again */
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
	request->waiting = false;
	loop_unwatch(&request->hangup);
}

static void
waiter_wake(Request *request, bool ended)
{
	waiter_remove(request);
	request->wake(request, ended);
}

/* Query this waiter's id at a time, or earlier if that was requested before. */
static void
waiter_look(Request *request, int64_t at)
{
	request->look_at = earlier(request->look_at, at);
	look_at = earlier(look_at, at);
}

/* The client has gone: end the wait. */
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
	request->look_at = INT64_MAX;
	request->hinted = false;
	request->bucket_next = *link;
	*link = request;
	request->wait_previous = NULL;
	request->wait_next = first;
	if (first)
		first->wait_previous = request;
	first = request;
	count++;
	waiter_look(request, now_ms() + FRESH_DELAY);
	expiry = earlier(expiry, request->wait_until);
	request->hangup.ready = waiter_hangup;
	request->hangup.arg = request;
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
	/* query them again, with all others */
	if (outcome != OUTCOME_OK)
		poll_at = earlier(poll_at, now_ms() + POLL_INTERVAL);
	for (int row = 0; outcome == OUTCOME_OK && row < PQntuples(result); row++)
		wake_id(PQgetvalue(result, row, 0));
}

static void
setting_done(void *arg, Outcome outcome, PGresult *result)
{
	notifies = outcome == OUTCOME_OK && strcmp(PQgetvalue(result, 0, 0), "none") != 0;
}

static void
listen_done(void *arg, Outcome outcome, PGresult *result)
{
	notifies = false;
	if (outcome == OUTCOME_OK)
		database_run(&listener, statement_new(QUERY_NOTIFY, setting_done, NULL));
}

/* When the next query of ids is due. */
static int64_t
next_look(void)
{
	int64_t		at = looked_at + LOOK_INTERVAL;

	return earlier(poll_at, look_at > at ? look_at : at);
}

/* Query the ids whose look_at has come, or all. */
static void
look(int64_t now, bool all)
{
	Buffer		ids = {0};
	Statement  *statement = statement_new(QUERY_ENDED, poll_done, NULL);

	look_at = INT64_MAX;
	looked_at = now;
	if (all)
		poll_at = now + (notifies ? SLOW_INTERVAL : POLL_INTERVAL);
	buffer_add(&ids, "{");
	for (Request *request = first; request != NULL; request = request->wait_next)
	{
		if (!all && request->look_at > now)
		{
			waiter_look(request, request->look_at);
			continue;
		}
		buffer_add_element(&ids, request->instance_id);
		if (request->hinted)
			request->hints_from = now + HINT_PAUSE;
		request->hinted = false;
		request->look_at = INT64_MAX;
	}
	buffer_add(&ids, "}");
	statement->parameters[0] = ids.data;
	database_run(&listener, statement);
}

/* Run the listener's next statement, if it is idle. */
static void
waiters_poll(int64_t now)
{
	if (listener.state != DATABASE_IDLE)
		return;
	if (lent.first != NULL)
		database_run(&listener, queue_pop(&lent));
	else if (count == 0)
		return;
	else if (now >= listen_at)
	{
		listen_at = now + SLOW_INTERVAL;
		database_run(&listener, statement_new(QUERY_LISTEN, listen_done, NULL));
	}
	else if (now >= next_look())
		look(now, now >= poll_at);
}

static void
listener_idle(Database *db)
{
	waiters_poll(now_ms());
}

static void
listener_down(Database *db)
{
	while (lent.first != NULL)
		pool_submit(queue_pop(&lent));
	/* after the reconnect: LISTEN, and query all ids */
	poll_at = listen_at = 0;
}

/*
 * Read the id in a notification of an end into a buffer of MAX_ID bytes; false if the notification is another one.  The engine
 * (lifecycle_notify.c) writes the members in a fixed order, and a backslash before each quote in a string, so that no value
 * looks like a member.
 */
static bool
parse_end(const char *payload, char *id)
{
	static const char begin[] = "{\"instanceId\": \"";
	static const char member[] = ", \"runtimeStatus\": \"";
	static const char *const ends[] = {"Completed\"", "Failed\"", "Terminated\""};
	const char *status = strstr(payload, member);
	const char *p = payload + sizeof(begin) - 1;
	size_t		length = 0;
	bool		ended = false;

	if (status == NULL || strncmp(payload, begin, sizeof(begin) - 1) != 0)
		return false;
	for (int i = 0; i < 3; i++)
		ended |= strncmp(status + sizeof(member) - 1, ends[i], strlen(ends[i])) == 0;
	/* ids contain neither backslashes nor control characters */
	for (; ended && *p != '"' && *p != '\0' && length < MAX_ID - 1; p++)
	{
		if (*p == '\\' && *++p != '"')
			return false;
		id[length++] = *p;
	}
	id[length] = '\0';
	return ended && *p == '"';
}

/* A notification came: query the id that it contains. */
static void
listener_notified(Database *db, const char *payload)
{
	char		id[MAX_ID];
	int64_t		now = now_ms();

	if (count == 0 || !parse_end(payload, id))
		return;
	for (Request *request = *bucket(id); request != NULL; request = request->bucket_next)
	{
		if (request->hinted || strcmp(request->instance_id, id) != 0)
			continue;
		request->hinted = true;
		waiter_look(request, request->hints_from > now ? request->hints_from : now);
	}
}

void
waiters_start(void)
{
	listener.idle = listener_idle;
	listener.down = listener_down;
	listener.notified = listener_notified;
	database_start(&listener);
}

bool
waiters_lend(Statement *statement, bool queue)
{
	if (listener.state == DATABASE_IDLE)
	{
		database_run(&listener, statement);
		return true;
	}
	if (!queue || !database_up(&listener))
		return false;
	queue_push(&lent, statement);
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
	next = earlier(next, expiry);
	return listener.state == DATABASE_IDLE ? earlier(next, next_look()) : next;
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
			else
				expiry = earlier(expiry, request->wait_until);
		}
	}
	waiters_poll(now);
}

void
waiters_close(void)
{
	database_close(&listener);
	while (lent.first != NULL)
		statement_end(queue_pop(&lent), OUTCOME_AWAY, NULL);
}
