/*
 * loop.c
 *	  The event loop: a thin cover of epoll, level-triggered.
 *
 * A source that is unwatched while a round of events is being handed out may
 * still be in that round; its descriptor is then -1 and it is passed over, so
 * a source must not be freed inside a callback that is not its own. Sources
 * belong to connections of the database and to requests; the latter are freed
 * by libmicrohttpd only, outside of the round.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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
log_line(const char *format,...)
{
	char		stamp[32];
	char		line[1024];
	time_t		now = time(NULL);
	struct tm	utc;
	va_list		args;

	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* messages of libpq have several lines */
	for (char *p = line; *p != '\0'; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
	fprintf(stderr, "%s durable-gateway: %s\n", stamp, line);
}

static void *
or_abort(void *pointer)
{
	if (pointer == NULL)
	{
		fputs("durable-gateway: out of memory\n", stderr);
		abort();
	}
	return pointer;
}

void *
xmalloc(size_t size)
{
	return or_abort(malloc(size ? size : 1));
}

void *
xcalloc(size_t count, size_t size)
{
	return or_abort(calloc(count, size));
}

void *
xrealloc(void *pointer, size_t size)
{
	return or_abort(realloc(pointer, size ? size : 1));
}

char *
xstrdup(const char *text)
{
	return or_abort(strdup(text));
}

char *
xstrndup(const char *text, size_t length)
{
	return or_abort(strndup(text, length));
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
