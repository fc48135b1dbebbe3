/*
 * table_check.h
 *	  The check that the engine's tables are as the extension made them.
 */
#ifndef DURABLE_TABLE_CHECK_H
#define DURABLE_TABLE_CHECK_H

#include "common/model.h"

#include "utils/rel.h"

typedef enum TableId
{
	TABLE_INSTANCES,
	TABLE_HISTORY,
	TABLE_MESSAGES,
	TABLE_TASKS,
	TABLE_TIMERS
} TableId;

#define TABLES (TABLE_TIMERS + 1)

extern const char *table_name(TableId id);

/* whether an open table fits; if not, the reason is reported at this level, unless that is 0 */
extern bool table_fits(Relation rel, TableId id, int level);
/* the same for a process that only reads: triggers and rules do not matter */
extern bool table_readable(Relation rel, TableId id, int level);
/* reports that a table does not exist, or no longer under this name; returns false */
extern bool table_missing(TableId id, int level);
/* whether all tables of the current database fit */
extern bool tables_fit(int level);

#endif
