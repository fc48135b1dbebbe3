/*
 * server.c
 *	  HTTP: connections, their limits, and answers.
 *
 * libmicrohttpd reads and writes; the loop watches its epoll descriptor.  The
 * connection of a request is suspended while the database works on the request.
 *
 * libmicrohttpd's own timeout starts again with every byte, so a slow client could
 * hold a connection for ever.  Therefore every connection has a Peer, with the time
 * since which it waits for a request.  After --request-timeout the client gets 408,
 * and the socket is shut down, which makes libmicrohttpd close it.
 *
 * libmicrohttpd answers some requests itself, with a short HTML page that cannot be
 * changed: those that are not HTTP, or whose headers do not fit its memory.  All
 * others are answered here, errors as JSON.
 *
 * Beyond --max-connections there are RESERVE more connections, on which each
 * request except /healthz gets 503, and which then close.  If these are used up,
 * too, libmicrohttpd stops accepting, and clients wait in the queue of the
 * listening socket.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keys.h"
#include "metrics.h"
#include "options.h"
#include "origin.h"
#include "routes.h"
#include "server.h"

/* A body that is too long, but not by more than this, is read to its end, so that the client gets the answer. */
#define BODY_GRACE (8 * 1024 * 1024)

/* How much of an answer with long values is copied at a time. */
#define READ_SIZE 65536

/* Connections on which clients beyond the limit are refused. */
#define RESERVE 64

/* When, and how often, to check whether a client that sends nothing has closed its connection; ms. */
#define PROBE_AFTER		1000
#define PROBE_INTERVAL	5000

typedef enum PeerState
{
	PEER_NEW,					/* it has sent nothing yet */
	PEER_READING,				/* a request is being received */
	PEER_BUSY,					/* a request is being answered */
	PEER_IDLE					/* between requests */
} PeerState;

/* A client's connection. */
typedef struct Peer
{
	int			fd;
	PeerState	state;
	bool		closed;			/* shut down, but libmicrohttpd has not noticed */
	bool		over;			/* beyond --max-connections */
	int64_t		since;			/* when the state began */
	int64_t		probe_at;		/* when to check next whether the client has gone */
	struct Peer *next;
	struct Peer *previous;
} Peer;

static struct MHD_Daemon *server;
static Source server_source = {.fd = -1};
static Peer *peers = NULL;
static int	peer_count = 0;
static bool draining = false;
static int64_t next_sweep = INT64_MAX;
static char address[300];
static char *unix_path = NULL;

static Peer *
peer_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void
peer_set(Peer *peer, PeerState state)
{
	peer->state = state;
	peer->since = now_ms();
}

static void
peer_shutdown(Peer *peer)
{
	peer->closed = true;
	shutdown(peer->fd, SHUT_RDWR);
}

static void
peer_event(void *arg, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code)
{
	Peer	   *peer = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		peer = xcalloc(1, sizeof(Peer));
		peer->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		peer_set(peer, PEER_NEW);
		peer->next = peers;
		if (peers)
			peers->previous = peer;
		peers = peer;
		peer->over = ++peer_count > options.max_connections;
		if (next_sweep == INT64_MAX)
			next_sweep = now_ms() + 1000;
		*context = peer;
	}
	else
	{
		if (peer->previous)
			peer->previous->next = peer->next;
		else
			peers = peer->next;
		if (peer->next)
			peer->next->previous = peer->previous;
		peer_count--;
		free(peer);
		*context = NULL;
	}
}

/* Send an answer past libmicrohttpd, which cannot answer an incomplete request, and close. */
static void
peer_refuse(Peer *peer, const char *status, const char *message)
{
	char		text[512];
	int			length = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\n"
								  "Content-Length: %zu\r\nConnection: close\r\n\r\n{\"Message\":\"%s\"}",
								  status, strlen(message) + 14, message);
	ssize_t		sent = send(peer->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void) sent;
	peer_shutdown(peer);
}

int64_t
server_next(void)
{
	return next_sweep;
}

/* Close connections whose time is over, or whose client has gone. */
void
server_tick(int64_t now)
{
	if (now < next_sweep)
		return;
	next_sweep = peers ? now + 500 : INT64_MAX;
	for (Peer *peer = peers; peer != NULL; peer = peer->next)
	{
		int64_t		age = now - peer->since;

		if (peer->closed)
			continue;
		if ((peer->state == PEER_NEW || peer->state == PEER_READING) && age >= options.request_timeout * 1000)
		{
			metrics_count(ROUTE_NONE, 408, age);
			peer_refuse(peer, "408 Request Timeout", "the request did not arrive in time");
		}
		else if (peer->state == PEER_IDLE && age >= (options.idle_timeout + options.request_timeout) * 1000)
			peer_shutdown(peer);
		else if (peer->state != PEER_BUSY && age >= PROBE_AFTER && now >= peer->probe_at)
		{
			/* libmicrohttpd misses an end of file that arrived with the last bytes */
			char		byte;

			peer->probe_at = now + PROBE_INTERVAL;
			if (recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
				peer_shutdown(peer);
		}
	}
}

const char *
server_header(Request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

void
server_answer(Request *request, int status)
{
	if (request->state == REQUEST_ANSWERED)
		return;
	request->status = status;
	request->state = REQUEST_ANSWERED;
	if (request->suspended)
	{
		request->suspended = false;
		MHD_resume_connection(request->connection);
	}
}

void
server_fail(Request *request, int status, const char *message, const char *detail)
{
	request->reply.length = 0;
	request->long_count = 0;
	request->content_type = "application/json; charset=utf-8";
	buffer_add(&request->reply, "{\"Message\":");
	json_add_string(&request->reply, message);
	if (detail != NULL)
	{
		buffer_add(&request->reply, ",\"ExceptionMessage\":");
		json_add_string(&request->reply, detail);
	}
	buffer_add(&request->reply, "}");
	if (status == 503)
		request_header(request, "Retry-After", "1");
	server_answer(request, status);
}

void
server_watch_hangup(Request *request)
{
	loop_watch(&request->hangup, peer_of(request->connection)->fd, EPOLLRDHUP | EPOLLONESHOT);
}

/* Copy the next part of an answer with long values. */
static ssize_t
read_answer(void *arg, uint64_t position, char *buffer, size_t size)
{
	Request    *request = arg;
	size_t		done = 0;

	while (done < size)
	{
		const LongValue *value = request->values_sent < request->long_count ? &request->long_values[request->values_sent] : NULL;
		size_t		text = (value ? value->at : request->reply.length) - request->text_sent;
		size_t		rest = text > 0 ? text : value ? value->length - request->value_sent : 0;
		size_t		part = rest < size - done ? rest : size - done;

		if (text > 0)
		{
			memcpy(buffer + done, request->reply.data + request->text_sent, part);
			request->text_sent += part;
		}
		else if (value != NULL)
		{
			memcpy(buffer + done, value->data + request->value_sent, part);
			request->value_sent += part;
			if (part == rest)
			{
				request->values_sent++;
				request->value_sent = 0;
			}
		}
		else
			break;
		done += part;
	}
	return done > 0 ? (ssize_t) done : MHD_CONTENT_READER_END_OF_STREAM;
}

/* The answer for libmicrohttpd, which reads it from the request until it calls request_over. */
static struct MHD_Response *
make_response(Request *request)
{
	const Buffer *text = &request->reply;
	uint64_t	length = text->length;

	if (request->long_count == 0)
		return MHD_create_response_from_buffer(text->length, text->data ? text->data : (char *) "", MHD_RESPMEM_PERSISTENT);
	for (int i = 0; i < request->long_count; i++)
		length += request->long_values[i].length;
	return MHD_create_response_from_callback(length, READ_SIZE, read_answer, request, NULL);
}

/* Hand the answer over to libmicrohttpd. */
static enum MHD_Result
queue_answer(Request *request)
{
	struct MHD_Response *response;
	enum MHD_Result queued;
	bool		empty = request->reply.length == 0 && request->long_count == 0;

	peer_set(peer_of(request->connection), PEER_BUSY);
	response = make_response(request);
	if (response == NULL)
		return MHD_NO;
	if (!empty)
		MHD_add_response_header(response, "Content-Type", request->content_type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	/* a page of another site must not embed the answer, or run it as a script */
	MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	for (int i = 0; i < request->header_count; i++)
		MHD_add_response_header(response, request->header_names[i], request->header_values[i]);
	if (draining || peer_of(request->connection)->over)
		MHD_add_response_header(response, "Connection", "close");
	metrics_count(request->route, request->status, now_ms() - request->arrived);
	queued = MHD_queue_response(request->connection, request->status, response);
	MHD_destroy_response(response);
	return queued;
}

/* What check_header has seen in all headers. */
typedef struct Headers
{
	size_t		length;
	int			hosts;
	int			origins;
	int			content_lengths;
	int			transfer_encodings;
	const char *problem;
} Headers;

static enum MHD_Result
check_header(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_length, const char *value, size_t value_length)
{
	Headers    *headers = arg;

	headers->length += name_length + value_length + 4;
	headers->hosts += strcasecmp(name, "Host") == 0;
	headers->origins += strcasecmp(name, "Origin") == 0;
	headers->content_lengths += strcasecmp(name, "Content-Length") == 0;
	if (strcasecmp(name, "Transfer-Encoding") == 0)
	{
		headers->transfer_encodings++;
		if (value == NULL || strcasecmp(value, "chunked") != 0)
			headers->problem = "Transfer-Encoding must be chunked";
	}
	for (size_t i = 0; i < name_length; i++)
		if (!isalnum((unsigned char) name[i]) && (name[i] == '\0' || strchr("!#$%&'*+-.^_`|~", name[i]) == NULL))
			headers->problem = "a header has an invalid name";
	if (value != NULL && memchr(value, '\0', value_length) != NULL)
		headers->problem = "a header contains a NUL byte";
	return MHD_YES;
}

/*
 * Check the headers; returns what is wrong with them, or NULL.  They must not leave in doubt where the request ends: if a proxy
 * and this program disagreed on that, a client could hide a request in another one.  *length: bytes of all headers.
 */
static const char *
headers_problem(Request *request, const char *version, size_t *length)
{
	Headers		headers = {.length = request->uri_length};

	MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, check_header, &headers);
	*length = headers.length;
	if (headers.problem != NULL)
		return headers.problem;
	if (headers.hosts > 1)
		return "there is more than one Host";
	if (headers.origins > 1)
		return "there is more than one Origin";
	if (headers.hosts == 0 && strcmp(version, "HTTP/1.1") == 0)
		return "there is no Host";
	if (headers.content_lengths + headers.transfer_encodings > 1)
		return "there is more than one Content-Length or Transfer-Encoding";
	if (headers.transfer_encodings > 0 && strcmp(version, "HTTP/1.0") == 0)
		return "HTTP/1.0 knows no Transfer-Encoding";
	return NULL;
}

/* Check what is known before the body has arrived; true if the request is refused. */
static bool
refuse_early(Request *request, const char *version)
{
	size_t		length;
	const char *problem = headers_problem(request, version, &length);
	const char *content_length = server_header(request, "Content-Length");
	const char *key = server_header(request, "x-functions-key");

	if (peer_of(request->connection)->over && !routes_open(request))
		server_fail(request, 503, "there are too many clients", NULL);
	else if (request->uri_length > (size_t) options.max_header / 2)
		server_fail(request, 414, "the URI is too long", NULL);
	else if (length > (size_t) options.max_header)
		server_fail(request, 431, "the headers are too long", NULL);
	else if (problem != NULL)
	{
		request_header(request, "Connection", "close");
		server_fail(request, 400, problem, NULL);
	}
	else if (content_length != NULL && strtoull(content_length, NULL, 10) > (unsigned long long) options.max_body + BODY_GRACE)
		server_fail(request, 413, "the body is too long", NULL);
	else if (keys_required() && !routes_open(request) && !keys_match(key) && !keys_match(request_query(request, "code")))
		server_fail(request, 401, "the key is missing or wrong: it is expected as code= or in the header x-functions-key", NULL);
	else if (!keys_required() && (problem = origin_problem(request)) != NULL)
		server_fail(request, 403, problem, NULL);
	return request->state == REQUEST_ANSWERED;
}

static void *
uri_seen(void *arg, const char *uri, struct MHD_Connection *connection)
{
	Request    *request = request_new(uri);

	request->connection = connection;
	peer_set(peer_of(connection), PEER_READING);
	return request;
}

static void
request_over(void *arg, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
	Request    *request = *context;

	*context = NULL;
	peer_set(peer_of(connection), PEER_IDLE);
	request_free(request);
}

/* Store a part of the body; false to drop the connection. */
static bool
take_body(Request *request, const char *data, size_t size)
{
	request->body_total += size;
	/* a body of blanks is no body */
	while (request->body.length == 0 && size > 0 && strchr(" \t\r\n", *data) != NULL && *data != '\0')
	{
		data++;
		size--;
	}
	if (request->body_total <= (size_t) options.max_body)
		buffer_append(&request->body, data, size);
	else if (request->body_total > (size_t) options.max_body + BODY_GRACE)
	{
		metrics_count(ROUTE_NONE, 413, 0);
		peer_refuse(peer_of(request->connection), "413 Content Too Large", "the body is too long");
		return false;
	}
	return true;
}

/* libmicrohttpd calls this after the headers, for each part of the body, at its end, and after MHD_resume_connection. */
static enum MHD_Result
serve(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
	  const char *data, size_t *size, void **context)
{
	Request    *request = *context;

	if (!request->begun)
	{
		request->begun = true;
		request->method = method;
		return refuse_early(request, version) ? queue_answer(request) : MHD_YES;
	}
	if (*size > 0)
	{
		bool		kept = take_body(request, data, *size);

		*size = 0;
		return kept ? MHD_YES : MHD_NO;
	}
	if (request->state == REQUEST_READING)
	{
		peer_set(peer_of(connection), PEER_BUSY);
		request->state = REQUEST_RUNNING;
		if (request->body_total > (size_t) options.max_body)
			server_fail(request, 413, "the body is too long", NULL);
		else
			routes_dispatch(request);
		if (request->state == REQUEST_RUNNING)
		{
			request->suspended = true;
			MHD_suspend_connection(connection);
			return MHD_YES;
		}
	}
	return request->state == REQUEST_ANSWERED ? queue_answer(request) : MHD_YES;
}

static void
start_failed(const char *what, const char *why)
{
	fprintf(stderr, "durable-gateway: %s: %s\n", what, why);
	exit(1);
}

static bool
is_loopback_address(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *) addr)->sin_addr.s_addr) >> 24) == 127;
	if (addr->sa_family == AF_INET6)
	{
		const struct in6_addr *in6 = &((const struct sockaddr_in6 *) addr)->sin6_addr;

		return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
	}
	return addr->sa_family == AF_UNIX;
}

static int
listen_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat file;

	if (strlen(path) >= sizeof(addr.sun_path))
		start_failed(path, "the path is too long for a socket");
	strcpy(addr.sun_path, path);
	/* remove the socket of a gateway that was killed */
	if (stat(path, &file) == 0 && S_ISSOCK(file.st_mode))
	{
		int			probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(probe, (struct sockaddr *) &addr, sizeof(addr)) != 0 && errno == ECONNREFUSED)
			unlink(path);
		close(probe);
	}
	if (fd < 0 || bind(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0)
		start_failed(path, strerror(errno));
	unix_path = xstrdup(path);
	snprintf(address, sizeof(address), "http://localhost");
	return fd;
}

static int
listen_tcp(const char *where)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found;
	struct sockaddr_storage bound;
	socklen_t	length = sizeof(bound);
	const char *colon = strrchr(where, ':');
	char	   *host;
	char		port[16];
	size_t		digits = colon ? strspn(colon + 1, "0123456789") : 0;
	int			error,
				fd,
				on = 1;

	if (colon == NULL || colon == where || digits == 0 || colon[1 + digits] != '\0')
		start_failed(where, "--listen must be address:port or unix:/path");
	/* getaddrinfo would reduce it modulo 65536 */
	if (digits > 5 || atoi(colon + 1) > 65535)
		start_failed(where, "a port is a number from 0 to 65535");
	host = where[0] == '[' && colon[-1] == ']' ? xstrndup(where + 1, colon - where - 2) : xstrndup(where, colon - where);
	error = getaddrinfo(host, colon + 1, &hints, &found);
	if (error != 0)
		start_failed(where, gai_strerror(error));
	for (struct addrinfo *one = found; one != NULL; one = one->ai_next)
		if (!is_loopback_address(one->ai_addr) && !keys_required())
			start_failed(where, "this is not a loopback address, so clients must give a key: set --key-file");
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(fd, found->ai_addr, found->ai_addrlen) != 0 ||
		getsockname(fd, (struct sockaddr *) &bound, &length) != 0)
		start_failed(where, strerror(errno));
	/* the port that the kernel chose for port 0 */
	getnameinfo((struct sockaddr *) &bound, length, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
	snprintf(address, sizeof(address), found->ai_family == AF_INET6 && strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s",
			 host, port);
	freeaddrinfo(found);
	free(host);
	return fd;
}

static void
server_ready(void *arg, uint32_t events)
{
	/* the main loop calls server_run anyway */
}

void
server_start(void)
{
	int			fd = strncmp(options.listen, "unix:", 5) == 0 ? listen_unix(options.listen + 5) : listen_tcp(options.listen);

	if (listen(fd, 1024) != 0)
		start_failed(options.listen, strerror(errno));
	server = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, serve, NULL,
							  MHD_OPTION_LISTEN_SOCKET, fd,
							  MHD_OPTION_URI_LOG_CALLBACK, uri_seen, NULL,
							  MHD_OPTION_NOTIFY_COMPLETED, request_over, NULL,
							  MHD_OPTION_NOTIFY_CONNECTION, peer_event, NULL,
							  MHD_OPTION_CONNECTION_LIMIT, (unsigned int) options.max_connections + RESERVE,
							  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) options.idle_timeout,
							  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) options.max_header * 2 + 32768,
							  /* headers_problem and request.c check instead: strict, it may answer twice or not at all */
							  MHD_OPTION_STRICT_FOR_CLIENT, 0,
							  MHD_OPTION_END);
	if (server == NULL)
		start_failed(options.listen, "libmicrohttpd does not start");
	server_source.ready = server_ready;
	loop_watch(&server_source, MHD_get_daemon_info(server, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, EPOLLIN);
}

const char *
server_address(void)
{
	return address;
}

bool
server_on_unix(void)
{
	return unix_path != NULL;
}

int
server_connections(void)
{
	return peer_count;
}

void
server_run(void)
{
	MHD_run(server);
}

int
server_timeout(void)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	return MHD_get_timeout(server, &timeout) == MHD_YES && timeout < 60000 ? (int) timeout : 60000;
}

void
server_drain(void)
{
	MHD_socket	fd = MHD_quiesce_daemon(server);

	if (fd != MHD_INVALID_SOCKET)
		close(fd);
	if (unix_path != NULL)
		unlink(unix_path);
	draining = true;
	for (Peer *peer = peers; peer != NULL; peer = peer->next)
		if (peer->state == PEER_NEW || peer->state == PEER_IDLE)
			peer_shutdown(peer);
}

/* Requests that are still incomplete a second after their beginning are dropped. */
bool
server_drained(void)
{
	int64_t		now = now_ms();

	for (Peer *peer = peers; peer != NULL; peer = peer->next)
		if (peer->state == PEER_BUSY || (peer->state == PEER_READING && !peer->closed && now - peer->since < 1000))
			return false;
	return true;
}

bool
server_draining(void)
{
	return draining;
}

/* All requests must have been answered: libmicrohttpd cannot stop with suspended connections. */
void
server_stop(void)
{
	loop_unwatch(&server_source);
	MHD_stop_daemon(server);
}
