/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor.c - see supervisor.h */
#include "fusefs/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/arena.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/runtime.h"
#include "common/uri.h"
#include "fusefs/errand.h"
#include "fusefs/fusermount.h"
#include "fusefs/opener.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define CACHE_GROWTH 4      /* tune may raise cache_size to this many times its first value ... */
#define CACHE_RAM_SHARE 2   /* ... or to this part of memory, whichever is less */
#define READ_AHEAD_KIB 1024 /* what the kernel may ask for in advance */

struct supervisor {
	const struct mount_request *m;
	int fuse_fd, arena_fd, sock, sig_fd, status_fd;
	pid_t worker;
	struct openers openers;
	struct errands errands;
	bool by_helper; /* fusermount3 mounts, and unmounts */
	struct uri uri; /* of m */
	bool mounted, told;
	bool draining;
	int exit_status;
};

/* ---- lines ---- */

int line_send(int fd, const char *fmt, ...)
{
	char line[LINE_BYTES_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	if ((size_t)n >= sizeof line - 1)
		n = sizeof line - 2;
	for (int i = 0; i < n; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[n++] = '\n';
	return send(fd, line, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -EPIPE;
}

int line_recv(int fd, char *buf)
{
	/* Lines are short and rare: byte by byte needs no state. */
	for (size_t n = 0; n < LINE_BYTES_MAX; n++) {
		ssize_t got = read(fd, buf + n, 1);

		if (got < 0 && errno == EINTR) {
			n--;
			continue;
		}
		if (got <= 0)
			return -EPIPE;
		if (buf[n] == '\n') {
			buf[n] = '\0';
			return 0;
		}
	}
	return -EPROTO;
}

/* ---- telling who waits ---- */

static void tell(struct supervisor *s, bool ok, const char *text)
{
	if (s->told)
		return;
	s->told = true;
	if (s->status_fd < 0) {
		if (!ok)
			fprintf(stderr, "persifs: %s\n", text);
		return;
	}
	if (write(s->status_fd, ok ? "\0" : "\1", 1) != 1 ||
	    (!ok && write(s->status_fd, text, strlen(text)) < 0))
		log_warn("supervisor: nobody hears the mount's outcome");
	close(s->status_fd);
	s->status_fd = -1;
}

static int fail(struct supervisor *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct supervisor *s, const char *fmt, ...)
{
	char text[LINE_BYTES_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	tell(s, false, text);
	return -1;
}

/* ---- the worker ---- */

/* The kernel's memory reclaim may wait for us: it must not wait in us, nor shoot us first. */
static void guard_process(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "-900", 4) < 0)
			log_debug("oom_score_adj cannot be set: %s", strerror(errno));
		close(fd);
	}
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

static void exec_worker(const struct supervisor *s, int sock, int opener_sock)
{
	char fuse[16], arena[16], up[16], opener[16], *opts = options_format(s->m->opt);
	char *argv[] = { (char[]){ "persifs" },
			 (char[]){ "--worker" },
			 fuse,
			 arena,
			 up,
			 opener,
			 (char *)(uintptr_t)(s->m->foreground ? "stderr" : "syslog"),
			 opts,
			 (char *)(uintptr_t)s->m->uri,
			 (char *)(uintptr_t)s->m->dir,
			 NULL };
	sigset_t none;

	snprintf(fuse, sizeof fuse, "%d", s->fuse_fd);
	snprintf(arena, sizeof arena, "%d", s->arena_fd);
	snprintf(up, sizeof up, "%d", sock);
	snprintf(opener, sizeof opener, "%d", opener_sock);
	if (s->fuse_fd >= 0)
		fcntl(s->fuse_fd, F_SETFD, 0);
	fcntl(s->arena_fd, F_SETFD, 0);
	fcntl(sock, F_SETFD, 0);
	fcntl(opener_sock, F_SETFD, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (opts)
		execv("/proc/self/exe", argv);
	line_send(sock, "error cannot start the worker: %s", strerror(errno));
	_exit(127);
}

static int start_worker(struct supervisor *s)
{
	AUTO_FD int opener_sock = openers_start(&s->openers);
	int sv[2];

	if (opener_sock < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return fail(s, "cannot make a socket pair: %s", strerror(errno));
	s->worker = fork();
	if (s->worker < 0) {
		close(sv[0]);
		close(sv[1]);
		return fail(s, "cannot fork: %s", strerror(errno));
	}
	if (!s->worker)
		exec_worker(s, sv[1], opener_sock);
	close(sv[1]);
	s->sock = sv[0];
	return 0;
}

/* A line of the worker, which may need connections before it says one. */
static int worker_line(struct supervisor *s, char *line)
{
	struct pollfd p[2] = { { .fd = s->sock, .events = POLLIN },
			       { .fd = s->openers.fd, .events = POLLIN } };

	for (;;) {
		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return -EIO;
			continue;
		}
		if (p[0].revents)
			return line_recv(s->sock, line);
		if (p[1].revents && !openers_serve(&s->openers))
			p[1].fd = -1;
	}
}

/* What the worker must say now; its error is passed on. rest: behind the word. */
static int expect(struct supervisor *s, const char *word, char *rest)
{
	char line[LINE_BYTES_MAX];
	size_t n = strlen(word);

	if (worker_line(s, line))
		return fail(s, "the worker ended before it was ready");
	if (!strncmp(line, "error ", 6))
		return fail(s, "%s", line + 6);
	if (strncmp(line, word, n) || (line[n] && line[n] != ' '))
		return fail(s, "the worker said '%.100s'", line);
	if (rest)
		strcpy(rest, line[n] ? line + n + 1 : "");
	return 0;
}

/* ---- mounting ---- */

static uint32_t arena_frames(const struct mount_options *o)
{
	struct sysinfo si;
	uint64_t bytes = o->cache_size * CACHE_GROWTH, ram = 0;

	if (!sysinfo(&si))
		ram = (uint64_t)si.totalram * si.mem_unit / CACHE_RAM_SHARE;
	if (bytes > ram)
		bytes = ram;
	if (bytes < o->cache_size)
		bytes = o->cache_size;
	return (uint32_t)(bytes / o->page_size);
}

static int open_things(struct supervisor *s)
{
	const struct mount_options *o = s->m->opt;
	struct err err;
	int rc;

	s->by_helper = s->m->adopted_fd < 0 && fusermount_needed();
	if (s->by_helper && fusermount_check(o, FUSERMOUNT_CONF, &err))
		return fail(s, "%s", err.text);
	if (s->m->adopted_fd >= 0)
		s->fuse_fd = s->m->adopted_fd;
	else if (!s->by_helper)
		s->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (s->fuse_fd < 0 && !s->by_helper)
		return fail(s, "cannot open /dev/fuse: %s%s", strerror(errno),
			    errno == ENOENT ? " (is the fuse module loaded?)" : "");
	rc = arena_create((uint32_t)o->page_size, arena_frames(o), &s->arena_fd);
	if (rc)
		return fail(s, "cannot make a cache of %llu bytes: %s",
			    (unsigned long long)o->cache_size, strerror(-rc));
	return 0;
}

static int mount_by_helper(struct supervisor *s)
{
	struct err err;
	int fd = fusermount_mount(s->m->opt, s->m->uri, s->m->dir, &err);

	if (fd < 0)
		return fail(s, "%s", err.text);
	s->mounted = true;
	s->errands.device_fd = fd;
	return 0;
}

static int do_mount(struct supervisor *s, const char *root_mode)
{
	const struct mount_options *o = s->m->opt;
	unsigned long flags = MS_NOSUID | MS_NODEV | (o->ro ? MS_RDONLY : 0) |
			      (o->noexec ? MS_NOEXEC : 0);
	char data[256];

	if (s->m->adopted_fd >= 0)
		return 0;
	if (s->by_helper)
		return mount_by_helper(s);
	snprintf(data, sizeof data, "fd=%d,rootmode=%.8s,user_id=%u,group_id=%u%s%s", s->fuse_fd,
		 root_mode, geteuid(), getegid(), o->allow_other ? ",allow_other" : "",
		 o->default_permissions && !options_mapped(o) ? ",default_permissions" : "");
	if (mount(s->m->uri, s->m->dir, RUNTIME_FSTYPE, flags, data))
		return fail(s, "cannot mount at '%s': %s%s", s->m->dir, strerror(errno),
			    errno == EPERM ?
				    " (mounting wants root, or a user namespace of one's own)" :
				    "");
	s->mounted = true;
	return 0;
}

/* Larger requests for sequential readers; only root may, and only here it is cheap. */
static void raise_read_ahead(unsigned maj, unsigned min)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", maj, min);
	f = fopen(path, "we");
	if (!f)
		return;
	fprintf(f, "%d\n", READ_AHEAD_KIB);
	fclose(f);
}

/* Newer kernels tell the number of a connection, which is that of its mount's device. */
static bool fdinfo_dev(int fd, unsigned *maj, unsigned *min)
{
	char path[64], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	*maj = 0;
	while (f && !found && fgets(line, sizeof line, f))
		found = sscanf(line, "fuse_connection: %u", min) == 1;
	if (f)
		fclose(f);
	return found;
}

static int mounted_dev(struct supervisor *s, unsigned *maj, unsigned *min, struct err *err)
{
	const char *given = s->m->opt->device;
	char end;

	if (s->m->adopted_fd < 0)
		return runtime_mount_dev(s->m->dir, maj, min, NULL, 0, err);
	if (!given && fdinfo_dev(s->fuse_fd, maj, min))
		return 0;
	if (!given)
		return err_set(
			err, -ENOENT,
			"'%s': this kernel does not tell which mount it is: option device is "
			"wanted",
			s->m->dir);
	if (sscanf(given, "%u:%u%c", maj, min, &end) != 2)
		return err_set(err, -EINVAL, "option device=%.100s: want MAJOR:MINOR", given);
	return 0;
}

static int make_control(struct supervisor *s, unsigned maj, unsigned min, struct err *err)
{
	char path[PATH_MAX];
	int rc = runtime_socket_path(maj, min, path, sizeof path, err);

	return rc ? rc : errands_listen(&s->errands, path, err);
}

static int bring_up(struct supervisor *s)
{
	unsigned maj, min;
	char mode[LINE_BYTES_MAX];
	struct err err;

	if (open_things(s) || start_worker(s) || expect(s, "backend", mode) || do_mount(s, mode))
		return -1;
	if (mounted_dev(s, &maj, &min, &err) || make_control(s, maj, min, &err))
		return fail(s, "%s", err.text);
	if (line_send(s->sock, "mounted"))
		return fail(s, "the worker ended before it was ready");
	if (expect(s, "ready", NULL))
		return -1;
	raise_read_ahead(maj, min);
	return 0;
}

/* ---- living on ---- */

static int take_away(const struct supervisor *s, int flags)
{
	if (!umount2(s->m->dir, flags))
		return 0;
	if (errno == EPERM && s->by_helper)
		return fusermount_umount(s->m->dir, flags & MNT_DETACH);
	return -errno;
}

static void detach(struct supervisor *s)
{
	int rc = s->mounted ? take_away(s, MNT_DETACH) : 0;

	if (rc && rc != -EINVAL && rc != -ENOENT)
		log_error("cannot unmount '%s': %s", s->m->dir, strerror(-rc));
	s->mounted = false;
}

/* SIGTERM, SIGINT: drain, then unmount; what is open is served until it closes. */
static void on_drained(struct supervisor *s, const char *line)
{
	s->draining = false;
	if (strcmp(line, "drained 0")) {
		log_error("'%s' stays mounted: not everything could be written", s->m->dir);
		return;
	}
	if (s->m->adopted_fd >= 0) {
		log_info("'%s' is drained, and served until it is unmounted", s->m->dir);
		return;
	}
	if (!take_away(s, 0)) {
		s->mounted = false;
		return;
	}
	log_warn("'%s' is in use: unmounted lazily, served until its files are closed", s->m->dir);
	detach(s);
}

/* True while the worker lives. */
static bool on_child(struct supervisor *s)
{
	int status;

	if (waitpid(s->worker, &status, WNOHANG) != s->worker)
		return true;
	s->worker = 0;
	if (WIFEXITED(status)) {
		s->exit_status = WEXITSTATUS(status);
	} else {
		s->exit_status = 1;
		log_error("the worker of '%s' died of signal %d", s->m->dir, WTERMSIG(status));
	}
	if (s->exit_status)
		detach(s);
	return false;
}

static void on_signal(struct supervisor *s)
{
	struct signalfd_siginfo si;

	if (read(s->sig_fd, &si, sizeof si) != sizeof si || si.ssi_signo == SIGCHLD || s->draining)
		return;
	s->draining = true;
	line_send(s->sock, "drain");
}

static void live(struct supervisor *s)
{
	struct pollfd p[3] = { { .fd = s->sig_fd, .events = POLLIN },
			       { .fd = s->sock, .events = POLLIN },
			       { .fd = s->openers.fd, .events = POLLIN } };
	char line[LINE_BYTES_MAX];

	while (on_child(s)) {
		openers_reap(&s->openers);
		if (poll(p, 3, -1) < 0)
			continue;
		if (p[0].revents)
			on_signal(s);
		if (p[1].revents && !line_recv(s->sock, line))
			on_drained(s, line);
		else if (p[1].revents)
			p[1].fd = -1; /* the worker is ending: SIGCHLD comes */
		if (p[2].revents && !openers_serve(&s->openers))
			p[2].fd = -1;
	}
}

static int signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void end_worker(struct supervisor *s)
{
	if (s->sock >= 0)
		close(s->sock); /* an unready worker ends by this */
	s->sock = -1;
	if (s->fuse_fd >= 0)
		close(s->fuse_fd);
	s->fuse_fd = -1;
	openers_end(&s->openers);
	if (s->worker > 0) {
		kill(s->worker, SIGKILL);
		waitpid(s->worker, NULL, 0);
	}
	errands_done(&s->errands);
}

int supervisor_run(const struct mount_request *m, int status_fd)
{
	struct supervisor s = { .m = m,
				.fuse_fd = -1,
				.arena_fd = -1,
				.sock = -1,
				.status_fd = status_fd,
				.exit_status = 1 };
	struct opener_conf conf = { .resvport = m->opt->resvport, .connect = opener_connect };
	struct err err;

	if (uri_parse(m->uri, &s.uri, &err)) {
		fail(&s, "%s", err.text);
		return 1;
	}
	if (errands_init(&s.errands)) {
		fail(&s, "no random bytes");
		return 1;
	}
	conf.host = s.uri.host;
	conf.errands = &s.errands;
	openers_init(&s.openers, &conf);
	prctl(PR_SET_NAME, "persifs-super");
	guard_process();
	s.sig_fd = signals();
	if (bring_up(&s)) {
		detach(&s);
		end_worker(&s);
		return 1;
	}
	tell(&s, true, "");
	live(&s);
	end_worker(&s);
	close(s.arena_fd);
	close(s.sig_fd);
	return s.exit_status;
}
