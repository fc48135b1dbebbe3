/*
 * client.h
 *	  What the files with client functions share.
 */
#ifndef DURABLE_CLIENT_H
#define DURABLE_CLIENT_H

#include "common/model.h"

#include "fmgr.h"

#include "store/store.h"

/* each function that writes begins with it: an error where the function cannot work */
extern void client_begin(const char *function);
/* error unless a worker could connect as the role */
extern void client_require_worker_role(Oid role);
/* a text argument as {"reason": …}, NULL for null */
extern Jsonb *client_reason(FunctionCallInfo fcinfo, int number);
/* the store with the latest snapshot, and its end, which writes what the store has buffered */
extern Store *client_open(void);
extern void client_close(Store *store);
/* error OD001 */
_Noreturn extern void client_no_instance(const char *instance_id);

#endif
