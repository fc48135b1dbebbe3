/*
 * routes.h
 *	  The paths and methods of the API.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include "request.h"

/* The routes; /metrics counts requests by route. */
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

/* Whether the request is served without a key and beyond --max-connections. */
extern bool routes_open(const Request *request);

/* Answer the request, now or when its statement has ended. */
extern void routes_dispatch(Request *request);

#endif
