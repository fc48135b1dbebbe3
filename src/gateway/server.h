/*
 * server.h
 *	  HTTP: connections, their limits, and answers.
 */
#ifndef SERVER_H
#define SERVER_H

#include "request.h"

/* Listen on options.listen; exits with a message if that fails, or if it is not loopback and no keys are loaded. */
extern void server_start(void);

/* Its address as the beginning of a URL: http://127.0.0.1:8080 */
extern const char *server_address(void);

/* Whether it listens on a Unix socket. */
extern bool server_on_unix(void);

/* Answer with this status and request->reply. */
extern void server_answer(Request *request, int status);

/* Answer with {"Message": message, "ExceptionMessage": detail}; detail may be NULL. */
extern void server_fail(Request *request, int status, const char *message, const char *detail);

/* The value of a header of the request, or NULL. */
extern const char *server_header(Request *request, const char *name);

/* Call the request's hangup source when the client closes the connection. */
extern void server_watch_hangup(Request *request);

/* For /metrics. */
extern int	server_connections(void);

/* Stop accepting, and close idle connections; server_drained: whether all requests have been answered. */
extern void server_drain(void);
extern bool server_drained(void);
extern bool server_draining(void);

/* How long the loop may sleep for libmicrohttpd, in ms; a minute at most. */
extern int	server_timeout(void);
extern void server_run(void);
extern int64_t server_next(void);
extern void server_tick(int64_t now);
extern void server_stop(void);

#endif
