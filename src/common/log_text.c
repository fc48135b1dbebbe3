/*
 * log_text.c
 *	  Texts of users in lines of the server's log.
 *
 * Users choose ids, names and messages.  log_text makes sure that none of them
 * can forge a line of the log.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "common/log_text.h"

/*
 * The length of a character, other than an ASCII control character, that a
 * viewer may take for the end of a line or that changes the direction of
 * writing; else 0.
 */
static int
unicode_control(const unsigned char *c)
{
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return c[0] >= 0x80;
	if (GetDatabaseEncoding() != PG_UTF8)
		return pg_database_encoding_max_length() == 1 && c[0] >= 0x80 && c[0] <= 0x9F;
	if (c[0] == 0xC2 && c[1] >= 0x80 && c[1] <= 0x9F)
		return 2;
	/* U+061C */
	if (c[0] == 0xD8 && c[1] == 0x9C)
		return 2;
	/* U+200E and U+200F, U+2028 to U+202E, U+2066 to U+2069 */
	if (c[0] == 0xE2 && ((c[1] == 0x80 && ((c[2] >= 0x8E && c[2] <= 0x8F) || (c[2] >= 0xA8 && c[2] <= 0xAE))) || (c[1] == 0x81 && c[2] >= 0xA6 && c[2] <= 0xA9)))
		return 3;
	return 0;
}

/* A text of a user for one line of the log. */
char *
log_text(const char *text, int max, bool quoted)
{
	StringInfoData line;
	int			length = text != NULL ? strlen(text) : 0;
	int			kept = length > max ? pg_mbcliplen(text, length, max) : length;

	initStringInfo(&line);
	if (quoted)
		appendStringInfoChar(&line, '"');
	for (int i = 0; i < kept;)
	{
		const unsigned char *c = (const unsigned char *) &text[i];
		int			escaped = *c < ' ' || *c == 0x7F ? 1 : unicode_control(c);

		if (*c == '\n')
			appendStringInfoString(&line, "\\n");
		else if (*c == '\\' || (quoted && *c == '"'))
			appendStringInfo(&line, "\\%c", *c);
		else if (escaped == 0)
			appendStringInfoChar(&line, *c);
		else
			for (int j = 0; j < escaped; j++)
				appendStringInfo(&line, "\\x%02X", c[j]);
		i += Max(escaped, 1);
	}
	if (kept < length)
		appendStringInfoString(&line, "...");
	if (quoted)
		appendStringInfoChar(&line, '"');
	return line.data;
}

/* The name of a database for a line of the log. */
char *
log_database(Oid db)
{
	return log_text(get_database_name(db), LOG_NAME, true);
}

/* A role for a line of the log. */
char *
log_role(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? log_text(name, LOG_NAME, true) : psprintf("with OID %u", role);
}

/* Whether to log something again that was last logged at *last.  The clock may have been set back. */
bool
log_again(TimestampTz *last, int pause_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	if (*last <= now && !TimestampDifferenceExceeds(*last, now, pause_ms))
		return false;
	*last = now;
	return true;
}
