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
/* what JSON text says; an error if it is none */
extern Jsonb *jsonb_parse(const char *text);
/* an object; members whose value is NULL are left out */
extern Jsonb *jsonb_from_members(int count, const char *const *names, Jsonb *const *values);
/* a payload has no more levels, so that all servers can read it, however deep their stacks are */
#define JSONB_LEVELS_MAX	1000

/* bytes of the text of a jsonb */
extern int64 jsonb_text_size(const Jsonb *json);
/* what keeps a value, which some function of PostgreSQL has made, from being restored: text that is not valid in the database's encoding, say */
typedef enum JsonbProblem
{
	JSONB_SOUND,
	JSONB_TOO_DEEP,
	JSONB_NOT_ENCODED
} JsonbProblem;

extern bool text_is_sound(const char *text, int length);
extern JsonbProblem jsonb_problem(const Jsonb *json);
/* no jsonb of one byte has more bytes of text: 147,459 are what a number of 14 bytes has at most, with its separator */
#define JSONB_TEXT_EXPANSION 10533
/* a copy in a memory context; NULL for NULL */
extern Jsonb *jsonb_copy(MemoryContext context, const Jsonb *value);
/* whether two are equal; none and JSON null are */
extern bool jsonb_same(Jsonb *a, Jsonb *b);

/* the text of a jsonb string, NULL for anything else */
extern char *jsonb_to_text(Jsonb *json);

/* members of an object, with what counts when they are missing */
extern Jsonb *jsonb_member(Jsonb *object, const char *name);
extern char *jsonb_member_text(Jsonb *object, const char *name);
extern int64 jsonb_member_integer(Jsonb *object, const char *name, int64 missing);
extern bool jsonb_member_bool(Jsonb *object, const char *name, bool missing);

#endif
