/*
 * quota.h
 *	  Limits of what a role may use (durable.set_quota), and of the size of a
 *	  payload (durable.max_payload).
 *
 * A quota is that of the owner of an instance, not of the caller.  The size of a
 * payload is that of its text, which pg_dump and clients read, or that of the
 * jsonb if this is larger.
 *
 * The functions return the failure as jsonb, or NULL if there is none, unless
 * they say that they raise an error.
 */
#ifndef DURABLE_QUOTA_H
#define DURABLE_QUOTA_H

#include "common/model.h"

#include "store/store.h"
#include "store/instance_rows.h"

typedef enum QuotaKind
{
	QUOTA_LIVE,					/* live instances of the role */
	QUOTA_PENDING,				/* pending activities of the role */
	QUOTA_PAYLOAD,				/* bytes of one payload */
	QUOTA_HISTORY				/* events of one instance, with those in its inbox */
} QuotaKind;

#define QUOTA_KINDS (QUOTA_HISTORY + 1)

extern void quota_register(void);

extern bool quota_is_set(Oid role, QuotaKind kind);
/* whether the amount is more than the role's quota */
extern Jsonb *quota_exceeded(Oid role, QuotaKind kind, int64 amount);
/* whether a payload or a text exceeds the role's quota or durable.max_payload, or pg_dump could not restore it */
extern Jsonb *quota_payload(Oid role, const Jsonb *payload);
extern Jsonb *quota_text(Oid role, const char *text);
/* the transaction has stored a live instance, or is about to store a pending activity */
extern Jsonb *quota_take(Store *store, Oid role, QuotaKind kind);
/* the transaction has put a message into the instance's inbox; raises the failure */
extern void quota_check_message(Store *store, const InstanceRow *row);
/* a turn sends the instance a message; unstored counts those that the turn sends it and has not stored yet (NULL: none) */
extern Jsonb *quota_take_message(Store *store, const InstanceRow *row, int64 (*unstored) (int64 key));

#endif
