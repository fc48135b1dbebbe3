/*
 * payload_limit.h
 *	  The check that a value can be stored and restored, whoever owns it.
 */
#ifndef DURABLE_PAYLOAD_LIMIT_H
#define DURABLE_PAYLOAD_LIMIT_H

#include "common/model.h"

/*
 * the failure if a payload is longer than durable.max_payload or could not be
 * restored; NULL if it is fine, or is NULL
 */
extern Jsonb *payload_limit(const Jsonb *payload);
/* the same check for a text */
extern Jsonb *text_limit(const char *text);
/* whether the text of a payload may be longer than a limit; if not, the caller need not measure it */
extern bool payload_may_exceed(const Jsonb *payload, int64 limit);

#endif
