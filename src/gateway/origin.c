/*
 * origin.c
 *	  Who may call a gateway without a key: every program on this machine, and
 *	  no page that a browser on this machine shows, unless the page comes from
 *	  the gateway's own address.
 *
 * A browser lets a page of any site send requests to loopback.  Three headers,
 * which a page cannot change, tell such a request from that of a program:
 *
 * Host is the name that the browser has connected to.  A site can have its own
 * name resolve to 127.0.0.1 (DNS rebinding), and its page is then of the same
 * origin as the gateway.  Therefore Host must be localhost, an address of
 * loopback, or the host that --base-url or --listen names.  0.0.0.0 is none:
 * it reaches loopback, but browsers do not treat it so.  A Unix socket cannot
 * be reached from a page, so that any Host will do there.
 *
 * Origin is the page's scheme, host and port.  Browsers send it with every
 * POST and DELETE, with every WebSocket and with every request whose answer a
 * page of another origin could read, and "null" where they hide it.  It must
 * be http:// and Host, or where Host is the host of --base-url the origin of
 * --base-url, as a proxy may speak TLS there.
 *
 * Sec-Fetch-Site is the browser's own verdict, also on requests that have no
 * Origin: links, images, scripts.  It must be same-origin, or none, which
 * means that the user has typed the URL, so that only reading makes sense.
 *
 * What remains is a GET by a page in a browser that sends no Sec-Fetch-Site: it
 * changes nothing, and the page cannot read the answer.
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

/* Divide host and perhaps port; false if that is wrong. default_port: which is the same as none. */
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

/* Divide an Origin, or a URL, which may have a path. */
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

/* Whether this is localhost or an address of loopback, as browsers write it. */
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

/* Whether this is the origin of the gateway itself: that of --base-url if Host is its host, otherwise http:// and Host. */
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
