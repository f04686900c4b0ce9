/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_thread.c - "bd-nbd": waits for answers, notices what is lost, connects anew
 *
 *                   lost: end, error, nonsense, silence
 *   bdn_open  +----+ ------------------------------------> +------+ ---.
 *   --------> | UP |    bd_pause, reset, bd_requeue        | DOWN |    | settle, connect, back-off;
 *             +----+ <------------------------------------ +------+ <--' bd_expire meanwhile
 *               |            same export: bd_resume           |
 *               | cut off after a cancel                      | another export, nonsense again and again,
 *               v                                             v or a cancel
 *            +--------------------------------------------------+
 *            |                      BROKEN                      |
 *            +--------------------------------------------------+
 *
 * An idle connection that ends is made anew at once: a server that was restarted has lost its cache,
 * and the core has the bytes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 5000,
	ATTEMPT_MIN_MS = 200, /* however near the next deadline is */
	EXTRA_MS = 2000, /* for a further connection: some servers take one and let others hang */
	TICK_MS = 1000,
	IDLE_TICK_MS = 5000, /* others send without a word to the thread, so it looks at times */
	PATIENCE_MAX = 3,
	NONSENSE_MAX = 8,
	EARLY = 4, /* answers; measured at depth 16: 1.0 of fio with 2 and 4, 0.95 with 8, 0.88 with all at once */
	CALM_MS = 60000, /* a connection that lived so long has no nonsense before it */
};

/* ---- connections ------------------------------------------------------ */

static int adopt(struct bdn_dev *d, struct nbd_handle *h_take)
{
	struct bdn_conn *c = &d->conns[d->nconns];
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int fd = fcntl(nbd_aio_get_fd(h_take), F_DUPFD_CLOEXEC, 0);

	if (fd < 0 || epoll_ctl(d->ep, EPOLL_CTL_ADD, fd, &ev)) {
		int rc = -errno;

		if (fd >= 0)
			close(fd);
		nbd_close(h_take);
		return rc;
	}
	mutex_lock(&d->lock);
	c->dev = d;
	c->h = h_take;
	c->fd = fd;
	c->wants_out = false;
	c->heard_ms = clock_ms();
	c->replies = 0;
	c->n = c->users = 0;
	c->bytes = 0;
	list_init(&c->inflight);
	d->nconns++;
	mutex_unlock(&d->lock);
	return 0;
}

/* Ends all of them; what is in flight goes to back. State is not UP, or nobody submits. */
static void drop(struct bdn_dev *d, bool in_peace)
{
	for (unsigned i = 0; i < d->nconns; i++) {
		struct bdn_conn *c = &d->conns[i];

		mutex_lock(&d->lock);
		while (c->users) /* they send what the socket takes, and go */
			cond_wait(&d->changed, &d->lock);
		mutex_unlock(&d->lock);
		epoll_ctl(d->ep, EPOLL_CTL_DEL, c->fd, NULL);
		if (in_peace)
			bdn_goodbye(c->h);
		else
			bdn_reset(c->h, c->fd);
		close(c->fd);
		mutex_lock(&d->lock);
		c->h = NULL;
		bdn_take_back_locked(d, c);
		mutex_unlock(&d->lock);
	}
	mutex_lock(&d->lock);
	d->nconns = 0;
	mutex_unlock(&d->lock);
}

void bdn_part(struct bdn_dev *d)
{
	drop(d, true);
}

static bool going_on(struct bdn_dev *d)
{
	return !atomic_load(&d->stop) && !atomic_load(&d->ending);
}

/* The core is paused, and nobody submits. Calls that ran until then may have put theirs in any list: those that were
 * refused have ended and are nobody's to send again. What waits for room goes back first, so that it is not sent here,
 * before the core has sent what it keeps. */
static void hand_over(struct bdn_dev *d)
{
	bdn_give_back(d);
	bdn_complete(d);
}

/* In waits while DOWN: deadlines, and calls that ran when the core was paused. */
static bool tick(void *arg)
{
	struct bdn_dev *d = arg;

	if (bdn_here != d)
		return true; /* the open */
	hand_over(d);
	bd_expire(&d->bd, clock_ms());
	return going_on(d);
}

static uint32_t attempt_ms(struct bdn_dev *d, uint32_t max)
{
	uint32_t left = bdn_here == d ? bd_expire(&d->bd, clock_ms()) : UINT32_MAX;

	if (left < ATTEMPT_MIN_MS)
		left = ATTEMPT_MIN_MS;
	return left < max ? left : max;
}

int bdn_connect_all(struct bdn_dev *d, struct err *err)
{
	struct bdn_target *t = &d->target;
	struct bdn_export found;
	struct nbd_handle *h;
	uint64_t size = 0;
	int rc;

	for (unsigned i = 0; i < t->connections; i++) {
		rc = bdn_connect(t, d->first, attempt_ms(d, i ? EXTRA_MS : BDN_CONNECT_MS), tick, d,
				 &d->stop, &h, &found, i ? NULL : err);
		if (rc)
			return i ? 0 : rc; /* with fewer it works, too */
		if (!d->export.block)
			d->export = found; /* the open */
		rc = bdn_same(&d->export, &found, i ? NULL : err);
		if (rc) {
			bdn_goodbye(h);
			return i ? 0 : rc;
		}
		rc = adopt(d, h);
		if (rc)
			return i ? 0 :
				   err_set(err, rc, "cannot watch a connection: %s", strerror(-rc));
		if (!i)
			size = found.size;
		if (!found.multi)
			break;
	}
	mutex_lock(&d->lock);
	d->export.size = size;
	mutex_unlock(&d->lock);
	return 0;
}

/* ---- down and up ------------------------------------------------------ */

/* Waits; false: given up. */
static bool wait_down(struct bdn_dev *d, uint32_t ms)
{
	uint64_t now = clock_ms(), until = now + ms, drain;

	while (tick(d) && now < until) {
		struct pollfd p = { .fd = d->ev, .events = POLLIN };
		uint32_t left = bd_expire(&d->bd, now);

		if (left > until - now)
			left = (uint32_t)(until - now);
		/* The clock is coarse: a wait of 0 would spin. */
		if (poll(&p, 1, (int)left + 1) > 0) {
			(void)!read(d->ev, &drain, sizeof drain);
			atomic_store(&d->woken, false);
		}
		now = clock_ms();
	}
	return going_on(d);
}

static void broken(struct bdn_dev *d, int rc)
{
	mutex_lock(&d->lock);
	d->state = BDN_BROKEN;
	d->broken = rc;
	cond_broadcast(&d->changed);
	mutex_unlock(&d->lock);
}

/* The device is of no use any more, and says why. It is paused. */
static void fail(struct bdn_dev *d, int rc, const char *why)
{
	log_error("nbd: %s, export '%s': %s; the device has failed", d->target.text, d->target.name,
		  why);
	broken(d, rc);
	bd_fail(&d->bd, rc);
}

static uint32_t jitter(uint32_t ms)
{
	return ms / 2 + (uint32_t)(clock_us() % (ms / 2 + 1));
}

static bool is_another_export(int rc)
{
	return rc == -ENODEV || rc == -EROFS;
}

static unsigned looks_wanted(struct bdn_dev *d)
{
	unsigned n;

	mutex_lock(&d->lock);
	n = d->looks;
	mutex_unlock(&d->lock);
	return n;
}

/* Until the connections are there, or the device is BROKEN. */
static void connect_again(struct bdn_dev *d, uint32_t settle_ms)
{
	uint32_t backoff = 0;
	unsigned looks;
	struct err err = { "" };
	int rc;

	for (bool go = wait_down(d, settle_ms);; go = wait_down(d, jitter(backoff))) {
		if (!go) {
			broken(d, -ECANCELED);
			return;
		}
		looks = looks_wanted(d);
		rc = bdn_connect_all(d, &err);
		if (!rc)
			break;
		if (is_another_export(rc)) {
			fail(d, rc, err.text);
			return;
		}
		d->first++;
		/* The others would only repeat the first. */
		if (!backoff)
			log_warn("nbd: %s; trying again", err.text);
		backoff = backoff ? backoff * 2 : BACKOFF_MIN_MS;
		if (backoff > BACKOFF_MAX_MS)
			backoff = BACKOFF_MAX_MS;
	}
	d->up_ms = clock_ms();
	mutex_lock(&d->lock);
	d->state = BDN_UP;
	d->lost = false;
	d->seen = looks;
	cond_broadcast(&d->changed);
	mutex_unlock(&d->lock);
}

/* DOWN, or ready again, or BROKEN: the core goes on. */
static void resume(struct bdn_dev *d)
{
	hand_over(d);
	bd_resume(&d->bd);
}

static void down_locked(struct bdn_dev *d)
{
	d->state = BDN_DOWN;
	d->lost = false;
}

/* Whether the server is there and spoke nonsense to what was read just now; the socket tells. EINVAL: another thread
 * found the connection dead while it sent. */
static bool is_nonsense(const struct bdn_conn *c)
{
	char byte;
	ssize_t n;

	if (nbd_get_errno() == EINVAL)
		return false;
	n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void recover(struct bdn_dev *d)
{
	log_warn("nbd: connection to %s lost: %s; connecting again", d->target.text,
		 *d->why ? d->why : "the server ends");
	*d->why = '\0';
	/* What was answered is not repeated. */
	bdn_complete(d);
	mutex_lock(&d->lock);
	down_locked(d);
	mutex_unlock(&d->lock);
	bd_pause(&d->bd);
	drop(d, false);
	bdn_give_back(d);
	if (clock_ms() - d->up_ms > CALM_MS)
		d->nonsense = 0;
	if (d->nonsense > NONSENSE_MAX)
		fail(d, -EIO, "the server speaks nonsense");
	else
		connect_again(d, d->settle_ms);
	if (d->state == BDN_UP)
		log_info("nbd: connected to %s again", d->target.text);
	resume(d);
}

/* ---- what comes ------------------------------------------------------- */

static void lost(struct bdn_dev *d, const char *why)
{
	mutex_lock(&d->lock);
	d->lost = true;
	mutex_unlock(&d->lock);
	snprintf(d->why, sizeof d->why, "%s", why ? why : "unknown error");
}

static bool expects_more(const struct bdn_conn *c)
{
	bool more;

	mutex_lock(&c->dev->lock);
	more = c->n > 0;
	mutex_unlock(&c->dev->lock);
	return more;
}

/* Reads what is there, and ends the requests a few at a time: what their callers submit next keeps the server busy while
 * the others are read. Each call of libnbd reads one answer. One too many is not harmless: libnbd then waits for an
 * answer before it sends what comes, and there may be none to come. With TLS it empties its buffers itself. */
static int read_answers(struct bdn_conn *c)
{
	unsigned n = 0;
	int left = 0;

	do {
		if (n++ == EARLY) {
			bdn_complete(c->dev);
			n = 1;
		}
		if (!(nbd_aio_get_direction(c->h) & LIBNBD_AIO_DIRECTION_READ))
			return 0;
		if (nbd_aio_notify_read(c->h))
			return -1;
		if (c->dev->target.tls || nbd_aio_is_dead(c->h) || nbd_aio_is_closed(c->h))
			return 0;
	} while (expects_more(c) && !ioctl(c->fd, FIONREAD, &left) && left > 0);
	return 0;
}

static void conn_event(struct bdn_conn *c, uint32_t events)
{
	struct bdn_dev *d = c->dev;
	bool nonsense = false;
	int rc = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		c->heard_ms = clock_ms();
		rc = read_answers(c);
		nonsense = rc && is_nonsense(c);
	}
	if (!rc && events & EPOLLOUT && nbd_aio_get_direction(c->h) & LIBNBD_AIO_DIRECTION_WRITE)
		rc = nbd_aio_notify_write(c->h);
	if (nbd_aio_is_dead(c->h) || nbd_aio_is_closed(c->h)) {
		lost(d, rc ? nbd_get_error() : "the server has closed it");
		d->nonsense += nonsense;
	}
}

static void arm(struct bdn_dev *d, struct bdn_conn *c)
{
	bool out = nbd_aio_get_direction(c->h) & LIBNBD_AIO_DIRECTION_WRITE;
	struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };

	if (out == c->wants_out)
		return;
	c->wants_out = out;
	epoll_ctl(d->ep, EPOLL_CTL_MOD, c->fd, &ev);
}

/* ---- time ------------------------------------------------------------- */

static bool is_silent_locked(const struct bdn_dev *d, const struct bdn_conn *c, uint64_t now)
{
	uint64_t limit = (uint64_t)d->target.reply_ms << d->patience, sent;

	if (list_empty(&c->inflight))
		return false;
	sent = list_first(&c->inflight, struct bd_req, link)->priv[3].u64;
	/* One answer may be lost while others come. */
	return now > sent + 2 * limit || (now > sent + limit && now > c->heard_ms + limit);
}

/* A server that is slow gets more time with each repetition that comes to nothing. */
static void look_for_silence(struct bdn_dev *d)
{
	uint64_t now = clock_ms(), replies = 0;
	bool silent = false;
	char why[80];

	mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->nconns; i++) {
		silent |= is_silent_locked(d, &d->conns[i], now);
		replies += d->conns[i].replies;
	}
	mutex_unlock(&d->lock);
	if (!silent)
		return;
	snprintf(why, sizeof why, "no answer for %u s", (d->target.reply_ms << d->patience) / 1000);
	d->patience = replies ? 0 : d->patience < PATIENCE_MAX ? d->patience + 1 : PATIENCE_MAX;
	lost(d, why);
}

static unsigned in_flight(struct bdn_dev *d)
{
	unsigned n = 0;

	mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->nconns; i++)
		n += d->conns[i].n;
	mutex_unlock(&d->lock);
	return n;
}

static int step_ms(struct bdn_dev *d)
{
	uint32_t ms = d->target.reply_ms / 4 + 1, max = in_flight(d) ? TICK_MS : IDLE_TICK_MS;

	return (int)(ms < max ? ms : max);
}

/* ---- the thread ------------------------------------------------------- */

static void wait_and_read(struct bdn_dev *d)
{
	struct epoll_event ev[BDN_CONNECTIONS_MAX + 1];
	uint64_t drain;
	int n;

	for (unsigned i = 0; i < d->nconns; i++)
		arm(d, &d->conns[i]);
	n = epoll_wait(d->ep, ev, BDN_CONNECTIONS_MAX + 1, step_ms(d));
	for (int i = 0; i < n; i++) {
		if (ev[i].data.ptr) {
			conn_event(ev[i].data.ptr, ev[i].events);
		} else {
			(void)!read(d->ev, &drain, sizeof drain);
			atomic_store(&d->woken, false);
		}
	}
	bdn_complete(d);
	look_for_silence(d);
}

static bool is_lost(struct bdn_dev *d)
{
	bool is;

	mutex_lock(&d->lock);
	is = d->lost;
	mutex_unlock(&d->lock);
	return is;
}

/* A cancel: what is in flight may end by itself for a while, and is cut off then. */
static void stopping(struct bdn_dev *d)
{
	uint64_t now = clock_ms();

	if (!d->stop_ms)
		d->stop_ms = now + BDN_CANCEL_MS;
	if (d->state != BDN_UP || !in_flight(d) || now < d->stop_ms)
		return;
	broken(d, -ECANCELED);
	drop(d, false);
}

/* size(): only a new connection is told how large the export is now. A server that takes one alone
 * is left, in peace, and comes back. */
static void look_again(struct bdn_dev *d)
{
	unsigned looks = looks_wanted(d);
	struct bdn_export found;
	struct nbd_handle *h;

	if (d->export.multi &&
	    !bdn_connect(&d->target, d->first, EXTRA_MS, NULL, NULL, &d->stop, &h, &found, NULL)) {
		bdn_goodbye(h);
		if (found.size == d->export.size) {
			mutex_lock(&d->lock);
			d->seen = looks;
			cond_broadcast(&d->changed);
			mutex_unlock(&d->lock);
			return;
		}
	}
	bd_pause(&d->bd);
	while (in_flight(d) && !is_lost(d) && going_on(d))
		wait_and_read(d);
	/* What a lost connection had in flight is in back, and the server may still carry it out. */
	if (in_flight(d) || is_lost(d)) {
		recover(d);
		return;
	}
	mutex_lock(&d->lock);
	down_locked(d);
	mutex_unlock(&d->lock);
	bdn_part(d);
	connect_again(d, 0);
	resume(d);
}

static void step(struct bdn_dev *d)
{
	bool look;

	wait_and_read(d);
	if (is_lost(d) && d->state == BDN_UP)
		recover(d);
	mutex_lock(&d->lock);
	look = d->state == BDN_UP && d->looks != d->seen;
	mutex_unlock(&d->lock);
	if (look && going_on(d))
		look_again(d);
	if (atomic_load(&d->stop))
		stopping(d);
	if (d->state == BDN_BROKEN)
		bdn_give_back(d);
}

void *bdn_thread(void *arg)
{
	struct bdn_dev *d = arg;

	bdn_here = d;
	pthread_setname_np(pthread_self(), "bd-nbd");
	while (!atomic_load(&d->ending))
		step(d);
	return NULL;
}
