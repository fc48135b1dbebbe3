/*
 * keys.c
 *	  The keys that clients must give.
 *
 * A file has one key on each line, so that an old and a new key can be valid while
 * clients change over.  Blank lines, spaces at the ends of lines and a UTF-8 byte
 * order mark are ignored.
 *
 * Anybody who can read the file can call the gateway.  So it must have the
 * permissions that PostgreSQL demands of TLS keys: it belongs to the gateway's
 * user, and no other user may read it, or it belongs to root, and its group may
 * read it.
 *
 * A comparison reveals nothing by its duration, which depends only on the length
 * of what the client gave: it does not end at the first difference, nor at the
 * first key that matches.  Keys are never logged, nor are query strings, which may
 * contain keys.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keys.h"

#define MAX_KEYS	16
#define MAX_LENGTH	256
#define MAX_FILE	65536
#define MARK		"\xef\xbb\xbf"

static char *keys[MAX_KEYS];
static int	count = 0;

/* What is wrong with the file's owner or permissions, or NULL. */
static const char *
access_problem(const struct stat *file)
{
	if (!S_ISREG(file->st_mode))
		return "it is not a regular file";
	if (file->st_uid == 0)
		return file->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO) ? "others can read or change it; run chmod 0640 on it as root" : NULL;
	if (file->st_uid != geteuid())
		return "it belongs to another user; it must belong to the gateway's user or to root";
	return file->st_mode & (S_IRWXG | S_IRWXO) ? "others can read or change it; run chmod 0600 on it" : NULL;
}

/* Read the file into a buffer of MAX_FILE + 1 bytes; returns what is wrong with it, or NULL. */
static const char *
file_read(const char *file, char *text)
{
	/* O_NONBLOCK, since open would wait for the writer of a FIFO */
	int			fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat status;
	size_t		length = 0;
	ssize_t		n = 1;
	const char *problem;

	if (fd < 0)
		return strerror(errno);
	problem = fstat(fd, &status) != 0 ? strerror(errno) : access_problem(&status);
	while (problem == NULL && n > 0 && length < MAX_FILE)
	{
		n = read(fd, text + length, MAX_FILE - length);
		if (n < 0)
			problem = strerror(errno);
		else
			length += n;
	}
	close(fd);
	if (problem == NULL && length == MAX_FILE)
		problem = "it is longer than 64 kB";
	else if (problem == NULL && memchr(text, '\0', length) != NULL)
		problem = "it contains a NUL byte; it must be UTF-8 text";
	text[length] = '\0';
	return problem;
}

/* Split text into keys; returns what is wrong with it, or NULL. */
static const char *
keys_parse(const char *text, char **found, int *n)
{
	if (strncmp(text, MARK, strlen(MARK)) == 0)
		text += strlen(MARK);
	while (*text != '\0')
	{
		size_t		line = strcspn(text, "\n");
		const char *begin = text;
		const char *end = text + line;

		while (begin < end && isspace((unsigned char) *begin))
			begin++;
		while (begin < end && isspace((unsigned char) end[-1]))
			end--;
		if (end - begin > MAX_LENGTH)
			return "a key is longer than 256 bytes";
		if (end > begin)
		{
			if (*n == MAX_KEYS)
				return "more than 16 keys";
			found[(*n)++] = xstrndup(begin, end - begin);
		}
		text += line + (text[line] == '\n');
	}
	return *n == 0 ? "it holds no key" : NULL;
}

bool
keys_load(const char *file)
{
	char	   *text = xmalloc(MAX_FILE + 1);
	char	   *found[MAX_KEYS];
	int			n = 0;
	const char *problem = file_read(file, text);

	if (problem == NULL)
		problem = keys_parse(text, found, &n);
	explicit_bzero(text, MAX_FILE + 1);
	free(text);
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
