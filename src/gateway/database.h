/*
 * database.h
 *	  One connection to the database, which comes back by itself.
 */
#ifndef DATABASE_H
#define DATABASE_H

#include "loop.h"
#include "statements.h"

typedef enum DatabaseState
{
	DATABASE_DOWN,				/* until retry_at */
	DATABASE_CONNECTING,		/* PQconnectPoll, until deadline */
	DATABASE_SETUP,				/* its settings are being made */
	DATABASE_IDLE,
	DATABASE_PREPARING,			/* current, before it is run */
	DATABASE_RUNNING			/* current */
} DatabaseState;

typedef struct Database Database;
struct Database
{
	void		(*idle) (Database *);	/* it can take a statement */
	void		(*down) (Database *);	/* it has lost its connection or failed to get one */
	void		(*notified) (Database *, const char *payload);	/* must not run a statement */

	/* private */
	DatabaseState state;
	PGconn	   *conn;
	Source		source;
	Statement  *current;
	PGresult   *result;			/* the last one so far of what was sent */
	bool		prepared[QUERY_COUNT];
	bool		failed_before;	/* one line in the log is enough */
	int			backoff;
	int64_t		retry_at;
	int64_t		deadline;
};

extern void database_start(Database *db);

/* Run a statement now; only while state is DATABASE_IDLE. Calls done and frees it when it has ended. */
extern void database_run(Database *db, Statement *statement);

static inline bool
database_up(const Database *db)
{
	return db->state >= DATABASE_IDLE;
}

/* When database_tick has something to do; INT64_MAX: never. */
extern int64_t database_next(const Database *db);
extern void database_tick(Database *db, int64_t now);

/* Close it for good. */
extern void database_close(Database *db);

/* Hand a statement its end and free it, and the result unless done keeps it. */
extern void statement_end(Statement *statement, Outcome outcome, PGresult *result);

#endif
