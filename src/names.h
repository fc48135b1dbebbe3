/*
 * names.h
 *	  Names of schemas that only superusers may give.
 */
#ifndef DURABLE_NAMES_H
#define DURABLE_NAMES_H

extern void names_check_schema(Oid schema);

#endif
