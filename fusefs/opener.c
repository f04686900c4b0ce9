/* SPDX-License-Identifier: Apache-2.0 */
/* opener.c - see opener.h */
#include "fusefs/opener.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/block/exclusive.h"
#include "backends/sock.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fdpass.h"

/* Who waits leaves this part of its time for the answer, and half of it is kept
 * between the end of connecting and that of the child. */
#define ANSWER_SHARE 8

/* What a child is for: one of the two. */
struct job {
	const struct opener_request *connection;
	const struct opener_device_request *device;
};

static void answer(int sock, int rc, int fd, const char *text)
{
	struct opener_answer a = { .rc = rc };

	snprintf(a.text, sizeof a.text, "%s", text);
	/* Nobody there, or no room: the asker sees the end of the socket instead. */
	(void)fd_send(sock, &a, sizeof a, fd, MSG_DONTWAIT);
}

/* ---- the child ------------------------------------------------------- */

int opener_connect(const struct opener_conf *conf, const struct opener_request *req,
		   struct err *err)
{
	struct nsock_target t = { .port = (uint16_t)req->port, .resvport = conf->resvport };
	uint64_t end = clock_ms() + req->limit_ms;
	int rc;

	snprintf(t.host, sizeof t.host, "%s", conf->host);
	rc = nsock_resolve(&t, err);
	return rc ? rc : nsock_connect(&t, req->first, end, NULL, err);
}

int opener_device(const struct opener_conf *conf, const struct opener_device_request *req,
		  struct err *err)
{
	return bd_exclusive_open(conf->devices[req->number], conf->device_flags, req->limit_ms,
				 err);
}

/* The child may take so long. */
static uint32_t time_of(const struct job *job)
{
	uint32_t ms = job->connection ? job->connection->limit_ms : job->device->limit_ms;

	if (job->connection)
		return ms + ms / (2 * ANSWER_SHARE);
	return ms + OPENER_DEVICE_GRACE_MS;
}

static void end_after(uint32_t ms)
{
	struct itimerval when = { .it_value = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 } };

	signal(SIGALRM, SIG_DFL);
	setitimer(ITIMER_REAL, &when, NULL);
}

static void child_main(const struct opener_conf *conf, const struct job *job, int sock)
	__attribute__((noreturn));
static void child_main(const struct opener_conf *conf, const struct job *job, int sock)
{
	struct err err = { "" };
	sigset_t none;
	int fd;

	prctl(PR_SET_NAME, "persifs-opener");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	end_after(time_of(job));
	/* Above all the device: the mount ends when the worker has closed it. */
	if (dup2(sock, STDERR_FILENO + 1) < 0 || close_range(STDERR_FILENO + 2, ~0U, 0))
		_exit(1);
	sock = STDERR_FILENO + 1;
	fd = job->connection ? conf->connect(conf, job->connection, &err) :
			       conf->device(conf, job->device, &err);
	answer(sock, fd < 0 ? fd : 0, fd, err.text);
	_exit(0);
}

/* ---- the supervisor -------------------------------------------------- */

void openers_init(struct openers *o, const struct opener_conf *conf)
{
	*o = (struct openers){ .conf = *conf, .fd = -1 };
}

int openers_start(struct openers *o)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	o->fd = sv[0];
	return sv[1];
}

void openers_reap(struct openers *o)
{
	for (unsigned i = 0; i < o->count;) {
		pid_t rc = waitpid(o->pids[i], NULL, WNOHANG);

		if (rc == o->pids[i] || (rc < 0 && errno == ECHILD))
			o->pids[i] = o->pids[--o->count];
		else
			i++;
	}
}

static const char *wrong(const struct openers *o, const struct opener_request *req)
{
	if (!o->conf.host || !*o->conf.host)
		return "this mount has no server to connect to";
	if (req->magic != OPENER_MAGIC || !req->port || req->port > UINT16_MAX ||
	    req->first > OPENER_FIRST_MAX || !req->limit_ms || req->limit_ms > OPENER_LIMIT_MS)
		return "the supervisor refuses the request for a connection";
	return NULL;
}

static const char *wrong_device(const struct openers *o, const struct opener_device_request *req)
{
	if (!o->conf.ndevices || !o->conf.device)
		return "this mount has no device to open";
	if (req->magic != OPENER_DEVICE_MAGIC || req->number >= o->conf.ndevices ||
	    req->limit_ms > OPENER_DEVICE_LIMIT_MS)
		return "the supervisor refuses the request for a device";
	return NULL;
}

static void start_child(struct openers *o, const struct job *job, int sock)
{
	pid_t pid;

	openers_reap(o);
	if (o->count == OPENERS_MAX) {
		answer(sock, -EAGAIN, -1, "too many connections and devices are being opened");
		return;
	}
	pid = fork();
	if (!pid)
		child_main(&o->conf, job, sock);
	if (pid < 0)
		answer(sock, -errno, -1, "cannot start a process to open it");
	else
		o->pids[o->count++] = pid;
}

bool openers_serve(struct openers *o)
{
	union {
		struct opener_request connection;
		struct opener_device_request device;
		struct errand errand;
	} req;
	struct job job = { NULL, NULL };
	AUTO_FD int sock = -1;
	ssize_t n = fd_recv(o->fd, &req, sizeof req, &sock, MSG_DONTWAIT | MSG_TRUNC);
	const char *why;

	if (n < 0)
		return n == -EAGAIN || n == -EINTR;
	/* A datagram of no bytes with a descriptor is a wrong request, not the end. */
	if (sock < 0)
		return n > 0;
	if (n == sizeof req.errand && o->conf.errands) {
		errands_serve(o->conf.errands, &req.errand, sock);
		return true;
	}
	if (n == sizeof req.connection) {
		job.connection = &req.connection;
		why = wrong(o, &req.connection);
	} else if (n == sizeof req.device) {
		job.device = &req.device;
		why = wrong_device(o, &req.device);
	} else {
		why = "a request has the wrong size";
	}
	if (why)
		answer(sock, -EINVAL, -1, why);
	else
		start_child(o, &job, sock);
	return true;
}

void openers_end(struct openers *o)
{
	if (o->fd >= 0)
		close(take_fd(&o->fd));
	openers_reap(o);
	/* Not waited for: the kernel may hold one. They stay in the table until they end. */
	for (unsigned i = 0; i < o->count; i++)
		kill(o->pids[i], SIGKILL);
}

/* ---- the worker ------------------------------------------------------ */

/* Sends the request: our end of the socket pair for its answer, or -errno. */
static int ask(const struct opener_client *c, const void *req, size_t len, const char *what,
	       struct err *err)
{
	AUTO_FD int ours = -1, theirs = -1;
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return err_set(err, -errno, "cannot make a socket pair: %s", strerror(errno));
	ours = sv[0];
	theirs = sv[1];
	rc = fd_send(c->fd, req, len, theirs, MSG_DONTWAIT);
	if (rc)
		return err_set(err, rc, "cannot %s: the supervisor %s", what,
			       rc == -EAGAIN ? "is busy" : "is gone");
	return take_fd(&ours);
}

/* The answer is there, or its end. late: what its end means. */
static int take_answer(int fd_take, const char *late, struct err *err)
{
	AUTO_FD int sock = fd_take;
	AUTO_FD int fd = -1;
	struct opener_answer a;
	ssize_t n = fd_recv(sock, &a, sizeof a, &fd, MSG_DONTWAIT | MSG_TRUNC);

	if (n == 0 || n == -EAGAIN)
		return err_set(err, -ETIMEDOUT, "%s", late);
	if (n != sizeof a || a.rc > 0 || (!a.rc && fd < 0))
		return err_set(err, -EIO, "the opener's answer makes no sense");
	a.text[sizeof a.text - 1] = '\0';
	return a.rc ? err_set(err, a.rc, "%s", a.text) : take_fd(&fd);
}

int opener_dial(void *arg, const struct be_dial *want, struct err *err)
{
	const struct opener_client *c = arg;
	struct opener_request req = { .magic = OPENER_MAGIC,
				      .port = want->port,
				      .first = want->first & OPENER_FIRST_MAX,
				      .limit_ms = want->limit_ms - want->limit_ms / ANSWER_SHARE };
	char what[300];

	if (strcmp(want->host, c->host) != 0)
		return err_set(err, -EINVAL, "'%.100s' is not this mount's server", want->host);
	if (req.limit_ms > OPENER_LIMIT_MS)
		req.limit_ms = OPENER_LIMIT_MS;
	snprintf(what, sizeof what, "connect to %s", c->host);
	return ask(c, &req, sizeof req, what, err);
}

int opener_dialled(int fd_take, struct err *err)
{
	/* Its time was over, in the name service as a rule: connect() ends by itself. */
	return take_answer(fd_take,
			   "cannot connect to the server: no outcome in time "
			   "(does the name service answer?)",
			   err);
}

/* Until there is something to read from it. */
static void wait_readable(int sock, uint64_t end)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };

	for (;;) {
		uint64_t now = clock_us() / 1000;

		if (now >= end || poll(&p, 1, (int)(end - now)) > 0)
			return;
	}
}

int opener_open_device(void *arg, unsigned n, uint32_t limit_ms, struct err *err)
{
	const struct opener_client *c = arg;
	struct opener_device_request req = { .magic = OPENER_DEVICE_MAGIC,
					     .number = n,
					     .limit_ms = limit_ms };
	int sock;

	if (req.limit_ms > OPENER_DEVICE_LIMIT_MS)
		req.limit_ms = OPENER_DEVICE_LIMIT_MS;
	sock = ask(c, &req, sizeof req, "open the device", err);
	if (sock < 0)
		return sock;
	/* The child ends within one of the two graces; the other is for a machine that is busy. */
	wait_readable(sock, clock_us() / 1000 + req.limit_ms + 2 * OPENER_DEVICE_GRACE_MS);
	return take_answer(sock, "cannot open the device: the open itself hangs", err);
}
