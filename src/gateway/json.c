/*
 * json.c
 *	  Bodies: growing buffers, and JSON made and checked.
 *
 * What comes from the database as jsonb is already JSON text and is copied as
 * it is, so numbers keep every digit. json-c reads what clients and NOTIFY
 * send. A body must be one JSON value and no deeper than MAX_DEPTH; what
 * PostgreSQL alone refuses (\u0000) it says itself.
 *
 * History events take the shape that Durable Functions gives them: keys in
 * Pascal case, and a row that schedules something is folded into the one that
 * ends it, which gets its FunctionName and ScheduledTime. What is still open
 * stays as it was scheduled.
 */
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "statements.h"

#define MAX_DEPTH 1000

void
buffer_append(Buffer *buffer, const char *data, size_t length)
{
	if (buffer->length + length + 1 > buffer->size)
	{
		buffer->size = (buffer->length + length + 1) * 2;
		buffer->data = xrealloc(buffer->data, buffer->size);
	}
	if (length > 0)
		memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
}

void
buffer_add(Buffer *buffer, const char *text)
{
	buffer_append(buffer, text, strlen(text));
}

void
buffer_printf(Buffer *buffer, const char *format,...)
{
	va_list		args;
	char	   *text;
	int			length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		abort();
	buffer_append(buffer, text, length);
	free(text);
}

void
buffer_free(Buffer *buffer)
{
	free(buffer->data);
	*buffer = (Buffer) {0};
}

void
buffer_add_element(Buffer *buffer, const char *value)
{
	if (buffer->length > 1)
		buffer_append(buffer, ",", 1);
	if (value == NULL)
	{
		buffer_add(buffer, "NULL");
		return;
	}
	buffer_append(buffer, "\"", 1);
	while (*value != '\0')
	{
		size_t		plain = strcspn(value, "\"\\");

		buffer_append(buffer, value, plain);
		value += plain;
		if (*value != '\0')
		{
			buffer_append(buffer, "\\", 1);
			buffer_append(buffer, value++, 1);
		}
	}
	buffer_append(buffer, "\"", 1);
}

void
json_add_string(Buffer *buffer, const char *text)
{
	const char *rest = text;

	buffer_add(buffer, "\"");
	for (const char *p = text;; p++)
	{
		unsigned char c = *p;

		if (c >= ' ' && c != '"' && c != '\\' && c != 0x7f)
			continue;
		buffer_append(buffer, rest, p - rest);
		rest = p + 1;
		if (c == '\0')
			break;
		if (c == '"' || c == '\\')
			buffer_printf(buffer, "\\%c", c);
		else
			buffer_printf(buffer, "\\u%04x", c);
	}
	buffer_add(buffer, "\"");
}

const char *
json_problem(const char *text, size_t length)
{
	struct json_tokener *tokener;
	struct json_object *value;
	enum json_tokener_error error;
	size_t		end;

	if (memchr(text, '\0', length) != NULL)
		return "it contains a NUL byte";
	tokener = json_tokener_new_ex(MAX_DEPTH);
	if (tokener == NULL)
		abort();
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	/* with the NUL after it, which ends a number */
	value = json_tokener_parse_ex(tokener, text, length + 1);
	error = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_object_put(value);
	json_tokener_free(tokener);
	if (error == json_tokener_continue)
		return "it ends too early";
	if (error != json_tokener_success)
		return json_tokener_error_desc(error);
	if (text[end < length ? end : length] != '\0' && end + strspn(text + end, " \t\r\n") < length)
		return "there is something after the value";
	return NULL;
}

char *
json_get_string(const char *text, const char *key)
{
	struct json_object *object = json_tokener_parse(text);
	struct json_object *value;
	char	   *string = NULL;

	if (json_object_is_type(object, json_type_object) && json_object_object_get_ex(object, key, &value) &&
		json_object_is_type(value, json_type_string))
		string = xstrdup(json_object_get_string(value));
	json_object_put(object);
	return string;
}

/* "key": value, where the column holds JSON text. */
static void
add_json(Buffer *buffer, const char *key, PGresult *result, int row, int column)
{
	buffer_printf(buffer, ",\"%s\":", key);
	if (PQgetisnull(result, row, column))
		buffer_add(buffer, "null");
	else
		buffer_append(buffer, PQgetvalue(result, row, column), PQgetlength(result, row, column));
}

/* "key": "value", where the column holds text. */
static void
add_text(Buffer *buffer, const char *key, PGresult *result, int row, int column)
{
	buffer_printf(buffer, ",\"%s\":", key);
	json_add_string(buffer, PQgetvalue(result, row, column));
}

void
json_add_status(Buffer *buffer, PGresult *result, int row)
{
	buffer_add(buffer, "{\"name\":");
	json_add_string(buffer, PQgetvalue(result, row, STATUS_NAME));
	add_text(buffer, "instanceId", result, row, STATUS_ID);
	add_text(buffer, "runtimeStatus", result, row, STATUS_STATUS);
	add_json(buffer, "input", result, row, STATUS_INPUT);
	add_json(buffer, "customStatus", result, row, STATUS_CUSTOM);
	add_json(buffer, "output", result, row, STATUS_OUTPUT);
	add_text(buffer, "createdTime", result, row, STATUS_CREATED);
	add_text(buffer, "lastUpdatedTime", result, row, STATUS_UPDATED);
}

/* What an event type becomes. */
typedef enum Kind
{
	KIND_PLAIN,
	KIND_OPEN,					/* schedules something */
	KIND_CLOSE,					/* ends it */
	KIND_DROP					/* not known to Durable Functions */
} Kind;

typedef struct EventType
{
	const char *type;
	Kind		kind;
	const char *name;			/* key of the name */
	const char *input;			/* key of the input */
	const char *result;			/* key of the result; Result is shown only with showHistoryOutput */
	const char *status;			/* OrchestrationStatus; the event is then an ExecutionCompleted */
} EventType;

static const EventType event_types[] = {
	{"ExecutionStarted", KIND_PLAIN, "FunctionName", "Input", NULL, NULL},
	{"TaskScheduled", KIND_OPEN, "FunctionName", "Input", NULL, NULL},
	{"TaskCompleted", KIND_CLOSE, "FunctionName", NULL, "Result", NULL},
	{"TaskFailed", KIND_CLOSE, "FunctionName", NULL, NULL, NULL},
	{"TaskRetried", KIND_PLAIN, "FunctionName", NULL, NULL, NULL},
	{"SubOrchestrationInstanceCreated", KIND_OPEN, "FunctionName", "Input", NULL, NULL},
	{"SubOrchestrationInstanceCompleted", KIND_CLOSE, "FunctionName", NULL, "Result", NULL},
	{"SubOrchestrationInstanceFailed", KIND_CLOSE, "FunctionName", NULL, NULL, NULL},
	{"TimerCreated", KIND_OPEN, NULL, "FireAt", NULL, NULL},
	{"TimerFired", KIND_CLOSE, NULL, "FireAt", NULL, NULL},
	{"TimerCanceled", KIND_CLOSE, NULL, "FireAt", NULL, NULL},
	{"EventRaised", KIND_PLAIN, "Name", NULL, "Input", NULL},
	{"EventSent", KIND_PLAIN, "Name", "Input", NULL, NULL},
	{"ContinueAsNew", KIND_PLAIN, NULL, "Input", "Result", NULL},
	{"ExecutionSuspended", KIND_PLAIN, NULL, NULL, "Reason", NULL},
	{"ExecutionResumed", KIND_PLAIN, NULL, NULL, "Reason", NULL},
	{"ExecutionRewound", KIND_PLAIN, NULL, NULL, "Reason", NULL},
	{"ExecutionTerminated", KIND_PLAIN, NULL, NULL, "Reason", NULL},
	{"ExecutionCompleted", KIND_PLAIN, NULL, NULL, "Result", "Completed"},
	{"ExecutionFailed", KIND_PLAIN, NULL, NULL, NULL, "Failed"},
};

static const EventType *
event_type(const char *type)
{
	static const EventType drop = {"", KIND_DROP};

	for (size_t i = 0; i < sizeof(event_types) / sizeof(event_types[0]); i++)
		if (strcmp(event_types[i].type, type) == 0)
			return &event_types[i];
	return &drop;
}

/* The family of a type, by which an end finds its beginning: Task, Sub..., Timer. */
static char
family(const char *type)
{
	return type[0] == 'S' ? 'S' : type[1] == 'a' ? 'a' : 'i';
}

static const char *
history_text(PGresult *result, int row, int column)
{
	return PQgetvalue(result, row, column);
}

/* For each row that ends something, the row that began it, and the other way round; else 0. */
static int *
history_pairs(PGresult *result, int rows)
{
	int		   *pairs = xcalloc(rows, sizeof(int));
	int			most = 0;
	int		   *open;

	for (int row = 1; row < rows; row++)
	{
		int			task = atoi(history_text(result, row, HISTORY_TASK));

		most = task > most && task < 100000000 ? task : most;
	}
	/* the last row that scheduled something under a task id, each family in its own third */
	open = xcalloc((size_t) (most + 1) * 3, sizeof(int));
	for (int row = 1; row < rows; row++)
	{
		const char *type = history_text(result, row, HISTORY_TYPE);
		Kind		kind = event_type(type)->kind;
		int			task = atoi(history_text(result, row, HISTORY_TASK));
		int		   *slot;

		if ((kind != KIND_OPEN && kind != KIND_CLOSE) || task <= 0 || task > most)
			continue;
		slot = &open[(size_t) task * 3 + (family(type) == 'S' ? 0 : family(type) == 'a' ? 1 : 2)];
		if (kind == KIND_OPEN)
			*slot = row;
		else if (*slot != 0)
		{
			pairs[row] = *slot;
			pairs[*slot] = row;
			*slot = 0;
		}
	}
	free(open);
	return pairs;
}

/* The message of a failure. */
static void
add_message(Buffer *buffer, const char *key, const char *failure)
{
	char	   *message = json_get_string(failure, "message");

	buffer_printf(buffer, ",\"%s\":", key);
	json_add_string(buffer, message ? message : "");
	free(message);
}

/* One event; begin: the row that scheduled it, or 0. */
static void
add_event(Buffer *buffer, PGresult *result, int row, int begin, bool show_output)
{
	const EventType *type = event_type(history_text(result, row, HISTORY_TYPE));
	int			named = PQgetisnull(result, row, HISTORY_NAME) && begin ? begin : row;
	int			input = PQgetisnull(result, row, HISTORY_INPUT) && begin ? begin : row;
	bool		failed = !PQgetisnull(result, row, HISTORY_FAILURE);

	buffer_printf(buffer, "{\"EventType\":\"%s\"", type->status ? "ExecutionCompleted" : type->type);
	if (type->name != NULL && !PQgetisnull(result, named, HISTORY_NAME))
		add_text(buffer, type->name, result, named, HISTORY_NAME);
	if (type->status != NULL)
		buffer_printf(buffer, ",\"OrchestrationStatus\":\"%s\"", type->status);
	if (type->input != NULL && !PQgetisnull(result, input, HISTORY_INPUT))
		add_json(buffer, type->input, result, input, HISTORY_INPUT);
	if (type->result != NULL && !PQgetisnull(result, row, HISTORY_RESULT) &&
		(show_output || strcmp(type->result, "Result") != 0))
		add_json(buffer, type->result, result, row, HISTORY_RESULT);
	if (failed && type->status != NULL)
		add_message(buffer, "Result", history_text(result, row, HISTORY_FAILURE));
	else if (failed)
	{
		add_message(buffer, "Reason", history_text(result, row, HISTORY_FAILURE));
		add_json(buffer, "Details", result, row, HISTORY_FAILURE);
	}
	if (begin)
		add_text(buffer, "ScheduledTime", result, begin, HISTORY_TIME);
	add_text(buffer, "Timestamp", result, row, HISTORY_TIME);
	buffer_add(buffer, "}");
}

void
json_add_history(Buffer *buffer, PGresult *result, bool show_output)
{
	int			rows = PQntuples(result);
	int		   *pairs = history_pairs(result, rows);
	const char *separator = "";

	buffer_add(buffer, ",\"historyEvents\":[");
	for (int row = 1; row < rows; row++)
	{
		Kind		kind = event_type(history_text(result, row, HISTORY_TYPE))->kind;

		if (kind == KIND_DROP || (kind == KIND_OPEN && pairs[row] != 0))
			continue;
		buffer_add(buffer, separator);
		add_event(buffer, result, row, kind == KIND_CLOSE ? pairs[row] : 0, show_output);
		separator = ",";
	}
	buffer_add(buffer, "]");
	free(pairs);
}
