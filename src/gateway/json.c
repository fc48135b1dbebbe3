/*
 * json.c
 *	  Buffers that grow, and writing of JSON.
 *
 * The gateway parses no JSON.  PostgreSQL parses what clients send and reports
 * errors in it.  What PostgreSQL returns as jsonb is JSON text already; the
 * gateway does not change it, so that numbers keep all digits.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

void
buffer_append(Buffer *buffer, const char *data, size_t length)
{
	if (buffer->length + length + 1 > buffer->size)
	{
		buffer->size = (buffer->length + length + 1) * 2;
		buffer->data = xrealloc(buffer->data, buffer->size);
	}
	if (length > 0)
		memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
}

void
buffer_add(Buffer *buffer, const char *text)
{
	buffer_append(buffer, text, strlen(text));
}

void
buffer_printf(Buffer *buffer, const char *format,...)
{
	va_list		args;
	char	   *text;
	int			length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		abort();
	buffer_append(buffer, text, length);
	free(text);
}

void
buffer_free(Buffer *buffer)
{
	free(buffer->data);
	*buffer = (Buffer) {0};
}

void
buffer_add_element(Buffer *buffer, const char *value)
{
	if (buffer->length > 1)
		buffer_append(buffer, ",", 1);
	if (value == NULL)
	{
		buffer_add(buffer, "NULL");
		return;
	}
	buffer_append(buffer, "\"", 1);
	while (*value != '\0')
	{
		size_t		plain = strcspn(value, "\"\\");

		buffer_append(buffer, value, plain);
		value += plain;
		if (*value != '\0')
		{
			buffer_append(buffer, "\\", 1);
			buffer_append(buffer, value++, 1);
		}
	}
	buffer_append(buffer, "\"", 1);
}

void
json_add_string(Buffer *buffer, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	const char *rest = text;

	buffer_append(buffer, "\"", 1);
	for (const char *p = text;; p++)
	{
		unsigned char c = *p;
		char		escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

		if (c >= ' ' && c != '"' && c != '\\' && c != 0x7f)
			continue;
		buffer_append(buffer, rest, p - rest);
		rest = p + 1;
		if (c == '\0')
			break;
		if (c == '"' || c == '\\')
		{
			escape[1] = c;
			buffer_append(buffer, escape, 2);
		}
		else
			buffer_append(buffer, escape, 6);
	}
	buffer_append(buffer, "\"", 1);
}
