/*
 * json.h
 *	  Buffers that grow, and writing of JSON.
 */
#ifndef GATEWAY_JSON_H
#define GATEWAY_JSON_H

#include "util.h"

typedef struct Buffer
{
	char	   *data;			/* NULL, or text with a NUL that length does not count */
	size_t		length;
	size_t		size;
} Buffer;

extern void buffer_append(Buffer *buffer, const char *data, size_t length);
extern void buffer_add(Buffer *buffer, const char *text);
extern void buffer_printf(Buffer *buffer, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void buffer_free(Buffer *buffer);

/* Append a value, or NULL, to the literal of a one-dimensional PostgreSQL array, of which the buffer has "{" and the elements so far. */
extern void buffer_add_element(Buffer *buffer, const char *value);

/* Append text as a JSON string. */
extern void json_add_string(Buffer *buffer, const char *text);

#endif
