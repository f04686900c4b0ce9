/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - requests on their way to a transport and back, see device.h
 *
 *            bd_submit()         bdc_pump_locked()                    bd_complete()
 *   caller -------------> waiting ----------------> at the transport --------------> ended, done()
 *                          |   ^                    |        ^    |
 *        no room to keep   v   |                    |        |    '-- flushing, more parts: waiting, in front
 *                        stalled         bd_requeue v        |
 *                                                 again -----'  device_keep.c
 *
 * 1. A work is in ranges and works from bd_submit() until it ends; two that overlap and of which one changes data
 *    are never in it together (B2).
 * 2. It is in exactly one of waiting, stalled, flushes, fuas, riders and again while something of it is to be sent, and
 *    in none while all that can be sent is out.
 * 3. in_flight is the sum of out over all works, and never above limits.depth; so there is always a free part.
 * 4. done() and the transport's functions are called without the lock. */
#include "backends/block/device.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "backends/block/device_impl.h"
#include "common/clock.h"

/* ---- what may be asked ------------------------------------------------ */

static int check_pieces(const struct bd_limits *l, const struct bd_req *rq)
{
	uint64_t sum = 0;

	if (!rq->iov || rq->niov == 0 || rq->niov > BD_IOV_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < rq->niov; i++) {
		const struct iovec *v = &rq->iov[i];

		if (v->iov_len == 0 || v->iov_len > rq->len - sum)
			return -EINVAL;
		if (((uintptr_t)v->iov_base | v->iov_len) & (l->align - 1))
			return -EINVAL;
		sum += v->iov_len;
	}
	return sum == rq->len ? 0 : -EINVAL;
}

static unsigned flags_known(enum bd_op op)
{
	switch (op) {
	case BD_WRITE:
		return BD_FUA;
	case BD_ZERO:
		return BD_FUA | BD_UNMAP;
	default:
		return 0;
	}
}

static int check(const struct bd_core *c, const struct bd_req *rq)
{
	const struct bd_limits *l = &c->dev->limits;
	uint64_t size = atomic_load_explicit(&c->dev->size, memory_order_relaxed);

	if ((unsigned)rq->op >= BD_OPS || rq->flags & ~flags_known(rq->op) || !rq->done)
		return -EINVAL;
	if (rq->op == BD_FLUSH)
		return rq->off || rq->len || rq->niov ? -EINVAL : 0;
	if (rq->len == 0 || (rq->off | rq->len) & (l->block - 1))
		return -EINVAL;
	if (rq->off > size || rq->len > size - rq->off)
		return -EINVAL;
	if (op_changes(rq->op) && c->readonly)
		return -EROFS;
	if (rq->op == BD_DISCARD && c->max_discard == 0)
		return -ENOTSUP;
	return rq->op == BD_READ || rq->op == BD_WRITE ? check_pieces(l, rq) : 0;
}

static bool overlaps_locked(const struct bd_core *c, uint64_t off, uint64_t end, bool changes)
{
	for (unsigned i = 0; i < c->active; i++) {
		const struct work_range *r = &c->ranges[i];

		if (r->off < end && off < r->end && (changes || r->changes))
			return true;
	}
	return false;
}

/* ---- works ------------------------------------------------------------ */

static int grow_active_locked(struct bd_core *c)
{
	unsigned cap = c->active_cap ? 2 * c->active_cap : WORK_SLAB;
	void *p = realloc(c->ranges, cap * sizeof *c->ranges);

	if (!p)
		return -ENOMEM;
	c->ranges = p;
	p = realloc(c->works, cap * sizeof(struct work *));
	if (!p)
		return -ENOMEM;
	c->works = p;
	c->active_cap = cap;
	return 0;
}

struct slab {
	void *next;
	struct work works[WORK_SLAB];
};

static struct work *work_new_locked(struct bd_core *c)
{
	struct list *l = list_pop(&c->free);

	if (!l) {
		struct slab *s = malloc(sizeof *s);

		if (!s)
			return NULL;
		s->next = c->slabs;
		c->slabs = s;
		for (unsigned i = 0; i < WORK_SLAB; i++)
			list_push_back(&c->free, &s->works[i].link);
		l = list_pop(&c->free);
	}
	return list_entry(l, struct work, link);
}

static void enter_locked(struct bd_core *c, struct work *w, struct bd_req *rq, enum work_kind kind)
{
	assert(c->active < c->active_cap);
	*w = (struct work){ .rq = rq, .kind = kind, .slot = c->active, .record = NO_RECORD };
	list_init(&w->link);
	c->ranges[c->active] =
		(struct work_range){ rq->off, rq->off + rq->len, op_changes(rq->op) };
	c->works[c->active++] = w;
	rq->dev = c->dev;
	rq->core = w;
	rq->stamp = ++c->stamp;
	rq->deadline_ms = 0;
	list_init(&rq->link);
}

static void leave_locked(struct bd_core *c, const struct work *w)
{
	unsigned last = --c->active;

	assert(c->works[w->slot] == w);
	c->ranges[w->slot] = c->ranges[last];
	c->works[w->slot] = c->works[last];
	c->works[w->slot]->slot = w->slot;
}

void bdc_reset_locked(struct work *w)
{
	assert(w->out == 0);
	w->issued = 0;
	w->iov_at = 0;
	w->iov_off = 0;
	w->direct = w->flushing = w->restart = false;
}

void bdc_end_locked(struct bd_core *c, struct work *w, int error, struct list *ended)
{
	struct bd_req *rq = w->rq;

	assert(w->out == 0 && w->kind != WORK_KEPT);
	list_del(&w->link);
	leave_locked(c, w);
	bdc_keep_done_locked(c, w, error == 0);
	if (w->kind == WORK_FORCED) {
		c->forced_out = false;
		return;
	}
	rq->result = error;
	if (error) {
		c->counts.errors++;
	} else {
		c->counts.ops[rq->op]++;
		c->counts.bytes[rq->op] += rq->len;
	}
	list_push_front(&c->free, &w->link);
	list_push_back(ended, &rq->link);
}

void bdc_run_ended(struct bd_core *c, struct list *ended)
{
	struct list *l;

	while ((l = list_pop(ended))) {
		struct bd_req *rq = list_entry(l, struct bd_req, link);

		rq->done(rq);
		if (atomic_fetch_sub(&c->running, 1) == 1) {
			mutex_lock(&c->lock);
			cond_broadcast(&c->idle);
			mutex_unlock(&c->lock);
		}
	}
}

/* ---- what of a work is sent ------------------------------------------- */

static bool wants_fua(const struct bd_core *c, const struct work *w)
{
	return c->dev->limits.volatile_cache && (w->durable || w->rq->flags & BD_FUA);
}

/* A flush has to follow. A range of zeros is not made durable by a flag: few servers can. */
static bool flush_after(const struct bd_core *c, const struct work *w)
{
	return wants_fua(c, w) && (!c->dev->limits.fua || w->rq->op == BD_ZERO);
}

static bool bytes_left(const struct work *w)
{
	return !w->flushing && w->issued < w->rq->len;
}

static unsigned flags_for(const struct bd_core *c, const struct work *w)
{
	if (w->rq->op == BD_WRITE)
		return wants_fua(c, w) && c->dev->limits.fua ? BD_FUA : 0;
	return w->by_writes ? 0 : w->rq->flags & BD_UNMAP;
}

static uint64_t len_for(const struct bd_core *c, const struct work *w)
{
	uint64_t left = w->rq->len - w->issued, max = c->max_transfer, over;

	if (w->rq->op == BD_ZERO)
		max = w->by_writes ? (max < ZERO_WRITE_MAX ? max : ZERO_WRITE_MAX) : c->max_zero;
	if (w->rq->op == BD_DISCARD) {
		/* Cut where the device can give back whole units. */
		max = c->max_discard;
		over = c->dev->limits.discard_granularity;
		over = over ? (w->rq->off + w->issued + max) % over : 0;
		if (over < max && over % c->dev->limits.block == 0)
			max -= over;
	}
	return left < max ? left : max;
}

/* The next len bytes of w's memory. */
static unsigned cut_pieces(struct work *w, struct iovec *iov, uint64_t len)
{
	unsigned n = 0;

	while (len > 0) {
		const struct iovec *v = &w->rq->iov[w->iov_at];
		size_t part = v->iov_len - w->iov_off;

		if (part > len)
			part = len;
		iov[n++] = (struct iovec){ (uint8_t *)v->iov_base + w->iov_off, part };
		len -= part;
		w->iov_off += part;
		if (w->iov_off == v->iov_len) {
			w->iov_at++;
			w->iov_off = 0;
		}
	}
	return n;
}

static unsigned zero_pieces(const struct bd_core *c, struct iovec *iov, uint64_t len)
{
	unsigned n = 0;

	for (; len > 0; len -= iov[n++].iov_len)
		iov[n] = (struct iovec){ c->zeros, len < ZERO_BYTES ? len : ZERO_BYTES };
	return n;
}

static struct bd_req *part_locked(struct bd_core *c, struct work *w, uint64_t len)
{
	struct part *p = list_entry(list_pop(&c->parts), struct part, link);
	struct bd_req *rq = &p->rq;

	*rq = (struct bd_req){ .op = w->flushing  ? BD_FLUSH :
				     w->by_writes ? BD_WRITE :
						    w->rq->op,
			       .dev = c->dev,
			       .stamp = w->rq->stamp,
			       .core = w };
	list_init(&rq->link);
	if (w->flushing)
		return rq;
	rq->flags = flags_for(c, w);
	rq->off = w->rq->off + w->issued;
	rq->len = len;
	if (rq->op == BD_READ || rq->op == BD_WRITE) {
		rq->iov = p->iov;
		rq->niov = w->by_writes ? zero_pieces(c, p->iov, len) : cut_pieces(w, p->iov, len);
	}
	return rq;
}

/* What is sent of it next is a flush. */
static bool is_flush(const struct work *w)
{
	return w->rq->op == BD_FLUSH || w->flushing;
}

static bool settles(const struct bd_core *c, const struct work *w)
{
	return is_flush(w) || flags_for(c, w) & BD_FUA;
}

bool bdc_must_wait_locked(const struct bd_core *c, const struct work *w)
{
	return c->settling && c->settling != w && settles(c, w);
}

/* The next request for the transport. */
static struct bd_req *issue_locked(struct bd_core *c, struct work *w)
{
	struct bd_req *rq = w->rq;
	uint64_t len;

	w->out++;
	c->in_flight++;
	if (settles(c, w)) {
		assert(!c->settling || c->settling == w);
		c->settling = w;
	}
	if (is_flush(w)) {
		w->covers = c->done_seq;
		w->direct = !w->flushing;
		list_del(&w->link);
		list_splice(&c->riders, &c->flushes);
		return w->direct ? rq : part_locked(c, w, 0);
	}
	if (rq->op == BD_ZERO && w->issued == 0)
		w->by_writes = c->max_zero == 0 || c->no_zero;
	len = len_for(c, w);
	w->direct = len == rq->len && !w->by_writes && !flush_after(c, w) &&
		    flags_for(c, w) == rq->flags;
	if (!w->direct)
		rq = part_locked(c, w, len);
	w->issued += len;
	if (w->issued < w->rq->len)
		return rq;
	if (w->kind == WORK_KEPT)
		bdc_kept_sent_locked(c, w);
	else
		list_del(&w->link);
	return rq;
}

/* ---- which work is next ------------------------------------------------ */

/* A write's record and its place among the kept; false: there is no room now. */
static bool start_locked(struct bd_core *c, struct work *w)
{
	if (w->started || !op_changes(w->rq->op))
		return true;
	if (!c->ledger && !c->keeps)
		return true;
	/* One that stalls is not overtaken by what happens to fit. */
	if (!list_empty(&c->stalled) && c->stalled.next != &w->link)
		return false;
	if (c->ledger && c->ledger_used >= c->ledger_max)
		return false;
	if (c->keeps && w->rq->op != BD_DISCARD && !bdc_keep_reserve_locked(c, w, wants_fua(c, w)))
		return false;
	if (c->ledger) {
		w->record = bd_ledger_take(c->ledger, &c->ledger_at, w->rq);
		if (w->record == NO_RECORD) {
			bdc_keep_done_locked(c, w, false);
			return false;
		}
		c->ledger_used++;
	}
	w->started = true;
	return true;
}

/* Room for what stalls is made by a flush of our own; it covers only what is done. */
static struct work *forced_locked(struct bd_core *c)
{
	if (list_empty(&c->stalled) || c->forced_out || c->settling || list_empty(&c->kept))
		return NULL;
	if (c->active == c->active_cap && grow_active_locked(c))
		return NULL; /* tried again at the next answer */
	c->forced_rq = (struct bd_req){ .op = BD_FLUSH };
	enter_locked(c, &c->forced, &c->forced_rq, WORK_FORCED);
	list_push_front(&c->waiting, &c->forced.link);
	c->forced_out = true;
	c->counts.forced_flushes++;
	return &c->forced;
}

static void to_front_locked(struct bd_core *c, struct list *from)
{
	list_push_front(&c->waiting, list_pop(from));
}

/* One of those that waited for another to settle, in turns. */
static void settle_next_locked(struct bd_core *c)
{
	bool fua = list_empty(&c->flushes) || (c->fuas_turn && !list_empty(&c->fuas));
	struct list *from = fua ? &c->fuas : &c->flushes;

	if (c->settling || list_empty(from))
		return;
	to_front_locked(c, from);
	c->fuas_turn = !fua;
}

static struct work *next_locked(struct bd_core *c)
{
	if (!list_empty(&c->stalled) && start_locked(c, list_first(&c->stalled, struct work, link)))
		to_front_locked(c, &c->stalled);
	/* Before that one, which has to wait if it settles, too. */
	settle_next_locked(c);
	while (!list_empty(&c->waiting)) {
		struct work *w = list_first(&c->waiting, struct work, link);
		struct list *to = &c->stalled;

		/* Only then it is known whether it goes with BD_FUA. */
		if (is_flush(w) || start_locked(c, w)) {
			if (!bdc_must_wait_locked(c, w))
				return w;
			to = is_flush(w) ? &c->flushes : &c->fuas;
		}
		list_del(&w->link);
		list_push_back(to, &w->link);
	}
	return forced_locked(c);
}

void bdc_pump_locked(struct bd_core *c, struct list *out)
{
	while (c->in_flight < c->dev->limits.depth && c->state != CORE_PAUSED) {
		struct work *w = c->state == CORE_RUNS ? NULL : bdc_resend_next_locked(c);

		if (!w && c->state == CORE_RUNS)
			w = next_locked(c);
		if (!w)
			break;
		list_push_back(out, &issue_locked(c, w)->link);
	}
	if (!list_empty(out))
		atomic_fetch_add(&c->submitting, 1);
}

void bdc_send(struct bd_core *c, struct list *out)
{
	struct bd *dev = c->dev;
	struct list *l;

	if (list_empty(out))
		return;
	while ((l = list_pop(out)))
		dev->ops->submit(dev, list_entry(l, struct bd_req, link));
	if (dev->ops->kick)
		dev->ops->kick(dev);
	if (atomic_fetch_sub(&c->submitting, 1) == 1 && atomic_load(&c->pausing)) {
		mutex_lock(&c->lock);
		cond_broadcast(&c->quiet);
		mutex_unlock(&c->lock);
	}
}

/* ---- submission -------------------------------------------------------- */

static int take_locked(struct bd_core *c, struct bd_req *rq)
{
	struct work *w;
	int rc = check(c, rq);

	if (rc)
		return rc;
	if (c->cancelled)
		return -ESHUTDOWN;
	if (c->failed && rq->op != BD_READ)
		return c->failed;
	if (overlaps_locked(c, rq->off, rq->off + rq->len, op_changes(rq->op)))
		return -EBUSY;
	if (c->active == c->active_cap && grow_active_locked(c))
		return -ENOMEM;
	w = work_new_locked(c);
	if (!w)
		return -ENOMEM;
	enter_locked(c, w, rq, WORK_CALLER);
	if (c->state == CORE_PAUSED && c->timeout_ms)
		rq->deadline_ms = clock_ms() + c->timeout_ms;
	atomic_fetch_add_explicit(&c->running, 1, memory_order_relaxed);
	if (rq->op == BD_FLUSH && !c->dev->limits.volatile_cache) {
		/* Nothing to flush; done() may not run here. */
		bdc_end_locked(c, w, 0, &c->ended);
		cond_signal(&c->more);
	} else {
		list_push_back(&c->waiting, &w->link);
	}
	return 0;
}

unsigned bd_submit_all(struct bd *dev, struct bd_req *const *rqs, unsigned n, int *rc)
{
	struct bd_core *c = dev->core;
	struct list out = LIST_INIT(out);
	unsigned taken = 0;
	int refused = 0;

	mutex_lock(&c->lock);
	while (taken < n && (refused = take_locked(c, rqs[taken])) == 0)
		taken++;
	if (refused)
		c->counts.refused++;
	bdc_pump_locked(c, &out);
	mutex_unlock(&c->lock);
	bdc_send(c, &out);
	if (rc)
		*rc = refused;
	return taken;
}

int bd_submit(struct bd *dev, struct bd_req *rq)
{
	int rc;

	(void)bd_submit_all(dev, &rq, 1, &rc);
	return rc;
}

/* ---- answers ----------------------------------------------------------- */

static struct part *part_of(struct bd_req *rq)
{
	return CONTAINER_OF(rq, struct part, rq);
}

void bdc_back_locked(struct bd_core *c, struct work *w, struct bd_req *rq)
{
	assert(w->out > 0 && c->in_flight > 0);
	w->out--;
	c->in_flight--;
	if (c->settling == w && w->out == 0)
		c->settling = NULL;
	if (rq != w->rq)
		list_push_front(&c->parts, &part_of(rq)->link);
	if (c->in_flight == 0)
		cond_broadcast(&c->idle);
}

void bdc_step_locked(struct bd_core *c, struct work *w, struct list *ended)
{
	bool flush = flush_after(c, w) && !w->flushing;

	assert(w->out == 0);
	if (!w->error && (w->restart || bytes_left(w) || flush)) {
		if (c->cancelled)
			w->error = -ECANCELED;
		else if (w->rq->op != BD_READ)
			w->error = c->failed;
	}
	if (w->error) {
		bdc_end_locked(c, w, w->error, ended);
	} else if (w->restart) {
		list_del(&w->link);
		bdc_reset_locked(w);
		if (c->state == CORE_RUNS)
			list_push_front(&c->waiting, &w->link);
		else
			bdc_again_locked(c, w);
	} else if (bytes_left(w)) {
		assert(!list_empty(&w->link));
	} else if (flush) {
		/* Where a reconnect came between, restart is set: what was written may be lost. */
		assert(c->state == CORE_RUNS || c->state == CORE_AGAIN);
		w->flushing = true;
		list_push_front(c->state == CORE_RUNS ? &c->waiting : &c->again, &w->link);
	} else {
		bdc_end_locked(c, w, 0, ended);
	}
}

/* A flush is answered. After a failure none is good any more: what the failed one lost, a later one does not know. */
static int flushed_locked(struct bd_core *c, const struct work *w, int result, struct list *ended)
{
	if (result == 0)
		result = c->failed;
	if (result)
		return result; /* the riders end when the device fails, or ended when it did */
	bdc_keep_flushed_locked(c, w->covers);
	while (!list_empty(&c->riders))
		bdc_end_locked(c, list_first(&c->riders, struct work, link), 0, ended);
	return 0;
}

/* What tells of errors of older writes, which no other request is told again: a flush, and a write with FUA, for what
 * serves it may flush its cache, and then takes those errors. */
static bool tells_of_others(const struct bd_req *rq)
{
	return rq->op == BD_FLUSH || rq->flags & BD_FUA;
}

static void answer_locked(struct bd_core *c, struct work *w, struct bd_req *rq, int result,
			  struct list *ended)
{
	bool fatal = tells_of_others(rq);
	enum bd_op op = rq->op;

	bdc_back_locked(c, w, rq);
	c->progress = true;
	if (op == BD_FLUSH)
		result = flushed_locked(c, w, result, ended);
	if (w->direct)
		w->lost = false;
	if (op == BD_ZERO && result == -ENOTSUP) {
		c->no_zero = true;
		w->restart = true;
	} else if (result && !w->error) {
		w->error = result;
	}
	if (w->kind == WORK_KEPT) {
		bdc_kept_answer_locked(c, w, ended);
		return;
	}
	if (w->error || w->restart)
		list_del(&w->link);
	if (w->out == 0)
		bdc_step_locked(c, w, ended);
	if (fatal && result && !c->cancelled)
		bdc_fail_locked(c, result, ended);
}

void bd_complete(struct bd_req *rq, int result)
{
	struct work *w = rq->core;
	struct bd_core *c = rq->dev->core;
	struct list out = LIST_INIT(out), ended = LIST_INIT(ended);

	if (result == 0 && w->kept)
		bdc_keep_copy(w, rq);
	mutex_lock(&c->lock);
	answer_locked(c, w, rq, result, &ended);
	bdc_pump_locked(c, &out);
	mutex_unlock(&c->lock);
	bdc_send(c, &out);
	bdc_run_ended(c, &ended);
}

/* ---- failing ----------------------------------------------------------- */

void bdc_sweep_locked(struct bd_core *c, bool (*pick)(const struct work *w), int error,
		      struct list *ended)
{
	for (unsigned i = c->active; i-- > 0;) {
		struct work *w = c->works[i];

		if (!pick(w))
			continue;
		if (w->out == 0) {
			bdc_end_locked(c, w, error, ended);
		} else if (w->restart || bytes_left(w) || (flush_after(c, w) && !w->flushing)) {
			if (!w->error)
				w->error = error;
			list_del(&w->link);
		}
	}
}

static bool is_change_or_flush(const struct work *w)
{
	return w->rq->op != BD_READ;
}

void bdc_fail_locked(struct bd_core *c, int error, struct list *ended)
{
	if (c->failed)
		return;
	c->failed = error;
	bdc_sweep_locked(c, is_change_or_flush, error, ended);
	bdc_keep_drop_locked(c);
}

void bd_fail(struct bd *dev, int error)
{
	struct bd_core *c = dev->core;

	assert(error < 0);
	mutex_lock(&c->lock);
	bdc_fail_locked(c, error, &c->ended);
	cond_signal(&c->more);
	mutex_unlock(&c->lock);
}
