/*
 * table_access.h
 *	  For the files of src/store: open tables, buffered inserts, index scans.
 */
#ifndef DURABLE_TABLE_ACCESS_H
#define DURABLE_TABLE_ACCESS_H

#include "common/model.h"

#include "access/genam.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "store/table_check.h"
#include "store/store.h"

#define PENDING_ROWS	256		/* buffered rows of one table, at most */

struct Table
{
	Store	   *store;
	Relation	rel;			/* NULL: not opened yet */
	ResultRelInfo *rri;			/* with open indexes; NULL: nothing was written yet */
	TupleTableSlot *slot;		/* for reading and updating */
	TupleTableSlot **pending;	/* rows to be inserted; NULL: none yet */
	int			npending;
	Size		pending_bytes;
};

struct Store
{
	Oid			namespace;
	EState	   *estate;
	Snapshot	snapshot;		/* for scans; NULL: the latest */
	ResourceOwner owner;		/* owner of tables and slots, whichever is current */
	Table		tables[TABLES];
};

typedef struct TableScan
{
	Table	   *table;
	Relation	index;
	IndexScanDesc scan;
	Snapshot	snapshot;
} TableScan;

extern bool table_open_at(Store *store, TableId id, int level);
extern void table_flush(Table *table);
extern Table *table_get(Store *store, TableId id);
/* a cleared slot for a row; table_add_row buffers the row */
extern TupleTableSlot *table_new_row(Table *table);
extern void table_add_row(Table *table, TupleTableSlot *slot);
/* returns whether all indexes have entries for the new version */
extern bool table_update_row(Table *table, ItemPointer tid, TupleTableSlot *slot);
extern void table_delete_row(Table *table, const ItemPointerData *tid);

extern void scan_begin(TableScan *scan, Table *table, const char *index, int nkeys, ScanKey keys);
extern void scan_begin_with(TableScan *scan, Table *table, const char *index, int nkeys, ScanKey keys, Snapshot snapshot);
extern TupleTableSlot *scan_next(TableScan *scan);
extern bool scan_fetch(IndexScanDesc scan, TupleTableSlot *slot);
extern void scan_end(TableScan *scan);

/* set and read columns of slots; columns are counted from 0 */
extern void row_set(TupleTableSlot *slot, int column, Datum value);
extern void row_set_text(TupleTableSlot *slot, int column, const char *value);
extern void row_set_jsonb(TupleTableSlot *slot, int column, Jsonb *value);
extern char *row_text(TupleTableSlot *slot, int column);
extern Jsonb *row_jsonb(TupleTableSlot *slot, int column);
extern int64 row_int64(TupleTableSlot *slot, int column);
extern int	row_int(TupleTableSlot *slot, int column);

#endif
