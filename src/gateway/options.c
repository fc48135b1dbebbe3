/*
 * options.c
 *	  Options of the command line and the environment.
 *
 * One table has every option with its default, limits and description.  The
 * parser, the environment variables (DURABLE_GATEWAY_ and the name in upper case)
 * and --help are made from it.  The command line overrides the environment.  Keys
 * are read from a file (keys.c), since other users can see command lines.
 * Connection parameters that --dbname does not contain come from libpq's
 * environment variables.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

#ifndef DURABLE_VERSION
#define DURABLE_VERSION "unknown"
#endif

Options		options;

typedef struct Option
{
	const char *name;
	const char *value;			/* what --help calls it */
	const char **text;			/* where a text goes, or NULL */
	long	   *number;			/* where a number goes, or NULL */
	const char *default_value;
	long		low;
	long		high;
	const char *description;
} Option;

static const Option table[] = {
	{"listen", "ADDRESS", &options.listen, NULL, "127.0.0.1:8080", 0, 0,
	"Where to serve: address:port, [IPv6 address]:port, or unix:/path. Port 0: a free one, which the ready\n"
	"line names. An address that is not loopback needs --key-file."},
	{"dbname", "CONNINFO", &options.dbname, NULL, "", 0, 0,
	"Database: a name, a conninfo string or a postgresql:// URI. What it does not say comes from PGHOST,\n"
	"PGPORT, PGUSER, PGDATABASE, PGPASSFILE and so on. The gateway can see and do what this role can."},
	{"key-file", "FILE", &options.key_file, NULL, "", 0, 0,
	"File with the keys that clients must give, one a line, as code= or in the header x-functions-key.\n"
	"It must be closed to others: mode 0600, or 0640 if it belongs to root. Read again at SIGHUP."},
	{"base-url", "URL", &options.base_url, NULL, "", 0, 0,
	"How clients reach the gateway, with the path, as in durable.http_base_url. Needed behind a proxy\n"
	"that changes Host; otherwise links are built from the request's Host header. Without --key-file\n"
	"its host may be the request's Host, and its scheme, host and port the request's Origin."},
	{"connections", "N", NULL, &options.connections, "8", 1, 100,
	"Database connections that run statements. One more listens for the ends of instances, and after the first\n"
	"GET /metrics another one counts."},
	{"max-connections", "N", NULL, &options.max_connections, "4000", 1, 100000,
	"Most clients that are connected at once; further ones get 503, but for /healthz."},
	{"max-body", "BYTES", NULL, &options.max_body, "4194304", 0, 1073741824,
	"Longest request body; a longer one is answered with 413."},
	{"max-header", "BYTES", NULL, &options.max_header, "16384", 1024, 1048576,
	"Most bytes of request line and headers; more are answered with 431 or 414."},
	{"request-timeout", "SECONDS", NULL, &options.request_timeout, "15", 1, 3600,
	"Time in which a request must have arrived whole, however slowly it trickles; then 408."},
	{"idle-timeout", "SECONDS", NULL, &options.idle_timeout, "60", 1, 86400,
	"Time after which a connection without a request, or one that does not read its answer, is closed."},
	{"max-wait", "SECONDS", NULL, &options.max_wait, "3600", 0, 86400,
	"Longest wait that timeout= can ask for; a longer one is shortened."},
	{"statement-timeout", "SECONDS", NULL, &options.statement_timeout, "30", 0, 86400,
	"Time after which the database gives a statement up, and the client gets 503; 0 for no limit."},
	{"drain-timeout", "SECONDS", NULL, &options.drain_timeout, "10", 0, 3600,
	"Time that running requests have to end after SIGTERM."},
	{"metrics-interval", "SECONDS", NULL, &options.metrics_interval, "15", 0, 3600,
	"For /metrics the instances are counted at most this often, and in a tenth of the time at most."},
};

#define OPTIONS ((int) (sizeof(table) / sizeof(table[0])))

static void
environment_name(const Option *option, char *name, size_t size)
{
	snprintf(name, size, "DURABLE_GATEWAY_%s", option->name);
	for (char *p = name; *p != '\0'; p++)
		*p = *p == '-' ? '_' : toupper((unsigned char) *p);
}

static void
help(void)
{
	printf("durable-gateway serves the Durable Functions HTTP management API over a PostgreSQL database with the\n"
		   "extension durable.\n\n"
		   "Usage:\n  durable-gateway [OPTION]...\n\nOptions, each with its environment variable:\n");
	for (int i = 0; i < OPTIONS; i++)
	{
		const Option *option = &table[i];
		char		name[64];

		environment_name(option, name, sizeof(name));
		printf("  --%s %s   (%s)\n      ", option->name, option->value, name);
		for (const char *p = option->description; *p != '\0'; p++)
		{
			putchar(*p);
			if (*p == '\n')
				fputs("      ", stdout);
		}
		if (option->number != NULL)
			printf(" Default: %s; %ld to %ld.\n", option->default_value, option->low, option->high);
		else if (option->default_value[0] != '\0')
			printf(" Default: %s.\n", option->default_value);
		else
			putchar('\n');
	}
	printf("  --help\n  --version\n\n"
		   "Routes, below /runtime/webhooks/durabletask; JSON in and out:\n"
		   "  POST   /orchestrators/{name}[/{instanceId}]    start; timeout=, pollingInterval=, version=,\n"
		   "                                                 onDuplicate=replace|error|ignore\n"
		   "  GET    /instances/{id}                         status; showHistory=, showHistoryOutput=, showInput=,\n"
		   "                                                 returnInternalServerErrorOnFailure=\n"
		   "  GET    /instances                              list; createdTimeFrom=, createdTimeTo=, runtimeStatus=,\n"
		   "                                                 instanceIdPrefix=, showInput=, top=\n"
		   "  DELETE /instances/{id}                         purge one\n"
		   "  DELETE /instances                              purge; createdTimeFrom=, createdTimeTo=, runtimeStatus=\n"
		   "  POST   /instances/{id}/raiseEvent/{eventName}  send an event\n"
		   "  POST   /instances/{id}/terminate, /suspend, /resume, /rewind    reason=\n"
		   "  POST   /instances/{id}/restart                 restartWithNewInstanceId=\n"
		   "and GET /healthz (200, or 503 when the database is away; needs no key), GET /metrics (Prometheus).\n\n"
		   "A 202 or 200 means that the transaction has committed; a 503 may hide a commit. A client that repeats a\n"
		   "start gives it an id and onDuplicate=ignore: by default an instance of that id is replaced if it has\n"
		   "ended, and 409 if it is live; with error it is 409 in any case, with ignore nothing is started. When the database is away requests are answered\n"
		   "with 503 and the gateway reconnects, after 0.1 s at first and 5 s at most. Prepared statements are used,\n"
		   "so a pooler in between must pool sessions. With durable.notify = none the ends of instances are looked for\n"
		   "once a second; set it to terminal where clients wait with timeout=.\n\n"
		   "Signals:\n"
		   "  SIGTERM, SIGINT   accept nothing more, answer those who wait, finish what runs, exit 0\n"
		   "  SIGHUP            read the key file again\n\n"
		   "Exit status: 0 after a signal, 1 if it cannot start, 2 for a wrong option.\n");
}

static void
wrong(const char *format, const char *what, const char *value)
{
	fprintf(stderr, "durable-gateway: ");
	fprintf(stderr, format, what, value);
	fprintf(stderr, "\nTry durable-gateway --help.\n");
	exit(2);
}

static void
set(const Option *option, const char *value, const char *source)
{
	char	   *end;

	if (option->text != NULL)
	{
		*option->text = value;
		return;
	}
	errno = 0;
	*option->number = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || *option->number < option->low || *option->number > option->high)
	{
		char		range[64];

		snprintf(range, sizeof(range), "%ld to %ld", option->low, option->high);
		wrong("%s must be a number from %s", source, range);
	}
}

void
options_read(int argc, char **argv)
{
	struct option longs[OPTIONS + 3];
	int			c;

	memset(longs, 0, sizeof(longs));
	for (int i = 0; i < OPTIONS; i++)
	{
		const Option *option = &table[i];
		char		name[64];
		const char *value;

		longs[i] = (struct option) {option->name, required_argument, NULL, i + 1000};
		environment_name(option, name, sizeof(name));
		value = getenv(name);
		set(option, value != NULL && value[0] != '\0' ? value : option->default_value, name);
	}
	longs[OPTIONS] = (struct option) {"help", no_argument, NULL, 'h'};
	longs[OPTIONS + 1] = (struct option) {"version", no_argument, NULL, 'V'};
	while ((c = getopt_long(argc, argv, "h?V", longs, NULL)) != -1)
	{
		if (c >= 1000)
		{
			char		name[64];

			snprintf(name, sizeof(name), "--%s", table[c - 1000].name);
			set(&table[c - 1000], optarg, name);
		}
		else if (c == 'h')
		{
			help();
			exit(0);
		}
		else if (c == 'V')
		{
			printf("durable-gateway %s\n", DURABLE_VERSION);
			exit(0);
		}
		else
		{
			fprintf(stderr, "Try durable-gateway --help.\n");
			exit(2);
		}
	}
	if (optind < argc)
		wrong("unexpected argument%s \"%s\"", "", argv[optind]);
	for (size_t length; options.base_url[0] != '\0' && options.base_url[(length = strlen(options.base_url)) - 1] == '/';)
		options.base_url = xstrndup(options.base_url, length - 1);
	if (options.base_url[0] != '\0' && strncmp(options.base_url, "http://", 7) != 0 &&
		strncmp(options.base_url, "https://", 8) != 0)
		wrong("%s must begin with http:// or https://%s", "base-url", "");
}
