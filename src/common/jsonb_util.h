/*
 * jsonb_util.h
 *	  Making and reading small jsonb values.
 */
#ifndef DURABLE_JSONB_UTIL_H
#define DURABLE_JSONB_UTIL_H

#include "common/model.h"

/* a jsonb string; NULL for NULL */
extern Jsonb *jsonb_from_text(const char *text);
/* a jsonb number */
extern Jsonb *jsonb_from_integer(int64 number);
extern Jsonb *jsonb_from_bool(bool value);
/* a jsonb from JSON text; an error if the text is not JSON */
extern Jsonb *jsonb_parse(const char *text);
/* an object; members whose value is NULL are left out */
extern Jsonb *jsonb_from_members(int count, const char *const *names, Jsonb *const *values);
/* A payload with more levels is refused: a server with a small stack could not read it. */
#define JSONB_LEVELS_MAX	1000

/* the number of bytes of the jsonb's text */
extern int64 jsonb_text_size(const Jsonb *json);
/* why a value could not be restored from a dump; functions of PostgreSQL can make such values */
typedef enum JsonbProblem
{
	JSONB_SOUND,
	JSONB_TOO_DEEP,
	JSONB_NOT_ENCODED
} JsonbProblem;

extern bool text_is_sound(const char *text, int length);
extern JsonbProblem jsonb_problem(const Jsonb *json);
/*
 * The most bytes of text that one byte of jsonb has.  The maximum is a number
 * of 14 bytes, whose text has 147,459 bytes with its separator.
 */
#define JSONB_TEXT_EXPANSION 10533
/* a copy in a memory context; NULL for NULL */
extern Jsonb *jsonb_copy(MemoryContext context, const Jsonb *value);
/* whether two values are equal; NULL equals JSON null */
extern bool jsonb_same(Jsonb *a, Jsonb *b);

/* the text of a jsonb string, NULL for anything else */
extern char *jsonb_to_text(Jsonb *json);

/* members of an object; missing is the result if there is no such member */
extern Jsonb *jsonb_member(Jsonb *object, const char *name);
extern char *jsonb_member_text(Jsonb *object, const char *name);
extern int64 jsonb_member_integer(Jsonb *object, const char *name, int64 missing);
extern bool jsonb_member_bool(Jsonb *object, const char *name, bool missing);

#endif
