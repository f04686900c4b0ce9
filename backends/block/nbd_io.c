/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_io.c - a request's way: to a connection, to its answer, or back to the core
 *
 * Whoever submits sends, so that a request costs no switch to the thread. libnbd reads answers only
 * when the thread tells it to; its callback queues, and the thread tells the core.
 * libnbd takes one buffer: requests in pieces that do not touch go through a bounce buffer. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/clock.h"

_Thread_local struct bdn_dev *bdn_here;

static struct bdn_dev *of(struct bd *dev)
{
	return CONTAINER_OF(dev, struct bdn_dev, bd);
}

void bdn_wake(struct bdn_dev *d)
{
	uint64_t one = 1;

	if (!atomic_exchange(&d->woken, true))
		(void)!write(d->ev, &one, sizeof one);
}

/* ---- what is the transport's in a request ------------------------------ */

static struct bdn_conn *rq_conn(const struct bd_req *rq)
{
	return rq->priv[0].ptr;
}

static void *rq_bounce(const struct bd_req *rq)
{
	return rq->priv[1].ptr;
}

static uint64_t moved(const struct bd_req *rq)
{
	return rq->op == BD_READ || rq->op == BD_WRITE ? rq->len : 0;
}

/* The pieces lie one behind the other. */
static bool rq_is_whole(const struct bd_req *rq)
{
	for (unsigned i = 1; i < rq->niov; i++)
		if ((char *)rq->iov[i - 1].iov_base + rq->iov[i - 1].iov_len != rq->iov[i].iov_base)
			return false;
	return true;
}

static void copy_out(const struct bd_req *rq)
{
	const char *from = rq_bounce(rq);

	for (unsigned i = 0; i < rq->niov; i++) {
		memcpy(rq->iov[i].iov_base, from, rq->iov[i].iov_len);
		from += rq->iov[i].iov_len;
	}
}

static void copy_in(const struct bd_req *rq)
{
	char *to = rq_bounce(rq);

	for (unsigned i = 0; i < rq->niov; i++) {
		memcpy(to, rq->iov[i].iov_base, rq->iov[i].iov_len);
		to += rq->iov[i].iov_len;
	}
}

static void bounce_done_locked(struct bdn_dev *d, struct bd_req *rq)
{
	if (!rq_bounce(rq))
		return;
	free(rq_bounce(rq));
	rq->priv[1].ptr = NULL;
	d->bounce_bytes -= rq->len;
}

/* ---- answers ----------------------------------------------------------- */

/* The protocol has few numbers, and libnbd makes EINVAL of others. */
static int from_server(const struct bd_req *rq, int error)
{
	switch (error) {
	case 0:
	case ENOMEM:
	case ENOSPC:
	case ENOTSUP:
	case EINVAL:
		return -error;
	case EPERM:
		return rq->op == BD_READ ? -EIO : -EROFS;
	default:
		return -EIO;
	}
}

/* Not an answer: the connection ended, or the server is about to end. */
static bool is_loss(int error)
{
	return error == ENOTCONN || error == ESHUTDOWN;
}

static void leave_locked(struct bdn_conn *c, struct bd_req *rq)
{
	list_del(&rq->link);
	c->n--;
	c->bytes -= moved(rq);
}

static void answered_locked(struct bdn_dev *d, struct bdn_conn *c, struct bd_req *rq, int error)
{
	leave_locked(c, rq);
	if (is_loss(error)) {
		d->lost = true;
		list_push_back(&d->back, &rq->link);
		return;
	}
	c->replies++;
	rq->priv[2].u64 = (uint64_t)(int64_t)from_server(rq, error);
	list_push_back(&d->done, &rq->link);
}

/* libnbd's callback, its lock of the handle held. */
static int on_answer(void *user, int *error)
{
	struct bd_req *rq = user;
	struct bdn_conn *c = rq_conn(rq);
	struct bdn_dev *d = c->dev;
	bool lost = is_loss(*error);

	mutex_lock(&d->lock);
	answered_locked(d, c, rq, *error);
	mutex_unlock(&d->lock);
	if (bdn_here != d)
		bdn_wake(d);
	/* 1: libnbd forgets the command. That of a lost connection goes with its handle: libnbd may have found the loss
	 * while it sent this one, and then reads its cookie. */
	return !lost;
}

/* ---- sending ----------------------------------------------------------- */

static int64_t send_rq(const struct bdn_dev *d, struct nbd_handle *h, struct bd_req *rq, void *buf)
{
	nbd_completion_callback cb = { .callback = on_answer, .user_data = rq };
	uint32_t fua = rq->flags & BD_FUA && d->bd.limits.fua ? LIBNBD_CMD_FLAG_FUA : 0;

	switch (rq->op) {
	case BD_READ:
		return nbd_aio_pread(h, buf, rq->len, rq->off, cb, 0);
	case BD_WRITE:
		return nbd_aio_pwrite(h, buf, rq->len, rq->off, cb, fua);
	case BD_FLUSH:
		return nbd_aio_flush(h, cb, 0);
	case BD_DISCARD:
		return nbd_aio_trim(h, rq->len, rq->off, cb, 0);
	case BD_ZERO:
		return nbd_aio_zero(h, rq->len, rq->off, cb,
				    fua | (rq->flags & BD_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE));
	case BD_OPS:
		break;
	}
	abort();
}

/* The first that has room, or the idlest. */
static struct bdn_conn *choose_locked(struct bdn_dev *d)
{
	struct bdn_conn *best = &d->conns[0];

	for (unsigned i = 0; i < d->nconns; i++) {
		struct bdn_conn *c = &d->conns[i];

		if (c->n < BDN_FILL && c->bytes < BDN_FILL_BYTES)
			return c;
		if (c->n < best->n)
			best = c;
	}
	return best;
}

/* Why libnbd did not take a request. */
static int refusal(struct nbd_handle *h)
{
	int error = nbd_get_errno();

	if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h))
		return ENOTCONN;
	return error > 0 ? error : EIO;
}

/* libnbd refused the request, or it did and told on_answer() as well: rq may be gone. */
static void refused_locked(struct bdn_dev *d, struct bdn_conn *c, struct bd_req *rq, int error)
{
	list_for_each(it, &c->inflight)
		if (it == &rq->link) {
			answered_locked(d, c, rq, error);
			return;
		}
}

/* Sends rq on c, where it is in flight already. Takes the lock off and on. */
static void transmit_locked(struct bdn_dev *d, struct bdn_conn *c, struct bd_req *rq, void *buf)
{
	bool own = bdn_here == d, wake = false;
	struct nbd_handle *h = c->h;
	int error = 0;

	c->users += !own;
	mutex_unlock(&d->lock);
	if (rq_bounce(rq) && rq->op == BD_WRITE)
		copy_in(rq);
	/* From here on rq may be answered. */
	if (send_rq(d, h, rq, buf) < 0)
		error = refusal(h);
	/* The socket is full: the thread waits for room. */
	if (!own)
		wake = error || nbd_aio_get_direction(h) & LIBNBD_AIO_DIRECTION_WRITE;
	mutex_lock(&d->lock);
	if (error)
		refused_locked(d, c, rq, error);
	if (!own && !--c->users)
		cond_broadcast(&d->changed);
	if (wake)
		bdn_wake(d);
}

/* The buffer that libnbd gets; NULL: rq waits for room, or has ended. */
static void *buffer_locked(struct bdn_dev *d, struct bd_req *rq)
{
	void *bounce;

	if (rq_is_whole(rq))
		return rq->iov[0].iov_base;
	if (d->bounce_bytes && d->bounce_bytes + rq->len > BDN_BOUNCE_MAX) {
		list_push_back(&d->bounce_wait, &rq->link);
		return NULL;
	}
	bounce = malloc(rq->len);
	if (!bounce) {
		rq->priv[2].u64 = (uint64_t)(int64_t)-ENOMEM;
		list_push_back(&d->done, &rq->link);
		bdn_wake(d);
		return NULL;
	}
	d->bounce_bytes += rq->len;
	rq->priv[1].ptr = bounce;
	atomic_fetch_add_explicit(&d->bounces, 1, memory_order_relaxed);
	return bounce;
}

static void submit_locked(struct bdn_dev *d, struct bd_req *rq)
{
	struct bdn_conn *c;
	void *buf = NULL;

	if (d->state != BDN_UP) {
		list_push_back(&d->back, &rq->link);
		bdn_wake(d);
		return;
	}
	if (rq->op == BD_READ || rq->op == BD_WRITE) {
		buf = buffer_locked(d, rq);
		if (!buf)
			return;
	}
	c = choose_locked(d);
	rq->priv[0].ptr = c;
	rq->priv[3].u64 = clock_ms();
	list_push_back(&c->inflight, &rq->link);
	c->n++;
	c->bytes += moved(rq);
	transmit_locked(d, c, rq, buf);
}

void bdn_submit(struct bd *dev, struct bd_req *rq)
{
	struct bdn_dev *d = of(dev);

	rq->priv[1].ptr = NULL;
	list_init(&rq->link);
	mutex_lock(&d->lock);
	submit_locked(d, rq);
	mutex_unlock(&d->lock);
}

/* ---- the thread's ------------------------------------------------------ */

static void end(struct bdn_dev *d, struct bd_req *rq)
{
	int result = (int)(int64_t)rq->priv[2].u64;

	if (rq_bounce(rq)) {
		if (rq->op == BD_READ && !result)
			copy_out(rq);
		mutex_lock(&d->lock);
		bounce_done_locked(d, rq);
		mutex_unlock(&d->lock);
	}
	bd_complete(rq, result);
}

/* Those that waited for room for their bounce buffer, in their order. */
static void start_waiting(struct bdn_dev *d)
{
	struct list waiting = LIST_INIT(waiting), *l;

	mutex_lock(&d->lock);
	list_splice(&waiting, &d->bounce_wait);
	while ((l = list_pop(&waiting))) {
		submit_locked(d, list_entry(l, struct bd_req, link));
		if (!list_empty(&d->bounce_wait))
			break; /* no room again */
	}
	list_splice(&d->bounce_wait, &waiting);
	mutex_unlock(&d->lock);
}

void bdn_complete(struct bdn_dev *d)
{
	struct list done = LIST_INIT(done), *l;

	assert(bdn_here == d);
	do {
		mutex_lock(&d->lock);
		list_splice(&done, &d->done);
		mutex_unlock(&d->lock);
		if (list_empty(&done))
			return;
		while ((l = list_pop(&done)))
			end(d, list_entry(l, struct bd_req, link));
		/* Whether one waits is known now only: it may have come while the others ended. */
		start_waiting(d);
		/* done() may have submitted what failed at once. */
	} while (true);
}

void bdn_take_back_locked(struct bdn_dev *d, struct bdn_conn *c)
{
	mutex_assert_held(&d->lock);
	list_splice(&d->back, &c->inflight);
	c->n = 0;
	c->bytes = 0;
}

static void give_back_one(struct bdn_dev *d, struct bd_req *rq, int broken)
{
	mutex_lock(&d->lock);
	bounce_done_locked(d, rq);
	mutex_unlock(&d->lock);
	if (broken)
		bd_complete(rq, broken);
	else
		bd_requeue(rq);
}

void bdn_give_back(struct bdn_dev *d)
{
	struct list back = LIST_INIT(back), *l;
	int broken;

	mutex_lock(&d->lock);
	list_splice(&back, &d->back);
	list_splice(&back, &d->bounce_wait);
	broken = d->state == BDN_BROKEN ? d->broken : 0;
	mutex_unlock(&d->lock);
	while ((l = list_pop(&back)))
		give_back_one(d, list_entry(l, struct bd_req, link), broken);
}
