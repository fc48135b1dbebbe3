/*
 * database.c
 *	  One connection to the database, which reconnects by itself.
 *
 *	  DOWN -> CONNECTING -> SETUP -> IDLE <-> PREPARING -> RUNNING -> IDLE
 *	  any state -> DOWN when the connection breaks
 *
 * The socket is watched in every state, so that a broken connection is noticed at
 * once.  The pause before an attempt to reconnect is 0.1 s at first and doubles up
 * to 5 s; a random part keeps the connections of a pool apart.  A statement whose
 * connection broke ends as OUTCOME_LOST: it may have committed, so only its client
 * can decide whether to repeat it.  Messages of libpq, which may contain hosts and
 * users, are logged and never sent to a client.
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

/* End the connection and its statement. */
static void
database_drop(Database *db)
{
	Statement  *lost = db->current;
	Outcome		outcome = db->state == DATABASE_RUNNING ? OUTCOME_LOST : OUTCOME_AWAY;

	loop_unwatch(&db->source);
	PQclear(db->result);
	db->result = NULL;
	PQfinish(db->conn);
	db->conn = NULL;
	db->current = NULL;
	db->state = DATABASE_DOWN;
	if (lost != NULL)
		statement_end(lost, outcome, NULL);
}

/* The connection broke or could not be made: retry later. */
static void
database_lose(Database *db)
{
	if (!db->failed_before)
		log_line("database: %s", db->conn ? PQerrorMessage(db->conn) : "out of memory");
	db->failed_before = true;
	db->retry_at = now_ms() + db->backoff + random() % (db->backoff / 2);
	db->backoff = db->backoff * 2 > BACKOFF_LAST ? BACKOFF_LAST : db->backoff * 2;
	database_drop(db);
	db->down(db);
}

/* Send what libpq has buffered; buffered: whether libpq could buffer the last message.  False if the connection is lost. */
static bool
database_flush(Database *db, bool buffered)
{
	int			rest = buffered ? PQflush(db->conn) : -1;

	if (rest < 0)
	{
		/* for the log: the server may have sent a last message */
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
	/* dbname, which may be a conninfo string, overrides the keywords before it */
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
			/* libpq may have opened another socket with the same number */
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
			database_flush(db, PQsendQuery(db->conn, setup));
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
	database_flush(db, PQsendQueryPrepared(db->conn, text->name, text->parameters,
										   (const char *const *) db->current->parameters, NULL, NULL, 0));
}

void
database_run(Database *db, Statement *statement)
{
	const QueryText *text = &query_texts[statement->query];

	db->current = statement;
	/* later than the server's statement_timeout: for a server that does not answer */
	db->deadline = options.statement_timeout ? now_ms() + options.statement_timeout * 1000 + 5000 : INT64_MAX;
	if (db->prepared[statement->query])
	{
		database_execute(db);
		return;
	}
	db->state = DATABASE_PREPARING;
	database_flush(db, PQsendPrepare(db->conn, text->name, text->sql, 0, NULL));
}

/* Whether an error ends the connection. */
static bool
is_fatal(const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

	return severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Whether the transaction was rolled back because of a conflict with others, so that it is worth a second try. */
static bool
is_conflict(const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return sqlstate != NULL && (strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0);
}

/* The current statement has its result, or could not be prepared. */
static void
database_end(Database *db, Outcome outcome, PGresult *result)
{
	Statement  *statement = db->current;

	db->current = NULL;
	/* pool.c splits a batch that failed */
	if (outcome != OUTCOME_OK && statement->query != QUERY_START_MANY && statement->attempts++ < MAX_ATTEMPTS && is_conflict(result))
	{
		PQclear(result);
		database_run(db, statement);
		return;
	}
	/* before the callback, which may submit the next statement */
	db->state = DATABASE_IDLE;
	statement_end(statement, outcome, result);
	if (db->state == DATABASE_IDLE)
		db->idle(db);
}

/* The only result, or the last one, of what was sent. */
static void
database_result(Database *db, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool		good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
	bool		fatal = PQstatus(db->conn) == CONNECTION_BAD || is_fatal(result);
	bool		preparing = db->state == DATABASE_PREPARING;

	if (db->current != NULL && !fatal && !(preparing && good))
	{
		database_end(db, good ? OUTCOME_OK : preparing ? OUTCOME_UNUSABLE : OUTCOME_ERROR, result);
		return;
	}
	PQclear(result);
	if (fatal || !good)
		database_lose(db);
	else if (preparing)
	{
		db->prepared[db->current->query] = true;
		database_execute(db);
	}
	else
	{
		if (db->failed_before)
			log_line("database: connected");
		db->failed_before = false;
		db->backoff = BACKOFF_FIRST;
		db->state = DATABASE_IDLE;
		db->idle(db);
	}
}

/* Pass on the notifications that libpq has received so far. */
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

/* Read and handle what the server has sent. */
static void
database_input(Database *db)
{
	PGresult   *result;

	if (!PQconsumeInput(db->conn))
	{
		/* for the log: the server's last message came before the end of the connection */
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
	/* PQgetResult has found those that came after the result */
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
	if ((events & EPOLLOUT) && !database_flush(db, true))
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
	database_drop(db);
}
