/* SPDX-License-Identifier: Apache-2.0 */
/* sock.c - see sock.h */
#include "backends/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/cleanup.h"
#include "common/clock.h"

enum { RESV_FIRST = 512, RESV_LAST = 1023 };
enum { STOP_SLICE_MS = 100 };
enum { KEEP_IDLE_S = 10, KEEP_INTERVAL_S = 5, KEEP_COUNT = 3, USER_TIMEOUT_MS = 30000 };

int nsock_resolve(struct nsock_target *t, struct err *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list;
	unsigned n = 0;
	int rc = getaddrinfo(t->host, NULL, &hints, &list);

	if (rc)
		return err_set(err, -ENOENT, "cannot resolve host '%s': %s", t->host,
			       gai_strerror(rc));
	for (struct addrinfo *ai = list; ai && n < NSOCK_ADDRS_MAX; ai = ai->ai_next) {
		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		memcpy(&t->addr[n].sa, ai->ai_addr, ai->ai_addrlen);
		t->addr[n++].len = ai->ai_addrlen;
	}
	freeaddrinfo(list);
	if (n)
		t->naddr = n;
	else
		return err_set(err, -ENOENT, "cannot resolve host '%s': no IP address", t->host);
	nsock_set_port(t, t->port);
	return 0;
}

void nsock_set_port(struct nsock_target *t, uint16_t port)
{
	t->port = port;
	for (unsigned i = 0; i < t->naddr; i++) {
		if (t->addr[i].sa.ss_family == AF_INET)
			((struct sockaddr_in *)&t->addr[i].sa)->sin_port = htons(port);
		else
			((struct sockaddr_in6 *)&t->addr[i].sa)->sin6_port = htons(port);
	}
}

static int bind_reserved(int fd, sa_family_t family)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	unsigned count = RESV_LAST - RESV_FIRST + 1, start = 0;

	if (getrandom(&start, sizeof start, GRND_NONBLOCK) < 0)
		start = (unsigned)clock_ms();
	for (unsigned i = 0; i < count; i++) {
		in_port_t port = htons((uint16_t)(RESV_FIRST + (start + i) % count));
		int rc;

		v4.sin_port = v6.sin6_port = port;
		rc = family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof v4) :
					 bind(fd, (struct sockaddr *)&v6, sizeof v6);
		if (!rc)
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
	}
	return -EADDRINUSE;
}

static void set_opt(int fd, int level, int name, int value)
{
	/* An option that this kernel lacks costs speed or detection time, not correctness. */
	(void)!setsockopt(fd, level, name, &value, sizeof value);
}

void nsock_tune(int fd)
{
	set_opt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_opt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_opt(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
	set_opt(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S);
	set_opt(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
	set_opt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

static int cannot(const struct nsock_target *t, int rc, struct err *err)
{
	return err_set(err, rc, "cannot connect to %s port %u: %s", t->host, t->port,
		       strerror(-rc));
}

int nsock_start(const struct nsock_target *t, unsigned i, struct err *err)
{
	const struct sockaddr *sa = (const struct sockaddr *)&t->addr[i % t->naddr].sa;
	AUTO_FD int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return cannot(t, -errno, err);
	nsock_tune(fd);
	rc = t->resvport ? bind_reserved(fd, sa->sa_family) : 0;
	if (rc)
		return err_set(err, rc, "option resvport: no source port below 1024: %s",
			       strerror(-rc));
	if (connect(fd, sa, t->addr[i % t->naddr].len) && errno != EINPROGRESS)
		return cannot(t, -errno, err);
	return take_fd(&fd);
}

int nsock_connected(int fd)
{
	int error = 0;
	socklen_t len = sizeof error;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	return -error;
}

/* ---- others connect for us ------------------------------------------- */

int nsock_dial(const struct nsock_target *t, unsigned first, uint32_t limit_ms, struct err *err)
{
	struct be_dial want = { .host = t->host,
				.port = t->port,
				.resvport = t->resvport,
				.first = first,
				.limit_ms = limit_ms };

	return t->dial(t->dial_arg, &want, err);
}

int nsock_dialled(const struct nsock_target *t, int fd_take, struct err *err)
{
	int fd = t->dialled ? t->dialled(fd_take, err) : fd_take;

	if (fd < 0)
		return fd;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	nsock_tune(fd);
	return fd;
}

/* How long to wait until at, and not longer than a look at stop allows. */
static int wait_ms(uint64_t now, uint64_t at)
{
	return now >= at ? 0 : at - now > STOP_SLICE_MS ? STOP_SLICE_MS : (int)(at - now);
}

static int dial_and_wait(const struct nsock_target *t, unsigned first, uint64_t deadline_ms,
			 const atomic_bool *stop, struct err *err)
{
	uint64_t now = clock_ms();
	AUTO_FD int fd = -1;

	fd = nsock_dial(t, first, now < deadline_ms ? (uint32_t)(deadline_ms - now) : 1, err);
	if (fd < 0)
		return fd;
	while (t->dialled) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		now = clock_ms();
		if (poll(&p, 1, wait_ms(now, deadline_ms)) > 0)
			break;
		if (stop && atomic_load(stop))
			return cannot(t, -EINTR, err);
		if (now >= deadline_ms)
			return cannot(t, -ETIMEDOUT, err);
	}
	return nsock_dialled(t, take_fd(&fd), err);
}

/* ---- connecting by ourselves ----------------------------------------- */

/* Attempts under way to several addresses at once. */
struct attempts {
	const struct nsock_target *t;
	unsigned first, started;
	struct pollfd p[NSOCK_ADDRS_MAX]; /* fd -1: failed, or not started */
	int rc;                           /* of the last that failed */
};

/* Starts the next address; true when there was one. */
static bool attempts_more(struct attempts *a, struct err *err)
{
	unsigned i = a->started;
	int fd;

	if (i == a->t->naddr)
		return false;
	fd = nsock_start(a->t, a->first + i, err);
	a->p[i] = (struct pollfd){ .fd = fd < 0 ? -1 : fd, .events = POLLOUT };
	a->started++;
	if (fd < 0)
		a->rc = fd;
	return true;
}

static bool attempts_live(const struct attempts *a)
{
	for (unsigned i = 0; i < a->started; i++)
		if (a->p[i].fd >= 0)
			return true;
	return false;
}

/* The fd that is connected, out of the table; -1: none yet. */
static int attempts_look(struct attempts *a, struct err *err)
{
	for (unsigned i = 0; i < a->started; i++) {
		int rc;

		if (a->p[i].fd < 0 || !a->p[i].revents)
			continue;
		rc = nsock_connected(a->p[i].fd);
		if (!rc)
			return take_fd(&a->p[i].fd);
		close(take_fd(&a->p[i].fd));
		a->rc = cannot(a->t, rc, err);
	}
	return -1;
}

static void attempts_end(struct attempts *a)
{
	for (unsigned i = 0; i < a->started; i++)
		if (a->p[i].fd >= 0)
			close(a->p[i].fd);
}

int nsock_connect(const struct nsock_target *t, unsigned first, uint64_t deadline_ms,
		  const atomic_bool *stop, struct err *err)
{
	struct attempts a = { .t = t, .first = first, .rc = -ENOENT };
	uint64_t now, next = 0;
	int fd = -1;

	if (t->dial)
		return dial_and_wait(t, first, deadline_ms, stop, err);
	for (; fd < 0; fd = attempts_look(&a, err)) {
		now = clock_ms();
		if (now >= deadline_ms)
			a.rc = cannot(t, -ETIMEDOUT, err);
		if (now >= deadline_ms || (stop && atomic_load(stop)))
			break;
		/* The next one at once when all so far have failed. */
		if (now >= next || !attempts_live(&a))
			next = attempts_more(&a, err) ? now + NSOCK_STAGGER_MS : UINT64_MAX;
		if (!attempts_live(&a) && a.started == t->naddr)
			break;
		poll(a.p, a.started, wait_ms(now, next < deadline_ms ? next : deadline_ms));
	}
	attempts_end(&a);
	return fd >= 0 ? fd : a.rc;
}
