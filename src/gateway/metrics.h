/*
 * metrics.h
 *	  /metrics: what the gateway counts, and what the database does.
 */
#ifndef METRICS_H
#define METRICS_H

#include "request.h"
#include "routes.h"

/* A request was answered after so many ms. */
extern void metrics_count(Route route, int status, int64_t ms);

/* Answer GET /metrics. */
extern void metrics_route(Request *request);
extern void metrics_close(void);

#endif
