/*
 * failure.c
 *	  Errors as jsonb *failures*, and back.
 *
 * A failure is a jsonb object with the parts of an error: sqlstate, message,
 * detail, hint and context.  Other modules add members.  Functions that read a
 * failure accept any jsonb and replace what is missing or has a wrong type.
 * Texts are cut and made valid in the database encoding, so that the making of
 * a failure does not fail itself.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"

#include "common/failure.h"
#include "common/jsonb_util.h"

/* the longest text and the longest context that are kept, in bytes; a context grows with each caller */
#define MAX_TEXT_LENGTH (64 * 1024)
#define MAX_CONTEXT_LENGTH (8 * 1024)

/* A copy of the failure with the member set; a value that is not an object is replaced. */
static Jsonb *
failure_with(Jsonb *failure, const char *key, Jsonb *value)
{
	Jsonb	   *member = jsonb_from_members(1, &key, &value);

	if (failure == NULL || !JB_ROOT_IS_OBJECT(failure))
		return member;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(failure), JsonbPGetDatum(member)));
}

char *
text_clip(const char *text, int max_length)
{
	int			length = strlen(text);

	return length <= max_length ? pstrdup(text) : psprintf("%.*s...", pg_mbcliplen(text, length, max_length), text);
}

/* A text of at most max_length bytes as jsonb; NULL for NULL. */
static Jsonb *
clipped(const char *text, int max_length)
{
	char	   *copy;

	if (text == NULL)
		return NULL;
	copy = text_clip(text, max_length);
	if (!text_is_sound(copy, strlen(copy)))
	{
		for (char *c = copy; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	}
	return jsonb_from_text(copy);
}

/* An error from its parts, each of which may be NULL. */
static Jsonb *
failure_build(int sqlerrcode, const char *message, const char *detail, const char *hint,
			  const char *context)
{
	static const char *const names[] = {"sqlstate", "message", "detail", "hint", "context"};
	Jsonb	   *values[] = {
		jsonb_from_text(unpack_sql_state(sqlerrcode)),
		clipped(message ? message : "missing error text", MAX_TEXT_LENGTH),
		clipped(detail, MAX_TEXT_LENGTH),
		clipped(hint, MAX_TEXT_LENGTH),
		clipped(context, MAX_CONTEXT_LENGTH)
	};

	return jsonb_from_members(lengthof(values), names, values);
}

/* A caught error as a failure. */
Jsonb *
failure_from_error(ErrorData *error)
{
	return failure_build(error->sqlerrcode, error->message, error->detail, error->hint,
						 error->context);
}

/* A failure that the extension itself raises. */
Jsonb *
failure_make(int sqlerrcode, const char *message, const char *detail, const char *hint)
{
	return failure_build(sqlerrcode, message, detail, hint, NULL);
}

/* A copy of the failure with a text member set. */
Jsonb *
failure_with_text(Jsonb *failure, const char *key, const char *value)
{
	return failure_with(failure, key, clipped(value, MAX_TEXT_LENGTH));
}

/* The failure of an activity that did not end within its timeout. */
Jsonb *
failure_timed_out(const char *activity, const char *detail)
{
	return failure_make(ERRCODE_DURABLE_TIMED_OUT,
						psprintf("activity \"%s\" did not end within its timeout", activity), detail, NULL);
}

/* A copy of a failure with the activity that it belongs to. */
Jsonb *
failure_of_activity(Jsonb *failure, const char *activity, int task_id, int attempt)
{
	failure = failure_with_text(failure, "activity", activity);
	failure = failure_with(failure, "task_id", jsonb_from_integer(task_id));
	return failure_with(failure, "attempts", jsonb_from_integer(attempt));
}

/* A member of the failure as text; NULL if it is missing or null. */
char *
failure_get(Jsonb *failure, const char *key)
{
	Jsonb	   *value = jsonb_member(failure, key);
	char	   *text = jsonb_to_text(value);

	if (text != NULL || jsonb_same(value, NULL))
		return text;
	return JsonbToCString(NULL, &value->root, VARSIZE(value));
}

/* The failure's SQLSTATE; internal error if it has none that an error can have. */
int
failure_sqlstate(Jsonb *failure)
{
	char	   *sqlstate = failure_get(failure, "sqlstate");

	if (sqlstate == NULL || strlen(sqlstate) != 5 ||
		strspn(sqlstate, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
		strncmp(sqlstate, "00", 2) == 0)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
}

/* Whether an error comes from other activity in the server, so that the same action may succeed later. */
bool
sqlstate_is_passing(int sqlerrcode)
{
	/* a quota does not pass by itself */
	if (sqlerrcode == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
		return false;
	if (sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return true;
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('4', '0', 0, 0, 0) & 0xfff:	/* transaction rollback */
		case MAKE_SQLSTATE('5', '3', 0, 0, 0) & 0xfff:	/* insufficient resources */
		case MAKE_SQLSTATE('5', '7', 0, 0, 0) & 0xfff:	/* operator intervention */
		case MAKE_SQLSTATE('5', '8', 0, 0, 0) & 0xfff:	/* system error */
			return true;
	}
	return false;
}

/* Raise the failure as the error that it was; its context lines come before those of this process. */
void
failure_throw(Jsonb *failure)
{
	char	   *message = failure_get(failure, "message");
	char	   *detail = failure_get(failure, "detail");
	char	   *hint = failure_get(failure, "hint");
	char	   *context = failure_get(failure, "context");

	ereport(ERROR,
			(errcode(failure_sqlstate(failure)),
			 errmsg_internal("%s", message ? message : "missing error text"),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 context ? errcontext_msg("%s", context) : 0));
}

void
failure_throw_any(Jsonb *failure)
{
	if (failure != NULL)
		failure_throw(failure);
}
