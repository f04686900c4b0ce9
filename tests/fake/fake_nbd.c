/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_nbd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 20000, ACTIVATION_FD = 3 };

bool fake_nbd_have(const char *program)
{
	static const char *const dirs[] = { "/usr/bin", "/usr/sbin", "/usr/local/bin" };
	char path[128];

	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		snprintf(path, sizeof path, "%s/%s", dirs[i], program);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

const char *fake_nbd_powercut(void)
{
	static char path[512];
	ssize_t n = readlink("/proc/self/exe", path, 400);
	char *cut;

	if (n < 0)
		return NULL;
	path[n] = '\0';
	cut = strstr(path, "/tests/unit/");
	if (!cut)
		return NULL;
	strcpy(cut, "/tests/tools/nbdkit-powercut-plugin.so");
	return access(path, R_OK) == 0 ? path : NULL;
}

void fake_nbd_init(struct fake_nbd *s)
{
	memset(s, 0, sizeof *s);
	s->listener = -1;
	strcpy(s->dir, "/tmp/persifs-nbd.XXXXXX");
	if (!mkdtemp(s->dir))
		abort();
	snprintf(s->socket, sizeof s->socket, "%s/socket", s->dir);
}

static void forget_command(struct fake_nbd *s)
{
	for (unsigned i = 0; s->argv[i]; i++) {
		free(s->argv[i]);
		s->argv[i] = NULL;
	}
}

void fake_nbd_command(struct fake_nbd *s, const char *const *argv)
{
	forget_command(s);
	for (unsigned i = 0; argv[i]; i++) {
		const char *at = strstr(argv[i], "%s");
		int n;

		assert(i < FAKE_NBD_ARGS);
		if (at)
			n = asprintf(&s->argv[i], "%.*s%s%s", (int)(at - argv[i]), argv[i], s->dir,
				     at + 2);
		else
			n = asprintf(&s->argv[i], "%s", argv[i]);
		if (n < 0)
			abort();
	}
}

static _Noreturn void child(struct fake_nbd *s, int listener)
{
	char pid[16], log[80];
	sigset_t none;
	int fd;

	/* Nothing outlives a test that aborts. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(log, sizeof log, "%s/stderr", s->dir);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (listener >= 0) {
		if (listener == ACTIVATION_FD)
			fcntl(listener, F_SETFD, 0);
		else
			dup2(listener, ACTIVATION_FD);
		snprintf(pid, sizeof pid, "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
	}
	execvp(s->argv[0], s->argv);
	_exit(127);
}

static void launch(struct fake_nbd *s)
{
	assert(!s->pid && s->argv[0]);
	s->pid = fork();
	if (s->pid < 0)
		abort();
	if (!s->pid)
		child(s, s->listener);
}

static bool listens(const struct fake_nbd *s)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		abort();
	strcpy(sa.sun_path, s->socket);
	rc = connect(fd, (struct sockaddr *)&sa, sizeof sa);
	close(fd);
	return rc == 0;
}

void fake_nbd_start(struct fake_nbd *s)
{
	unlink(s->socket);
	launch(s);
	for (int ms = 0; !listens(s); ms++) {
		int status;

		if (ms > START_MS || waitpid(s->pid, &status, WNOHANG) == s->pid) {
			fprintf(stderr, "%s does not start, see %s/stderr\n", s->argv[0], s->dir);
			abort();
		}
		poll(NULL, 0, 1);
	}
}

void fake_nbd_start_tcp(struct fake_nbd *s, bool v6)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct sockaddr *sa = v6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	socklen_t len = v6 ? sizeof in6 : sizeof in;

	s->listener = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listener < 0 || bind(s->listener, sa, len) || listen(s->listener, 16) ||
	    getsockname(s->listener, sa, &len))
		abort();
	s->port = ntohs(v6 ? in6.sin6_port : in.sin_port);
	launch(s);
}

void fake_nbd_kill(struct fake_nbd *s)
{
	if (!s->pid)
		return;
	kill(s->pid, SIGKILL);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = 0;
}

void fake_nbd_signal(struct fake_nbd *s, int sig)
{
	assert(s->pid);
	if (kill(s->pid, sig))
		abort();
	/* It stops a little later. */
	if (sig == SIGSTOP && waitpid(s->pid, NULL, WUNTRACED) != s->pid)
		abort();
}

static void remove_folder(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char file[400];

	while (d && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(file, sizeof file, "%s/%s", path, e->d_name);
		unlink(file);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

void fake_nbd_done(struct fake_nbd *s)
{
	if (!*s->dir)
		return;
	fake_nbd_kill(s);
	if (s->listener >= 0)
		close(s->listener);
	s->listener = -1;
	forget_command(s);
	remove_folder(s->dir);
	*s->dir = '\0';
}
