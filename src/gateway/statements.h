/*
 * statements.h
 *	  Every SQL statement of the gateway.  Each is prepared once in a connection;
 *	  values are passed as parameters only.
 */
#ifndef STATEMENTS_H
#define STATEMENTS_H

#include <libpq-fe.h>

#include "util.h"

#define MAX_PARAMETERS 8

typedef enum Query
{
	QUERY_START,
	QUERY_START_MANY,
	QUERY_STATUS,
	QUERY_STATUS_HISTORY,
	QUERY_LIST,
	QUERY_PURGE,
	QUERY_PURGE_BY,
	QUERY_RAISE_EVENT,
	QUERY_TERMINATE,
	QUERY_SUSPEND,
	QUERY_RESUME,
	QUERY_REWIND,
	QUERY_RESTART,
	QUERY_HEALTH,
	QUERY_ENDED,
	QUERY_LISTEN,
	QUERY_NOTIFY,
	QUERY_COUNT_INSTANCES,
	QUERY_COUNT_READY,
	QUERY_COUNT_OPEN,
	QUERY_STATS,
	QUERY_COUNT
} Query;

/*
 * The columns of a status, which QUERY_STATUS, QUERY_LIST and the first row of QUERY_STATUS_HISTORY return.  Further rows of
 * QUERY_STATUS_HISTORY have JSON text in the first column: some events in their order, separated by commas.
 */
enum
{
	STATUS_NAME, STATUS_ID, STATUS_STATUS, STATUS_INPUT, STATUS_CUSTOM, STATUS_OUTPUT, STATUS_CREATED, STATUS_UPDATED,
	LIST_TOKEN,
	HISTORY_EVENTS = 0
};

/* The columns of QUERY_COUNT_* and QUERY_STATS: a metric, its labels (names may be NULL) and its value. */
enum
{
	METRIC_NAME, METRIC_LABEL, METRIC_LABEL_VALUE, METRIC_LABEL2, METRIC_LABEL2_VALUE, METRIC_LABEL3, METRIC_LABEL3_VALUE,
	METRIC_VALUE
};

typedef struct QueryText
{
	const char *name;
	const char *sql;
	int			parameters;
} QueryText;

extern const QueryText query_texts[QUERY_COUNT];

/* How a statement ended. */
typedef enum Outcome
{
	OUTCOME_OK,					/* committed; result holds the rows */
	OUTCOME_ERROR,				/* rolled back; sqlstate and message say why */
	OUTCOME_UNUSABLE,			/* could not be prepared: no extension, or no right to it */
	OUTCOME_AWAY,				/* not sent: no connection */
	OUTCOME_LOST				/* sent, but the connection broke before the answer */
} Outcome;

typedef struct Statement Statement;
struct Statement
{
	Query		query;
	char	   *parameters[MAX_PARAMETERS];	/* owned by the statement */
	size_t		input_length;	/* of a start */
	int			attempts;
	bool		alone;			/* do not put it into a batch */
	bool		keep_result;	/* done takes over the result; otherwise it is freed after done */
	void		(*done) (void *arg, Outcome outcome, PGresult *result);
	void	   *arg;
	Statement  *next;
};

/* A statement whose parameters the caller sets; statement_free frees them, too. */
extern Statement *statement_new(Query query, void (*done) (void *, Outcome, PGresult *), void *arg);
extern void statement_free(Statement *statement);

/* A queue of statements; all bytes 0: empty. */
typedef struct Queue
{
	Statement  *first;
	Statement  *last;
	int			count;
} Queue;

extern void queue_push(Queue *queue, Statement *statement);
extern Statement *queue_pop(Queue *queue);

#endif
