/*
 * log_text.h
 *	  Texts of users in lines of the server's log.
 */
#ifndef DURABLE_LOG_TEXT_H
#define DURABLE_LOG_TEXT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * A text for one line of the log.  The result is cut to max bytes, and control
 * characters are escaped, so that the text cannot look like a line of its own.
 * quoted: the result stands in quotation marks, which the text cannot end.
 */
#define LOG_NAME	200			/* bytes of an id or a name */
#define LOG_MESSAGE	1000
extern char *log_text(const char *text, int max, bool quoted);

/* the quoted name of a database */
extern char *log_database(Oid db);
/* the quoted name of a role; its OID if there is no such role */
extern char *log_role(Oid role);
/* whether pause_ms have passed since *last; if so, *last becomes the current time */
extern bool log_again(TimestampTz *last, int pause_ms);

#endif
