/*
 * loop.c
 *	  The event loop, on top of epoll, level-triggered.
 *
 * A source may be unwatched while loop_wait still has an event of it; its fd is
 * then -1, and the event is dropped.  So a callback must not free a source other
 * than its own.  The sources of database connections are never freed; those of
 * requests are freed only by libmicrohttpd, outside of loop_wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

static int	epoll_fd = -1;

int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
loop_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
	{
		log_line("epoll_create1: %s", strerror(errno));
		exit(1);
	}
}

void
loop_watch(Source *source, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (source->fd == fd && source->events == events)
		return;
	loop_unwatch(source);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
	{
		log_line("epoll_ctl: %s", strerror(errno));
		return;
	}
	source->fd = fd;
	source->events = events;
}

void
loop_unwatch(Source *source)
{
	if (source->fd >= 0)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}

void
loop_wait(int timeout)
{
	struct epoll_event events[64];
	int			count = epoll_wait(epoll_fd, events, 64, timeout);

	for (int i = 0; i < count; i++)
	{
		Source	   *source = events[i].data.ptr;

		if (source->fd >= 0)
			source->ready(source->arg, events[i].events);
	}
}
