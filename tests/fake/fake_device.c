/* SPDX-License-Identifier: Apache-2.0 */
/* fake_device.c - see fake_device.h
 *
 * submit() appends to inside; the thread takes what may go, in order, executes and answers. fake_device_release()
 * lets one go and waits until the thread has answered it. */
#include "tests/fake/fake_device.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/lock.h"

#define WAIT_MS 20000

enum { GO_STAYS, GO_DUE };

struct fault {
	unsigned skip, times;
	int error; /* 0: none */
	bool ever;
};

struct fake_device {
	struct bd bd; /* first */
	uint64_t bytes;
	uint8_t *now, *durable; /* owned */
	pthread_t thread;

	struct mutex lock;
	struct cond more, changed;
	/* guarded by lock */
	uint64_t grown;
	struct list inside; /* requests by link; priv[0].u64: GO_* */
	unsigned held, most, kicks;
	bool hold, stop, paused, cancelled;
	bool stall;
	unsigned stalled;
	enum bd_op only; /* BD_OPS: all */
	struct fault faults[BD_OPS];
	struct fake_device_seen *log; /* owned */
	unsigned nlog;
};

static struct fake_device *of(struct bd *dev)
{
	return (struct fake_device *)dev;
}

/* ---- execution --------------------------------------------------------- */

static void copy(struct fake_device *f, const struct bd_req *rq, bool to_iov)
{
	uint8_t *at = f->now + rq->off;

	for (unsigned i = 0; i < rq->niov; at += rq->iov[i++].iov_len) {
		if (to_iov)
			memcpy(rq->iov[i].iov_base, at, rq->iov[i].iov_len);
		else
			memcpy(at, rq->iov[i].iov_base, rq->iov[i].iov_len);
	}
}

static void execute_locked(struct fake_device *f, const struct bd_req *rq)
{
	switch (rq->op) {
	case BD_READ:
		copy(f, rq, true);
		return;
	case BD_WRITE:
		copy(f, rq, false);
		break;
	case BD_FLUSH:
		memcpy(f->durable, f->now, f->bytes);
		return;
	case BD_ZERO:
		memset(f->now + rq->off, 0, rq->len);
		break;
	default:
		memset(f->now + rq->off, 0xdd, rq->len); /* holds anything */
	}
	if (rq->flags & BD_FUA || !f->bd.limits.volatile_cache)
		memcpy(f->durable + rq->off, f->now + rq->off, rq->len);
}

static int fault_locked(struct fake_device *f, enum bd_op op)
{
	struct fault *t = &f->faults[op];
	int error = t->error;

	if (!error)
		return 0;
	if (t->skip > 0) {
		t->skip--;
		return 0;
	}
	if (!t->ever && --t->times == 0)
		t->error = 0;
	return error;
}

static bool may_go_locked(const struct fake_device *f, const struct bd_req *rq)
{
	if (rq->priv[0].u64 == GO_DUE || f->cancelled)
		return true;
	return !f->hold || (f->only != BD_OPS && f->only != rq->op);
}

static struct bd_req *due_locked(struct fake_device *f)
{
	list_for_each(l, &f->inside) {
		struct bd_req *rq = list_entry(l, struct bd_req, link);

		if (may_go_locked(f, rq))
			return rq;
	}
	return NULL;
}

static void *fake_thread(void *arg)
{
	struct fake_device *f = arg;

	mutex_lock(&f->lock);
	for (;;) {
		struct bd_req *rq = due_locked(f);
		bool *answered;
		int error;

		if (!rq) {
			if (f->stop)
				break;
			cond_wait(&f->more, &f->lock);
			continue;
		}
		list_del(&rq->link);
		f->held--;
		answered = rq->priv[1].ptr;
		error = f->cancelled ? -ECANCELED : fault_locked(f, rq->op);
		if (!error)
			execute_locked(f, rq);
		mutex_unlock(&f->lock);
		bd_complete(rq, error);
		mutex_lock(&f->lock);
		if (answered)
			*answered = true;
		cond_broadcast(&f->changed);
	}
	mutex_unlock(&f->lock);
	return NULL;
}

/* ---- the table --------------------------------------------------------- */

static bool changes(enum bd_op op)
{
	return op == BD_WRITE || op == BD_ZERO || op == BD_DISCARD;
}

static void check(const struct fake_device *f, const struct bd_req *rq)
{
	const struct bd_limits *l = &f->bd.limits;
	uint64_t sum = 0;

	assert(!f->paused && rq->dev == &f->bd);
	assert(rq->off % l->block == 0 && rq->len % l->block == 0);
	assert(rq->off <= f->bd.size && rq->len <= f->bd.size - rq->off);
	assert(!(rq->flags & BD_FUA) || (l->fua && rq->op == BD_WRITE));
	assert(!(rq->flags & BD_UNMAP) || rq->op == BD_ZERO);
	assert(rq->op != BD_ZERO || rq->len <= l->max_zero);
	assert(rq->op != BD_DISCARD || rq->len <= l->max_discard);
	assert(rq->op == BD_FLUSH ? rq->len == 0 : rq->len > 0);
	if (rq->op == BD_READ || rq->op == BD_WRITE) {
		assert(rq->len <= l->max_transfer && rq->niov > 0 && rq->niov <= BD_IOV_MAX);
		for (unsigned i = 0; i < rq->niov; i++) {
			assert((uintptr_t)rq->iov[i].iov_base % l->align == 0);
			sum += rq->iov[i].iov_len;
		}
		assert(sum == rq->len);
	}
	list_for_each(it, &f->inside) {
		const struct bd_req *o = list_entry(it, struct bd_req, link);

		assert(!(changes(rq->op) || changes(o->op)) || rq->off >= o->off + o->len ||
		       o->off >= rq->off + rq->len);
	}
}

static void submit(struct bd *dev, struct bd_req *rq)
{
	struct fake_device *f = of(dev);

	mutex_lock(&f->lock);
	f->stalled++;
	cond_broadcast(&f->changed);
	while (f->stall)
		cond_wait(&f->changed, &f->lock);
	f->stalled--;
	check(f, rq);
	rq->priv[0].u64 = GO_STAYS;
	rq->priv[1].ptr = NULL;
	list_push_back(&f->inside, &rq->link);
	assert(f->nlog < FAKE_DEVICE_LOG);
	f->log[f->nlog++] = (struct fake_device_seen){ rq->op,  rq->flags, rq->off,
						       rq->len, rq->stamp, rq->niov };
	if (++f->held > f->most)
		f->most = f->held;
	assert(f->held <= f->bd.limits.depth);
	cond_broadcast(&f->more);
	cond_broadcast(&f->changed);
	mutex_unlock(&f->lock);
}

static void kick(struct bd *dev)
{
	struct fake_device *f = of(dev);

	mutex_lock(&f->lock);
	assert(!f->paused);
	f->kicks++;
	mutex_unlock(&f->lock);
}

static int size_now(struct bd *dev, uint64_t *out)
{
	struct fake_device *f = of(dev);

	mutex_lock(&f->lock);
	*out = f->grown;
	mutex_unlock(&f->lock);
	return 0;
}

static void cancel(struct bd *dev)
{
	struct fake_device *f = of(dev);

	mutex_lock(&f->lock);
	f->cancelled = true;
	cond_broadcast(&f->more);
	mutex_unlock(&f->lock);
}

static void fake_free(struct fake_device *f)
{
	cond_done(&f->more);
	cond_done(&f->changed);
	mutex_done(&f->lock);
	free(f->now);
	free(f->durable);
	free(f->log);
	free(f);
}

static void close_device(struct bd *dev)
{
	struct fake_device *f = of(dev);

	mutex_lock(&f->lock);
	assert(list_empty(&f->inside));
	f->stop = true;
	cond_broadcast(&f->more);
	mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	bd_core_free(dev);
	fake_free(f);
}

static const struct bd_ops fake_ops = {
	.name = "fake",
	.submit = submit,
	.kick = kick,
	.size = size_now,
	.cancel = cancel,
	.close = close_device,
};

int fake_device_try(const struct fake_device_conf *conf, const struct bd_env *env, struct bd **dev,
		    struct fake_device **out, struct err *err)
{
	struct fake_device *f = calloc(1, sizeof *f);
	struct bd_limits *l;
	int rc;

	assert(f);
	f->bytes = f->grown = conf->size ? conf->size : FAKE_DEVICE_SIZE;
	f->bd.ops = &fake_ops;
	f->bd.size = f->bytes;
	f->bd.limits = conf->limits;
	l = &f->bd.limits;
	l->block = l->block ? l->block : 512;
	l->align = l->align ? l->align : 1;
	l->max_transfer = l->max_transfer ? l->max_transfer : 1 << 20;
	l->depth = l->depth ? l->depth : 64;
	l->volatile_cache = !conf->write_through;
	f->only = BD_OPS;
	list_init(&f->inside);
	mutex_init(&f->lock, LOCK_bd_transport);
	cond_init(&f->more);
	cond_init(&f->changed);
	f->log = calloc(FAKE_DEVICE_LOG, sizeof *f->log);
	assert(f->log);
	rc = bd_core_new(&f->bd, env, err);
	if (rc) {
		fake_free(f);
		return rc;
	}
	f->now = calloc(1, f->bytes);
	f->durable = calloc(1, f->bytes);
	assert(f->now && f->durable);
	rc = pthread_create(&f->thread, NULL, fake_thread, f);
	assert(rc == 0);
	*dev = &f->bd;
	*out = f;
	return 0;
}

struct bd *fake_device_open(const struct fake_device_conf *conf, const struct bd_env *env,
			    struct fake_device **out)
{
	struct bd *dev = NULL;
	struct err err = { "" };

	if (fake_device_try(conf, env, &dev, out, &err)) {
		fprintf(stderr, "fake_device: %s\n", err.text);
		abort();
	}
	return dev;
}

/* ---- what is inside ----------------------------------------------------- */

void fake_device_hold(struct fake_device *f, bool on)
{
	mutex_lock(&f->lock);
	f->hold = on;
	cond_broadcast(&f->more);
	mutex_unlock(&f->lock);
}

void fake_device_hold_only(struct fake_device *f, enum bd_op op)
{
	mutex_lock(&f->lock);
	f->only = op;
	f->hold = true;
	cond_broadcast(&f->more);
	mutex_unlock(&f->lock);
}

static unsigned held_locked(const struct fake_device *f)
{
	unsigned n = 0;

	list_for_each(l, &f->inside)
		n += !may_go_locked(f, list_entry(l, struct bd_req, link));
	return n;
}

unsigned fake_device_held(struct fake_device *f)
{
	unsigned n;

	mutex_lock(&f->lock);
	n = held_locked(f);
	mutex_unlock(&f->lock);
	return n;
}

void fake_device_wait(struct fake_device *f, unsigned n)
{
	uint64_t until = clock_ms() + WAIT_MS;

	mutex_lock(&f->lock);
	while (held_locked(f) < n) {
		bool in_time = cond_wait_until(&f->changed, &f->lock, until);

		assert(in_time);
	}
	mutex_unlock(&f->lock);
}

void fake_device_stall(struct fake_device *f, bool on)
{
	mutex_lock(&f->lock);
	f->stall = on;
	cond_broadcast(&f->changed);
	mutex_unlock(&f->lock);
}

void fake_device_wait_stalled(struct fake_device *f)
{
	uint64_t until = clock_ms() + WAIT_MS;

	mutex_lock(&f->lock);
	while (f->stalled == 0) {
		bool in_time = cond_wait_until(&f->changed, &f->lock, until);

		assert(in_time);
	}
	mutex_unlock(&f->lock);
}

static struct bd_req *nth_locked(struct fake_device *f, unsigned i)
{
	list_for_each(l, &f->inside) {
		struct bd_req *rq = list_entry(l, struct bd_req, link);

		if (!may_go_locked(f, rq) && i-- == 0)
			return rq;
	}
	abort(); /* the test holds fewer than it thinks */
}

struct fake_device_seen fake_device_at(struct fake_device *f, unsigned i)
{
	const struct bd_req *rq;
	struct fake_device_seen seen;

	mutex_lock(&f->lock);
	rq = nth_locked(f, i);
	seen = (struct fake_device_seen){ rq->op, rq->flags, rq->off, rq->len, rq->stamp, rq->niov };
	mutex_unlock(&f->lock);
	return seen;
}

void fake_device_release(struct fake_device *f, unsigned i)
{
	struct bd_req *rq;
	bool answered = false;

	mutex_lock(&f->lock);
	rq = nth_locked(f, i);
	rq->priv[0].u64 = GO_DUE;
	rq->priv[1].ptr = &answered;
	cond_broadcast(&f->more);
	while (!answered)
		cond_wait(&f->changed, &f->lock);
	mutex_unlock(&f->lock);
}

void fake_device_execute(struct fake_device *f, unsigned i)
{
	mutex_lock(&f->lock);
	execute_locked(f, nth_locked(f, i));
	mutex_unlock(&f->lock);
}

unsigned fake_device_count(struct fake_device *f)
{
	unsigned n;

	mutex_lock(&f->lock);
	n = f->nlog;
	mutex_unlock(&f->lock);
	return n;
}

struct fake_device_seen fake_device_seen(struct fake_device *f, unsigned i)
{
	struct fake_device_seen seen;

	mutex_lock(&f->lock);
	assert(i < f->nlog);
	seen = f->log[i];
	mutex_unlock(&f->lock);
	return seen;
}

unsigned fake_device_count_op(struct fake_device *f, enum bd_op op)
{
	unsigned n = 0;

	mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->nlog; i++)
		n += f->log[i].op == op;
	mutex_unlock(&f->lock);
	return n;
}

void fake_device_clear(struct fake_device *f)
{
	mutex_lock(&f->lock);
	f->nlog = 0;
	mutex_unlock(&f->lock);
}

unsigned fake_device_most(struct fake_device *f)
{
	unsigned n;

	mutex_lock(&f->lock);
	n = f->most;
	mutex_unlock(&f->lock);
	return n;
}

unsigned fake_device_kicks(struct fake_device *f)
{
	unsigned n;

	mutex_lock(&f->lock);
	n = f->kicks;
	mutex_unlock(&f->lock);
	return n;
}

/* ---- faults ------------------------------------------------------------- */

void fake_device_fail(struct fake_device *f, enum bd_op op, unsigned nth, unsigned times, int error)
{
	assert(nth > 0 && error < 0);
	mutex_lock(&f->lock);
	f->faults[op] = (struct fault){ nth - 1, times, error, times == 0 };
	mutex_unlock(&f->lock);
}

void fake_device_lose_range(struct fake_device *f, uint64_t off, uint64_t len)
{
	mutex_lock(&f->lock);
	assert(off <= f->bytes && len <= f->bytes - off);
	memcpy(f->now + off, f->durable + off, len);
	mutex_unlock(&f->lock);
}

void fake_device_lose(struct fake_device *f)
{
	fake_device_lose_range(f, 0, f->bytes);
}

void fake_device_disconnect(struct fake_device *f)
{
	struct list back = LIST_INIT(back);

	bd_pause(&f->bd);
	mutex_lock(&f->lock);
	f->paused = true;
	list_splice(&back, &f->inside);
	f->held = 0;
	mutex_unlock(&f->lock);
	while (!list_empty(&back)) {
		struct list *l = back.prev;

		list_del(l);
		bd_requeue(list_entry(l, struct bd_req, link));
	}
}

void fake_device_connect(struct fake_device *f)
{
	mutex_lock(&f->lock);
	f->paused = false;
	mutex_unlock(&f->lock);
	bd_resume(&f->bd);
}

void fake_device_grow(struct fake_device *f, uint64_t size)
{
	mutex_lock(&f->lock);
	f->grown = size;
	mutex_unlock(&f->lock);
}

const uint8_t *fake_device_bytes(struct fake_device *f)
{
	return f->now;
}

const uint8_t *fake_device_durable(struct fake_device *f)
{
	return f->durable;
}
