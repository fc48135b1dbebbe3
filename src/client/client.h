/*
 * client.h
 *	  What the modules that implement client functions share.
 */
#ifndef DURABLE_CLIENT_H
#define DURABLE_CLIENT_H

#include "common/model.h"

#include "fmgr.h"

#include "store/store.h"

/* error where a function that writes cannot work; each begins with it */
extern void client_begin(const char *function);
/* error unless a worker could connect as the role */
extern void client_require_worker_role(Oid role);
/* {"reason": …} of a text argument, NULL for null */
extern Jsonb *client_reason(FunctionCallInfo fcinfo, int number);
/* the store for a client function, and its end */
extern Store *client_open(void);
extern void client_close(Store *store);
/* error OD001 */
_Noreturn extern void client_no_instance(const char *instance_id);

#endif
