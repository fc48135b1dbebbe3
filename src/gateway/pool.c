/*
 * pool.c
 *	  The connections that run the statements of requests.
 *
 * A statement goes to an idle connection, or waits in one queue, first come
 * first served, that each connection takes from when it becomes idle. A
 * request has one statement at a time, so the queue is no longer than there
 * are clients. When the last connection is lost whoever waits is told so at
 * once: a client can do more with a 503 now than with silence.
 *
 * A commit waits for the disk, so starts that have gathered in the queue go
 * together, in one statement and transaction: a few connections then do for
 * many clients. If one of them cannot be started none is, and each is run
 * again alone; for a while none are then put together.
 */
#include <stdlib.h>
#include <string.h>

#include "database.h"
#include "json.h"
#include "pool.h"
#include "waiters.h"

#define BATCH_MOST		32
#define BATCH_BYTES		65536	/* of input; a longer one goes alone */
#define BATCH_PAUSE		1000	/* ms after one that failed */
#define START_PARAMETERS 6

/* Starts that go together. */
typedef struct Batch
{
	int			count;
	Statement  *members[BATCH_MOST];
} Batch;

static Database *databases;
static int	size;
static Statement *first,
		  **last = &first;
static int	queued;
static uint64_t statements;
static int64_t batch_at = 0;	/* when starts may go together again */
static int	tried;				/* connections that are up or have failed once */

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

static void pool_send(Statement *statement);

/* The result of a batch: each of its members gets its own. */
static void
batch_done(void *arg, Outcome outcome, PGresult *result)
{
	Batch	   *batch = arg;
	bool		failed = outcome == OUTCOME_ERROR || outcome == OUTCOME_UNUSABLE;

	if (failed)
		batch_at = now_ms() + BATCH_PAUSE;
	for (int i = 0; i < batch->count; i++)
	{
		Statement  *statement = batch->members[i];
		PGresult   *row = NULL;

		if (failed)
		{
			statement->alone = true;
			pool_send(statement);
			continue;
		}
		if (outcome == OUTCOME_OK)
		{
			row = PQcopyResult(result, PG_COPYRES_ATTRS);
			if (row == NULL || !PQsetvalue(row, 0, 0, PQgetvalue(result, i, 0), PQgetlength(result, i, 0)))
				abort();
		}
		statement_end(statement, outcome, row);
	}
	free(batch);
}

static bool
can_batch(const Statement *statement)
{
	return statement->query == QUERY_START && !statement->alone;
}

/* The next statement of the queue, or NULL: if it is a start it takes others with it. */
static Statement *
queue_take(void)
{
	Statement  *statement = queue_pop();
	Statement  *together;
	Statement **link = &first;
	Batch	   *batch;
	Buffer		arrays[START_PARAMETERS] = {0};
	size_t		length;

	if (statement == NULL || first == NULL || !can_batch(statement) || now_ms() < batch_at)
		return statement;
	batch = xcalloc(1, sizeof(Batch));
	batch->members[batch->count++] = statement;
	length = statement->input_length;
	while (*link != NULL && batch->count < BATCH_MOST)
	{
		Statement  *next = *link;

		if (!can_batch(next) || length + next->input_length > BATCH_BYTES)
		{
			link = &next->next;
			continue;
		}
		length += next->input_length;
		batch->members[batch->count++] = next;
		*link = next->next;
		queued--;
	}
	for (last = link; *last != NULL; last = &(*last)->next)
		;
	if (batch->count == 1)
	{
		free(batch);
		return statement;
	}
	together = statement_new(QUERY_START_MANY, batch_done, batch);
	together->alone = true;
	for (int parameter = 0; parameter < START_PARAMETERS; parameter++)
	{
		buffer_append(&arrays[parameter], "{", 1);
		for (int i = 0; i < batch->count; i++)
			buffer_add_element(&arrays[parameter], batch->members[i]->parameters[parameter]);
		buffer_append(&arrays[parameter], "}", 1);
		together->parameters[parameter] = arrays[parameter].data;
	}
	return together;
}

static void
pool_idle(Database *db)
{
	Statement  *statement = queue_take();

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
	pool_send(statement);
}

void
pool_submit_watch(Statement *statement)
{
	if (waiters_lend(statement, false) || (pool_busy() == pool_connected() && waiters_lend(statement, true)))
		return;
	pool_submit(statement);
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
		next = earlier(next, database_next(&databases[i]));
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
		database_close(&databases[i]);
	free(databases);
}
