/*
 * routes.h
 *	  What the paths and methods of the API do.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include "request.h"

/* The routes, by which requests are counted. */
typedef enum Route
{
	ROUTE_NONE,
	ROUTE_START,
	ROUTE_STATUS,
	ROUTE_LIST,
	ROUTE_PURGE,
	ROUTE_PURGE_BY,
	ROUTE_RAISE_EVENT,
	ROUTE_TERMINATE,
	ROUTE_SUSPEND,
	ROUTE_RESUME,
	ROUTE_REWIND,
	ROUTE_RESTART,
	ROUTE_HEALTHZ,
	ROUTE_METRICS,
	ROUTE_COUNT
} Route;

extern const char *const route_names[ROUTE_COUNT];

/* Whether it needs no key. */
extern bool routes_open(const Request *request);

/* Answer the request, or see to it that it will be. */
extern void routes_dispatch(Request *request);

#endif
