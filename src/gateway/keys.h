/*
 * keys.h
 *	  The keys that clients must give.
 */
#ifndef KEYS_H
#define KEYS_H

#include "util.h"

/*
 * Read the file.  If it cannot be read, has wrong permissions or contains no key, the log says so, the keys do not change, and
 * the result is false.
 */
extern bool keys_load(const char *file);

/* Whether clients need a key. */
extern bool keys_required(void);

/* Whether a text is one of the keys; false for NULL. */
extern bool keys_match(const char *given);

#endif
