/*
 * clock.c
 *	  Preloaded into a server, sets its clock: gettimeofday is the true time
 *	  plus the seconds that stand at the beginning of the file $DURABLE_CLOCK.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile long *offset;

/* Map the file; processes that are forked later share it. */
static void __attribute__((constructor))
map_offset(void)
{
	const char *path = getenv("DURABLE_CLOCK");
	int			fd = path ? open(path, O_RDONLY) : -1;
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		offset = map;
}

/* The time of day as the file says. */
int
gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	int			result = syscall(SYS_gettimeofday, time, zone);

	if (result == 0 && offset != NULL)
		time->tv_sec += *offset;
	return result;
}
