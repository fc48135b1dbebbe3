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

extern int64_t metrics_next(void);
extern void metrics_tick(int64_t now);
/* Answer who waits, and end. */
extern void metrics_close(void);

#endif
