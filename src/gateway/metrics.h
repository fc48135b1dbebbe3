/*
 * metrics.h
 *	  /metrics: counters of the gateway and of the engine.
 */
#ifndef METRICS_H
#define METRICS_H

#include "request.h"
#include "routes.h"

/* Count a request that was answered after ms milliseconds. */
extern void metrics_count(Route route, int status, int64_t ms);

/* Answer GET /metrics. */
extern void metrics_route(Request *request);

extern int64_t metrics_next(void);
extern void metrics_tick(int64_t now);
/* Answer the scrapes that wait, and close the connection. */
extern void metrics_close(void);

#endif
