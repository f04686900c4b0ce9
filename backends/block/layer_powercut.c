/* SPDX-License-Identifier: Apache-2.0 */
/* layer_powercut.c - a disk with a volatile cache, whose plug can be pulled; see layers.h
 *
 *   write -----> held (memory) --flush--> below, flushed       FUA: below at once, and says nothing of what is held
 *   read  <----- below, with what is held over it
 *   bd_powercut(): of what is held or waits, a subset goes below; then every request fails
 *
 * All work is done by the layer's thread, one request after another, so what is held has one owner.
 *  P1 held is in the order of completion. A flush moves what was done before it was submitted, and
 *     nothing else: a caller who sends it too early loses.
 *  P2 A FUA write replaces its bytes in all that is held, so an older write that goes below later does
 *     not cover what is durable.
 *  P3 A zero is held as its bytes. A discarded range may hold anything (B5), so it is held as bytes that the seed makes.
 *  P4 A torn write has whole units of limits.block bytes (B4), 512 mostly.
 * What is held when the layer closes is lost. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/layers_impl.h"
#include "common/hash.h"
#include "common/spec.h"

#define HELD_MAX_BYTES (64ull << 20) /* beyond it the oldest goes below, as a disk would do */
#define RANGE_MAX (1ull << 20)       /* of a zero or discard, which are held as bytes */
#define MEMORY_ALIGN 4096u

enum job_kind { JOB_IO, JOB_CUT };
enum mine { MINE_STAMP }; /* of layer_io.mine */

struct held {
	struct list link;
	uint64_t off, len;
	uint64_t seq;
	uint8_t *data; /* owned */
};

struct powercut {
	struct bd_layer l;
	/* owned by the layer's thread */
	struct list held;
	uint64_t held_bytes;
	struct spec_dice dice;
	bool dead;
	/* guarded by l.lock */
	struct cond changed;
	struct layer_job cut_job;
	uint64_t seq; /* of the last write that is held */
	bool cutting; /* bd_powercut() was called */
	bool cut;     /* and has happened */
	int cut_result;
};

/* ---- the device below ------------------------------------------------------- */

struct waiter {
	struct powercut *p;
	bool done; /* guarded by l.lock */
};

static void below_done(struct bd_req *rq)
{
	struct waiter *w = rq->arg;
	struct powercut *p = w->p;

	mutex_lock(&p->l.lock);
	w->done = true;
	cond_broadcast(&p->changed);
	mutex_unlock(&p->l.lock);
}

/* Sends the request and waits as long as the device below needs. */
static int below(struct powercut *p, struct bd_req rq)
{
	struct waiter w = { .p = p };
	int rc;

	rq.done = below_done;
	rq.arg = &w;
	rc = bd_submit(p->l.below, &rq);
	if (rc)
		return rc == -ESHUTDOWN ? -ECANCELED : rc;
	mutex_lock(&p->l.lock);
	while (!w.done)
		cond_wait(&p->changed, &p->l.lock);
	mutex_unlock(&p->l.lock);
	return rq.result;
}

static int below_write(struct powercut *p, uint8_t *data, uint64_t off, uint64_t len)
{
	const struct iovec iov = { .iov_base = data, .iov_len = len };

	return below(p, (struct bd_req){
				.op = BD_WRITE, .off = off, .len = len, .iov = &iov, .niov = 1 });
}

/* ---- what is held ------------------------------------------------------------ */

/* Copies between the pieces of iov, from byte at on, and buf. */
static void iov_copy(const struct iovec *iov, uint64_t at, uint8_t *buf, uint64_t len, bool to_iov)
{
	for (; at >= iov->iov_len; iov++)
		at -= iov->iov_len;
	for (; len; iov++, at = 0) {
		uint64_t n = iov->iov_len - at < len ? iov->iov_len - at : len;
		uint8_t *piece = (uint8_t *)iov->iov_base + at;

		if (to_iov)
			memcpy(piece, buf, n);
		else
			memcpy(buf, piece, n);
		buf += n;
		len -= n;
	}
}

/* Between h and the iov of rq, where both have bytes. */
static void overlap_copy(struct held *h, const struct bd_req *rq, bool to_iov)
{
	uint64_t from = h->off > rq->off ? h->off : rq->off;
	uint64_t end = h->off + h->len < rq->off + rq->len ? h->off + h->len : rq->off + rq->len;

	if (from < end)
		iov_copy(rq->iov, from - rq->off, h->data + (from - h->off), end - from, to_iov);
}

static void held_free(struct powercut *p, struct held *h)
{
	p->held_bytes -= h->len;
	list_del(&h->link);
	free(h->data);
	free(h);
}

static void garbage(struct powercut *p, uint8_t *to, uint64_t len)
{
	for (uint64_t at = 0; at < len; at += 8) {
		uint64_t x = hash_u64(p->dice.seed + ++p->dice.draws);

		memcpy(to + at, &x, sizeof x);
	}
}

/* A copy of what rq writes, as the newest. */
static int hold(struct powercut *p, const struct bd_req *rq)
{
	struct held *h = calloc(1, sizeof *h);
	void *data;

	if (!h)
		return -ENOMEM;
	if (posix_memalign(&data, MEMORY_ALIGN, rq->len)) {
		free(h);
		return -ENOMEM;
	}
	*h = (struct held){ .off = rq->off, .len = rq->len, .data = data };
	if (rq->op == BD_WRITE)
		iov_copy(rq->iov, 0, h->data, h->len, false);
	else if (rq->op == BD_ZERO)
		memset(h->data, 0, h->len);
	else
		garbage(p, h->data, h->len);
	mutex_lock(&p->l.lock);
	h->seq = ++p->seq;
	mutex_unlock(&p->l.lock);
	p->held_bytes += h->len;
	list_push_back(&p->held, &h->link);
	return 0;
}

static int write_oldest(struct powercut *p)
{
	struct held *h = list_first(&p->held, struct held, link);
	int rc = below_write(p, h->data, h->off, h->len);

	if (!rc)
		held_free(p, h);
	return rc;
}

/* ---- requests ------------------------------------------------------------------ */

static int do_read(struct powercut *p, const struct bd_req *rq)
{
	int rc = below(p, (struct bd_req){ .op = BD_READ,
					   .off = rq->off,
					   .len = rq->len,
					   .iov = rq->iov,
					   .niov = rq->niov });

	if (rc)
		return rc;
	list_for_each(it, &p->held)
		overlap_copy(list_entry(it, struct held, link), rq, true);
	return 0;
}

static int do_fua(struct powercut *p, const struct bd_req *rq)
{
	struct held *h;
	struct iovec iov;
	int rc = hold(p, rq); /* a zero has its bytes there */

	if (rc)
		return rc;
	h = list_entry(p->held.prev, struct held, link);
	iov = (struct iovec){ .iov_base = h->data, .iov_len = h->len };
	rc = below(p, (struct bd_req){ .op = BD_WRITE,
				       .flags = BD_FUA,
				       .off = rq->off,
				       .len = rq->len,
				       .iov = &iov,
				       .niov = 1 });
	if (!rc) {
		const struct bd_req bytes = { .off = h->off, .len = h->len, .iov = &iov };

		list_for_each(it, &p->held)
			if (it != &h->link)
				overlap_copy(list_entry(it, struct held, link), &bytes,
					     false); /* P2 */
	}
	held_free(p, h);
	return rc;
}

static int do_flush(struct powercut *p, uint64_t stamp)
{
	int rc = 0;

	while (!rc && !list_empty(&p->held) &&
	       list_first(&p->held, struct held, link)->seq <= stamp)
		rc = write_oldest(p);
	return rc ? rc : below(p, (struct bd_req){ .op = BD_FLUSH });
}

static int do_io(struct powercut *p, const struct layer_io *io)
{
	const struct bd_req *rq = io->rq;
	int rc = 0;

	if (p->dead)
		return -EIO;
	if (rq->op == BD_READ)
		return do_read(p, rq);
	if (rq->op == BD_FLUSH)
		return do_flush(p, io->mine[MINE_STAMP]);
	if (rq->flags & BD_FUA)
		return do_fua(p, rq);
	while (!rc && p->held_bytes > HELD_MAX_BYTES)
		rc = write_oldest(p);
	return rc ? rc : hold(p, rq);
}

/* ---- the cut --------------------------------------------------------------------- */

enum fate { FATE_WHOLE, FATE_LOST, FATE_FIRST, FATE_LAST, FATE_SOME, FATES };

/* Does unit i of n reach the disk? */
static bool unit_lands(struct powercut *p, enum fate fate, uint64_t i, uint64_t cut)
{
	switch (fate) {
	case FATE_WHOLE:
		return true;
	case FATE_FIRST:
		return i < cut;
	case FATE_LAST:
		return i >= cut;
	case FATE_SOME:
		return spec_draw(&p->dice) < 0.5;
	default:
		return false;
	}
}

static int land(struct powercut *p, const struct held *h)
{
	uint64_t unit = p->l.bd.limits.block, n = h->len / unit;
	enum fate fate = (enum fate)(spec_draw(&p->dice) * FATES);
	uint64_t cut = (uint64_t)(spec_draw(&p->dice) * (double)n);
	uint64_t from = 0;
	int rc = 0;

	/* Runs of units that land; one more than there are ends the last. */
	for (uint64_t i = 0; i <= n && !rc; i++) {
		if (i < n && unit_lands(p, fate, i, cut))
			continue;
		if (i > from)
			rc = below_write(p, h->data + from * unit, h->off + from * unit,
					 (i - from) * unit);
		from = i + 1;
	}
	return rc;
}

/* All that is held or still waits in jobs meets its fate, in its order. */
static void pull(struct powercut *p, struct list *jobs)
{
	int rc = 0;

	list_for_each(it, jobs) {
		struct layer_job *job = list_entry(it, struct layer_job, link);
		const struct bd_req *rq = job->kind == JOB_IO ? layer_io_of(it)->rq : NULL;

		if (rq && rq->op != BD_READ && rq->op != BD_FLUSH && !rc)
			rc = hold(p, rq);
	}
	while (!list_empty(&p->held)) {
		struct held *h = list_first(&p->held, struct held, link);

		if (!rc)
			rc = land(p, h);
		held_free(p, h);
	}
	if (!rc)
		rc = below(p, (struct bd_req){ .op = BD_FLUSH });
	p->dead = true;
	bd_fail(&p->l.bd, -EIO);
	mutex_lock(&p->l.lock);
	p->cut = true;
	p->cut_result = rc;
	cond_broadcast(&p->changed);
	mutex_unlock(&p->l.lock);
}

static bool is_cutting(struct powercut *p)
{
	bool cutting;

	mutex_lock(&p->l.lock);
	cutting = p->cutting;
	mutex_unlock(&p->l.lock);
	return cutting;
}

static void powercut_work(struct bd_layer *l, struct list *jobs)
{
	struct powercut *p = (struct powercut *)l;
	struct list *it;

	while (!list_empty(jobs)) {
		if (!p->dead && is_cutting(p))
			pull(p, jobs);
		it = list_pop(jobs);
		if (list_entry(it, struct layer_job, link)->kind == JOB_IO)
			layer_end(layer_io_of(it), do_io(p, layer_io_of(it)));
	}
}

int bd_powercut(struct bd *dev)
{
	struct powercut *p = (struct powercut *)layer_find(dev, &bd_layer_powercut);
	int rc;

	if (!p)
		return -EINVAL;
	mutex_lock(&p->l.lock);
	if (!p->cutting) {
		p->cutting = true;
		p->cut_job.kind = JOB_CUT;
		layer_queue_locked(&p->l, &p->cut_job, 0);
	}
	while (!p->cut)
		cond_wait(&p->changed, &p->l.lock);
	rc = p->cut_result;
	mutex_unlock(&p->l.lock);
	return rc;
}

/* ---- opening ---------------------------------------------------------------------- */

static void powercut_submit(struct bd_layer *l, struct layer_io *io)
{
	struct powercut *p = (struct powercut *)l;

	mutex_lock(&l->lock);
	io->mine[MINE_STAMP] = p->seq; /* P1 */
	layer_queue_locked(l, &io->job, 0);
	mutex_unlock(&l->lock);
}

static void powercut_free(struct bd_layer *l)
{
	struct powercut *p = (struct powercut *)l;

	while (!list_empty(&p->held))
		held_free(p, list_first(&p->held, struct held, link));
	cond_done(&p->changed);
}

static uint64_t range_max(uint64_t below_max)
{
	return below_max < RANGE_MAX ? below_max : RANGE_MAX;
}

int bd_powercut_open(struct bd *below_take, uint64_t seed, struct bd **out, struct err *err)
{
	struct powercut *p = calloc(1, sizeof *p);
	struct bd_limits *limits;
	int rc;

	if (!p)
		return err_set(err, -ENOMEM, "powercut: out of memory");
	layer_init(&p->l, &bd_layer_powercut, below_take);
	limits = &p->l.bd.limits;
	limits->volatile_cache = limits->fua = true;
	limits->max_zero = range_max(limits->max_zero);
	limits->max_discard = range_max(limits->max_discard);
	list_init(&p->held);
	cond_init(&p->changed);
	p->dice.seed = seed;
	rc = layer_start(&p->l, err);
	if (rc) {
		layer_drop(&p->l);
		return rc;
	}
	*out = &p->l.bd;
	return 0;
}

static int powercut_open(char **params, struct bd *below_dev, struct bd **out, struct err *err)
{
	uint64_t seed = 0;
	int rc = 0;

	for (; *params && !rc; params++) {
		char *value = spec_value(*params);

		if (!value || strcmp(*params, "seed") != 0)
			return err_set(err, -EINVAL, "powercut: '%.100s' is not seed=N", *params);
		rc = spec_seed("powercut", value, &seed, err);
	}
	return rc ? rc : bd_powercut_open(below_dev, seed, out, err);
}

const struct bd_layer_type bd_layer_powercut = {
	.name = "powercut",
	.open = powercut_open,
	.submit = powercut_submit,
	.work = powercut_work,
	.free = powercut_free,
};
