/*
 * json.h
 *	  Growing buffers, and JSON made.
 */
#ifndef GATEWAY_JSON_H
#define GATEWAY_JSON_H

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

#endif
