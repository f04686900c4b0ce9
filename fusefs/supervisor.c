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
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/arena.h"
#include "backends/backend.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fdpass.h"
#include "common/log.h"
#include "common/uri.h"
#include "fusefs/claim.h"
#include "fusefs/errand.h"
#include "fusefs/join.h"
#include "fusefs/mounting.h"
#include "fusefs/opener.h"
#include "fusefs/volume.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define CACHE_GROWTH 4       /* tune may raise cache_size to this many times its first value ... */
#define CACHE_RAM_SHARE 2    /* ... or to this part of memory, whichever is less */
#define ENDING_WAIT_MS 60000 /* for the daemon that had the volume to be gone */
#define ENDING_LOOK_MS 50
#define LOOK_MS 1000 /* after the worker */

struct supervisor {
	const struct mount_request *m;
	int fuse_fd, arena_fd, sock, sig_fd, status_fd;
	pid_t worker;
	struct line_in in; /* of the worker */
	struct openers openers;
	struct errands errands;
	bool served;            /* the present worker has, or had, a session */
	struct uri uri;         /* of m */
	char key[BE_KEY_BYTES]; /* "": not known yet */
	int claim_fd;           /* -1: not held, or the volume is nobody else's anyway */
	struct {
		unsigned maj, min;
	} dev[SESSIONS_MAX]; /* of its sessions */
	unsigned ndevs;
	bool told, draining;
	bool was_stuck; /* when it was looked after last */
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

int line_take(struct line_in *in, int fd, char *buf)
{
	while (in->n < sizeof in->text) {
		ssize_t got = recv(fd, in->text + in->n, 1, MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return -EAGAIN;
		if (got <= 0)
			return -EPIPE;
		if (in->text[in->n++] == '\n') {
			memcpy(buf, in->text, in->n);
			buf[in->n - 1] = '\0';
			in->n = 0;
			return 0;
		}
	}
	return -EPROTO;
}

/* ---- telling who waits ---- */

/* False: who asked for the mount is not there to hear. */
static bool tell(struct supervisor *s, bool ok, const char *text)
{
	bool heard = true;

	if (s->told)
		return true;
	s->told = true;
	if (s->status_fd < 0) {
		if (!ok)
			fprintf(stderr, "persifs: %s\n", text);
		return true;
	}
	if (write(s->status_fd, ok ? "\0" : "\1", 1) != 1 ||
	    (!ok && write(s->status_fd, text, strlen(text)) < 0)) {
		log_warn("supervisor: nobody hears the mount's outcome");
		heard = false;
	}
	close(s->status_fd);
	s->status_fd = -1;
	return heard;
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
	s->in.n = 0;
	return 0;
}

/* A line of the worker, which may need connections before it says one. A backend that
 * is waited for is not waited for longer than by whoever asked for the mount. */
static int worker_line(struct supervisor *s, char *line)
{
	struct pollfd p[3] = { { .fd = s->sock, .events = POLLIN },
			       { .fd = s->openers.fd, .events = POLLIN },
			       { .fd = s->status_fd, .events = 0 /* its reader is gone */ } };

	for (;;) {
		if (poll(p, 3, -1) < 0) {
			if (errno != EINTR)
				return -EIO;
			continue;
		}
		if (p[0].revents) {
			int rc = line_take(&s->in, s->sock, line);

			if (rc != -EAGAIN)
				return rc;
		}
		if (p[2].revents)
			return -ECANCELED;
		if (p[1].revents && !openers_serve(&s->openers))
			p[1].fd = -1;
	}
}

static void note_session(struct supervisor *s, unsigned maj, unsigned min)
{
	if (s->ndevs == SESSIONS_MAX)
		return;
	s->dev[s->ndevs].maj = maj;
	s->dev[s->ndevs++].min = min;
}

static void forget_session(struct supervisor *s, unsigned maj, unsigned min)
{
	for (unsigned i = 0; i < s->ndevs; i++)
		if (s->dev[i].maj == maj && s->dev[i].min == min) {
			if (claim_is_linked(s->key, maj, min))
				claim_unlink(maj, min);
			s->dev[i--] = s->dev[--s->ndevs];
		}
}

/* Sessions come and go as soon as the volume has its socket. True: that was the line. */
static bool session_news(struct supervisor *s, const char *line)
{
	unsigned maj, min;

	if (sscanf(line, "session %u %u", &maj, &min) == 2)
		note_session(s, maj, min);
	else if (sscanf(line, "left %u %u", &maj, &min) == 2)
		forget_session(s, maj, min);
	else
		return false;
	return true;
}

/* What the worker must say now; its error is passed on. rest: behind the word. */
static int expect(struct supervisor *s, const char *word, char *rest)
{
	char line[LINE_BYTES_MAX];
	size_t n = strlen(word);

	do {
		if (worker_line(s, line))
			return fail(s, "the worker ended before it was ready");
	} while (session_news(s, line));
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

	if (mounting_open(s->m, &s->fuse_fd, &err))
		return fail(s, "%s", err.text);
	if (errands_init(&s->errands))
		return fail(s, "no random bytes");
	s->served = false;
	rc = arena_create((uint32_t)o->page_size, arena_frames(o), &s->arena_fd);
	if (rc)
		return fail(s, "cannot make a cache of %llu bytes: %s",
			    (unsigned long long)o->cache_size, strerror(-rc));
	return 0;
}

/* ---- whose the volume is ---- */

/* "MODE KEY"; a volume without a key is named after us. */
static int read_backend(struct supervisor *s, char *text, mode_t *type)
{
	char *end;

	*type = (mode_t)strtoul(text, &end, 8);
	if (*end != ' ' || strlen(end + 1) >= sizeof s->key || strchr(end, '/'))
		return fail(s, "the worker's word on the backend makes no sense");
	strcpy(s->key, end + 1);
	/* The worker has read what a server sent by now: it is not to take another volume's place. */
	if (strcmp(s->key, "-"))
		return backend_key_fits(s->m->uri, s->key) ?
			       0 :
			       fail(s, "the worker says that it has another volume");
	snprintf(s->key, sizeof s->key, "own-%ld", (long)getpid());
	return 0;
}

/* 0, -EWOULDBLOCK: another daemon has it, -1 (told). */
static int take_claim(struct supervisor *s)
{
	struct err err;
	int fd = claim_take(s->key, &err);

	if (fd == -EWOULDBLOCK)
		return fd;
	if (fd < 0)
		return fail(s, "%s", err.text);
	s->claim_fd = fd;
	return 0;
}

/* What fusermount3 has opened goes to the worker as the control socket does: when it asks. */
static int make_control(struct supervisor *s, struct err *err)
{
	char path[PATH_MAX];
	int rc = claim_socket(s->key, path, sizeof path, err);

	return rc ? rc : errands_listen(&s->errands, path, err);
}

/* The worker serves the mount, which is not attached yet. */
static int introduce(struct supervisor *s, const struct mounting *mnt)
{
	struct err err;

	if (make_control(s, &err) || claim_link(s->key, mnt->maj, mnt->min, &err))
		return fail(s, "%s", err.text);
	s->served = true;
	claim_note_uri(s->m->uri, s->key);
	if (fd_send(s->sock, "", 1, s->claim_fd, 0) ||
	    line_send(s->sock, "mounted %u %u %s", mnt->maj, mnt->min, s->key))
		return fail(s, "the worker ended before it was ready");
	return expect(s, "ready", NULL);
}

static int become_daemon(struct supervisor *s, mode_t type)
{
	int fuse_fd = s->fuse_fd, rc;
	struct mounting mnt;
	struct err err;

	if (mounting_make(s->m, &fuse_fd, type, &mnt, &err))
		return fail(s, "%s", err.text);
	if (s->fuse_fd < 0)
		s->errands.device_fd = fuse_fd;
	note_session(s, mnt.maj, mnt.min);
	rc = introduce(s, &mnt);
	if (rc)
		mounting_undo(s->m, &mnt);
	else if (mounting_attach(s->m, &mnt, &err))
		rc = fail(s, "%s", err.text);
	return rc;
}

/* 0; -EWOULDBLOCK: the volume has a daemon; -1, told. */
static int bring_up(struct supervisor *s)
{
	char text[LINE_BYTES_MAX];
	mode_t type;
	int rc;

	if (open_things(s) || start_worker(s) || expect(s, "backend", text) ||
	    read_backend(s, text, &type))
		return -1;
	rc = take_claim(s);
	return rc ? rc : become_daemon(s, type);
}

/* ---- living on ---- */

/* All mounts of all sessions, in this namespace. What devices they have the worker says, who
 * could be subverted: those of other volumes are none of ours. */
static int umount_all(struct supervisor *s, int flags)
{
	int rc = 0;

	for (unsigned i = 0; i < s->ndevs; i++) {
		unsigned maj = s->dev[i].maj, min = s->dev[i].min;
		int one = claim_is_linked(s->key, maj, min) ? mounting_umount_all(maj, min, flags) :
							      0;

		if (!rc)
			rc = one;
	}
	return rc;
}

static void detach(struct supervisor *s)
{
	int rc = s->m->adopted_fd < 0 ? umount_all(s, MNT_DETACH) : 0;

	if (rc && rc != -EINVAL && rc != -ENOENT)
		log_error("cannot unmount '%s': %s", s->m->dir, strerror(-rc));
}

/* SIGTERM, SIGINT: drain, then unmount; what is open is served until it closes. */
static void on_drained(struct supervisor *s, const char *line)
{
	/* What was not asked for means nothing. */
	if (!s->draining)
		return;
	s->draining = false;
	if (strcmp(line, "drained 0")) {
		log_error("'%s' stays mounted: not everything could be written", s->m->dir);
		return;
	}
	if (s->m->adopted_fd >= 0) {
		log_info("'%s' is drained, and served until it is unmounted", s->m->dir);
		return;
	}
	if (!umount_all(s, 0))
		return;
	log_warn("'%s' is in use: unmounted lazily, served until its files are closed", s->m->dir);
	detach(s);
}

static void on_line(struct supervisor *s, const char *line)
{
	if (!session_news(s, line))
		on_drained(s, line);
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

/* Its first thread is dead, and another is not: a notification waits in the kernel for a
 * request that nobody will answer. */
static bool is_stuck(pid_t worker)
{
	char path[32], text[256], *end;
	AUTO_FD int fd = -1;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)worker);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')'); /* the name may hold anything */
	return end && end[1] == ' ' && end[2] == 'Z';
}

/* Every now and then. That a worker is ending may be seen once. */
static void look_after(struct supervisor *s)
{
	bool stuck = is_stuck(s->worker);

	if (stuck && s->was_stuck && s->m->adopted_fd < 0) {
		log_error("the worker of '%s' is dead and cannot end: the mount is aborted",
			  s->m->dir);
		umount_all(s, MNT_FORCE | MNT_DETACH);
	}
	s->was_stuck = stuck;
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
	int rc;

	while (on_child(s)) {
		openers_reap(&s->openers);
		rc = poll(p, 3, LOOK_MS);
		if (!rc)
			look_after(s);
		if (rc <= 0)
			continue;
		if (p[0].revents)
			on_signal(s);
		rc = p[1].revents ? line_take(&s->in, s->sock, line) : -EAGAIN;
		if (!rc)
			on_line(s, line);
		else if (rc != -EAGAIN)
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
	errands_done(&s->errands, !s->served);
}

/* The volume's files go last: until then nobody takes it for free. */
static void give_claim(struct supervisor *s)
{
	while (s->ndevs)
		forget_session(s, s->dev[0].maj, s->dev[0].min);
	if (s->claim_fd >= 0)
		claim_give(s->key, s->claim_fd);
	s->claim_fd = -1;
}

/* 0: mounted by the other daemon; -EAGAIN: it is gone, or going; -1, told. */
static int join_other(struct supervisor *s)
{
	struct err err;
	int rc = join_volume(s->m, s->key, &err);

	if (rc == -ECONNREFUSED || rc == -ESHUTDOWN || rc == -ECONNRESET)
		return -EAGAIN;
	return rc ? fail(s, "%s", err.text) : 0;
}

/* 1: joined, 0: the daemon is ours, -1: told. */
static int begin(struct supervisor *s)
{
	uint64_t limit = clock_ms() + ENDING_WAIT_MS;
	int rc;

	while ((rc = bring_up(s)) == -EWOULDBLOCK) {
		end_worker(s);
		close(s->arena_fd);
		s->arena_fd = -1;
		rc = join_other(s);
		if (!rc)
			return 1;
		if (rc != -EAGAIN)
			return rc;
		if (clock_ms() > limit)
			return fail(s, "the daemon that had the volume (%s) does not end", s->key);
		poll(NULL, 0, ENDING_LOOK_MS);
	}
	return rc;
}

int supervisor_run(const struct mount_request *m, int status_fd)
{
	struct supervisor s = { .m = m,
				.fuse_fd = -1,
				.arena_fd = -1,
				.sock = -1,
				.claim_fd = -1,
				.errands = ERRANDS_NONE,
				.status_fd = status_fd,
				.exit_status = 1 };
	struct opener_conf conf = { .resvport = m->opt->resvport,
				    .connect = opener_connect,
				    .device = opener_device };
	struct err err;
	int rc;

	if (uri_parse(m->uri, &s.uri, &err)) {
		fail(&s, "%s", err.text);
		return 1;
	}
	conf.host = s.uri.host;
	conf.errands = &s.errands;
	openers_init(&s.openers, &conf);
	prctl(PR_SET_NAME, "persifs-super");
	guard_process();
	s.sig_fd = signals();
	rc = begin(&s);
	if (rc < 0)
		detach(&s);
	else if (!tell(&s, true, ""))
		mounting_take_back(m); /* nobody would */
	if (!rc)
		live(&s);
	end_worker(&s);
	give_claim(&s);
	if (s.arena_fd >= 0)
		close(s.arena_fd);
	close(s.sig_fd);
	return rc > 0 ? SUPERVISOR_JOINED : rc ? 1 : s.exit_status;
}
