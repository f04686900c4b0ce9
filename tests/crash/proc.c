/* SPDX-License-Identifier: Apache-2.0 */
/* proc.c - see proc.h */
#include "tests/crash/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

/* Reads all that comes until the end; -ETIMEDOUT. */
static int take_output(int fd, char *out, size_t cap)
{
	uint64_t deadline = clock_ms() + PROC_LIMIT_MS;
	char rest[512];
	size_t n = 0;
	ssize_t k;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_ms();

		if (now >= deadline || poll(&p, 1, (int)(deadline - now)) == 0) {
			out[n] = '\0';
			return -ETIMEDOUT;
		}
		k = n + 1 < cap ? read(fd, out + n, cap - 1 - n) : read(fd, rest, sizeof rest);
		if (k <= 0)
			break;
		if (n + 1 < cap)
			n += (size_t)k;
	}
	out[n] = '\0';
	return 0;
}

static int start(const char *const *argv, int fd, int to, pid_t *pid)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", lang[] = "LC_ALL=C";
	static char *const env[] = { path, lang, NULL };
	posix_spawn_file_actions_t fa;
	int rc;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, to, 1);
	posix_spawn_file_actions_adddup2(&fa, to, 2);
	if (fd >= 0)
		posix_spawn_file_actions_adddup2(&fa, fd, PROC_FD);
	rc = posix_spawnp(pid, argv[0], &fa, NULL, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&fa);
	return -rc;
}

int proc_run(const char *const *argv, int fd, char *out, size_t cap)
{
	AUTO_FD int from = -1;
	int p[2], rc, status;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	from = p[0];
	rc = start(argv, fd, p[1], &pid);
	close(p[1]);
	if (rc)
		return rc;
	rc = take_output(from, out, cap);
	if (rc)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (rc)
		return rc;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}
