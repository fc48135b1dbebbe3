/*
 * payload_limit.c
 *	  The check that a value can be stored and restored, whoever owns it.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "common/failure.h"
#include "common/guc.h"
#include "common/jsonb_util.h"
#include "common/payload_limit.h"

/* The failure of a value that is too large; stored: its bytes as jsonb, or 0. */
static Jsonb *
too_large(int64 size, int64 stored)
{
	return failure_make(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
						psprintf("a payload of " INT64_FORMAT " bytes of text exceeds durable.max_payload, " INT64_FORMAT " bytes",
								 size, (int64) durable_max_payload * 1024),
						stored > 0 ? psprintf("As jsonb it has " INT64_FORMAT " bytes. Its text, which clients and pg_dump read, has numbers and escapes written out.",
											  stored) : NULL,
						"Store large values in a table and pass their keys, or have an administrator raise durable.max_payload.");
}

bool
payload_may_exceed(const Jsonb *payload, int64 limit)
{
	return payload != NULL && (int64) VARSIZE(payload) * JSONB_TEXT_EXPANSION > limit;
}

/* The failure of a value that could not be restored from a dump. */
static Jsonb *
unsound(JsonbProblem problem)
{
	if (problem == JSONB_TOO_DEEP)
		return failure_make(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
							psprintf("a payload has arrays and objects in more than %d levels", JSONB_LEVELS_MAX),
							"A server with a smaller stack could not restore it.",
							"Store such values in a table and pass their keys.");
	return failure_make(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
						psprintf("a text is not valid in encoding \"%s\", or UTF8 lacks some of its characters", GetDatabaseEncodingName()),
						"It could not be restored from a dump, or be sent to an HTTP client. Functions that cut texts by bytes make such texts.",
						NULL);
}

Jsonb *
payload_limit(const Jsonb *payload)
{
	int64		max = (int64) durable_max_payload * 1024;
	int64		size = payload_may_exceed(payload, max) ? jsonb_text_size(payload) : 0;
	JsonbProblem problem;

	if (size > max)
		return too_large(size, VARSIZE(payload));
	problem = payload != NULL ? jsonb_problem(payload) : JSONB_SOUND;
	return problem != JSONB_SOUND ? unsound(problem) : NULL;
}

Jsonb *
text_limit(const char *text)
{
	int64		size = strlen(text);

	if (size > (int64) durable_max_payload * 1024)
		return too_large(size, 0);
	return text_is_sound(text, size) ? NULL : unsound(JSONB_NOT_ENCODED);
}
