/*
 * database.h
 *	  One connection to the database, which reconnects by itself.
 */
#ifndef DATABASE_H
#define DATABASE_H

#include "loop.h"
#include "statements.h"

typedef enum DatabaseState
{
	DATABASE_DOWN,				/* until retry_at */
	DATABASE_CONNECTING,		/* PQconnectPoll, until deadline */
	DATABASE_SETUP,				/* its SET statements run */
	DATABASE_IDLE,
	DATABASE_PREPARING,			/* it prepares the statement current */
	DATABASE_RUNNING			/* it runs current */
} DatabaseState;

typedef struct Database Database;
struct Database
{
	void		(*idle) (Database *);	/* called when it can take a statement */
	void		(*down) (Database *);	/* called when it lost its connection or failed to connect */
	void		(*notified) (Database *, const char *payload);	/* must not run a statement */

	/* private */
	DatabaseState state;
	PGconn	   *conn;
	Source		source;
	Statement  *current;
	PGresult   *result;			/* the last result so far of what was sent */
	bool		prepared[QUERY_COUNT];
	bool		failed_before;	/* and the log has a line about that */
	int			backoff;
	int64_t		retry_at;
	int64_t		deadline;
};

extern void database_start(Database *db);

/* Run a statement; only while state is DATABASE_IDLE. When the statement ends, statement_end is called. */
extern void database_run(Database *db, Statement *statement);

static inline bool
database_up(const Database *db)
{
	return db->state >= DATABASE_IDLE;
}

/* When to call database_tick, for a retry or a timeout; INT64_MAX: never. */
extern int64_t database_next(const Database *db);
extern void database_tick(Database *db, int64_t now);

/* Close it for good. */
extern void database_close(Database *db);

/* Call a statement's done, and free the statement, and the result unless keep_result is set. */
extern void statement_end(Statement *statement, Outcome outcome, PGresult *result);

#endif
