/*
 * store.h
 *	  The tables of the engine, row by row, through the table access layer.
 *
 * Neither SQL nor SPI: no plan to go wrong, no search_path, no user id to
 * switch, no trigger or policy between the engine and its rows.  A Store is
 * opened in a transaction with an active snapshot and closed before its end;
 * inserts are buffered and written together by store_flush; store_sync makes
 * them visible to scans too.  Rows read are
 * allocated in the current memory context.
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
/* with all tables open, so that nobody changes them before the transaction ends; NULL if they do not fit */
extern Store *store_open_all(void);
extern void store_flush(Store *store);
extern void store_sync(Store *store);
extern void store_discard(Store *store);
extern void store_close(Store *store);
/* what is read next is read as of one moment; NULL ends that */
extern void store_use_snapshot(Store *store, Snapshot snapshot);

#endif
