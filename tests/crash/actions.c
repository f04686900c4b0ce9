/* SPDX-License-Identifier: Apache-2.0 */
/* actions.c - handles of the workload */
#include <errno.h>
#include <string.h>

#include "tests/crash/workload_impl.h"

enum { EXTEND_BY = 4, EXTRA_CREDITS = 2 };

struct handle {
	struct actor *a;
	struct txn t;
	unsigned ends; /* times that it had to end and begin again */
};

static int handle_begin(struct handle *h, struct actor *a, unsigned credits)
{
	struct run *r = a->r;
	bool back;
	int rc;

	h->a = a;
	rc = txn_begin(r->jrn, credits, &h->t);
	if (rc)
		return run_fail(r, rc, "txn_begin() of %u credits fails", credits);
	pthread_mutex_lock(&r->lock);
	back = !r->any_now && r->any_before && (int32_t)(h->t.tid - r->before) <= 0;
	history_ord(r->h, h->t.tid);
	r->any_now = true;
	pthread_mutex_unlock(&r->lock);
	if (back)
		run_complain(r, -ERANGE, "the mount begins with transaction %u, and %u was before",
			     h->t.tid, r->before);
	return 0;
}

static void handle_end(struct handle *h)
{
	h->a->tid = txn_end(&h->t);
	h->a->any = true;
}

/* Makes sure of a credit. */
static int handle_more(struct handle *h)
{
	int rc;

	if (h->t.credits)
		return 0;
	rc = txn_extend(&h->t, EXTEND_BY);
	if (rc != -EAGAIN)
		return rc ? run_fail(h->a->r, rc, "txn_extend() fails") : 0;
	handle_end(h);
	h->ends++;
	return handle_begin(h, h->a, EXTEND_BY);
}

/* ---- changing a block ------------------------------------------------- */

static int verify(struct run *r, unsigned block, const struct buf *b)
{
	uint64_t have[SECTORS_MAX];
	const struct ablock *ab = &r->blocks[block];

	content_hash(r, b->data, have);
	if (!memcmp(have, ab->sector, r->block_size / 512 * sizeof *have))
		return 0;
	return run_fail(r, -EIO, "block %u in memory is not version %llu (F1)", block,
			(unsigned long long)ab->version);
}

/* A part of the block, or all of it; the stamp in any case. */
static void scribble(struct handle *h, unsigned block, struct buf *b, bool whole,
		     enum flavour flavour, uint64_t version)
{
	struct actor *a = h->a;
	unsigned size = a->r->block_size;
	unsigned off = STAMP_AT + STAMP_BYTES, len = size - off;

	if (whole) {
		content_fill(a, block, flavour, version, buf_change(&h->t, b, 0, size));
	} else {
		uint8_t *to;

		off += (unsigned)rand_below(&a->seq, len);
		len = 1 + (unsigned)rand_below(&a->seq, size - off);
		to = buf_change(&h->t, b, off, len);
		for (unsigned i = 0; i < len; i++)
			to[i] = (uint8_t)rand_below(&a->seq, 256);
	}
	content_stamp(block, h->t.tid, version, buf_change(&h->t, b, STAMP_AT, STAMP_BYTES));
}

static int change(struct handle *h, unsigned block, enum flavour flavour)
{
	struct run *r = h->a->r;
	struct ablock *ab = &r->blocks[block];
	const struct buf_owner owner = { .type = BUF_PLAIN };
	struct event e = { .kind = EVENT_META };
	bool fresh;
	struct buf *b;
	int rc = handle_more(h);

	if (rc)
		return rc;
	pthread_mutex_lock(&r->lock);
	fresh = ab->role != META && block >= SHARED;
	pthread_mutex_unlock(&r->lock);
	rc = fresh ? buf_get_new(r->bufs, r->conf->base->payload[block], owner, &b) :
		     buf_get(r->bufs, r->conf->base->payload[block], owner, &b);
	if (rc)
		return run_fail(r, rc, "%s of block %u fails",
				fresh ? "buf_get_new()" : "buf_get()", block);
	buf_lock(b);
	/* Shared blocks hold nothing of ours before their first use. */
	if (ab->role == META)
		rc = verify(r, block, b);
	if (!rc) {
		scribble(h, block, b, fresh || flavour != PLAIN || rand_below(&h->a->seq, 2),
			 flavour, ab->version + 1);
		pthread_mutex_lock(&r->lock);
		e.version = ++ab->version;
		e.ord = history_ord(r->h, h->t.tid);
		ab->role = META;
		content_hash(r, b->data, ab->sector);
		history_add(r->h, block, &e, b->data);
		pthread_mutex_unlock(&r->lock);
	}
	buf_unlock(b);
	buf_put(b);
	return rc;
}

static int release(struct handle *h, unsigned block, bool logged)
{
	struct run *r = h->a->r;
	struct ablock *ab = &r->blocks[block];
	struct event e = { .kind = EVENT_FREE };
	int rc = handle_more(h);

	if (rc)
		return rc;
	if (logged)
		txn_forget(&h->t, r->conf->base->payload[block]);
	pthread_mutex_lock(&r->lock);
	ab->role = FREEING;
	ab->freeing_tid = h->t.tid;
	ab->untrimmed = true;
	e.version = ab->version;
	e.ord = history_ord(r->h, h->t.tid);
	history_add(r->h, block, &e, NULL);
	pthread_mutex_unlock(&r->lock);
	return 0;
}

static enum flavour some_flavour(struct actor *a)
{
	return rand_below(&a->seq, 4) ? PLAIN : MAGIC;
}

/* Frees a logged block; now and then it is logged again in the same handle (J3). */
static int free_logged(struct handle *h)
{
	int block = actor_pick(h->a, META, 0), rc;

	if (block < 0)
		return 0;
	rc = release(h, (unsigned)block, true);
	if (!rc && !rand_below(&h->a->seq, 4))
		rc = change(h, (unsigned)block, some_flavour(h->a));
	return rc;
}

static int some_change(struct handle *h)
{
	struct actor *a = h->a;
	unsigned dice = (unsigned)rand_below(&a->seq, 100);
	int block = -1;

	/* The more blocks are logged, the larger a transaction grows. */
	if (a->r->style == GREEDY && dice >= 15 && dice < 54)
		dice = 54 + dice % 2 * 30;
	if (dice < 15)
		return change(h, (unsigned)rand_below(&a->seq, SHARED), some_flavour(a));
	if (dice < 40)
		return free_logged(h);
	if (dice < 47) {
		block = actor_pick(a, DATA, 0);
		return block < 0 ? 0 : release(h, (unsigned)block, false);
	}
	if (dice < 54)
		block = actor_pick(a, FREEING, h->t.tid);
	if (block < 0)
		block = actor_pick(a, dice < 75 ? META : FREE, 0);
	return block < 0 ? 0 : change(h, (unsigned)block, some_flavour(a));
}

int act_handle(struct actor *a, unsigned blocks)
{
	struct handle h = { 0 };
	unsigned credits = rand_below(&a->seq, 4) ? blocks + EXTRA_CREDITS : 1;
	unsigned held = a->nbusy;
	int rc = handle_begin(&h, a, credits);

	if (rc)
		return rc;
	/* One change for certain: a transaction without any need not be written. */
	rc = change(&h, (unsigned)rand_below(&a->seq, SHARED), some_flavour(a));
	for (unsigned i = 1; !rc && i < blocks; i++)
		rc = some_change(&h);
	handle_end(&h);
	/* What the caller had stays his. */
	pthread_mutex_lock(&a->r->lock);
	while (a->nbusy > held)
		a->r->blocks[a->busy[--a->nbusy]].busy = false;
	pthread_mutex_unlock(&a->r->lock);
	return rc;
}

/* The block is a's, logged or to be logged. */
static bool take_any(struct actor *a, unsigned block)
{
	return actor_take(a, block, META) || actor_take(a, block, FREE);
}

int act_forge(struct actor *a, unsigned blocks)
{
	static const enum flavour pattern[] = { FORGED_DESCRIPTOR, FORGED_COMMIT, FORGED_COMMIT };
	unsigned first = SHARED + (unsigned)rand_below(&a->seq, BASE_BLOCKS - SHARED - blocks);
	struct handle h = { 0 };
	unsigned n = 0;
	int rc = handle_begin(&h, a, blocks + EXTRA_CREDITS);

	if (rc)
		return rc;
	a->forged = content_sequence(a);
	for (unsigned i = 0; !rc && n < blocks && first + i < BASE_BLOCKS; i++)
		if (take_any(a, first + i))
			rc = change(&h, first + i, pattern[n++ % 3]);
	if (!rc && !n)
		rc = change(&h, 0, MAGIC);
	handle_end(&h);
	actor_release(a);
	return rc;
}

int act_wait(struct actor *a)
{
	int rc;

	if (!a->any)
		return 0;
	rc = jrn_wait(a->r->jrn, a->tid);
	if (rc)
		return run_fail(a->r, rc, "jrn_wait() fails");
	return run_mark_ack(a->r, a->tid);
}
