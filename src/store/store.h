/*
 * store.h
 *	  The tables of the engine, row by row, through the table access methods.
 *
 * The engine uses neither SQL nor SPI for its own rows: there is no plan,
 * search_path, user id, trigger or policy between the engine and its rows.
 *
 * A Store is opened in a transaction with an active snapshot and closed before
 * the transaction ends.  Inserts are buffered, and store_flush writes them
 * together; store_sync also makes them visible to scans.  Rows that are read
 * are allocated in the current memory context.
 */
#ifndef DURABLE_STORE_H
#define DURABLE_STORE_H

#include "common/model.h"

#include "storage/itemptr.h"
#include "utils/snapshot.h"

typedef struct Store Store;
typedef struct Table Table;

#define STORE_MISMATCH_HINT \
	"Run ALTER EXTENSION durable UPDATE; if that has been done, restart the server, so that it loads the new library."

extern Store *store_open(void);
/* open all tables, so that nobody changes them before the transaction ends; NULL if they do not fit */
extern Store *store_open_all(void);
extern void store_flush(Store *store);
extern void store_sync(Store *store);
extern void store_discard(Store *store);
extern void store_close(Store *store);
/* read as of this snapshot from now on; NULL: read the latest committed rows */
extern void store_use_snapshot(Store *store, Snapshot snapshot);

#endif
