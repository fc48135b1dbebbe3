/*
 * stems.h
 *	  What a summary of the operator class id_stems tells.
 */
#ifndef DURABLE_STEMS_H
#define DURABLE_STEMS_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Whether a range may hold ids with a prefix that were created from one time to
 * another, both inclusive; if so, none of its ids with it was before first.
 */
extern bool stems_may_have(const bytea *summary, const char *prefix, TimestampTz from,
						   TimestampTz to, TimestampTz *first);

#endif
