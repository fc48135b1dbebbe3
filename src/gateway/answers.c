/*
 * answers.c
 *	  The contents of answers: statuses, the links of the management payload, and
 *	  errors of the database.
 *
 * Long values, which the database returns as JSON text, are not copied into the
 * answer (request_add_value), since copying many megabytes would hold the loop.
 */
#include <ctype.h>
#include <string.h>

#include "../common/links.h"
#include "answers.h"
#include "options.h"
#include "server.h"
#include "statements.h"

#define BASE			"/runtime/webhooks/durabletask"
#define ERROR_TEXT		1000	/* bytes of a message, a detail or a hint that an answer contains */

/* Append the beginning of a text of an error.  The text may be long, as it may quote what the client has sent. */
static void
add_error_text(Buffer *buffer, const char *text)
{
	size_t		length = strnlen(text, ERROR_TEXT + 1);
	bool		whole = length <= ERROR_TEXT;

	/* do not cut a UTF-8 character */
	if (!whole)
		for (length = ERROR_TEXT; length > 0 && (text[length] & 0xc0) == 0x80;)
			length--;
	buffer_append(buffer, text, length);
	if (!whole)
		buffer_add(buffer, "...");
}

void
answer_error(Request *request, int status, PGresult *result)
{
	static const int fields[] = {PG_DIAG_MESSAGE_DETAIL, PG_DIAG_MESSAGE_HINT};
	const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	Buffer		message = {0};
	Buffer		more = {0};

	add_error_text(&message, text ? text : "unknown error");
	for (int i = 0; i < 2; i++)
	{
		text = PQresultErrorField(result, fields[i]);
		if (text == NULL)
			continue;
		buffer_add(&more, more.length > 0 ? " " : "");
		add_error_text(&more, text);
	}
	server_fail(request, status, message.data, more.data);
	buffer_free(&message);
	buffer_free(&more);
}

void
answer_add_json(Request *request, const char *key, PGresult *result, int row, int column)
{
	buffer_add(&request->reply, key);
	if (PQgetisnull(result, row, column))
		buffer_add(&request->reply, "null");
	else
		request_add_value(request, PQgetvalue(result, row, column), PQgetlength(result, row, column));
}

/* Append "key": "value", where the column holds text. */
static void
add_text(Request *request, const char *key, PGresult *result, int row, int column)
{
	buffer_add(&request->reply, key);
	json_add_string(&request->reply, PQgetvalue(result, row, column));
}

void
answer_add_status(Request *request, PGresult *result, int row)
{
	add_text(request, "{\"name\":", result, row, STATUS_NAME);
	add_text(request, ",\"instanceId\":", result, row, STATUS_ID);
	add_text(request, ",\"runtimeStatus\":", result, row, STATUS_STATUS);
	answer_add_json(request, ",\"input\":", result, row, STATUS_INPUT);
	answer_add_json(request, ",\"customStatus\":", result, row, STATUS_CUSTOM);
	answer_add_json(request, ",\"output\":", result, row, STATUS_OUTPUT);
	add_text(request, ",\"createdTime\":", result, row, STATUS_CREATED);
	add_text(request, ",\"lastUpdatedTime\":", result, row, STATUS_UPDATED);
}

void
answer_add_history(Request *request, PGresult *result)
{
	for (int row = 1; row < PQntuples(result); row++)
		answer_add_json(request, row == 1 ? ",\"historyEvents\":[" : ",", result, row, HISTORY_EVENTS);
	buffer_add(&request->reply, "]");
}

/* Append the URL of an instance, without query. */
static void
add_url(Request *request, Buffer *url, const char *id)
{
	const char *host = server_header(request, "Host");
	bool		usable = host != NULL && host[0] != '\0' && strlen(host) < 256;

	for (const char *p = host; usable && *p != '\0'; p++)
		usable = isalnum((unsigned char) *p) || strchr(".-_:[]", *p) != NULL;
	if (options.base_url[0] != '\0')
		buffer_add(url, options.base_url);
	else if (usable)
		buffer_printf(url, "http://%s" BASE, host);
	else
		buffer_printf(url, "%s" BASE, server_address());
	buffer_add(url, "/instances/");
	uri_add_segment(url, id);
}

/* Append the parameters that all links have.  The key is among them only if the request had it in its URI. */
static void
add_common(Request *request, Buffer *query)
{
	static const char *const names[] = {"taskHub", "connection", "code"};
	static const char *const defaults[] = {"durable", "Storage", NULL};

	for (int i = 0; i < 3; i++)
	{
		const char *value = request_query(request, names[i]);

		if (value == NULL || value[0] == '\0')
			value = defaults[i];
		if (value == NULL)
			continue;
		buffer_printf(query, "%s%s=", i > 0 ? "&" : "", names[i]);
		uri_add_segment(query, value);
	}
}

void
answer_location(Request *request, const char *id)
{
	Buffer		url = {0};

	add_url(request, &url, id);
	buffer_add(&url, "?");
	add_common(request, &url);
	request_header(request, "Location", url.data);
	buffer_free(&url);
}

void
answer_links(Request *request, const char *id)
{
	Buffer		url = {0};
	Buffer		query = {0};
	Buffer		link = {0};

	add_url(request, &url, id);
	add_common(request, &query);
	buffer_add(&request->reply, "{\"id\":");
	json_add_string(&request->reply, id);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
	{
		link.length = 0;
		buffer_printf(&link, "%s%s%s%s", url.data, links[i].suffix, strchr(links[i].suffix, '?') ? "&" : "?", query.data);
		buffer_printf(&request->reply, ",\"%s\":", links[i].name);
		json_add_string(&request->reply, link.data);
		if (i == 0)
			request_header(request, "Location", link.data);
	}
	buffer_add(&request->reply, "}");
	buffer_free(&url);
	buffer_free(&query);
	buffer_free(&link);
	request_header(request, "Retry-After", request->retry_after ? request->retry_after : "10");
	server_answer(request, 202);
}
