/*
 * gateway.h
 *	  What every file of durable-gateway shares: time, log, memory.
 *
 * The program is one thread around one epoll set (loop.c). A request comes in
 * through libmicrohttpd (server.c), is parsed (request.c) and dispatched by
 * method and path (routes.c); its statement goes through a few connections
 * (pool.c, each a database.c) and its connection is suspended until the result
 * is there, which answers.c turns into a body. A request with timeout= then waits
 * in waiters.c, which learns from one LISTEN connection what has ended.
 * Nothing blocks but the resolution of the server's name by libpq.
 *
 * No request may hold the loop for longer than it takes to copy its bytes.  So
 * the gateway neither parses bodies nor prints values: PostgreSQL does both, in
 * a process of its own, within --statement-timeout.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Milliseconds of a clock that never goes back. */
extern int64_t now_ms(void);

static inline int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* One line on stderr, with the time before it. */
extern void log_line(const char *format,...) __attribute__((format(printf, 1, 2)));

/* Memory or abort: a server that cannot get any is restarted by its supervisor. */
extern void *xmalloc(size_t size);
extern void *xcalloc(size_t count, size_t size);
extern void *xrealloc(void *pointer, size_t size);
extern char *xstrdup(const char *text);
extern char *xstrndup(const char *text, size_t length);

#endif
