/*
 * owner_adoption.h
 *	  The scheduler's care for instances whose owner does not exist.
 */
#ifndef DURABLE_OWNER_ADOPTION_H
#define DURABLE_OWNER_ADOPTION_H

#include "common/model.h"

/* have the next adopt_work look at the owners */
extern void adopt_request(void);
/* do a part of what there is to be done; true if it is to be called again soon.
 * fail ends an instance whose role was dropped, false if somebody has it */
extern bool adopt_work(bool (*fail) (Oid role, int64 key));
/* whether nothing is left to be done, and whether something waits for a role to be created */
extern bool adopt_settled(void);
extern bool adopt_missing(void);

#endif
