/*
 * util.h
 *	  Log and memory, for every file of the gateway.
 */
#ifndef UTIL_H
#define UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line on stderr, with the time before it. */
extern void log_line(const char *format,...) __attribute__((format(printf, 1, 2)));

/* Memory; if there is none the program aborts, and its supervisor restarts it. */
extern void *xmalloc(size_t size);
extern void *xcalloc(size_t count, size_t size);
extern void *xrealloc(void *pointer, size_t size);
extern char *xstrdup(const char *text);
extern char *xstrndup(const char *text, size_t length);

#endif
