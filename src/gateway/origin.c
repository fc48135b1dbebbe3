/*
 * origin.c
 *	  Checks of requests to a gateway that has no keys.
 *
 * Such a gateway serves every program on its machine, but no page of another site
 * that a browser on the machine shows.  A browser lets any page send requests to
 * loopback.  Three headers, which a page cannot change, identify these requests:
 *
 * Host is the name to which the browser has connected.  A site can make its own
 * name resolve to 127.0.0.1 (DNS rebinding); then the browser takes the gateway
 * for the page's own origin.  Therefore Host must be localhost, a loopback
 * address, or the host of --base-url or --listen.  0.0.0.0 is refused: it reaches
 * loopback, but browsers do not treat it as loopback.  A Unix socket accepts any
 * Host, since no page can reach it.
 *
 * Origin is the page's scheme, host and port.  Browsers send it with every POST
 * and DELETE, every WebSocket, and every request whose answer a page of another
 * origin could read; some pages have the origin "null".  It must be http:// and
 * Host, or, if Host is the host of --base-url, the origin of --base-url, since a
 * proxy may offer TLS there.
 *
 * Sec-Fetch-Site is the browser's own classification, also of requests that have
 * no Origin: links, images, scripts.  It must be same-origin, or, for a request
 * that only reads, none, which means that the user has entered the URL.
 *
 * A GET by a page in a browser that sends no Sec-Fetch-Site is accepted: it changes
 * nothing, and the page cannot read the answer.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "options.h"
#include "origin.h"
#include "server.h"

/* Scheme, host and port of a URL or Origin. */
typedef struct Origin
{
	size_t		scheme_length;	/* with :// */
	const char *scheme;
	size_t		host_length;
	const char *host;
	size_t		port_length;
	const char *port;
} Origin;

/* Parse a host with an optional port; false if it is malformed.  default_port counts as no port. */
static bool
parse_host(const char *text, size_t length, const char *default_port, Origin *origin)
{
	origin->host = text;
	origin->host_length = text[0] == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":/?#");
	if (origin->host_length == 0 || origin->host_length > length)
		return false;
	origin->port = text + origin->host_length;
	origin->port_length = length - origin->host_length;
	if (origin->port_length == 0)
		return true;
	if (origin->port[0] != ':' || strspn(origin->port + 1, "0123456789") < origin->port_length - 1)
		return false;
	origin->port++;
	origin->port_length--;
	if (origin->port_length == strlen(default_port) && strncmp(origin->port, default_port, origin->port_length) == 0)
		origin->port_length = 0;
	return true;
}

/* Parse an Origin, or, with path, a URL. */
static bool
parse_url(const char *url, bool path, Origin *origin)
{
	const char *scheme = strstr(url, "://");
	const char *host;

	if (scheme == NULL)
		return false;
	host = scheme + 3;
	origin->scheme = url;
	origin->scheme_length = host - url;
	return parse_host(host, path ? strcspn(host, "/?#") : strlen(host), strncasecmp(url, "https", 5) == 0 ? "443" : "80", origin);
}

static bool
same_part(const char *a, size_t a_length, const char *b, size_t b_length)
{
	return a_length == b_length && strncasecmp(a, b, a_length) == 0;
}

static bool
same_host(const Origin *a, const Origin *b)
{
	return same_part(a->host, a->host_length, b->host, b->host_length);
}

static bool
same_origin(const Origin *a, const Origin *b)
{
	return same_host(a, b) && same_part(a->port, a->port_length, b->port, b->port_length) &&
		same_part(a->scheme, a->scheme_length, b->scheme, b->scheme_length);
}

/* Whether the host is localhost or a loopback address, as browsers write them. */
static bool
is_loopback(const Origin *origin)
{
	char		text[INET6_ADDRSTRLEN];
	struct in_addr in;
	struct in6_addr in6;
	bool		bracket = origin->host[0] == '[';
	size_t		length = origin->host_length - (bracket ? 2 : 0);

	if (same_part(origin->host, origin->host_length, "localhost", 9))
		return true;
	if (length >= sizeof(text))
		return false;
	memcpy(text, origin->host + (bracket ? 1 : 0), length);
	text[length] = '\0';
	if (bracket)
		return inet_pton(AF_INET6, text, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
	return inet_pton(AF_INET, text, &in) == 1 && (ntohl(in.s_addr) >> 24) == 127;
}

/* Whether text is the origin of the gateway: the origin of --base-url if Host is its host, else http:// and Host. */
static bool
is_own(const char *text, const Origin *host, const Origin *base)
{
	Origin		given;
	Origin		own = *host;

	own.scheme = "http://";
	own.scheme_length = 7;
	if (base != NULL && same_host(host, base))
		own = *base;
	return parse_url(text, false, &given) && same_origin(&given, &own);
}

const char *
origin_problem(Request *request)
{
	const char *host_text = server_header(request, "Host");
	const char *origin_text = server_header(request, "Origin");
	const char *site = server_header(request, "Sec-Fetch-Site");
	bool		reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
	Origin		host,
				listen,
				base;
	bool		has_base = parse_url(options.base_url, true, &base);
	bool		has_listen = parse_url(server_address(), true, &listen);

	/* HTTP/1.0, which no browser speaks */
	if (host_text == NULL)
		host_text = "localhost";
	if (!parse_host(host_text, strlen(host_text), "80", &host) ||
		!(is_loopback(&host) || server_on_unix() || (has_base && same_host(&host, &base)) ||
		  (has_listen && same_host(&host, &listen))))
		return "without a key Host must be localhost, a loopback address or the host of --base-url";
	if (origin_text != NULL && !is_own(origin_text, &host, has_base ? &base : NULL))
		return "a request from a page of another origin needs a key";
	if (site != NULL && strcmp(site, "same-origin") != 0 && !(reads && strcmp(site, "none") == 0))
		return "a request from a page of another site needs a key";
	return NULL;
}
