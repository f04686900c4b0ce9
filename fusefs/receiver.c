/* SPDX-License-Identifier: Apache-2.0 */
/* receiver.c - see receiver.h */
#include "fusefs/receiver.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/stats.h"

#define BACKOFF_MAX 63
#define AWAY_US 200 /* gave way for so long: the CPU is wanted by others */

int receiver_init(struct receiver *r, int fuse_fd)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	int rc;

	*r = (struct receiver){ .fuse_fd = fuse_fd, .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	if (r->epoll_fd < 0)
		return -errno;
	if (!epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fuse_fd, &ev))
		return 0;
	rc = -errno;
	receiver_done(r);
	return rc;
}

void receiver_done(struct receiver *r)
{
	close(r->epoll_fd);
}

static ssize_t try_read(struct receiver *r, void *buf, size_t cap)
{
	for (;;) {
		ssize_t n = read(r->fuse_fd, buf, cap);

		if (n >= 0)
			return n;
		/* ENOENT: the request was taken back while it was read. */
		if (errno != EINTR && errno != ENOENT)
			return -errno;
	}
}

/* -EAGAIN: nothing came in time. */
static ssize_t read_awake(struct receiver *r, void *buf, size_t cap, unsigned us)
{
	uint64_t start = clock_us(), before = start, now;
	ssize_t n;

	do {
		sched_yield();
		n = try_read(r, buf, cap);
		if (n != -EAGAIN) {
			r->backoff = 0;
			stats_inc(STAT_fuse_awake);
			return n;
		}
		now = clock_us();
		if (now - before > AWAY_US) {
			r->backoff = BACKOFF_MAX;
			break;
		}
		before = now;
	} while (now - start < us);
	r->skip = r->backoff = r->backoff < BACKOFF_MAX ? r->backoff * 2 + 1 : BACKOFF_MAX;
	return -EAGAIN;
}

ssize_t receiver_read(struct receiver *r, void *buf, size_t cap, unsigned awake_us)
{
	struct epoll_event ev;
	ssize_t n = try_read(r, buf, cap);

	if (n != -EAGAIN)
		return n;
	if (awake_us && r->skip)
		r->skip--;
	else if (awake_us)
		n = read_awake(r, buf, cap, awake_us);
	while (n == -EAGAIN) {
		if (epoll_wait(r->epoll_fd, &ev, 1, -1) < 0 && errno != EINTR)
			return -errno;
		n = try_read(r, buf, cap);
	}
	return n;
}
