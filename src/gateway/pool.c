/*
 * pool.c
 *	  The connections that run the statements of requests.
 *
 * A statement goes to an idle connection, or waits in one queue, first come
 * first served, that each connection takes from when it becomes idle. A
 * request has one statement at a time, so the queue is no longer than there
 * are clients. When the last connection is lost whoever waits is told so at
 * once: a client can do more with a 503 now than with silence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "database.h"
#include "options.h"
#include "pool.h"

static Database *databases;
static int	size;
static Statement *first,
		  **last = &first;
static int	queued;
static uint64_t statements;
static int	tried;				/* connections that are up or have failed once */

const char *
session_setup(const char *more)
{
	char		buffer[256];

	snprintf(buffer, sizeof(buffer),
			 "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET jit = off; SET statement_timeout = '%lds'; %s",
			 options.statement_timeout, more);
	return xstrdup(buffer);
}

static void
queue_push(Statement *statement)
{
	statement->next = NULL;
	*last = statement;
	last = &statement->next;
	queued++;
}

static Statement *
queue_pop(void)
{
	Statement  *statement = first;

	if (statement != NULL)
	{
		first = statement->next;
		if (first == NULL)
			last = &first;
		queued--;
	}
	return statement;
}

static void
pool_idle(Database *db)
{
	Statement  *statement = queue_pop();

	tried = size;
	if (statement != NULL)
		database_run(db, statement);
}

static void
pool_down(Database *db)
{
	Statement  *statement;

	tried++;
	while (!pool_up() && (statement = queue_pop()) != NULL)
		statement_end(statement, OUTCOME_AWAY, NULL);
}

void
pool_start(int connections)
{
	size = connections;
	databases = xcalloc(size, sizeof(Database));
	for (int i = 0; i < size; i++)
	{
		databases[i].setup = session_setup("");
		databases[i].idle = pool_idle;
		databases[i].down = pool_down;
		database_start(&databases[i]);
	}
}

/* Give it to a connection, or queue it. */
static void
pool_send(Statement *statement)
{
	for (int i = 0; i < size; i++)
	{
		if (databases[i].state == DATABASE_IDLE)
		{
			database_run(&databases[i], statement);
			return;
		}
	}
	if (pool_up())
		queue_push(statement);
	else
		statement_end(statement, OUTCOME_AWAY, NULL);
}

void
pool_submit(Statement *statement)
{
	statements++;
	statement->submitted = now_ms();
	pool_send(statement);
}

bool
pool_up(void)
{
	return pool_connected() > 0;
}

bool
pool_tried(void)
{
	return tried >= size;
}

int
pool_connected(void)
{
	int			n = 0;

	for (int i = 0; i < size; i++)
		n += database_up(&databases[i]);
	return n;
}

int
pool_busy(void)
{
	int			n = 0;

	for (int i = 0; i < size; i++)
		n += databases[i].state > DATABASE_IDLE;
	return n;
}

int
pool_queued(void)
{
	return queued;
}

uint64_t
pool_statements(void)
{
	return statements;
}

int64_t
pool_next(void)
{
	int64_t		next = INT64_MAX;

	for (int i = 0; i < size; i++)
	{
		int64_t		at = database_next(&databases[i]);

		next = at < next ? at : next;
	}
	return next;
}

void
pool_tick(int64_t now)
{
	for (int i = 0; i < size; i++)
		database_tick(&databases[i], now);
}

void
pool_close(void)
{
	Statement  *statement;

	while ((statement = queue_pop()) != NULL)
		statement_end(statement, OUTCOME_AWAY, NULL);
	for (int i = 0; i < size; i++)
	{
		database_close(&databases[i]);
		free((char *) databases[i].setup);
	}
	free(databases);
}
