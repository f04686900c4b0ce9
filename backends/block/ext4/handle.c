/* SPDX-License-Identifier: Apache-2.0 */
/* handle.c - handles of the running transaction: credits, changes, revokes; see journal.h
 *
 * Room is counted when a handle begins, for the worst that it may do: so a transaction that is sealed always fits its
 * part of the log, and nobody waits for room with a handle open. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jrn_impl.h"
#include "backends/block/ext4/mutant.h"
#include "common/clock.h"
#include "common/log.h"

/* Some bytes that a handle changed. */
struct txn_range {
	struct buf *buf; /* held */
	uint32_t off, len;
};

void run_init(struct running *r, uint32_t tid)
{
	*r = (struct running){ .tid = tid };
	list_init(&r->dirty);
	list_init(&r->revokes);
	for (unsigned i = 0; i < JRN_REVOKE_BUCKETS; i++)
		list_init(&r->revoke_table[i]);
}

bool run_room_locked(const struct jrn *j, unsigned credits)
{
	return (uint64_t)j->run.reserved + credits + j->pack_credits <= j->credits_max;
}

/* ---- begin and end ----------------------------------------------------------- */

/* What pack() wants is less after a commit; when there is nothing to commit, it stays in the way. */
static bool too_many_locked(const struct jrn *j, unsigned credits)
{
	bool empty = !j->sealing && !j->run.handles && !j->run.reserved;

	return credits > j->credits_max ||
	       (empty && (uint64_t)credits + j->pack_credits > j->credits_max);
}

int txn_begin(struct jrn *j, unsigned credits, struct txn *out)
{
	int rc;

	mutex_lock(&j->lock);
	for (;;) {
		rc = j->error;
		if (!rc && too_many_locked(j, credits))
			rc = -ENOSPC;
		if (rc || (!j->sealing && run_room_locked(j, credits)))
			break;
		if (!j->sealing) {
			j->commit_wanted = true;
			cond_signal(&j->commit_work);
		}
		cond_wait(&j->room, &j->lock);
	}
	if (!rc) {
		j->run.handles++;
		j->run.reserved += credits;
		if (!j->run.since_ms) {
			j->run.since_ms = clock_ms();
			cond_signal(&j->commit_work); /* it has a deadline now */
		}
		*out = (struct txn){ .j = j, .tid = j->run.tid, .credits = credits };
	}
	mutex_unlock(&j->lock);
	return rc;
}

int txn_extend(struct txn *t, unsigned credits)
{
	struct jrn *j = t->j;
	int rc;

	mutex_lock(&j->lock);
	rc = j->error;
	if (!rc && !run_room_locked(j, credits))
		rc = -EAGAIN;
	if (!rc) {
		j->run.reserved += credits;
		t->credits += credits;
	}
	mutex_unlock(&j->lock);
	return rc;
}

/* The bytes are read under the buffer's lock, which the caller may still have. */
static void redo(struct txn *t)
{
	struct jrn *j = t->j;

	for (unsigned i = 0; i < t->nranges; i++) {
		const struct txn_range *r = &t->ranges[i];
		bool own = pthread_rwlock_rdlock(&r->buf->lock) == EDEADLK;

		/* Another handle may have freed the block meanwhile: what was in it is nobody's. */
		if (!buf_is_gone(r->buf))
			j->client->redo(j->client_arg, t->tid, r->buf->block, r->off, r->len,
					r->buf->data + r->off);
		if (!own)
			buf_unlock(r->buf);
		buf_put(r->buf);
	}
}

uint32_t txn_end(struct txn *t)
{
	struct jrn *j = t->j;

	redo(t);
	free(t->ranges);
	t->ranges = NULL;
	t->nranges = t->cap = 0;
	mutex_lock(&j->lock);
	assert(t->tid == j->run.tid && j->run.handles);
	j->run.reserved -= t->credits;
	if (!--j->run.handles && j->sealing)
		cond_signal(&j->quiet);
	mutex_unlock(&j->lock);
	t->j = NULL;
	return t->tid;
}

int jrn_set_pack_credits(struct jrn *j, unsigned credits)
{
	int rc = 0;

	mutex_lock(&j->lock);
	if (credits > j->pack_credits && (uint64_t)j->run.reserved + credits > j->credits_max) {
		j->commit_wanted = true;
		cond_signal(&j->commit_work);
		rc = -EAGAIN;
	} else {
		j->pack_credits = credits;
	}
	mutex_unlock(&j->lock);
	return rc;
}

static void charge(struct txn *t)
{
	if (t->credits) {
		t->credits--;
		return;
	}
	log_error("journal: transaction %u: a handle has no credits left", t->tid);
	abort();
}

/* ---- revokes ------------------------------------------------------------------- */

static struct list *revoke_bucket(struct running *r, uint64_t block)
{
	return &r->revoke_table[(block * 0x9e3779b97f4a7c15ull >> 40) % JRN_REVOKE_BUCKETS];
}

struct jrn_revoke *run_revoke_find(struct running *r, uint64_t block)
{
	list_for_each(l, revoke_bucket(r, block)) {
		struct jrn_revoke *v = list_entry(l, struct jrn_revoke, bucket);

		if (v->block == block)
			return v;
	}
	return NULL;
}

void run_revoke_drop(struct running *r, struct jrn_revoke *v)
{
	list_del(&v->bucket);
	list_del(&v->link);
	r->nrevokes--;
	free(v);
}

/* A block each JRN_REVOKES_PER_CREDIT, whichever handles they are of: a handle that counted its own so has enough. */
static int revoke_locked(struct txn *t, uint64_t block)
{
	struct running *r = &t->j->run;
	struct jrn_revoke *v = malloc(sizeof *v);

	if (!v)
		return -ENOMEM;
	v->block = block;
	if (r->nrevokes == r->revokes_charged) {
		charge(t);
		r->revokes_charged += JRN_REVOKES_PER_CREDIT;
	}
	r->nrevokes++;
	list_push_back(&r->revokes, &v->link);
	list_push_front(revoke_bucket(r, block), &v->bucket);
	return 0;
}

/* Out of the transaction; its credit is free again for others. */
static void undirty_locked(struct jrn *j, struct buf *b)
{
	list_del(&b->txn_link);
	b->dirty = false;
	j->run.nblocks--;
	j->run.reserved--;
}

static void ranges_forget(struct txn *t, uint64_t block)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->nranges; i++) {
		if (t->ranges[i].buf->block != block)
			t->ranges[kept++] = t->ranges[i];
		else
			buf_put(t->ranges[i].buf);
	}
	t->nranges = kept;
}

void txn_forget(struct txn *t, uint64_t block)
{
	struct jrn *j = t->j;
	struct buf *b;
	bool was_dirty = false;
	int rc = 0;

	ranges_forget(t, block);
	mutex_lock(&j->lock);
	b = bufs_detach(j->bufs, block);
	if (b && b->dirty) {
		undirty_locked(j, b);
		was_dirty = true;
	}
	/* J3: until the tail has passed it, an image of the block is found. */
	if (!MUTANT(revoke_forgotten) && !run_revoke_find(&j->run, block) &&
	    image_exists(j->bufs, block))
		rc = revoke_locked(t, block);
	mutex_unlock(&j->lock);
	if (rc)
		jrn_fail(j, rc, "no memory for a revoke");
	if (was_dirty) /* the transaction's hold */
		buf_put(b);
	buf_put(b);
}

/* ---- changes --------------------------------------------------------------------- */

static void dirty(struct txn *t, struct buf *b)
{
	struct jrn *j = t->j;
	struct jrn_revoke *v;

	charge(t);
	b->fresh = false;
	buf_hold(b);
	mutex_lock(&j->lock);
	assert(t->tid == j->run.tid);
	v = run_revoke_find(&j->run, b->block);
	if (v && !MUTANT(revoke_not_cancelled))
		run_revoke_drop(&j->run, v);
	b->dirty = true;
	list_push_back(&j->run.dirty, &b->txn_link);
	j->run.nblocks++;
	mutex_unlock(&j->lock);
}

static void range_add(struct txn *t, struct buf *b, uint32_t off, uint32_t len)
{
	struct txn_range *last = t->nranges ? &t->ranges[t->nranges - 1] : NULL;

	if (last && last->buf == b && off == last->off + last->len) {
		last->len += len;
		return;
	}
	if (t->nranges == t->cap) {
		unsigned cap = t->cap ? 2 * t->cap : 16;
		struct txn_range *more = realloc(t->ranges, cap * sizeof *more);

		if (!more) {
			jrn_fail(t->j, -ENOMEM, "no memory for what a handle changed");
			return;
		}
		t->ranges = more;
		t->cap = cap;
	}
	assert(t->ranges);
	buf_hold(b);
	t->ranges[t->nranges++] = (struct txn_range){ .buf = b, .off = off, .len = len };
}

/* dirty changes only here, under the buffer's lock, and in seals, when no handle is open. */
uint8_t *buf_change(struct txn *t, struct buf *b, size_t off, size_t len)
{
	struct jrn *j = t->j;

	assert(off <= j->super.block_size && len <= j->super.block_size - off);
	if (!b->dirty)
		dirty(t, b);
	if (j->client && j->client->redo)
		range_add(t, b, (uint32_t)off, (uint32_t)len);
	return b->data + off;
}
