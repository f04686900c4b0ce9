/* SPDX-License-Identifier: Apache-2.0 */
/* abortpoint.c - see abortpoint.h. The line is written before the kill and by one write() to a file
 * opened for appending, so that processes that follow each other share one log. */
#include "common/abortpoint.h"

#ifdef PERSIFS_ABORT_POINTS
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
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

void abort_point(const char *name)
{
	static _Atomic unsigned long passed;
	const char *at = getenv("PERSIFS_ABORT_AT"), *log = getenv("PERSIFS_ABORT_LOG");
	unsigned long n = atomic_fetch_add(&passed, 1) + 1;

	if (log && *log)
		append(log, name);
	if (at && *at && strtoul(at, NULL, 10) == n)
		raise(SIGKILL);
}
#endif
