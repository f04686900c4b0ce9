/* SPDX-License-Identifier: Apache-2.0 */
/* device_keep.c - writes that a server may still lose, and the order after it came back (B7)
 *
 *             bd_pause()            bd_resume()                all answered            all answered
 *   RUNS ------------------> PAUSED ------------> KEPT ---------------------> AGAIN ------------------> RUNS
 *                              ^                   |    writes done, not        |    what was not
 *                              '-------------------'    flushed, in the order   |    answered, by stamp
 *                              '-- bd_pause() ---- of their end ----------------'
 *
 * 1. A write has its place (copy) before it is sent, so that the end of a write never lacks memory.
 * 2. kept is in the order of done_at; of two that overlap the later one has the newer bytes, and is sent after the
 *    answer to the earlier one.
 * 3. A write that is durable when done is kept nevertheless while an older one of the same bytes is: else a
 *    reconnect would bring the old bytes back.
 * 4. A request of several parts, or with a flush in place of BD_FUA, starts anew after a reconnect: what of it was
 *    answered is neither kept nor flushed.
 * 5. What bd_resume() waited for in vain is out in RUNS, and the device has failed: nothing is kept or sent again. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/device_impl.h"
#include "common/clock.h"
#include "common/log.h"

/* ---- what is kept ------------------------------------------------------ */

static bool overlap(const struct bd_req *a, const struct bd_req *b)
{
	return a->off < b->off + b->len && b->off < a->off + a->len;
}

static bool overlaps_kept_locked(const struct bd_core *c, const struct bd_req *rq)
{
	list_for_each(l, &c->kept) {
		if (overlap(&list_entry(l, struct kept, link)->rq, rq))
			return true;
	}
	return false;
}

static uint64_t kept_len(const struct bd_req *rq)
{
	return rq->op == BD_WRITE ? rq->len : 0;
}

/* One allocation, at the transport's alignment and no more: this is done for every write. */
static struct kept *kept_new(const struct bd_core *c, const struct bd_req *rq)
{
	uintptr_t mask = c->dev->limits.align - 1;
	size_t len = kept_len(rq);
	struct kept *k = malloc(sizeof *k + len + mask);

	if (!k)
		return NULL;
	memset(k, 0, sizeof *k);
	if (len)
		k->data = (uint8_t *)(((uintptr_t)(k + 1) + mask) & ~mask);
	return k;
}

static void kept_free_locked(struct bd_core *c, struct kept *k)
{
	list_del(&k->link);
	list_del(&k->sending);
	c->nkept--;
	c->kept_bytes -= kept_len(&k->rq);
	free(k);
}

bool bdc_keep_reserve_locked(struct bd_core *c, struct work *w, bool fua)
{
	const struct bd_req *rq = w->rq;
	struct kept *k;

	if (fua && !overlaps_kept_locked(c, rq))
		return true;
	if (c->kept_bytes + kept_len(rq) > c->keep_max || c->nkept >= KEPT_MAX) {
		/* Larger than all that may be kept: durable when done. */
		w->durable = c->nkept == 0;
		return w->durable;
	}
	k = kept_new(c, rq);
	if (!k) {
		w->durable = !overlaps_kept_locked(c, rq);
		return w->durable;
	}
	k->rq = (struct bd_req){ .op = rq->op,
				 .flags = rq->flags & BD_UNMAP,
				 .off = rq->off,
				 .len = rq->len,
				 .stamp = rq->stamp,
				 .dev = c->dev,
				 .core = &k->work };
	k->iov = (struct iovec){ k->data, rq->len };
	if (k->data) {
		k->rq.iov = &k->iov;
		k->rq.niov = 1;
	}
	list_init(&k->link);
	list_init(&k->sending);
	list_init(&k->rq.link);
	k->record = NO_RECORD;
	c->nkept++;
	c->kept_bytes += kept_len(rq);
	w->kept = k;
	return true;
}

void bdc_keep_copy(const struct work *w, const struct bd_req *rq)
{
	uint8_t *to = w->kept->data;

	if (!to || rq->op != BD_WRITE)
		return;
	to += rq->off - w->rq->off;
	for (unsigned i = 0; i < rq->niov; to += rq->iov[i++].iov_len)
		memcpy(to, rq->iov[i].iov_base, rq->iov[i].iov_len);
}

static void record_free_locked(struct bd_core *c, uint32_t record)
{
	if (record == NO_RECORD)
		return;
	bd_ledger_set(c->ledger, record, BD_LEDGER_FREE);
	c->ledger_used--;
}

void bdc_keep_done_locked(struct bd_core *c, struct work *w, bool keep)
{
	struct kept *k = take_ptr(&w->kept);
	uint32_t record = w->record;

	w->record = NO_RECORD;
	if (!keep && (w->lost || c->cancelled || c->state == CORE_PAUSED)) {
		/* Not answered: it may still land, and its record stays for the successor. */
	} else if (!k || !keep) {
		record_free_locked(c, record);
	} else {
		if (record != NO_RECORD)
			bd_ledger_set(c->ledger, record, BD_LEDGER_UNFLUSHED);
		if (!c->failed) {
			k->done_at = ++c->done_seq;
			k->record = record;
			list_push_back(&c->kept, &k->link);
			return;
		}
	}
	if (k)
		kept_free_locked(c, k);
}

void bdc_keep_flushed_locked(struct bd_core *c, uint64_t covers)
{
	while (!list_empty(&c->kept)) {
		struct kept *k = list_first(&c->kept, struct kept, link);

		if (k->done_at > covers)
			break;
		record_free_locked(c, k->record);
		kept_free_locked(c, k);
	}
}

void bdc_keep_drop_locked(struct bd_core *c)
{
	list_for_each_safe(l, next, &c->kept) {
		struct kept *k = list_entry(l, struct kept, link);

		/* One that is out is freed by its answer. */
		if (k->work.out == 0)
			kept_free_locked(c, k);
		else
			list_del(&k->link);
	}
	c->kept_next = &c->kept;
}

/* ---- sent again -------------------------------------------------------- */

void bdc_again_locked(struct bd_core *c, struct work *w)
{
	struct list *at = c->again.prev;

	while (at != &c->again && list_entry(at, struct work, link)->rq->stamp > w->rq->stamp)
		at = at->prev;
	list_insert_(&w->link, at, at->next);
}

/* An older one of the same bytes is not answered. */
static bool must_wait_locked(const struct bd_core *c, const struct kept *k)
{
	list_for_each(l, &c->sending) {
		if (overlap(&list_entry(l, struct kept, sending)->rq, &k->rq))
			return true;
	}
	return false;
}

static struct work *kept_next_locked(struct bd_core *c)
{
	struct kept *k = list_entry(c->kept_next, struct kept, link);

	if (k->work.issued > 0)
		return &k->work;
	if (must_wait_locked(c, k))
		return NULL;
	list_push_back(&c->sending, &k->sending);
	c->counts.resent++;
	return &k->work;
}

/* One that begins anew as writes, while those behind it are out already: it stays in sending, before them. */
static struct work *anew_locked(struct bd_core *c)
{
	list_for_each(l, &c->sending) {
		struct kept *k = list_entry(l, struct kept, sending);

		if (k->work.issued < k->rq.len && c->kept_next != &k->link && !list_empty(&k->link))
			return &k->work;
	}
	return NULL;
}

struct work *bdc_resend_next_locked(struct bd_core *c)
{
	struct work *w;

	if (c->cancelled)
		return NULL;
	if (c->state == CORE_KEPT) {
		w = anew_locked(c);
		if (w)
			return w;
		if (c->kept_next != &c->kept)
			return kept_next_locked(c);
		if (!list_empty(&c->sending))
			return NULL;
		c->state = CORE_AGAIN;
	}
	if (!list_empty(&c->again)) {
		w = list_first(&c->again, struct work, link);
		if (bdc_must_wait_locked(c, w))
			return NULL;
		if (w->issued == 0 && !w->flushing)
			c->counts.resent++;
		return w;
	}
	if (c->in_flight == 0)
		c->state = CORE_RUNS;
	return NULL;
}

void bdc_kept_sent_locked(struct bd_core *c, const struct work *w)
{
	if (c->kept_next == &CONTAINER_OF(w, struct kept, work)->link)
		c->kept_next = c->kept_next->next;
}

void bdc_kept_answer_locked(struct bd_core *c, struct work *w, struct list *ended)
{
	struct kept *k = CONTAINER_OF(w, struct kept, work);
	bool dropped = list_empty(&k->link);

	if (w->out > 0)
		return;
	if (dropped) {
		kept_free_locked(c, k);
	} else if (w->error) {
		list_del(&k->sending);
		bdc_fail_locked(c, w->error, ended);
	} else if (w->restart) {
		bdc_reset_locked(w);
		if (c->kept_next == &k->link)
			list_del(&k->sending);
	} else if (w->issued == w->rq->len) {
		list_del(&k->sending);
	}
}

/* ---- for transports ---------------------------------------------------- */

/* Time counts from the loss of the connection, and goes on over reconnects that come to nothing. */
static void set_deadline_locked(const struct bd_core *c, struct work *w, uint64_t now)
{
	if (c->timeout_ms && (!w->rq->deadline_ms || c->progress))
		w->rq->deadline_ms = now + c->timeout_ms;
}

void bd_pause(struct bd *dev)
{
	struct bd_core *c = dev->core;
	uint64_t now = clock_ms();

	mutex_lock(&c->lock);
	c->state = CORE_PAUSED;
	atomic_store(&c->pausing, true);
	for (unsigned i = 0; i < c->active; i++) {
		struct work *w = c->works[i];

		set_deadline_locked(c, w, now);
		if ((w->issued == 0 && !w->flushing) || w->direct)
			continue;
		list_del(&w->link);
		w->restart = true;
		if (w->out == 0) {
			bdc_reset_locked(w);
			bdc_again_locked(c, w);
		}
	}
	c->progress = false;
	while (atomic_load(&c->submitting) > 0)
		cond_wait(&c->quiet, &c->lock);
	mutex_unlock(&c->lock);
}

void bd_requeue(struct bd_req *rq)
{
	struct work *w = rq->core;
	struct bd_core *c = rq->dev->core;
	struct list ended = LIST_INIT(ended);

	mutex_lock(&c->lock);
	assert(c->state == CORE_PAUSED);
	bdc_back_locked(c, w, rq);
	if (rq->op == BD_FLUSH)
		list_splice(&c->flushes, &c->riders); /* nobody answers for them */
	if (w->kind == WORK_KEPT) {
		struct kept *k = CONTAINER_OF(w, struct kept, work);

		if (w->out == 0 && list_empty(&k->link))
			kept_free_locked(c, k);
		else if (w->out == 0)
			list_del(&k->sending);
	} else {
		w->restart = true;
		w->lost = true;
		if (w->out == 0)
			bdc_step_locked(c, w, &ended);
	}
	mutex_unlock(&c->lock);
	bdc_run_ended(c, &ended);
}

/* The transport has lost sight of requests. They cannot be ended, for their memory may still be read or written: they
 * end when their answers come. After the failure no write is left that has to be in order, and reads go on. */
static void give_up_locked(struct bd_core *c)
{
	log_error("%s: %u requests were neither answered nor given back within %u ms; the device "
		  "has failed",
		  c->dev->ops->name, c->in_flight, c->resume_ms);
	bdc_fail_locked(c, -EIO, &c->ended);
	cond_signal(&c->more);
	list_splice(&c->again, &c->waiting);
	list_splice(&c->waiting, &c->again);
	c->state = CORE_RUNS;
}

static void send_kept_locked(struct bd_core *c)
{
	list_for_each(l, &c->kept) {
		struct kept *k = list_entry(l, struct kept, link);

		list_del(&k->sending);
		k->work = (struct work){ .rq = &k->rq, .kind = WORK_KEPT, .record = NO_RECORD };
		list_init(&k->work.link);
	}
	c->kept_next = c->kept.next;
	c->state = CORE_KEPT;
}

void bd_resume(struct bd *dev)
{
	struct bd_core *c = dev->core;
	struct list out = LIST_INIT(out);
	uint64_t give_up = clock_ms() + c->resume_ms;

	mutex_lock(&c->lock);
	assert(c->state == CORE_PAUSED);
	/* Another thread of the transport may be on its way into bd_complete(). */
	while (c->in_flight > 0 && cond_wait_until(&c->idle, &c->lock, give_up))
		;
	if (c->in_flight > 0)
		give_up_locked(c);
	else
		send_kept_locked(c);
	atomic_store(&c->pausing, false);
	c->counts.reconnects++;
	bdc_pump_locked(c, &out);
	mutex_unlock(&c->lock);
	bdc_send(c, &out);
}

uint32_t bd_expire(struct bd *dev, uint64_t now_ms)
{
	struct bd_core *c = dev->core;
	struct list ended = LIST_INIT(ended);
	uint64_t next = UINT32_MAX;

	mutex_lock(&c->lock);
	for (unsigned i = c->active; c->state == CORE_PAUSED && i-- > 0;) {
		struct work *w = c->works[i];
		uint64_t at = w->rq->deadline_ms;

		if (at == 0 || w->out > 0 || w->kind != WORK_CALLER)
			continue;
		if (at <= now_ms)
			bdc_end_locked(c, w, -ETIMEDOUT, &ended);
		else if (at - now_ms < next)
			next = at - now_ms;
	}
	if (!list_empty(&ended))
		bdc_fail_locked(c, -ETIMEDOUT, &ended);
	mutex_unlock(&c->lock);
	bdc_run_ended(c, &ended);
	return (uint32_t)next;
}
