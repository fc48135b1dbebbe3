/*
 * origin.h
 *	  Checks of requests to a gateway that has no keys.
 */
#ifndef ORIGIN_H
#define ORIGIN_H

#include "request.h"

/* Why a request without a key must be refused, or NULL. */
extern const char *origin_problem(Request *request);

#endif
