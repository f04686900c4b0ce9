/* SPDX-License-Identifier: Apache-2.0 */
/* sock.c - see sock.h */
#include "backends/nfs/sock.h"

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

static void tune(int fd)
{
	set_opt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_opt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_opt(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S);
	set_opt(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S);
	set_opt(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
	set_opt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
}

int nsock_start(const struct nsock_target *t, unsigned i)
{
	sa_family_t family = t->addr[i].sa.ss_family;
	AUTO_FD int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return -errno;
	tune(fd);
	if (t->resvport) {
		rc = bind_reserved(fd, family);
		if (rc)
			return rc;
	}
	if (connect(fd, (const struct sockaddr *)&t->addr[i].sa, t->addr[i].len) &&
	    errno != EINPROGRESS)
		return -errno;
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

int nsock_dial(const struct nsock_target *t, struct err *err)
{
	int fd = t->dial(t->dial_arg, t->host, t->port, t->resvport, err);

	if (fd < 0)
		return fd;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	tune(fd);
	return fd;
}

static int wait_connected(int fd, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	for (;;) {
		uint64_t now = clock_ms();
		int n;

		if (now >= deadline_ms)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)(deadline_ms - now));
		if (n > 0)
			return nsock_connected(fd);
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

int nsock_connect(const struct nsock_target *t, uint64_t deadline_ms, struct err *err)
{
	int rc = -ENOENT;

	if (t->dial)
		return nsock_dial(t, err);
	for (unsigned i = 0; i < t->naddr; i++) {
		AUTO_FD int fd = nsock_start(t, i);

		rc = fd < 0 ? fd : wait_connected(fd, deadline_ms);
		if (!rc)
			return take_fd(&fd);
	}
	return err_set(err, rc, "cannot connect to %s port %u: %s", t->host, t->port,
		       strerror(-rc));
}
