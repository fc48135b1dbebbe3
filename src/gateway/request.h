/*
 * request.h
 *	  One HTTP request and its answer.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <libpq-fe.h>

#include "json.h"
#include "loop.h"

struct MHD_Connection;

#define MAX_SEGMENTS	12
#define MAX_QUERY		32
#define MAX_HEADERS		6

typedef enum RequestState
{
	REQUEST_READING,			/* headers or body are not complete */
	REQUEST_RUNNING,			/* dispatched; its connection is suspended */
	REQUEST_ANSWERED			/* status and reply are set */
} RequestState;

/* A long value of an answer, which is not copied but stays in request->result. */
typedef struct LongValue
{
	size_t		at;				/* its position in the answer's text */
	const char *data;
	size_t		length;
} LongValue;

typedef struct Request Request;
struct Request
{
	struct MHD_Connection *connection;
	RequestState state;
	bool		begun;			/* its headers are complete */
	bool		suspended;
	const char *method;			/* valid as long as the connection */
	const char *problem;		/* what is wrong with the URI, or NULL */
	char	   *segments[MAX_SEGMENTS]; /* of the path, decoded */
	int			segment_count;
	char	   *keys[MAX_QUERY];	/* of the query string, decoded */
	char	   *values[MAX_QUERY];
	int			query_count;
	size_t		uri_length;
	Buffer		body;
	size_t		body_total;		/* including what was dropped beyond the limit */
	int64_t		arrived;		/* ms */

	/* the answer */
	int			status;
	Buffer		reply;			/* its text, without long values */
	LongValue  *long_values;
	int			long_count;
	int			values_sent;	/* how much libmicrohttpd has read: whole long values, */
	size_t		text_sent;		/* bytes of reply, */
	size_t		value_sent;		/* and bytes of the next long value */
	PGresult   *result;			/* of its last statement; long values point into it */
	const char *content_type;
	const char *header_names[MAX_HEADERS];
	char	   *header_values[MAX_HEADERS];
	int			header_count;

	/* for the route */
	int			route;			/* index of the route, for metrics */
	char	   *instance_id;
	char	   *retry_after;
	bool		error_on_failure;	/* 500 for a failed instance */
	int64_t		wait_until;		/* 0: does not wait */

	/* while it waits: for waiters.c; metrics.c uses wait_next only */
	bool		waiting;
	int64_t		look_at;		/* when to look whether the instance has ended; INT64_MAX: with all others */
	bool		hinted;			/* because of a notification */
	int64_t		hints_from;		/* no look before this because of another notification */
	Request    *wait_next,
			   *wait_previous;
	Request    *bucket_next;
	void		(*wake) (Request *request, bool ended);
	Source		hangup;
};

/* A request with the URI of the request line. */
extern Request *request_new(const char *uri);
extern void request_free(Request *request);

/* The value of a key of the query string, or NULL. */
extern const char *request_query(const Request *request, const char *key);

/* Add a header of the answer; the value is copied, the name is not. */
extern void request_header(Request *request, const char *name, const char *value);

/* Keep a statement's result until the request ends; frees the one before. */
extern void request_keep(Request *request, PGresult *result);

/* Append a value of the kept result to the answer. */
extern void request_add_value(Request *request, const char *data, size_t length);

/* Whether a text is UTF-8. */
extern bool utf8_valid(const char *text);

/* Append text percent-encoded as a path segment. */
extern void uri_add_segment(Buffer *buffer, const char *text);

#endif
