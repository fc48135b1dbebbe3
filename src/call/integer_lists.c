/*
 * integer_lists.c
 *	  JSON numbers with decimal places for parameters of integer types: 42.0
 *	  becomes 42, and 42.5 becomes 43, as in the cast from jsonb.
 *
 * jsonb_populate_record, which converts the value of a parameter, passes the text
 * of a number to the input function of the type, and that of an integer type
 * refuses a decimal point.  So the numbers are rounded before, wherever the type
 * has an integer: the type itself, the base type of a domain, the elements of an
 * array, the columns of a row type.  They are rounded like in the cast from numeric.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "call/integer_lists.h"
#include "common/jsonb_util.h"

static bool round_value(Oid type, JsonbValue *value, StringInfo text);

/* Whether a number has decimal places, even if they are zeros. */
static bool
has_places(const JsonbValue *value)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(value->val.numeric))) > 0;
}

/* The type of the column for a member of an object; InvalidOid if there is none. */
static Oid
member_type(TupleDesc desc, const JsonbValue *key)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		const char *name = NameStr(column->attname);

		if (!column->attisdropped && strlen(name) == key->val.string.len &&
			memcmp(name, key->val.string.val, key->val.string.len) == 0)
			return column->atttypid;
	}
	return InvalidOid;
}

/* Append a value unchanged; text may be NULL, here and below. */
static void
append_value(StringInfo text, JsonbValue *value)
{
	if (text == NULL)
		return;
	if (value->type == jbvBinary)
		(void) JsonbToCString(text, value->val.binary.data, value->val.binary.len);
	else
		(void) JsonbToCString(text, &JsonbValueToJsonb(value)->root, -1);
}

/* Append punctuation. */
static void
append_string(StringInfo text, const char *string)
{
	if (text != NULL)
		appendStringInfoString(text, string);
}

/* The elements of an array.  An element of a multidimensional array is an array of the same type. */
static bool
round_array(Oid type, JsonbContainer *array, StringInfo text)
{
	JsonbIterator *iterator = JsonbIteratorInit(array);
	Oid			element = get_element_type(type);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		first = true;
	bool		rounds = false;

	append_string(text, "[");
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		bool		nested;

		if (token != WJB_ELEM)
			continue;
		nested = value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data);
		append_string(text, first ? "" : ",");
		first = false;
		rounds |= round_value(nested ? type : element, &value, text);
	}
	append_string(text, "]");
	return rounds;
}

/* The members of an object for a row type. */
static bool
round_object(Oid type, JsonbContainer *object, StringInfo text)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	JsonbIterator *iterator = JsonbIteratorInit(object);
	Oid			column = InvalidOid;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		first = true;
	bool		rounds = false;

	append_string(text, "{");
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			append_string(text, first ? "" : ",");
			first = false;
			append_value(text, &value);
			append_string(text, ":");
			column = member_type(desc, &value);
		}
		else if (token == WJB_VALUE)
			rounds |= round_value(column, &value, text);
	}
	append_string(text, "}");
	ReleaseTupleDesc(desc);
	return rounds;
}

/*
 * Whether a value has a number that must be rounded for its type.  Appends the
 * value with rounded numbers to text, unless text is NULL.
 */
static bool
round_value(Oid type, JsonbValue *value, StringInfo text)
{
	Oid			base = OidIsValid(type) ? getBaseType(type) : InvalidOid;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (value->type == jbvNumeric && (base == INT2OID || base == INT4OID || base == INT8OID) && has_places(value))
	{
		if (text != NULL)
		{
			Datum		rounded = DirectFunctionCall2(numeric_round, NumericGetDatum(value->val.numeric), Int32GetDatum(0));

			appendStringInfoString(text, DatumGetCString(DirectFunctionCall1(numeric_out, rounded)));
		}
		return true;
	}
	if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) && OidIsValid(get_element_type(base)))
		return round_array(base, value->val.binary.data, text);
	if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) &&
		base != RECORDOID && type_is_rowtype(base))
		return round_object(base, value->val.binary.data, text);
	append_value(text, value);
	return false;
}

bool
integers_round(Oid type, JsonbValue *value)
{
	StringInfoData text;
	Jsonb	   *rounded;

	if (!round_value(type, value, NULL))
		return false;
	initStringInfo(&text);
	(void) round_value(type, value, &text);
	rounded = jsonb_parse(text.data);
	JsonbToJsonbValue(rounded, value);
	if (JB_ROOT_IS_SCALAR(rounded))
		JsonbExtractScalar(&rounded->root, value);
	return true;
}
