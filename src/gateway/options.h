/*
 * options.h
 *	  Options of the command line and the environment.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "util.h"

typedef struct Options
{
	const char *listen;			/* address:port, [address]:port or unix:path */
	const char *dbname;			/* conninfo, URI or name */
	const char *key_file;
	const char *base_url;		/* NULL: from the Host header */
	long		connections;	/* of the database, in the pool */
	long		max_connections;	/* of clients */
	long		max_body;		/* bytes */
	long		max_header;		/* bytes */
	long		request_timeout;	/* s until a request must be here whole */
	long		idle_timeout;	/* s */
	long		max_wait;		/* s */
	long		statement_timeout;	/* s */
	long		drain_timeout;	/* s */
	long		metrics_interval;	/* s */
} Options;

extern Options options;

/* Fill in options, or exit with a message; answers --help and --version. */
extern void options_read(int argc, char **argv);

#endif
