/*
 * extension_function.h
 *	  Calls of SQL functions of the extension by the scheduler and by sessions of
 *	  administrators.
 */
#ifndef DURABLE_EXTENSION_FUNCTION_H
#define DURABLE_EXTENSION_FUNCTION_H

/* call durable_internal.<name>() as its owner; what it returns, if that is a boolean */
extern bool internal_call(const char *name);

#endif
