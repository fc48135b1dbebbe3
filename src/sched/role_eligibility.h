/*
 * role_eligibility.h
 *	  Why no worker can run as a role in this database.
 */
#ifndef DURABLE_ROLE_ELIGIBILITY_H
#define DURABLE_ROLE_ELIGIBILITY_H

#include "postgres.h"

/* a text for people, NULL when nothing is in the way; in a transaction */
extern char *role_obstacle(Oid role);

/* called by a worker: whether its process may go on to run what is its role's */
extern bool role_still_welcome(void);

#endif
