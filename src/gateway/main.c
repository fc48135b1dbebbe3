/*
 * main.c
 *	  durable-gateway: start, loop, stop.
 *
 * The program is one thread with one epoll set (loop.c).  A request arrives
 * through libmicrohttpd (server.c), is parsed (request.c), and dispatched by
 * method and path (routes.c).  Its connection is suspended while one of a few
 * database connections (pool.c, database.c) runs its statement (statements.c);
 * answers.c makes a body of the result.  A request with timeout= then waits in
 * waiters.c, where one connection LISTENs for the ends of instances.  Nothing
 * blocks, except when libpq resolves the server's name.
 *
 * No request may hold the loop for longer than it takes to copy its bytes.  So
 * PostgreSQL parses the bodies and prints the values, in a process of its own
 * and within --statement-timeout.
 *
 * Each turn of the loop waits for the next event (a socket, a time of a module, or
 * libmicrohttpd's own timeout), calls the callbacks, and then lets libmicrohttpd
 * work, so that answers of the callbacks are sent in the same turn.
 *
 * SIGTERM drains: the listening socket closes, idle connections are closed,
 * requests that wait for an instance are answered with the URLs to ask later, and
 * running statements are finished, within --drain-timeout.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "keys.h"
#include "loop.h"
#include "metrics.h"
#include "options.h"
#include "pool.h"
#include "server.h"
#include "waiters.h"

static int64_t drain_until = 0; /* 0: serving */
static Source signals = {.fd = -1};

static void
signal_ready(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;

	if (read(signals.fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
	{
		if (options.key_file[0] != '\0' && keys_load(options.key_file))
			log_line("keys read");
	}
	else if (drain_until == 0)
	{
		drain_until = now_ms() + options.drain_timeout * 1000;
		server_drain();
		waiters_wake_all();
	}
}

static void
signals_start(void)
{
	sigset_t	set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals.ready = signal_ready;
	loop_watch(&signals, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), EPOLLIN);
}

/* How long the loop may sleep. */
static int
timeout(void)
{
	int64_t		next = earlier(earlier(pool_next(), waiters_next()), earlier(metrics_next(), server_next()));
	int64_t		now = now_ms();

	next = earlier(next, now + server_timeout());
	if (drain_until != 0)
		next = earlier(next, earlier(drain_until, now + 100));
	return next > now ? (int) (next - now) : 0;
}

int
main(int argc, char **argv)
{
	struct rlimit files;
	bool		ready = false;

	options_read(argc, argv);
	if (options.key_file[0] != '\0' && !keys_load(options.key_file))
		return 1;
	/* each client needs a descriptor */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
	{
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	srandom(getpid() ^ time(NULL));
	loop_init();
	signals_start();
	server_start();
	pool_start(options.connections);
	waiters_start();

	while (drain_until == 0 || (!server_drained() && now_ms() < drain_until))
	{
		int64_t		now;

		loop_wait(timeout());
		now = now_ms();
		pool_tick(now);
		waiters_tick(now);
		metrics_tick(now);
		server_tick(now);
		server_run();
		if (!ready && pool_tried())
		{
			ready = true;
			printf("durable-gateway: ready on %s%s\n", server_address(),
				   pool_up() ? "" : ", the database is not available yet");
			fflush(stdout);
		}
	}

	/* requests that are still waiting for the database get 503 from its end */
	pool_close();
	waiters_close();
	metrics_close();
	server_run();
	server_stop();
	return 0;
}
