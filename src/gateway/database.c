/*
 * database.c
 *	  One connection to the database, which comes back by itself.
 *
 *	  DOWN -> CONNECTING -> SETUP -> IDLE <-> PREPARING -> RUNNING -> IDLE
 *	  any state -> DOWN when the connection breaks
 *
 * The socket is watched in every state, so a server that goes away is noticed
 * at once and not by the next request. Attempts to reconnect are 0.1 s apart
 * at first, then twice as long each time up to 5 s, a little scattered so that
 * a pool does not come back in step. A statement whose connection broke is
 * given back as lost: it may have committed, so only its client can decide
 * whether to repeat it. Messages of libpq, which may name hosts and users, go
 * to the log and never to a client.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "database.h"
#include "options.h"

#define BACKOFF_FIRST	100
#define BACKOFF_LAST	5000
#define CONNECT_TIMEOUT	10000
#define MAX_ATTEMPTS	5

static void database_ready(void *arg, uint32_t events);

static void
no_notice(void *arg, const char *message)
{
}

void
statement_end(Statement *statement, Outcome outcome, PGresult *result)
{
	statement->done(statement->arg, outcome, result);
	if (!statement->keep_result)
		PQclear(result);
	statement_free(statement);
}

/* The connection is gone or could not be made. */
static void
database_lose(Database *db)
{
	Statement  *lost = db->current;
	Outcome		outcome = db->state == DATABASE_RUNNING ? OUTCOME_LOST : OUTCOME_AWAY;

	if (!db->failed_before)
		log_line("database: %s", db->conn ? PQerrorMessage(db->conn) : "out of memory");
	db->failed_before = true;
	loop_unwatch(&db->source);
	PQclear(db->result);
	db->result = NULL;
	PQfinish(db->conn);
	db->conn = NULL;
	db->current = NULL;
	db->state = DATABASE_DOWN;
	db->retry_at = now_ms() + db->backoff + random() % (db->backoff / 2);
	db->backoff = db->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : db->backoff * 2;
	if (lost != NULL)
		statement_end(lost, outcome, NULL);
	db->down(db);
}

/* Send what is buffered; false if the connection is lost. */
static bool
database_flush(Database *db)
{
	int			rest = PQflush(db->conn);

	if (rest < 0)
	{
		/* what the server said before it went, if anything */
		PQconsumeInput(db->conn);
		database_lose(db);
		return false;
	}
	loop_watch(&db->source, PQsocket(db->conn), rest > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return true;
}

/* Begin to connect. */
static void
database_connect(Database *db)
{
	/* what stands before dbname can be changed by it */
	const char *keywords[] = {"fallback_application_name", "tcp_user_timeout", "dbname", "client_encoding", NULL};
	const char *values[] = {"durable-gateway", "30000", options.dbname[0] ? options.dbname : NULL, "UTF8", NULL};

	db->state = DATABASE_CONNECTING;
	db->deadline = now_ms() + CONNECT_TIMEOUT;
	memset(db->prepared, 0, sizeof(db->prepared));
	db->conn = PQconnectStartParams(keywords, values, 1);
	if (db->conn == NULL || PQstatus(db->conn) == CONNECTION_BAD)
	{
		database_lose(db);
		return;
	}
	PQsetNoticeProcessor(db->conn, no_notice, NULL);
	/* "If you have yet to call PQconnectPoll, behave as if it last returned PGRES_POLLING_WRITING." */
	loop_watch(&db->source, PQsocket(db->conn), EPOLLOUT);
}

static void
database_connect_poll(Database *db)
{
	PostgresPollingStatusType polling = PQconnectPoll(db->conn);
	char		setup[256];

	switch (polling)
	{
		case PGRES_POLLING_READING:
		case PGRES_POLLING_WRITING:
			/* it may be another socket with the same number */
			loop_unwatch(&db->source);
			loop_watch(&db->source, PQsocket(db->conn), polling == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT);
			break;
		case PGRES_POLLING_OK:
			loop_unwatch(&db->source);
			PQsetnonblocking(db->conn, 1);
			db->state = DATABASE_SETUP;
			snprintf(setup, sizeof(setup),
					 "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET jit = off; SET statement_timeout = '%lds'",
					 options.statement_timeout);
			if (!PQsendQuery(db->conn, setup))
				database_lose(db);
			else
				database_flush(db);
			break;
		default:
			database_lose(db);
	}
}

static void
database_execute(Database *db)
{
	const QueryText *text = &query_texts[db->current->query];

	db->state = DATABASE_RUNNING;
	if (!PQsendQueryPrepared(db->conn, text->name, text->parameters,
							 (const char *const *) db->current->parameters, NULL, NULL, 0))
		database_lose(db);
	else
		database_flush(db);
}

void
database_run(Database *db, Statement *statement)
{
	const QueryText *text = &query_texts[statement->query];

	db->current = statement;
	/* the server's own timeout comes first, unless it does not answer at all */
	db->deadline = options.statement_timeout ? now_ms() + options.statement_timeout * 1000 + 5000 : INT64_MAX;
	if (db->prepared[statement->query])
	{
		database_execute(db);
		return;
	}
	db->state = DATABASE_PREPARING;
	if (!PQsendPrepare(db->conn, text->name, text->sql, 0, NULL))
		database_lose(db);
	else
		database_flush(db);
}

static void
database_become_idle(Database *db)
{
	db->current = NULL;
	db->state = DATABASE_IDLE;
	db->idle(db);
}

/* Whether an error means that this connection will not do any more. */
static bool
is_fatal(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	return severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Whether the transaction was rolled back only because of others, and would do on a second try. */
static bool
is_conflict(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL && (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0);
}

/* A result of what was sent last, whose only one it is. */
static void
database_result(Database *db, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool		good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
	Statement  *statement = db->current;

	if (PQstatus(db->conn) == CONNECTION_BAD || is_fatal(result))
	{
		PQclear(result);
		database_lose(db);
		return;
	}
	switch (db->state)
	{
		case DATABASE_SETUP:
			PQclear(result);
			if (!good)
			{
				database_lose(db);
				break;
			}
			if (db->failed_before)
				log_line("database: connected");
			db->failed_before = false;
			db->backoff = BACKOFF_FIRST;
			database_become_idle(db);
			break;
		case DATABASE_PREPARING:
			if (good)
			{
				PQclear(result);
				db->prepared[statement->query] = true;
				database_execute(db);
				break;
			}
			/* FALLTHROUGH */
		case DATABASE_RUNNING:
			db->current = NULL;
			{
				bool		preparing = db->state == DATABASE_PREPARING;

				/* a batch is not run again as it was (pool.c) */
				if (!good && statement->query != QUERY_START_MANY && statement->attempts++ < MAX_ATTEMPTS && is_conflict(result))
				{
					PQclear(result);
					database_run(db, statement);
					break;
				}
				/* idle before the callback, which may submit the next statement */
				db->state = DATABASE_IDLE;
				statement_end(statement, good ? OUTCOME_OK : preparing ? OUTCOME_UNUSABLE : OUTCOME_ERROR, result);
				if (db->state == DATABASE_IDLE)
					db->idle(db);
			}
			break;
		default:
			PQclear(result);
	}
}

/* Hand out the notifications that libpq has found so far. */
static void
database_notifies(Database *db)
{
	PGnotify   *notify;

	while ((notify = PQnotifies(db->conn)) != NULL)
	{
		if (db->notified != NULL)
			db->notified(db, notify->extra);
		PQfreemem(notify);
	}
}

/* Take what has come in. */
static void
database_input(Database *db)
{
	PGresult   *result;

	if (!PQconsumeInput(db->conn))
	{
		/* the server's last words stand before the end of the connection */
		while (!PQisBusy(db->conn) && (result = PQgetResult(db->conn)) != NULL)
			PQclear(result);
		database_lose(db);
		return;
	}
	database_notifies(db);
	if (db->state == DATABASE_IDLE)
	{
		if (PQstatus(db->conn) == CONNECTION_BAD)
			database_lose(db);
		return;
	}
	/* the last of several results counts: the setup is several statements */
	for (;;)
	{
		if (PQisBusy(db->conn))
			return;
		result = PQgetResult(db->conn);
		if (result == NULL)
			break;
		PQclear(db->result);
		db->result = result;
	}
	/* libpq has found those after the end of the result only now */
	database_notifies(db);
	result = db->result;
	db->result = NULL;
	if (result != NULL)
		database_result(db, result);
}

static void
database_ready(void *arg, uint32_t events)
{
	Database   *db = arg;

	if (db->state == DATABASE_CONNECTING)
	{
		database_connect_poll(db);
		return;
	}
	if ((events & EPOLLOUT) && !database_flush(db))
		return;
	if (events & ~EPOLLOUT)
		database_input(db);
}

void
database_start(Database *db)
{
	db->source = (Source) {.fd = -1, .ready = database_ready, .arg = db};
	db->backoff = BACKOFF_FIRST;
	database_connect(db);
}

int64_t
database_next(const Database *db)
{
	return db->state == DATABASE_DOWN ? db->retry_at : db->state == DATABASE_IDLE ? INT64_MAX : db->deadline;
}

void
database_tick(Database *db, int64_t now)
{
	if (database_next(db) > now)
		return;
	if (db->state == DATABASE_DOWN)
		database_connect(db);
	else
	{
		if (!db->failed_before)
			log_line("database: no answer in time");
		db->failed_before = true;
		database_lose(db);
	}
}

void
database_close(Database *db)
{
	Statement  *current = db->current;

	db->current = NULL;
	if (current != NULL)
		statement_end(current, db->state == DATABASE_RUNNING ? OUTCOME_LOST : OUTCOME_AWAY, NULL);
	loop_unwatch(&db->source);
	PQclear(db->result);
	db->result = NULL;
	PQfinish(db->conn);
	db->conn = NULL;
}
