/*
 * log_text.h
 *	  Texts of users in lines of the server's log.
 */
#ifndef DURABLE_LOG_TEXT_H
#define DURABLE_LOG_TEXT_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * A text of anybody's for one line of the log: cut to so many bytes, without
 * control characters and what else may look like a line of its own; quoted: in
 * quotation marks, which it cannot end.
 */
#define LOG_NAME	200			/* bytes of an id or a name */
#define LOG_MESSAGE	1000
extern char *log_text(const char *text, int max, bool quoted);

/* the name of a database, quoted so */
extern char *log_database(Oid db);
/* the same of a role, or its OID if it has none */
extern char *log_role(Oid role);
/* whether so many ms have passed since the log was last told of something; if so, that is noted as now */
extern bool log_again(TimestampTz *last, int pause_ms);

#endif
