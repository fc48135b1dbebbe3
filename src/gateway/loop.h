/*
 * loop.h
 *	  The event loop: file descriptors with their callbacks, and the clock.
 */
#ifndef LOOP_H
#define LOOP_H

#include "util.h"

/* A watched descriptor, in the struct of its owner. fd -1: not watched. */
typedef struct Source
{
	int			fd;
	uint32_t	events;
	void		(*ready) (void *arg, uint32_t events);
	void	   *arg;
} Source;

extern void loop_init(void);

/* Watch fd for events, in place of what the source watched before. */
extern void loop_watch(Source *source, int fd, uint32_t events);
extern void loop_unwatch(Source *source);

/* Wait up to timeout ms, and call the callbacks of sources that are ready. */
extern void loop_wait(int timeout);

/* Milliseconds of a clock that is never set back. */
extern int64_t now_ms(void);

static inline int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

#endif
