/*
 * stems.c
 *	  Operator class durable_internal.id_stems: BRIN indexes that know which
 *	  prefixes the ids in a range of blocks have, and when they were created.
 *
 * The summary of a range is a set of stems: every id in the range begins with
 * one of them, and no stem with another.  A new id is a stem of its own until
 * there are too many; then those that have most in common become one, what they
 * have in common.  So a range full of order-000001 to order-003000 with a few
 * invoice-… in it is order-000, order-001, …, invoice-17 and the like: families
 * of ids stay apart, however the range mixes them.  A range may hold ids with a
 * prefix only if one of its stems begins with the prefix, or the prefix with it.
 *
 * Each stem has the first and the last time at which ids of its family were
 * created.  So a few rows that came late into the free space of old blocks do
 * not make these look as if all their families came so late.
 *
 * What is indexed is a *place*, a bytea of time and id.  On disk a summary is,
 * like a bytea, of each stem in order its times, length and bytes; its type is
 * never compressed, as searches read all of them.  The class has no operators:
 * only ranges.c searches.
 */
#include "postgres.h"

#include "access/brin_internal.h"
#include "access/brin_tuple.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "durable.h"
#include "stems.h"

#define MAX_STEMS		32
#define STEM_LENGTH		128		/* bytes of an id that count; MAX_STEMS of them are to fit into a page */
#define STEM_HEAD		(2 * sizeof(TimestampTz) + 1)

typedef struct Stem
{
	TimestampTz first;
	TimestampTz last;
	const char *bytes;
	int			length;
} Stem;

typedef struct Stems
{
	int			count;
	Stem		stem[MAX_STEMS + 1];	/* sorted; one more while one is added */
} Stems;

PG_FUNCTION_INFO_V1(durable_place);
PG_FUNCTION_INFO_V1(durable_id_stems_info);
PG_FUNCTION_INFO_V1(durable_id_stems_add);
PG_FUNCTION_INFO_V1(durable_id_stems_union);

/* The stem that a place is. */
static Stem
place_stem(const bytea *place)
{
	Stem		stem = {
		.bytes = VARDATA_ANY(place) + sizeof(TimestampTz),
		.length = Min((int) VARSIZE_ANY_EXHDR(place) - (int) sizeof(TimestampTz), STEM_LENGTH)
	};

	if (stem.length < 0)
		elog(ERROR, "not a place");
	memcpy(&stem.first, VARDATA_ANY(place), sizeof(TimestampTz));
	stem.last = stem.first;
	return stem;
}

/* The stems of a summary; they point into it. */
static void
stems_read(Stems *stems, const bytea *summary)
{
	const char *p = VARDATA_ANY(summary);
	const char *end = p + VARSIZE_ANY_EXHDR(summary);

	for (stems->count = 0; end - p >= STEM_HEAD && stems->count < MAX_STEMS; stems->count++)
	{
		Stem	   *stem = &stems->stem[stems->count];

		memcpy(&stem->first, p, sizeof(TimestampTz));
		memcpy(&stem->last, p + sizeof(TimestampTz), sizeof(TimestampTz));
		stem->bytes = p + STEM_HEAD;
		stem->length = (unsigned char) p[STEM_HEAD - 1];
		p += STEM_HEAD + stem->length;
		if (stem->length > STEM_LENGTH || p > end)
			elog(ERROR, "not a summary of stems");
	}
}

/* A summary of stems. */
static bytea *
stems_summary(const Stems *stems)
{
	bytea	   *summary = palloc(VARHDRSZ + stems->count * (STEM_HEAD + STEM_LENGTH));
	char	   *p = VARDATA(summary);

	for (int i = 0; i < stems->count; i++)
	{
		const Stem *stem = &stems->stem[i];

		memcpy(p, &stem->first, sizeof(TimestampTz));
		memcpy(p + sizeof(TimestampTz), &stem->last, sizeof(TimestampTz));
		p[STEM_HEAD - 1] = stem->length;
		memcpy(p + STEM_HEAD, stem->bytes, stem->length);
		p += STEM_HEAD + stem->length;
	}
	SET_VARSIZE(summary, p - (char *) summary);
	return summary;
}

/* Make stems the summary of a range; they may be in the old one until now. */
static void
stems_write(const Stems *stems, BrinValues *column)
{
	bytea	   *summary = stems_summary(stems);

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

/* Widen the times of a stem to those of another; false when they are within. */
static bool
stem_widen(Stem *stem, const Stem *by)
{
	if (by->first >= stem->first && by->last <= stem->last)
		return false;
	stem->first = Min(stem->first, by->first);
	stem->last = Max(stem->last, by->last);
	return true;
}

/* Put a stem in the place of those from one on that begin with it. */
static void
stems_replace(Stems *stems, int place, Stem stem)
{
	int			end = place;

	for (; end < stems->count && stem_begins(&stems->stem[end], &stem); end++)
		(void) stem_widen(&stem, &stems->stem[end]);
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
			stem = stems->stem[i];
			stem.length = common;
			place = i;
		}
	}
	stems_replace(stems, place, stem);
}

/* Add a stem; false when another covers it and its times. */
static bool
stems_add(Stems *stems, Stem stem)
{
	int			place = 0;

	while (place < stems->count && !stem_before(&stem, &stems->stem[place]))
		place++;
	/* if one covers it, it is the last of those before it */
	if (place > 0 && stem_begins(&stem, &stems->stem[place - 1]))
		return stem_widen(&stems->stem[place - 1], &stem);
	stems_replace(stems, place, stem);
	if (stems->count > MAX_STEMS)
		stems_shrink(stems);
	return true;
}

/* durable_internal.place(created_time, instance_id) */
Datum
durable_place(PG_FUNCTION_ARGS)
{
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(0);
	text	   *id = PG_GETARG_TEXT_PP(1);
	Size		length = Min(VARSIZE_ANY_EXHDR(id), STEM_LENGTH);
	bytea	   *place = palloc(VARHDRSZ + sizeof(time) + length);

	SET_VARSIZE(place, VARHDRSZ + sizeof(time) + length);
	memcpy(VARDATA(place), &time, sizeof(time));
	memcpy(VARDATA(place) + sizeof(time), VARDATA_ANY(id), length);
	PG_RETURN_BYTEA_P(place);
}

/* Whether a range may hold ids with a prefix that were created within a time, and when the first of them was. */
bool
stems_may_have(const bytea *summary, const char *prefix, TimestampTz from, TimestampTz to, TimestampTz *first)
{
	Stem		wanted = {.bytes = prefix, .length = Min(strlen(prefix), STEM_LENGTH)};
	Stems		stems;
	bool		found = false;

	stems_read(&stems, summary);
	for (int i = 0; i < stems.count; i++)
	{
		Stem	   *stem = &stems.stem[i];

		if (stem->first <= to && stem->last >= from &&
			stem_common(stem, &wanted) == Min(stem->length, wanted.length))
		{
			*first = found ? Min(*first, stem->first) : stem->first;
			found = true;
		}
	}
	return found;
}

/* What BRIN must know of the class: one value is stored, of the class's storage type. */
Datum
durable_id_stems_info(PG_FUNCTION_ARGS)
{
	BrinOpcInfo *info = palloc0(MAXALIGN(SizeofBrinOpcInfo(1)));

	info->oi_nstored = 1;
	info->oi_regular_nulls = true;
	info->oi_typcache[0] = lookup_type_cache(PG_GETARG_OID(0), 0);
	PG_RETURN_POINTER(info);
}

/* Add a place to the summary of a range; whether that changes it. */
Datum
durable_id_stems_add(PG_FUNCTION_ARGS)
{
	BrinValues *column = (BrinValues *) PG_GETARG_POINTER(1);
	Stems		stems = {0};

	if (!column->bv_allnulls)
		stems_read(&stems, DatumGetByteaPP(column->bv_values[0]));
	if (!stems_add(&stems, place_stem(PG_GETARG_BYTEA_PP(2))))
		PG_RETURN_BOOL(false);
	stems_write(&stems, column);
	PG_RETURN_BOOL(true);
}

/* Add the summary of a range to that of another. */
Datum
durable_id_stems_union(PG_FUNCTION_ARGS)
{
	BrinValues *column = (BrinValues *) PG_GETARG_POINTER(1);
	Stems		stems;
	Stems		more;

	stems_read(&stems, DatumGetByteaPP(column->bv_values[0]));
	stems_read(&more, DatumGetByteaPP(((BrinValues *) PG_GETARG_POINTER(2))->bv_values[0]));
	for (int i = 0; i < more.count; i++)
		(void) stems_add(&stems, more.stem[i]);
	stems_write(&stems, column);
	PG_RETURN_VOID();
}
