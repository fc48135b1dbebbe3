/*
 * failure.c
 *	  Errors as jsonb *failures*, and back.
 *
 * A failure is what is kept of an error: an object of sqlstate, message,
 * detail, hint and context, and of members that others add.  Readers
 * take any jsonb: what is missing or of a wrong type is replaced.
 * Texts are cut and made valid in the database encoding, so that making a
 * failure does not itself fail.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "failure.h"

/* the most bytes kept of a text; contexts grow with each caller */
#define MAX_TEXT_LENGTH (64 * 1024)
#define MAX_CONTEXT_LENGTH (8 * 1024)

/* An object without members. */
static Jsonb *
failure_empty(void)
{
	JsonbValue	object = {0};

	object.type = jbvObject;
	return JsonbValueToJsonb(&object);
}

/* A copy of the failure with the member set; anything but an object is replaced. */
static Jsonb *
failure_with(Jsonb *failure, const char *key, JsonbValue *value)
{
	JsonbPair	pair = {0};
	JsonbValue	object = {0};

	pair.key.type = jbvString;
	pair.key.val.string.val = unconstify(char *, key);
	pair.key.val.string.len = strlen(key);
	pair.value = *value;
	object.type = jbvObject;
	object.val.object.nPairs = 1;
	object.val.object.pairs = &pair;
	if (failure == NULL || !JB_ROOT_IS_OBJECT(failure))
		failure = failure_empty();
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(failure),
											  JsonbPGetDatum(JsonbValueToJsonb(&object))));
}

/* The same with a text of at most max_length bytes; unchanged for NULL. */
static Jsonb *
failure_with_clipped(Jsonb *failure, const char *key, const char *text, int max_length)
{
	JsonbValue	value;
	size_t		length = text ? strlen(text) : 0;
	char	   *copy;

	if (text == NULL)
		return failure;
	if (length > max_length)
		copy = psprintf("%.*s...", pg_mbcliplen(text, max_length + 1, max_length), text);
	else
		copy = pstrdup(text);
	if (!pg_verifymbstr(copy, strlen(copy), true))
	{
		for (char *c = copy; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	}
	value.type = jbvString;
	value.val.string.val = copy;
	value.val.string.len = strlen(copy);
	return failure_with(failure, key, &value);
}

/* An error from its parts, each of which may be NULL. */
static Jsonb *
failure_build(int sqlerrcode, const char *message, const char *detail, const char *hint,
			  const char *context)
{
	Jsonb	   *failure = failure_empty();

	failure = failure_with_clipped(failure, "sqlstate", unpack_sql_state(sqlerrcode),
								   MAX_TEXT_LENGTH);
	failure = failure_with_clipped(failure, "message", message ? message : "missing error text",
								   MAX_TEXT_LENGTH);
	failure = failure_with_clipped(failure, "detail", detail, MAX_TEXT_LENGTH);
	failure = failure_with_clipped(failure, "hint", hint, MAX_TEXT_LENGTH);
	return failure_with_clipped(failure, "context", context, MAX_CONTEXT_LENGTH);
}

/* A caught error as a failure. */
Jsonb *
failure_from_error(ErrorData *error)
{
	return failure_build(error->sqlerrcode, error->message, error->detail, error->hint,
						 error->context);
}

/* A failure of our own making. */
Jsonb *
failure_make(int sqlerrcode, const char *message, const char *detail, const char *hint)
{
	return failure_build(sqlerrcode, message, detail, hint, NULL);
}

/* A copy of the failure with a text member set; with NULL, as it was. */
Jsonb *
failure_with_text(Jsonb *failure, const char *key, const char *value)
{
	if (failure == NULL)
		failure = failure_empty();
	return failure_with_clipped(failure, key, value, MAX_TEXT_LENGTH);
}

/* A copy of the failure with a numeric member set. */
Jsonb *
failure_with_int(Jsonb *failure, const char *key, int value)
{
	JsonbValue	number;

	number.type = jbvNumeric;
	number.val.numeric = int64_to_numeric(value);
	return failure_with(failure, key, &number);
}

/* The failure of an activity that did not end within its timeout. */
Jsonb *
failure_timed_out(const char *activity, const char *detail)
{
	return failure_make(ERRCODE_DURABLE_TIMED_OUT,
						psprintf("activity \"%s\" did not end within its timeout", activity), detail, NULL);
}

/* A copy of a failure that says of which activity it is. */
Jsonb *
failure_of_activity(Jsonb *failure, const char *activity, int task_id, int attempt)
{
	failure = failure_with_text(failure, "activity", activity);
	failure = failure_with_int(failure, "task_id", task_id);
	return failure_with_int(failure, "attempts", attempt);
}

/* A member of the failure as text; NULL if it is missing or null. */
char *
failure_get(Jsonb *failure, const char *key)
{
	JsonbValue *value;

	if (failure == NULL || !JB_ROOT_IS_OBJECT(failure))
		return NULL;
	value = getKeyJsonValueFromContainer(&failure->root, key, strlen(key), NULL);
	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvBinary)
		return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	return JsonbToCString(NULL, &JsonbValueToJsonb(value)->root, -1);
}

/* The failure's SQLSTATE; internal error if it has none that an error can bear. */
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

/* Whether an error comes from what else goes on in the server and not from what was done. */
bool
sqlstate_is_passing(int sqlerrcode)
{
	/* a quota is no shortage that passes by itself */
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

/* Raises the failure as the error it was; our own context lines follow its. */
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
