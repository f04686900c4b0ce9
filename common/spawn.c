/* SPDX-License-Identifier: Apache-2.0 */
/* spawn.c - see spawn.h. The end of the process is waited for, not the end of the pipe:
 * whatever it leaves behind may hold the pipe open for ever. */
#include "common/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define TICK_MS 100 /* between two looks at whether it is still wanted */

struct child {
	pid_t pid;
	int pidfd, err; /* err: read end of its standard error */
	char *text;
	size_t len, cap;
};

static int start(const char *const *argv, int err_fd, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, dflt;
	int rc;

	sigemptyset(&none);
	sigfillset(&dflt);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &dflt);
	rc = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, 0, 1);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&fa, err_fd, 2);
	rc = rc ? rc : posix_spawn_file_actions_addclosefrom_np(&fa, 3);
	rc = rc ? rc : posix_spawnp(pid, argv[0], &fa, &attr, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	return -rc;
}

/* What is in the pipe now; beyond cap it is read and forgotten. */
static void take_text(struct child *c)
{
	char buf[1024];
	ssize_t n;

	while ((n = read(c->err, buf, sizeof buf)) > 0) {
		size_t room = c->cap - 1 - c->len;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(c->text + c->len, buf, take);
		c->len += take;
	}
	if (n == 0) {
		close(c->err);
		c->err = -1;
	}
	c->text[c->len] = '\0';
}

static void to_one_line(char *text)
{
	size_t len = strlen(text);

	while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
}

/* 0: it ended by itself. */
static int wait_end(struct child *c, uint64_t deadline, const struct cancel *cancel)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = c->pidfd, .events = POLLIN },
				       { .fd = c->err, .events = POLLIN } };
		uint64_t now = clock_us() / 1000;
		bool ended;

		if (now >= deadline)
			return -ETIMEDOUT;
		if (!cancel_is_wanted(cancel))
			return -ECANCELED;
		if (deadline - now > TICK_MS)
			now = deadline - TICK_MS;
		poll(p, 2, (int)(deadline - now));
		ended = p[0].revents;
		if (c->err >= 0 && (ended || p[1].revents))
			take_text(c);
		if (ended)
			return 0;
	}
}

static int reap(const struct child *c)
{
	int status;

	while (waitpid(c->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

int spawn_wait(const char *const *argv, unsigned limit_ms, const struct cancel *cancel, char *text,
	       size_t cap)
{
	struct child c = { .pidfd = -1, .err = -1, .text = text, .cap = cap };
	int fds[2], rc, status;

	text[0] = '\0';
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	rc = start(argv, fds[1], &c.pid);
	close(fds[1]);
	c.err = fds[0];
	if (!rc) {
		c.pidfd = (int)syscall(SYS_pidfd_open, c.pid, 0);
		rc = c.pidfd < 0 ? -errno : wait_end(&c, clock_us() / 1000 + limit_ms, cancel);
		if (rc)
			kill(-c.pid, SIGKILL);
		status = reap(&c);
		rc = rc ? rc : status;
	}
	if (c.pidfd >= 0)
		close(c.pidfd);
	if (c.err >= 0)
		close(c.err);
	to_one_line(text);
	return rc;
}
