/*
 * loop.h
 *	  The event loop: file descriptors and who is called for them.
 */
#ifndef LOOP_H
#define LOOP_H

#include "gateway.h"

/* One watched descriptor; lives in the struct of its owner. fd -1: not watched. */
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

/* Wait up to timeout ms and call whoever is ready. */
extern void loop_wait(int timeout);

#endif
