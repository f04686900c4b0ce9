/* SPDX-License-Identifier: Apache-2.0 */
/* receiver.c - see receiver.h */
#include "fusefs/receiver.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/stats.h"

#define PILE 8
#define BACKOFF_MAX 63
#define AWAY_US 200  /* gave way for so long: the CPU is wanted by others */
#define LOOK_MS 1000 /* how often a parked receiver looks after the others */

void receivers_init(struct receivers *all, int fuse_fd)
{
	*all = (struct receivers){ .fuse_fd = fuse_fd };
	mutex_init(&all->lock, LOCK_receivers);
	cond_init(&all->cond);
}

void receivers_done(struct receivers *all)
{
	mutex_done(&all->lock);
	cond_done(&all->cond);
}

void receivers_end(struct receivers *all)
{
	mutex_lock(&all->lock);
	all->ended = true;
	cond_broadcast(&all->cond);
	mutex_unlock(&all->lock);
}

void receiver_init(struct receiver *r, struct receivers *all)
{
	*r = (struct receiver){ .all = all };
	all->listening++;
}

static bool readable(struct receivers *all, int ms)
{
	struct pollfd p = { .fd = all->fuse_fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

/* ---- company ---- */

static void call_one(struct receivers *all)
{
	if (!all->parked)
		return;
	mutex_lock(&all->lock);
	if (all->calls < all->parked) {
		all->calls++;
		cond_signal(&all->cond);
	}
	mutex_unlock(&all->lock);
}

/* True when others listen and go on doing so. */
static bool leave(struct receivers *all)
{
	unsigned n = all->listening;

	while (n > 1)
		if (atomic_compare_exchange_weak(&all->listening, &n, n - 1))
			return true;
	return false;
}

/* Until called, or needed: nobody takes what is there to be read. */
static void park(struct receivers *all)
{
	bool called = false;

	mutex_lock(&all->lock);
	all->parked++;
	while (!called && !all->ended) {
		if (all->calls) {
			all->calls--;
			called = true;
		} else if (!cond_wait_until(&all->cond, &all->lock, clock_ms() + LOOK_MS)) {
			called = readable(all, 0);
		}
	}
	all->parked--;
	mutex_unlock(&all->lock);
	all->listening++;
}

void receiver_busy(struct receiver *r)
{
	if (r->all->listening == 1)
		call_one(r->all);
}

/* ---- reading ---- */

static ssize_t try_read(struct receiver *r, void *buf, size_t cap)
{
	for (;;) {
		ssize_t n = read(r->all->fuse_fd, buf, cap);

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
	ssize_t n = try_read(r, buf, cap);

	if (n != -EAGAIN) {
		if (++r->pile == PILE) {
			r->pile = 0;
			call_one(r->all);
		}
		return n;
	}
	r->pile = 0;
	if (awake_us && r->skip)
		r->skip--;
	else if (awake_us)
		n = read_awake(r, buf, cap, awake_us);
	while (n == -EAGAIN) {
		if (leave(r->all))
			park(r->all);
		else
			readable(r->all, -1);
		n = try_read(r, buf, cap);
	}
	return n;
}
