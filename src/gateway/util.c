/*
 * util.c
 *	  Log and memory.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util.h"

void
log_line(const char *format,...)
{
	char		stamp[32];
	char		line[1024];
	time_t		now = time(NULL);
	struct tm	utc;
	va_list		args;

	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* messages of libpq have several lines */
	for (char *p = line; *p != '\0'; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
	fprintf(stderr, "%s durable-gateway: %s\n", stamp, line);
}

static void *
or_abort(void *pointer)
{
	if (pointer == NULL)
	{
		fputs("durable-gateway: out of memory\n", stderr);
		abort();
	}
	return pointer;
}

void *
xmalloc(size_t size)
{
	return or_abort(malloc(size ? size : 1));
}

void *
xcalloc(size_t count, size_t size)
{
	return or_abort(calloc(count, size));
}

void *
xrealloc(void *pointer, size_t size)
{
	return or_abort(realloc(pointer, size ? size : 1));
}

char *
xstrdup(const char *text)
{
	return or_abort(strdup(text));
}

char *
xstrndup(const char *text, size_t length)
{
	return or_abort(strndup(text, length));
}
