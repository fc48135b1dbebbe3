/*
 * quota.h
 *	  What a role may use at most, as durable.set_quota says, and how large a
 *	  payload of anybody's may be, as durable.max_payload says.
 *
 * The size of a payload is that of its text, which is what pg_dump and clients
 * read, or that of the jsonb if this is larger.  A quota is the owner's of the instances, whoever calls.  Payloads and
 * histories are measured one by one.  Live instances and pending activities
 * are counted over all of a role's instances: exactly when the limit is near,
 * else by an upper bound that starts raise and only a count lowers.
 */
#ifndef DURABLE_QUOTA_H
#define DURABLE_QUOTA_H

#include "common/model.h"

#include "store/store.h"
#include "store/instance_rows.h"

typedef enum QuotaKind
{
	QUOTA_LIVE,					/* instances */
	QUOTA_PENDING,				/* activities */
	QUOTA_PAYLOAD,				/* bytes of one */
	QUOTA_HISTORY				/* events of one instance */
} QuotaKind;

#define QUOTA_KINDS (QUOTA_HISTORY + 1)

extern void quota_register(void);

extern bool quota_is_set(Oid role, QuotaKind kind);
/* the failure if so much is more than the role's quota, else NULL */
extern Jsonb *quota_exceeded(Oid role, QuotaKind kind, int64 amount);
/* the same if a payload or a text is more than the role's quota or durable.max_payload, or could not be restored */
extern Jsonb *quota_payload(Oid role, const Jsonb *payload);
extern Jsonb *quota_text(Oid role, const char *text);
/* the transaction has stored a live instance, or is about to store a pending activity; NULL or the failure */
extern Jsonb *quota_take(Store *store, Oid role, QuotaKind kind);
/* the transaction has put a message into the instance's inbox: thrown */
extern void quota_check_message(Store *store, const InstanceRow *row);
/* a turn sends one, and unstored counts all that it sends there: NULL or the failure */
extern Jsonb *quota_take_message(Store *store, const InstanceRow *row, int64 (*unstored) (int64 key));

#endif
