/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h. The socket of the log daemon is our own and not the C library's, which
 * waits for a daemon that does not read, and opens a path when the daemon was restarted. */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/lock.h"

#define LOG_SOCKET "/dev/log"
#define REOPEN_MS 1000 /* between two tries to reach a log daemon that is not there */

_Atomic enum log_level log_level = LOG_LEVEL_INFO;

static struct {
	const char *ident; /* NULL: to stderr */
	int (*open)(void *arg);
	void *arg;
	struct mutex lock;
	/* guarded by lock */
	int fd;
	bool tried;
	uint64_t tried_ms;
} target = { .fd = -1 };

int log_connect(const char *path)
{
	AUTO_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path ? path : LOG_SOCKET);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa))
		return -errno;
	return take_fd(&fd);
}

static int open_here(void *arg)
{
	return log_connect(arg);
}

void log_to_syslog(const char *ident)
{
	if (!target.ident)
		mutex_init(&target.lock, LOCK_log);
	log_reopen_by(NULL, NULL);
	target.ident = ident;
}

void log_reopen_by(int (*open_log)(void *arg), void *arg)
{
	target.open = open_log ? open_log : open_here;
	target.arg = arg;
	/* The first try is made where it was asked for: later there may be no path. */
	if (target.fd < 0)
		target.fd = target.open(arg);
}

void log_reopen_stop(void)
{
	target.open = NULL;
}

static bool sent_locked(const char *line, size_t len)
{
	errno = ENOTCONN;
	return target.fd >= 0 && send(target.fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* A message that the daemon has no room for is lost, and so are those of the time when there is
 * none: nobody waits for a log. */
static void send_locked(const char *line, size_t len)
{
	uint64_t now = clock_ms();

	if (sent_locked(line, len) || errno == EAGAIN || errno == EMSGSIZE || !target.open)
		return;
	if (target.tried && now - target.tried_ms < REOPEN_MS)
		return;
	target.tried = true;
	target.tried_ms = now;
	cleanup_fd(&target.fd);
	target.fd = target.open(target.arg);
	(void)sent_locked(line, len);
}

static void to_syslog(int priority, const char *text)
{
	char line[1100];
	int n = snprintf(line, sizeof line, "<%d>%s[%d]: %s", priority | LOG_DAEMON, target.ident,
			 (int)getpid(), text);

	if (n >= (int)sizeof line)
		n = sizeof line - 1;
	mutex_lock(&target.lock);
	if (n > 0)
		send_locked(line, (size_t)n);
	mutex_unlock(&target.lock);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
	static const char *const name[] = { "error", "warn", "info", "debug" };
	char line[1024];
	va_list ap;

	if (level > log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (target.ident)
		return to_syslog(priority[level], line);
	/* One call, one line: stdio locks the stream. */
	fprintf(stderr, "persifs: %s: %s\n", name[level], line);
}
