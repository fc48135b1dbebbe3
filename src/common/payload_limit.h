/*
 * payload_limit.h
 *	  What is too large to be stored, whosever it is, or could not be restored.
 */
#ifndef DURABLE_PAYLOAD_LIMIT_H
#define DURABLE_PAYLOAD_LIMIT_H

#include "common/model.h"

/* the failure if a payload is more than durable.max_payload or could not be restored, else NULL; of none, too */
extern Jsonb *payload_limit(const Jsonb *payload);
/* the same of a text */
extern Jsonb *text_limit(const char *text);
/* whether the text of a payload may be longer than a limit: if not, it need not be measured */
extern bool payload_may_exceed(const Jsonb *payload, int64 limit);

#endif
