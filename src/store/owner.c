/*
 * owner.c
 *	  The type durable_internal.owner; owner.h describes it.
 *
 * The text form is the quoted name of the role, (dropped role N), or - for no
 * role.  A name that looks like one of the other forms is in double quotes;
 * digits are a name like any other.  There is no binary form, so clients can
 * only write what the input function accepts.
 */
#include "postgres.h"

#include <float.h>

#include "access/stratnum.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/supportnodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "store/owner.h"

#define MISSING			'm'
#define DROPPED			'd'
#define DROPPED_TEXT	"(dropped role "

PG_FUNCTION_INFO_V1(durable_owner_in);
PG_FUNCTION_INFO_V1(durable_owner_out);
PG_FUNCTION_INFO_V1(durable_owner_lt);
PG_FUNCTION_INFO_V1(durable_owner_le);
PG_FUNCTION_INFO_V1(durable_owner_eq);
PG_FUNCTION_INFO_V1(durable_owner_ge);
PG_FUNCTION_INFO_V1(durable_owner_gt);
PG_FUNCTION_INFO_V1(durable_owner_cmp);
PG_FUNCTION_INFO_V1(durable_owner_of);
PG_FUNCTION_INFO_V1(durable_owner_role);
PG_FUNCTION_INFO_V1(durable_owner_found);
PG_FUNCTION_INFO_V1(durable_owner_current);
PG_FUNCTION_INFO_V1(durable_may_see_owner);
PG_FUNCTION_INFO_V1(durable_may_see_role);
PG_FUNCTION_INFO_V1(durable_may_see_cost);

/* The bytes of a value.  A stored value of a role has always a short header. */
static inline struct varlena *
unpacked(Datum owner)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(owner);

	return VARATT_IS_1B(value) && !VARATT_IS_1B_E(value) ? value : pg_detoast_datum_packed(value);
}

/* The role of a value. */
static inline Oid
role_of(struct varlena *value)
{
	Oid			role;

	memcpy(&role, VARDATA_ANY(value), sizeof(role));
	return role;
}

Oid
owner_role(Datum owner)
{
	return role_of(unpacked(owner));
}

char *
owner_absent(Datum owner)
{
	struct varlena *value = unpacked(owner);
	Size		length = VARSIZE_ANY_EXHDR(value) - sizeof(Oid);

	return length == 0 ? NULL : pnstrdup(VARDATA_ANY(value) + sizeof(Oid), length);
}

Datum
owner_make(Oid role, const char *absent)
{
	Size		length = OidIsValid(role) || absent == NULL ? 0 : strlen(absent);
	struct varlena *value = palloc(VARHDRSZ + sizeof(Oid) + length);

	SET_VARSIZE(value, VARHDRSZ + sizeof(Oid) + length);
	memcpy(VARDATA(value), &role, sizeof(role));
	if (length > 0)
		memcpy(VARDATA(value) + sizeof(Oid), absent, length);
	return PointerGetDatum(value);
}

/* The name of a missing role. */
const char *
owner_missing(const char *absent)
{
	return absent != NULL && absent[0] == MISSING ? absent + 1 : NULL;
}

/* The OID of a dropped role on the server where the dump was made, as text. */
const char *
owner_dropped(const char *absent)
{
	return absent != NULL && absent[0] == DROPPED ? absent + 1 : NULL;
}

/* The role that now has the name of a missing role. */
Oid
owner_find(const char *absent)
{
	const char *name = owner_missing(absent);

	return name != NULL ? get_role_oid(name, true) : InvalidOid;
}

char *
owner_text(Oid role, const char *absent)
{
	const char *name = OidIsValid(role) ? GetUserNameFromId(role, true) : owner_missing(absent);

	if (name != NULL)
		return pstrdup(quote_identifier(name));
	if (OidIsValid(role))
		return psprintf(DROPPED_TEXT "%u)", role);
	return absent != NULL ? psprintf(DROPPED_TEXT "%s)", owner_dropped(absent)) : pstrdup("-");
}

int
owner_compare(Datum a, Datum b)
{
	struct varlena *x = unpacked(a);
	struct varlena *y = unpacked(b);
	Oid			x_role = role_of(x);
	Oid			y_role = role_of(y);
	Size		x_size;
	Size		y_size;
	int			result;

	if (x_role != y_role)
		return x_role < y_role ? -1 : 1;
	if (OidIsValid(x_role))
		return 0;
	x_size = VARSIZE_ANY_EXHDR(x);
	y_size = VARSIZE_ANY_EXHDR(y);
	result = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), Min(x_size, y_size));
	return result != 0 ? result : (x_size > y_size) - (x_size < y_size);
}

/* Raise the error for a text that is not the text form of an owner. */
static void
invalid(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid name of an owner: %s", text)));
}

/* The name in a text, without its quotes. */
static char *
unquote(const char *text)
{
	char	   *name = palloc(strlen(text) + 1);
	char	   *end = name;
	const char *p = text;

	if (*p != '"')
		return pstrdup(text);
	for (p++; *p != '\0' && !(p[0] == '"' && p[1] != '"'); p++)
	{
		*end++ = *p;
		if (*p == '"')
			p++;
	}
	if (p[0] != '"' || p[1] != '\0')
		invalid(text);
	*end = '\0';
	return name;
}

/* The former OID in a text for a dropped role. */
static char *
dropped_oid(const char *text)
{
	const char *digits = text + strlen(DROPPED_TEXT);
	Size		length;

	if (strncmp(text, DROPPED_TEXT, strlen(DROPPED_TEXT)) != 0)
		invalid(text);
	length = strspn(digits, "0123456789");
	if (length < 1 || length > 10 || strcmp(digits + length, ")") != 0)
		invalid(text);
	return pnstrdup(digits, length);
}

/*
 * The values that have a text form: a role with the name and a missing role
 * with the name; a role that was dropped before a dump and a role that was
 * dropped here.
 */
List *
owner_values(const char *text)
{
	Datum		owner = DirectFunctionCall1(durable_owner_in, CStringGetDatum(text));
	Oid			role = owner_role(owner);
	const char *dropped = owner_dropped(owner_absent(owner));
	List	   *values = list_make1(DatumGetPointer(owner));

	if (OidIsValid(role))
		owner = owner_make(InvalidOid, psprintf("%c%s", MISSING, GetUserNameFromId(role, false)));
	else if (dropped != NULL && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(atooid(dropped))))
		owner = owner_make(atooid(dropped), NULL);
	else
		return values;
	return lappend(values, DatumGetPointer(owner));
}

/* Input function: the role with the name if there is one, else a missing role. */
Datum
durable_owner_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	char	   *name;
	Oid			role;

	if (strcmp(text, "-") == 0)
		PG_RETURN_DATUM(owner_make(InvalidOid, NULL));
	if (text[0] == '(')
		PG_RETURN_DATUM(owner_make(InvalidOid, psprintf("%c%s", DROPPED, dropped_oid(text))));
	name = unquote(text);
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		invalid(text);
	role = get_role_oid(name, true);
	PG_RETURN_DATUM(owner_make(role, OidIsValid(role) ? NULL : psprintf("%c%s", MISSING, name)));
}

/* Output function: the current name of the role. */
Datum
durable_owner_out(PG_FUNCTION_ARGS)
{
	Datum		owner = PG_GETARG_DATUM(0);

	PG_RETURN_CSTRING(owner_text(owner_role(owner), owner_absent(owner)));
}

/* The operators and the support function of the B-tree operator class */
Datum
durable_owner_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owner_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) < 0);
}

Datum
durable_owner_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owner_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) <= 0);
}

Datum
durable_owner_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owner_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) == 0);
}

Datum
durable_owner_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owner_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) >= 0);
}

Datum
durable_owner_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owner_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) > 0);
}

Datum
durable_owner_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(owner_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)));
}

/* Fill in a scan key.  The functions are called directly; no name is looked up. */
void
owner_scan_key(ScanKey key, AttrNumber column, StrategyNumber strategy, Datum owner)
{
	static const PGFunction functions[] = {
		[BTLessStrategyNumber] = durable_owner_lt, [BTLessEqualStrategyNumber] = durable_owner_le,
		[BTEqualStrategyNumber] = durable_owner_eq,
		[BTGreaterEqualStrategyNumber] = durable_owner_ge, [BTGreaterStrategyNumber] = durable_owner_gt
	};

	memset(key, 0, sizeof(ScanKeyData));
	key->sk_attno = column;
	key->sk_strategy = strategy;
	key->sk_argument = owner;
	key->sk_func.fn_addr = functions[strategy];
	key->sk_func.fn_nargs = 2;
	key->sk_func.fn_strict = true;
	key->sk_func.fn_mcxt = CurrentMemoryContext;
}

/* durable_internal.owner_of(role): NULL becomes no role */
Datum
durable_owner_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(owner_make(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0), NULL));
}

/* durable_internal.owner_role(owner): NULL if it is absent */
Datum
durable_owner_role(PG_FUNCTION_ARGS)
{
	Oid			role = owner_role(PG_GETARG_DATUM(0));

	if (!OidIsValid(role))
		PG_RETURN_NULL();
	PG_RETURN_OID(role);
}

/* durable_internal.owner_found(owner): the role that now has the name of a missing role, else NULL */
Datum
durable_owner_found(PG_FUNCTION_ARGS)
{
	Oid			role = owner_find(owner_absent(PG_GETARG_DATUM(0)));

	if (!OidIsValid(role))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(owner_make(role, NULL));
}

/* durable_internal.current_owner() */
Datum
durable_owner_current(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(owner_make(GetUserId(), NULL));
}

/* Whether the current user may see what belongs to a role. */
static bool
may_see(Oid role)
{
	return (OidIsValid(role) && is_member_of_role(GetUserId(), role)) || has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/* durable_internal.may_see(owner) */
Datum
durable_may_see_owner(PG_FUNCTION_ARGS)
{
	Oid			role;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(may_see(InvalidOid));
	role = owner_role(PG_GETARG_DATUM(0));
	PG_RETURN_BOOL((!OidIsValid(role) && owner_absent(PG_GETARG_DATUM(0)) == NULL) || may_see(role));
}

/* durable_internal.may_see(role) */
Datum
durable_may_see_role(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(may_see(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0)));
}

/*
 * durable_internal.may_see_cost(internal): support function of both may_see.
 *
 * PostgreSQL evaluates the cheapest of several leakproof conditions first.  IS
 * NULL, CASE, a boolean column and jsonb subscripts cost nothing, so may_see
 * must cost less than nothing to come first.  The value is the smallest
 * possible: added to any other cost it changes nothing.
 */
Datum
durable_may_see_cost(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (!IsA(request, SupportRequestCost))
		PG_RETURN_POINTER(NULL);
	((SupportRequestCost *) request)->startup = 0;
	((SupportRequestCost *) request)->per_tuple = -DBL_MIN;
	PG_RETURN_POINTER(request);
}
