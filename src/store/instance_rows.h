/*
 * instance_rows.h
 *	  Columns of durable_internal.instances, counted from 0, in the order of
 *	  CREATE TABLE.
 */
#ifndef DURABLE_INSTANCE_ROWS_H
#define DURABLE_INSTANCE_ROWS_H

#include "store/table_access.h"

enum
{
	COL_KEY, COL_INSTANCE_ID, COL_EXECUTION_ID, COL_STATE, COL_OWNER, COL_NAME,
	COL_FUNCTION, COL_VERSION, COL_SEARCH_PATH, COL_TAGS, COL_CREATED, COL_UPDATED,
	COL_COMPLETED, COL_SCHEDULED, COL_STARTED, COL_PARENT_KEY, COL_PARENT_TASK,
	COL_FIRST_SEQ, COL_LAST_SEQ, COL_TURN_SEQ, COL_FIRST_TASK, COL_AWAITING, COL_DELIVERIES, COL_CUSTOM_STATUS
};

/* for SQL */
extern Datum instance_datum(Table *table, const InstanceRow *row);

#endif
