/*
 * request.c
 *	  One HTTP request and its answer.
 *
 * The URI is parsed here and not by libmicrohttpd, which decodes it before it
 * splits the path, so that %2F would be a slash.  Decoded segments and parameters
 * must be UTF-8 without NUL.
 *
 * Clients of Durable Functions append &key=value to the URLs of a management
 * payload, which in Azure always have a query string.  Payloads that SQL functions
 * return have none.  So in a URI without "?" the query begins at an "&" that is
 * followed by a parameter of this API.  Payloads encode the "&" of an id.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "options.h"
#include "request.h"

/* Shorter values are copied into the answer. */
#define LONG_VALUE 4096

static const char *const parameters[] = {
	"taskHub", "connection", "code", "showHistory", "showHistoryOutput", "showInput", "createdTimeFrom", "createdTimeTo",
	"runtimeStatus", "instanceIdPrefix", "top", "reason", "returnInternalServerErrorOnFailure",
	"restartWithNewInstanceId", "timeout", "pollingInterval", "version", "onDuplicate",
};

bool
utf8_valid(const char *text)
{
	const unsigned char *p = (const unsigned char *) text;

	while (*p != '\0')
	{
		int			more = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 :
			*p >= 0xf0 && *p < 0xf5 ? 3 : -1;

		if (more < 0)
			return false;
		/* overlong forms, surrogates, beyond U+10FFFF */
		if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
			(*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
			return false;
		for (p++; more > 0; more--, p++)
			if ((*p & 0xc0) != 0x80)
				return false;
	}
	return true;
}

void
uri_add_segment(Buffer *buffer, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~";
	bool		dots = strcmp(text, ".") == 0 || strcmp(text, "..") == 0;

	for (const char *p = text; *p != '\0'; p++)
	{
		if (strchr(plain, *p) != NULL || (*p == '.' && !dots))
			buffer_append(buffer, p, 1);
		else
			buffer_printf(buffer, "%%%02X", (unsigned char) *p);
	}
}

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decode; NULL if the text is malformed.  plus: "+" is a space. */
static char *
decode(const char *text, size_t length, bool plus)
{
	char	   *decoded = xmalloc(length + 1);
	size_t		n = 0;

	for (size_t i = 0; i < length; i++)
	{
		char		c = text[i];

		if (c == '%')
		{
			int			high = i + 2 < length ? hex(text[i + 1]) : -1;
			int			low = i + 2 < length ? hex(text[i + 2]) : -1;

			c = high >= 0 && low >= 0 ? (char) (high * 16 + low) : '\0';
			i += 2;
			if (c == '\0')
				goto wrong;
		}
		else if (c == '+' && plus)
			c = ' ';
		decoded[n++] = c;
	}
	decoded[n] = '\0';
	if (utf8_valid(decoded))
		return decoded;
wrong:
	free(decoded);
	return NULL;
}

/* Where the path ends. */
static size_t
path_length(const char *uri)
{
	size_t		length = strcspn(uri, "?#");

	if (uri[length] != '\0')
		return length;
	for (const char *p = strchr(uri, '&'); p != NULL; p = strchr(p + 1, '&'))
	{
		size_t		key = strcspn(p + 1, "=&/");

		for (size_t i = 0; p[1 + key] == '=' && i < sizeof(parameters) / sizeof(parameters[0]); i++)
			if (strlen(parameters[i]) == key && strncasecmp(parameters[i], p + 1, key) == 0)
				return p - uri;
	}
	return length;
}

static void
parse_path(Request *request, const char *path, size_t length)
{
	const char *end = path + length;

	while (path < end)
	{
		const char *slash = memchr(path, '/', end - path);
		size_t		segment = (slash ? slash : end) - path;

		/* leading, trailing and double slashes are ignored */
		if (segment > 0)
		{
			char	   *decoded = decode(path, segment, false);

			if (decoded == NULL)
				request->problem = "the path is not percent-encoded UTF-8";
			else if (request->segment_count == MAX_SEGMENTS)
				free(decoded);
			else
				request->segments[request->segment_count++] = decoded;
		}
		path += segment + 1;
	}
}

static void
parse_query(Request *request, const char *query)
{
	size_t		length;

	for (; *query != '\0' && *query != '#'; query += length + (query[length] == '&'))
	{
		size_t		key = strcspn(query, "=&#");
		char	   *name;
		char	   *value;

		length = strcspn(query, "&#");
		if (length == 0)
			continue;
		name = decode(query, key, true);
		value = key < length ? decode(query + key + 1, length - key - 1, true) : xstrdup("");
		if (name != NULL && value != NULL && request->query_count < MAX_QUERY)
		{
			request->keys[request->query_count] = name;
			request->values[request->query_count++] = value;
		}
		else
		{
			request->problem = name && value ? "too many query parameters" : "the query is not percent-encoded UTF-8";
			free(name);
			free(value);
		}
	}
}

Request *
request_new(const char *uri)
{
	Request    *request = xcalloc(1, sizeof(Request));
	size_t		path;

	request->arrived = now_ms();
	request->hangup.fd = -1;
	request->content_type = "application/json; charset=utf-8";
	request->uri_length = strlen(uri);
	/* server.c refuses it */
	if (request->uri_length > (size_t) options.max_header / 2)
		return request;
	/* the absolute form, for proxies */
	if (strncasecmp(uri, "http://", 7) == 0 || strncasecmp(uri, "https://", 8) == 0)
	{
		uri = strchr(uri, ':') + 3;
		uri += strcspn(uri, "/?");
	}
	path = path_length(uri);
	parse_path(request, uri, path);
	if (strpbrk(uri, " \t") != NULL)
		request->problem = "the URI contains a blank";
	if (uri[path] != '\0')
		parse_query(request, uri + path + 1);
	return request;
}

void
request_free(Request *request)
{
	loop_unwatch(&request->hangup);
	for (int i = 0; i < request->segment_count; i++)
		free(request->segments[i]);
	for (int i = 0; i < request->query_count; i++)
	{
		free(request->keys[i]);
		free(request->values[i]);
	}
	for (int i = 0; i < request->header_count; i++)
		free(request->header_values[i]);
	free(request->long_values);
	PQclear(request->result);
	free(request->instance_id);
	free(request->retry_after);
	buffer_free(&request->body);
	buffer_free(&request->reply);
	free(request);
}

const char *
request_query(const Request *request, const char *key)
{
	for (int i = 0; i < request->query_count; i++)
		if (strcasecmp(request->keys[i], key) == 0)
			return request->values[i];
	return NULL;
}

void
request_header(Request *request, const char *name, const char *value)
{
	if (request->header_count < MAX_HEADERS)
	{
		request->header_names[request->header_count] = name;
		request->header_values[request->header_count++] = xstrdup(value);
	}
}

void
request_keep(Request *request, PGresult *result)
{
	PQclear(request->result);
	request->result = result;
}

void
request_add_value(Request *request, const char *data, size_t length)
{
	int			n = request->long_count;

	if (length < LONG_VALUE)
	{
		buffer_append(&request->reply, data, length);
		return;
	}
	/* there is room for 1, 2, 4, 8 and so on */
	if ((n & (n - 1)) == 0)
		request->long_values = xrealloc(request->long_values, sizeof(LongValue) * (n ? n * 2 : 1));
	request->long_values[request->long_count++] = (LongValue) {request->reply.length, data, length};
}
