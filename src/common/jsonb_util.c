/*
 * jsonb_util.c
 *	  Making and reading small jsonb values.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "common/jsonb_util.h"

PG_FUNCTION_INFO_V1(durable_text_size);
PG_FUNCTION_INFO_V1(durable_is_sound);
PG_FUNCTION_INFO_V1(durable_is_sound_text);

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

Jsonb *
jsonb_from_integer(int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	return JsonbValueToJsonb(&value);
}

Jsonb *
jsonb_from_bool(bool value)
{
	JsonbValue	boolean = {.type = jbvBool, .val.boolean = value};

	return JsonbValueToJsonb(&boolean);
}

Jsonb *
jsonb_parse(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/*
 * An object of members; those whose value is NULL are left out.  The function
 * goes through text, which nests values of any kind in every version of
 * PostgreSQL.
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
	return jsonb_parse(text.data);
}

/* The number of decimal digits of a number's first digit to base 10,000. */
static int
first_digits(const char *digits)
{
	int16		digit;

	memcpy(&digit, digits, sizeof(digit));
	return digit >= 1000 ? 4 : digit >= 100 ? 3 : digit >= 10 ? 2 : 1;
}

/*
 * The characters of a number's text.  This reads the number as it is stored,
 * which is the same in all versions: sign, decimal places and weight (the
 * exponent of the first digit, to base 10,000), in two bytes if they are small
 * and else in four, then the digits.
 */
static int64
number_text_size(Numeric number)
{
	const char *data = VARDATA_ANY(number);
	int			length = VARSIZE_ANY_EXHDR(number);
	bool		is_short;
	bool		negative;
	int			places;
	int16		weight = 0;
	int			header_length;
	uint16		header;

	memcpy(&header, data, sizeof(header));
	is_short = (header & 0xC000) == 0x8000;
	negative = is_short ? (header & 0x2000) != 0 : (header & 0xC000) == 0x4000;
	places = is_short ? (header & 0x1F80) >> 7 : header & 0x3FFF;
	header_length = is_short ? 2 : 4;
	if (is_short)
		weight = (header & 0x0040) ? (int16) (header & 0x003F) - 64 : header & 0x003F;
	else
		memcpy(&weight, data + 2, sizeof(weight));
	return negative + (places > 0 ? 1 + places : 0) +
		(weight < 0 || length == header_length ? 1 : 4 * (int64) weight + first_digits(data + header_length));
}

/* The characters of a string's text, with quotes and escapes. */
static int64
string_text_size(const JsonbValue *string)
{
	int64		size = string->val.string.len + 2;

	for (int i = 0; i < string->val.string.len; i++)
	{
		unsigned char c = string->val.string.val[i];

		if (c == '"' || c == '\\')
			size += 1;
		else if (c < ' ')
			size += strchr("\b\f\n\r\t", c) != NULL ? 1 : 5;
	}
	return size;
}

/*
 * The characters around the members of an array or object: brackets, ", "
 * between members, and ": " in each pair.
 */
static int64
container_text_size(int members, bool pairs)
{
	return 2 + 2 * (int64) Max(members - 1, 0) + (pairs ? 2 * (int64) members : 0);
}

/*
 * The length of a jsonb's text.  This does not make the text: a number with a
 * large exponent is written out there, so a few kilobytes may become a
 * gigabyte.
 */
int64
jsonb_text_size(const Jsonb *json)
{
	JsonbIterator *iterator = JsonbIteratorInit(unconstify(JsonbContainer *, &json->root));
	JsonbIteratorToken token;
	JsonbValue	value;
	int64		size = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_ARRAY && !value.val.array.rawScalar)
			size += container_text_size(value.val.array.nElems, false);
		else if (token == WJB_BEGIN_OBJECT)
			size += container_text_size(value.val.object.nPairs, true);
		if (token != WJB_KEY && token != WJB_VALUE && token != WJB_ELEM)
			continue;
		if (value.type == jbvString)
			size += string_text_size(&value);
		else if (value.type == jbvNumeric)
			size += number_text_size(value.val.numeric);
		else if (value.type == jbvBool)
			size += value.val.boolean ? 4 : 5;
		else
			size += 4;			/* null */
	}
	return size;
}

/*
 * Whether a text can be restored from a dump and sent to the gateway: it is
 * valid in the database's encoding, and UTF8 has all its characters.
 */
bool
text_is_sound(const char *text, int length)
{
	int			encoding = GetDatabaseEncoding();
	Oid			conversion;
	char	   *converted;
	bool		sound;
	int			ascii = 0;

	while (ascii < length && text[ascii] != '\0' && !IS_HIGHBIT_SET(text[ascii]))
		ascii++;
	/* every encoding of a server has ASCII, so most texts need no conversion */
	if (ascii == length)
		return true;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pg_verify_mbstr(PG_UTF8, text, length, true);
	if (!pg_verifymbstr(text, length, true))
		return false;
	conversion = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(conversion))
		return true;
	converted = palloc_extended((Size) length * MAX_CONVERSION_GROWTH + 1, MCXT_ALLOC_HUGE);
	sound = pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8, (unsigned char *) unconstify(char *, text), length,
										  (unsigned char *) converted, (Size) length * MAX_CONVERSION_GROWTH + 1, true) == length;
	pfree(converted);
	return sound;
}

/* Why a jsonb could not be restored.  The length of its text is another matter. */
JsonbProblem
jsonb_problem(const Jsonb *json)
{
	JsonbIterator *iterator = JsonbIteratorInit(unconstify(JsonbContainer *, &json->root));
	JsonbIteratorToken token;
	JsonbValue	value;
	int			depth = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		depth += (token == WJB_BEGIN_ARRAY || token == WJB_BEGIN_OBJECT) - (token == WJB_END_ARRAY || token == WJB_END_OBJECT);
		if (depth > JSONB_LEVELS_MAX)
			return JSONB_TOO_DEEP;
		if ((token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvString &&
			!text_is_sound(value.val.string.val, value.val.string.len))
			return JSONB_NOT_ENCODED;
	}
	return JSONB_SOUND;
}

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

/* Whether a jsonb is NULL or JSON null. */
static bool
is_null(Jsonb *json)
{
	JsonbValue	value;

	return json == NULL ||
		(JB_ROOT_IS_SCALAR(json) && JsonbExtractScalar(&json->root, &value) &&
		 value.type == jbvNull);
}

/* Whether two values are equal. */
bool
jsonb_same(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return is_null(a) && is_null(b);
	if (VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0)
		return true;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

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
find_member(Jsonb *object, const char *name)
{
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	return getKeyJsonValueFromContainer(&object->root, name, strlen(name), NULL);
}

/* A member of an object as a jsonb value, NULL if it is missing. */
Jsonb *
jsonb_member(Jsonb *object, const char *name)
{
	JsonbValue *value = find_member(object, name);

	return value ? JsonbValueToJsonb(value) : NULL;
}

/* A string member, NULL if it is missing or something else. */
char *
jsonb_member_text(Jsonb *object, const char *name)
{
	return jsonb_to_text(jsonb_member(object, name));
}

/* A whole number, or the default if the member is missing or something else. */
int64
jsonb_member_integer(Jsonb *object, const char *name, int64 missing)
{
	JsonbValue *value = find_member(object, name);

	if (value == NULL || value->type != jbvNumeric)
		return missing;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

/* A boolean member, or the default if the member is missing or something else. */
bool
jsonb_member_bool(Jsonb *object, const char *name, bool missing)
{
	JsonbValue *value = find_member(object, name);

	return value != NULL && value->type == jbvBool ? value->val.boolean : missing;
}

/* durable.text_size(payload) */
Datum
durable_text_size(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(jsonb_text_size(PG_GETARG_JSONB_P(0)));
}

/* durable_internal.is_sound(payload) */
Datum
durable_is_sound(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(jsonb_problem(PG_GETARG_JSONB_P(0)) == JSONB_SOUND);
}

/* durable_internal.is_sound(string) */
Datum
durable_is_sound_text(PG_FUNCTION_ARGS)
{
	text	   *string = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(text_is_sound(VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string)));
}
