/*
 * json.c
 *	  Making and reading small jsonb values.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "json.h"

/* A jsonb string; NULL for NULL. */
Jsonb *
jsonb_from_text(const char *text)
{
	JsonbValue	value = {.type = jbvString};

	if (text == NULL)
		return NULL;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	return JsonbValueToJsonb(&value);
}

/* A jsonb number. */
Jsonb *
jsonb_from_integer(int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	return JsonbValueToJsonb(&value);
}

/*
 * An object of members; those whose value is NULL are left out.  It goes
 * through text, which nests values of any kind in every version.
 */
Jsonb *
jsonb_from_members(int count, const char *const *names, Jsonb *const *values)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < count; i++)
	{
		if (values[i] == NULL)
			continue;
		appendStringInfoChar(&text, text.len == 0 ? '{' : ',');
		escape_json(&text, names[i]);
		appendStringInfoChar(&text, ':');
		(void) JsonbToCString(&text, &values[i]->root, VARSIZE(values[i]));
	}
	appendStringInfoString(&text, text.len == 0 ? "{}" : "}");
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data)));
}

/* A copy in a memory context; NULL for NULL. */
Jsonb *
jsonb_copy(MemoryContext context, const Jsonb *value)
{
	Jsonb	   *copy;

	if (value == NULL)
		return NULL;
	copy = MemoryContextAlloc(context, VARSIZE(value));
	memcpy(copy, value, VARSIZE(value));
	return copy;
}

/* Whether a jsonb is none or JSON null. */
static bool
is_null(Jsonb *json)
{
	JsonbValue	value;

	return json == NULL ||
		(JB_ROOT_IS_SCALAR(json) && JsonbExtractScalar(&json->root, &value) &&
		 value.type == jbvNull);
}

/* Whether two are equal. */
bool
jsonb_same(Jsonb *a, Jsonb *b)
{
	if (a == b)
		return true;
	if (a == NULL || b == NULL)
		return is_null(a) && is_null(b);
	if (VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0)
		return true;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* The text of a jsonb string. */
char *
jsonb_to_text(Jsonb *json)
{
	JsonbValue	value;

	if (json == NULL || !JB_ROOT_IS_SCALAR(json) || !JsonbExtractScalar(&json->root, &value) ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* The value of a member, NULL if there is none. */
static JsonbValue *
find(Jsonb *object, const char *name)
{
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	return getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL);
}

/* A member of an object as a jsonb of its own, NULL if it is missing. */
Jsonb *
jsonb_member(Jsonb *object, const char *name)
{
	JsonbValue *value = find(object, name);

	return value ? JsonbValueToJsonb(value) : NULL;
}

/* A string member, NULL if it is missing or something else. */
char *
jsonb_member_text(Jsonb *object, const char *name)
{
	JsonbValue *value = find(object, name);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A whole number, or what is given if it is missing or something else. */
int64
jsonb_member_integer(Jsonb *object, const char *name, int64 missing)
{
	JsonbValue *value = find(object, name);

	if (value == NULL || value->type != jbvNumeric)
		return missing;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/* A boolean member, or what is given if it is missing or something else. */
bool
jsonb_member_bool(Jsonb *object, const char *name, bool missing)
{
	JsonbValue *value = find(object, name);

	return value != NULL && value->type == jbvBool ? value->val.boolean : missing;
}
