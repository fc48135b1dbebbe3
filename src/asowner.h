/*
 * asowner.h
 *	  Doing something as another role in a session that may have more rights.
 */
#ifndef DURABLE_ASOWNER_H
#define DURABLE_ASOWNER_H

#include "durable.h"

/*
 * Run a function with its argument as the role, with this search_path.  Returns the error that it threw, NULL if
 * there was none.  What it allocates stays; all else that it does, or code of users that it reaches, is undone.
 */
extern ErrorData *as_owner(Oid role, const char *search_path, void (*run) (void *arg), void *arg);

/* install the hook that guards the session meanwhile */
extern void asowner_install(void);

#endif
