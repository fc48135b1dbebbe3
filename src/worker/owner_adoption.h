/*
 * owner_adoption.h
 *	  The scheduler's care for instances whose owner does not exist.
 */
#ifndef DURABLE_OWNER_ADOPTION_H
#define DURABLE_OWNER_ADOPTION_H

#include "common/model.h"

/* request a look at the owners */
extern void owner_adoption_request(void);
/* do a part of what is due, outside of a transaction; true if more is due soon */
extern bool owner_adoption_work(void);
/* whether nothing is due, and nothing was left for the next look */
extern bool owner_adoption_settled(void);
/* whether something in the database waits until a role is created; also true while a look is due */
extern bool owner_adoption_missing(void);

#endif
