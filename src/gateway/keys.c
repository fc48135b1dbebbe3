/*
 * keys.c
 *	  The keys that open the gateway: one a line in a file, so that an old and
 *	  a new one can be valid at once while clients change over. Blank lines and
 *	  spaces at the ends of a line do not count.
 *
 * A comparison takes the same time wherever the first difference is, and each
 * key is compared whether or not an earlier one matched. Only the length of
 * what the client gave, which it knows, decides how long it takes. Keys are
 * never logged, and neither are query strings, in which they may stand.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

#define MAX_KEYS	16
#define MAX_LENGTH	256

static char *keys[MAX_KEYS];
static int	count = 0;

bool
keys_load(const char *file)
{
	char		line[MAX_LENGTH + 3];
	char	   *found[MAX_KEYS];
	int			n = 0;
	FILE	   *in = fopen(file, "r");
	const char *problem = NULL;

	if (in == NULL)
	{
		log_line("key file %s: %s", file, strerror(errno));
		return false;
	}
	while (problem == NULL && fgets(line, sizeof(line), in) != NULL)
	{
		char	   *begin = line;
		size_t		length = strlen(line);

		if (length == sizeof(line) - 1 && line[length - 1] != '\n')
			problem = "a key is longer than 256 bytes";
		while (isspace((unsigned char) *begin))
			begin++;
		length = strlen(begin);
		while (length > 0 && isspace((unsigned char) begin[length - 1]))
			length--;
		if (length > 0 && problem == NULL)
		{
			if (n == MAX_KEYS)
				problem = "more than 16 keys";
			else
				found[n++] = xstrndup(begin, length);
		}
	}
	if (problem == NULL && (n == 0 || ferror(in)))
		problem = ferror(in) ? strerror(errno) : "it holds no key";
	fclose(in);
	explicit_bzero(line, sizeof(line));
	if (problem != NULL)
	{
		log_line("key file %s: %s", file, problem);
		while (n > 0)
			free(found[--n]);
		return false;
	}
	while (count > 0)
		free(keys[--count]);
	memcpy(keys, found, n * sizeof(char *));
	count = n;
	return true;
}

bool
keys_required(void)
{
	return count > 0;
}

static bool
same(const char *given, size_t given_length, const char *key)
{
	size_t		key_length = strlen(key);
	volatile unsigned char difference = given_length != key_length;

	for (size_t i = 0; i < given_length; i++)
		difference |= (unsigned char) given[i] ^ (unsigned char) key[i % key_length];
	return difference == 0;
}

bool
keys_match(const char *given)
{
	bool		match = false;

	if (given == NULL)
		return false;
	for (int i = 0; i < count; i++)
		match |= same(given, strlen(given), keys[i]);
	return match;
}
