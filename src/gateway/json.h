/*
 * json.h
 *	  Bodies: growing buffers, and JSON made and checked.
 */
#ifndef GATEWAY_JSON_H
#define GATEWAY_JSON_H

#include <libpq-fe.h>

#include "gateway.h"

typedef struct Buffer
{
	char	   *data;			/* NULL, or ended by a NUL that does not count */
	size_t		length;
	size_t		size;
} Buffer;

extern void buffer_append(Buffer *buffer, const char *data, size_t length);
extern void buffer_add(Buffer *buffer, const char *text);
extern void buffer_printf(Buffer *buffer, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void buffer_free(Buffer *buffer);

/* Append a value, or NULL, as an element of the literal of a one-dimensional array of PostgreSQL, "{" and elements so far. */
extern void buffer_add_element(Buffer *buffer, const char *value);

/* Append text as a JSON string. */
extern void json_add_string(Buffer *buffer, const char *text);

/* What is wrong with a JSON text of this length, or NULL. */
extern const char *json_problem(const char *text, size_t length);

/* The string under a key of a JSON object, or NULL; to be freed. */
extern char *json_get_string(const char *text, const char *key);

/* Append row number row of a result in the columns of a status (statements.h), without the closing brace. */
extern void json_add_status(Buffer *buffer, PGresult *result, int row);

/* Append "historyEvents": [...] from the second row of QUERY_STATUS_HISTORY on. */
extern void json_add_history(Buffer *buffer, PGresult *result, bool show_output);

#endif
