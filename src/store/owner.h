/*
 * owner.h
 *	  The type durable_internal.owner: whose something is, also where that role
 *	  does not exist.
 *
 * A role is stored by its OID and written by its name, so that a rename changes
 * no row and a dump never has a number in it.  What is read is a name: of a
 * role that exists, whose OID is stored, or of one that is *missing*, whose name
 * is stored until the scheduler finds such a role (owner_adoption.c).  The name of a role
 * that was *dropped* is not known any more; a dump says so, and what comes from
 * it belongs to nobody.
 *
 * A value is the OID and, where that is 0, the *absent* text: empty for no role,
 * else a letter and the name of the missing role or the former OID of the
 * dropped one.
 */
#ifndef DURABLE_OWNER_H
#define DURABLE_OWNER_H

#include "common/model.h"

#include "access/skey.h"
#include "nodes/pg_list.h"

/* the absent text of an owner, or NULL; for a role NULL */
extern char *owner_absent(Datum owner);
/* the role, InvalidOid if it is absent */
extern Oid	owner_role(Datum owner);
/* a value; absent may be NULL */
extern Datum owner_make(Oid role, const char *absent);
/* as SQL shows it */
extern char *owner_text(Oid role, const char *absent);
/* of an absent text: the name of the missing role, or NULL; the former OID of the dropped one, or NULL */
extern const char *owner_missing(const char *absent);
extern const char *owner_dropped(const char *absent);
/* the role by which to replace an absent one now, InvalidOid if there is none */
extern Oid	owner_find(const char *absent);
/* all values that have this text form: as a List of pointers to them */
extern List *owner_values(const char *text);
/* the order of the type: no role, those absent, then roles by OID */
extern int	owner_compare(Datum a, Datum b);
/* a key of a B-tree scan */
extern void owner_scan_key(ScanKey key, AttrNumber column, StrategyNumber strategy, Datum owner);

#endif
