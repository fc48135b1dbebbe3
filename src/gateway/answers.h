/*
 * answers.h
 *	  The contents of answers: statuses, links, errors of the database.
 */
#ifndef ANSWERS_H
#define ANSWERS_H

#include "request.h"

/*
 * Answer with the message of an error, and DETAIL and HINT as ExceptionMessage.  CONTEXT, the query and the place in the source
 * are left out, since they would show a caller the code of functions.
 */
extern void answer_error(Request *request, int status, PGresult *result);

/* Append key and the value of a column that holds JSON text. */
extern void answer_add_json(Request *request, const char *key, PGresult *result, int row, int column);

/* Append row number row of a result in the columns of a status (statements.h), without the closing brace. */
extern void answer_add_status(Request *request, PGresult *result, int row);

/* Append "historyEvents" from the second row of QUERY_STATUS_HISTORY on. */
extern void answer_add_history(Request *request, PGresult *result);

/* Set Location to the URL of an instance's status. */
extern void answer_location(Request *request, const char *id);

/* Answer with 202, Location and the management payload. */
extern void answer_links(Request *request, const char *id);

#endif
