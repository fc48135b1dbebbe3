/*
 * stems.c
 *	  Operator class durable_internal.id_stems: BRIN indexes that know which
 *	  prefixes the ids in a range of blocks have.
 *
 * The summary of a range is a set of stems: every id in the range begins with
 * one of them, and no stem with another.  A new id is a stem of its own until
 * there are too many; then those that have most in common become one, what they
 * have in common.  So a range full of order-000001 to order-003000 with a few
 * invoice-… in it is order-000, order-001, …, invoice-17 and the like: families
 * of ids stay apart, however the range mixes them.  A range may hold ids with a
 * prefix only if one of its stems begins with the prefix, or the prefix with it.
 *
 * On disk a summary is a bytea: of each stem, in order, its length and bytes.
 */
#include "postgres.h"

#include "access/brin_internal.h"
#include "access/brin_tuple.h"
#include "access/skey.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "durable.h"

#define MAX_STEMS		32
#define STEM_LENGTH		64		/* bytes of an id that count */

typedef struct Stem
{
	const char *bytes;
	int			length;
} Stem;

typedef struct Stems
{
	int			count;
	Stem		stem[MAX_STEMS + 1];	/* sorted; one more while one is added */
} Stems;

PG_FUNCTION_INFO_V1(durable_id_stems_info);
PG_FUNCTION_INFO_V1(durable_id_stems_add);
PG_FUNCTION_INFO_V1(durable_id_stems_consistent);
PG_FUNCTION_INFO_V1(durable_id_stems_union);

/* The stem that a text is. */
static Stem
text_stem(const text *id)
{
	return (Stem)
	{
		.bytes = VARDATA_ANY(id), .length = Min(VARSIZE_ANY_EXHDR(id), STEM_LENGTH)
	};
}

/* The stems of a range; they point into the summary. */
static void
stems_read(Stems *stems, const BrinValues *column)
{
	bytea	   *summary = DatumGetByteaPP(column->bv_values[0]);
	const char *p = VARDATA_ANY(summary);
	const char *end = p + VARSIZE_ANY_EXHDR(summary);

	for (stems->count = 0; p < end && stems->count < MAX_STEMS; stems->count++)
	{
		stems->stem[stems->count] = (Stem) {.bytes = p + 1, .length = (unsigned char) *p};
		p += 1 + (unsigned char) *p;
	}
}

/* Make them the summary of a range. */
static void
stems_write(const Stems *stems, BrinValues *column)
{
	bytea	   *summary = palloc(VARHDRSZ + MAX_STEMS * (1 + STEM_LENGTH));
	char	   *p = VARDATA(summary);

	for (int i = 0; i < stems->count; i++)
	{
		*p++ = stems->stem[i].length;
		memcpy(p, stems->stem[i].bytes, stems->stem[i].length);
		p += stems->stem[i].length;
	}
	SET_VARSIZE(summary, p - (char *) summary);
	/* the stems may be in the old one until now */
	if (!column->bv_allnulls)
		pfree(DatumGetPointer(column->bv_values[0]));
	column->bv_values[0] = PointerGetDatum(summary);
	column->bv_allnulls = false;
}

/* How many bytes two stems have in common. */
static int
stem_common(const Stem *a, const Stem *b)
{
	int			length = Min(a->length, b->length);
	int			i = 0;

	while (i < length && a->bytes[i] == b->bytes[i])
		i++;
	return i;
}

/* Whether a stem begins with another. */
static bool
stem_begins(const Stem *stem, const Stem *with)
{
	return stem->length >= with->length && memcmp(stem->bytes, with->bytes, with->length) == 0;
}

/* Whether a stem is before another in the order of bytes. */
static bool
stem_before(const Stem *a, const Stem *b)
{
	int			result = memcmp(a->bytes, b->bytes, Min(a->length, b->length));

	return result != 0 ? result < 0 : a->length < b->length;
}

/* Put a stem in the place of those from one on that begin with it. */
static void
stems_replace(Stems *stems, int place, Stem stem)
{
	int			end = place;

	while (end < stems->count && stem_begins(&stems->stem[end], &stem))
		end++;
	memmove(&stems->stem[place + 1], &stems->stem[end], (stems->count - end) * sizeof(Stem));
	stems->stem[place] = stem;
	stems->count += place + 1 - end;
}

/* Make one of those neighbours that have most in common. */
static void
stems_shrink(Stems *stems)
{
	Stem		stem = {.length = -1};
	int			place = 0;

	/* the first pair of its length, so none before it begins with what they have in common */
	for (int i = 0; i + 1 < stems->count; i++)
	{
		int			common = stem_common(&stems->stem[i], &stems->stem[i + 1]);

		if (common > stem.length)
		{
			stem = (Stem) {.bytes = stems->stem[i].bytes, .length = common};
			place = i;
		}
	}
	stems_replace(stems, place, stem);
}

/* Add a stem; false when another covers it. */
static bool
stems_add(Stems *stems, Stem stem)
{
	int			place = 0;

	while (place < stems->count && !stem_before(&stem, &stems->stem[place]))
		place++;
	/* if one covers it, it is the last of those before it */
	if (place > 0 && stem_begins(&stem, &stems->stem[place - 1]))
		return false;
	stems_replace(stems, place, stem);
	if (stems->count > MAX_STEMS)
		stems_shrink(stems);
	return true;
}

/* What BRIN must know of the class: a bytea is stored. */
Datum
durable_id_stems_info(PG_FUNCTION_ARGS)
{
	BrinOpcInfo *info = palloc0(MAXALIGN(SizeofBrinOpcInfo(1)));

	info->oi_nstored = 1;
	info->oi_regular_nulls = true;
	info->oi_typcache[0] = lookup_type_cache(BYTEAOID, 0);
	PG_RETURN_POINTER(info);
}

/* Add an id to the summary of a range; whether that changes it. */
Datum
durable_id_stems_add(PG_FUNCTION_ARGS)
{
	BrinValues *column = (BrinValues *) PG_GETARG_POINTER(1);
	Stems		stems = {0};

	if (!column->bv_allnulls)
		stems_read(&stems, column);
	if (!stems_add(&stems, text_stem(PG_GETARG_TEXT_PP(2))))
		PG_RETURN_BOOL(false);
	stems_write(&stems, column);
	PG_RETURN_BOOL(true);
}

/* Whether a range may hold ids with the prefix that the key is. */
Datum
durable_id_stems_consistent(PG_FUNCTION_ARGS)
{
	BrinValues *column = (BrinValues *) PG_GETARG_POINTER(1);
	ScanKey		key = (ScanKey) PG_GETARG_POINTER(2);
	Stem		prefix = text_stem(DatumGetTextPP(key->sk_argument));
	Stems		stems;

	if (key->sk_strategy != RTPrefixStrategyNumber)
		elog(ERROR, "unexpected strategy %d", key->sk_strategy);
	stems_read(&stems, column);
	for (int i = 0; i < stems.count; i++)
		if (stem_common(&stems.stem[i], &prefix) == Min(stems.stem[i].length, prefix.length))
			PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(false);
}

/* Add the summary of a range to that of another. */
Datum
durable_id_stems_union(PG_FUNCTION_ARGS)
{
	BrinValues *column = (BrinValues *) PG_GETARG_POINTER(1);
	Stems		stems;
	Stems		more;

	stems_read(&stems, column);
	stems_read(&more, (BrinValues *) PG_GETARG_POINTER(2));
	for (int i = 0; i < more.count; i++)
		(void) stems_add(&stems, more.stem[i]);
	stems_write(&stems, column);
	PG_RETURN_VOID();
}
