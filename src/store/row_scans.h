/*
 * row_scans.h
 *	  Scans by the key of an instance, for messages, activities and timers.
 */
#ifndef DURABLE_ROW_SCANS_H
#define DURABLE_ROW_SCANS_H

#include "store/table_access.h"

/* after so many invisible rows in succession a scan takes one as visible */
#define UNSEEN_MAX	64

extern void scan_key(TableScan *scan, Table *table, const char *index, int64 key);
extern void scan_task(TableScan *scan, Table *table, const char *index, int64 key, int task_id);
extern bool delete_key(Table *table, const char *index, int64 key, int64 max);
extern bool scan_next_key(TableScan *scan, ScanDirection direction, int64 *key, int64 *number);
extern void scan_move(TableScan *scan, RegProcedure compare, int64 key);
extern void scan_keys_from(TableScan *scan, Table *table, const char *index, int64 from);

#endif
