/*
 * pool.c
 *	  The connections that run the statements of requests.
 *
 * A statement goes to an idle connection, or waits in a queue until a connection
 * becomes idle.  A request has one statement at a time, so the queue is never
 * longer than the number of clients.  When the last connection breaks, all
 * requests in the queue are answered with 503 at once.
 *
 * A commit waits for the disk.  So starts that wait in the queue are put together
 * in one statement and transaction, and a few connections can serve many clients.
 * If such a batch fails, each of its starts is run alone, and for BATCH_PAUSE no
 * other batch is made.
 */
#include <stdlib.h>

#include "database.h"
#include "json.h"
#include "pool.h"
#include "waiters.h"

#define BATCH_MOST		32
#define BATCH_BYTES		65536	/* of input */
#define BATCH_PAUSE		1000	/* ms after a batch that failed */
#define START_PARAMETERS 6

/* Starts that run as one statement. */
typedef struct Batch
{
	int			count;
	Statement  *members[BATCH_MOST];
} Batch;

static Database *databases;
static int	size;
static Queue queue;				/* of statements that wait for a connection */
static uint64_t statements;
static int64_t batch_at = 0;	/* no batch is made before this */
static int	tried;				/* connections that are up or have failed once */

static void pool_send(Statement *statement);

/* A batch has ended: end its members, or run them alone. */
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

/* Move starts from the queue to a batch, within its limits. */
static void
batch_fill(Batch *batch)
{
	Queue		rest = {0};
	Statement  *statement;
	size_t		length = batch->members[0]->input_length;

	while ((statement = queue_pop(&queue)) != NULL)
	{
		if (batch->count < BATCH_MOST && can_batch(statement) && length + statement->input_length <= BATCH_BYTES)
		{
			length += statement->input_length;
			batch->members[batch->count++] = statement;
		}
		else
			queue_push(&rest, statement);
	}
	queue = rest;
}

/* Take the next statement from the queue, or a batch if that is a start; NULL if the queue is empty. */
static Statement *
queue_take(void)
{
	Statement  *statement = queue_pop(&queue);
	Batch	   *batch;
	Buffer		arrays[START_PARAMETERS] = {0};

	if (statement == NULL || queue.first == NULL || !can_batch(statement) || now_ms() < batch_at)
		return statement;
	batch = xcalloc(1, sizeof(Batch));
	batch->members[batch->count++] = statement;
	batch_fill(batch);
	if (batch->count == 1)
	{
		free(batch);
		return statement;
	}
	statement = statement_new(QUERY_START_MANY, batch_done, batch);
	for (int parameter = 0; parameter < START_PARAMETERS; parameter++)
	{
		buffer_append(&arrays[parameter], "{", 1);
		for (int i = 0; i < batch->count; i++)
			buffer_add_element(&arrays[parameter], batch->members[i]->parameters[parameter]);
		buffer_append(&arrays[parameter], "}", 1);
		statement->parameters[parameter] = arrays[parameter].data;
	}
	return statement;
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
	tried++;
	while (!pool_up() && queue.first != NULL)
		statement_end(queue_pop(&queue), OUTCOME_AWAY, NULL);
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

/* Run a statement on an idle connection, or queue it. */
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
		queue_push(&queue, statement);
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
	return queue.count;
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
	while (queue.first != NULL)
		statement_end(queue_pop(&queue), OUTCOME_AWAY, NULL);
	for (int i = 0; i < size; i++)
		database_close(&databases[i]);
}
