/* SPDX-License-Identifier: Apache-2.0 */
/* abortpoint.c - see abortpoint.h. The line is written before the kill and by one write() to a file
 * opened for appending, so that processes that follow each other share one log. */
#include "common/abortpoint.h"

#ifdef PERSIFS_ABORT_POINTS
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define NAME_MAX_BYTES 256 /* of a line of the log */

static void append(const char *path, const char *name)
{
	char line[NAME_MAX_BYTES];
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	snprintf(line, sizeof line - 1, "%s", name);
	strcat(line, "\n");
	if (fd < 0 || write(fd, line, strlen(line)) < 0) {
		perror("abort point: log");
		abort();
	}
}

static _Atomic unsigned long passed;

/* The number of the point to die at, 0 for none. False: points do not count now. */
static bool armed(unsigned long *at)
{
	const char *arm = getenv("PERSIFS_ABORT_ARM"), *env = getenv("PERSIFS_ABORT_AT");
	char text[32] = "";
	AUTO_FD int fd = -1;

	if (!arm || !*arm) {
		*at = env ? strtoul(env, NULL, 10) : 0;
		return true;
	}
	fd = open(arm, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) {
		atomic_store(&passed, 0);
		return false;
	}
	*at = strtoul(text, NULL, 10);
	return true;
}

void abort_point(const char *name)
{
	const char *log = getenv("PERSIFS_ABORT_LOG");
	unsigned long at, n;

	if (!armed(&at))
		return;
	n = atomic_fetch_add(&passed, 1) + 1;
	if (log && *log)
		append(log, name);
	if (at == n)
		raise(SIGKILL);
}
#endif
