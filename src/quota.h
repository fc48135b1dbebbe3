/*
 * quota.h
 *	  What a role may use at most, as durable.set_quota says.
 *
 * A quota is the owner's of the instances, whoever calls.  Payloads and
 * histories are measured one by one.  Live instances and pending activities
 * are counted over all of a role's instances: exactly when the limit is near,
 * else by an upper bound that starts raise and only a count lowers.
 */
#ifndef DURABLE_QUOTA_H
#define DURABLE_QUOTA_H

#include "durable.h"

#include "store.h"

typedef enum QuotaKind
{
	QUOTA_LIVE,					/* instances */
	QUOTA_PENDING,				/* activities */
	QUOTA_PAYLOAD,				/* bytes of one */
	QUOTA_HISTORY				/* events of one instance */
} QuotaKind;

#define QUOTA_KINDS (QUOTA_HISTORY + 1)

extern Size quota_shmem_size(void);
extern void quota_shmem_init(void);

extern bool quota_is_set(Oid role, QuotaKind kind);
/* the failure if so much is more than the role's quota, else NULL */
extern Jsonb *quota_exceeded(Oid role, QuotaKind kind, int64 amount);
extern Jsonb *quota_payload(Oid role, const Jsonb *payload);
/* the transaction has stored a live instance, or is about to store a pending activity; NULL or the failure */
extern Jsonb *quota_take(Store *store, Oid role, QuotaKind kind);
/* the same, thrown */
extern void quota_check_payload(Oid role, const Jsonb *payload);
extern void quota_check_size(Oid role, int64 bytes);
extern void quota_check_live(Store *store, Oid role);
/* the transaction has put a message into the instance's inbox: thrown */
extern void quota_check_message(Store *store, const InstanceRow *row);
/* a turn sends one, and unstored counts all that it sends there: NULL or the failure */
extern Jsonb *quota_take_message(Store *store, const InstanceRow *row, int64 (*unstored) (int64 key));

#endif
