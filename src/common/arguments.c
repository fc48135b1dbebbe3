/*
 * arguments.c
 *	  Arguments of the SQL functions.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "common/arguments.h"
#include "common/failure.h"
#include "common/payload_limit.h"

#define EVENT_NAME_LENGTH	256

void
require_argument(FunctionCallInfo fcinfo, int number, const char *parameter, const char *function)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("parameter \"%s\" of %s must not be null", parameter, function)));
}

/* An error if the text is longer than durable.max_payload. */
char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *string;

	if (PG_ARGISNULL(number))
		return NULL;
	string = text_to_cstring(PG_GETARG_TEXT_PP(number));
	failure_throw_any(text_limit(string));
	return string;
}

Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : PG_GETARG_JSONB_P(number);
}

/* A text argument as the name of an event; an error if the name is too short or too long. */
char *
event_name_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *name = text_argument(fcinfo, number);
	int			length = pg_mbstrlen(name);

	if (length < 1 || length > EVENT_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event name has 1 to %d characters, not %d", EVENT_NAME_LENGTH, length)));
	return name;
}
