/*
 * keys.h
 *	  The keys that open the gateway.
 */
#ifndef KEYS_H
#define KEYS_H

#include "gateway.h"

/*
 * Read the file; false, with a line in the log, if it cannot be read, others can read it too, or it holds no key. The keys are
 * then as before.
 */
extern bool keys_load(const char *file);

/* Whether clients need a key. */
extern bool keys_required(void);

/* Whether this is one of the keys; NULL is not. */
extern bool keys_match(const char *given);

#endif
