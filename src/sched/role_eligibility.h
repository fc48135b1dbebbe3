/*
 * role_eligibility.h
 *	  Why no worker can run as a role in this database.
 */
#ifndef DURABLE_ROLE_ELIGIBILITY_H
#define DURABLE_ROLE_ELIGIBILITY_H

#include "postgres.h"

/* the obstacle as a text, NULL if a worker can start; called in a transaction */
extern char *role_obstacle(Oid role);

/* called by a worker: whether it may go on to run code as its role */
extern bool role_still_welcome(void);

#endif
