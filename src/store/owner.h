/*
 * owner.h
 *	  The type durable_internal.owner: the owner of a row, even if that role does
 *	  not exist.
 *
 * A role is stored by its OID and written by its name, so a rename changes no
 * row and a dump contains no OID.  The input function reads a name.  If there
 * is a role with this name, its OID is stored.  Otherwise the role is
 * *missing*: its name is stored until the scheduler finds a role with this
 * name (owner_adoption.c).  The name of a role that was *dropped* is unknown;
 * a dump says so, and rows from such a dump have no owner.
 *
 * A value consists of the OID and, if that is 0, the *absent* text: empty for
 * no role, else a letter and the name of the missing role or the former OID of
 * the dropped role.
 */
#ifndef DURABLE_OWNER_H
#define DURABLE_OWNER_H

#include "common/model.h"

#include "access/skey.h"
#include "nodes/pg_list.h"

/* the absent text of an owner, NULL if it is empty or the role is present */
extern char *owner_absent(Datum owner);
/* the role, InvalidOid if it is absent */
extern Oid	owner_role(Datum owner);
/* make a value; absent may be NULL */
extern Datum owner_make(Oid role, const char *absent);
/* the text form */
extern char *owner_text(Oid role, const char *absent);
/*
 * from an absent text: the name of the missing role, or the former OID of the
 * dropped role; NULL if it is not one
 */
extern const char *owner_missing(const char *absent);
extern const char *owner_dropped(const char *absent);
/* the role that now has the name of a missing role, InvalidOid if there is none */
extern Oid	owner_find(const char *absent);
/* all values that have this text form, as a List of pointers to them */
extern List *owner_values(const char *text);
/* the order of the type: no role, absent roles, then roles by OID */
extern int	owner_compare(Datum a, Datum b);
/* fill in a key of a B-tree scan */
extern void owner_scan_key(ScanKey key, AttrNumber column, StrategyNumber strategy, Datum owner);

#endif
