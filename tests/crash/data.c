/* SPDX-License-Identifier: Apache-2.0 */
/* data.c - blocks of the workload that are written without the journal; who has which block */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/block/layers.h"
#include "common/cleanup.h"
#include "tests/crash/workload_impl.h"

enum { DATA_BLOCKS = 6, ONE_IN_ZERO = 8, ONE_IN_DISCARD = 2, TRIM_TRIES = 24 };

/* ---- blocks ----------------------------------------------------------- */

static bool take_locked(struct actor *a, unsigned block, enum role role)
{
	struct ablock *b = &a->r->blocks[block];

	if (block < SHARED || a->nbusy == BUSY_MAX || b->busy || b->role != role)
		return false;
	b->busy = true;
	a->busy[a->nbusy++] = block;
	return true;
}

bool actor_take(struct actor *a, unsigned block, enum role role)
{
	bool mine;

	pthread_mutex_lock(&a->r->lock);
	mine = take_locked(a, block, role);
	pthread_mutex_unlock(&a->r->lock);
	return mine;
}

int actor_pick(struct actor *a, enum role role, uint32_t tid)
{
	unsigned first = (unsigned)rand_below(&a->seq, BASE_BLOCKS);
	int found = -1;

	pthread_mutex_lock(&a->r->lock);
	for (unsigned i = 0; i < BASE_BLOCKS && found < 0; i++) {
		unsigned block = (first + i) % BASE_BLOCKS;

		if (role == FREEING && a->r->blocks[block].freeing_tid != tid)
			continue;
		if (take_locked(a, block, role))
			found = (int)block;
	}
	pthread_mutex_unlock(&a->r->lock);
	return found;
}

void actor_release(struct actor *a)
{
	pthread_mutex_lock(&a->r->lock);
	while (a->nbusy)
		a->r->blocks[a->busy[--a->nbusy]].busy = false;
	pthread_mutex_unlock(&a->r->lock);
}

/* ---- marks ------------------------------------------------------------ */

int run_mark_ack(struct run *r, uint32_t tid)
{
	char text[64];
	uint32_t ord;
	int rc;

	pthread_mutex_lock(&r->lock);
	snprintf(text, sizeof text, "ack %u %u", r->h->mounts, tid);
	ord = history_ord(r->h, tid);
	if (ord > r->acked)
		r->acked = ord;
	pthread_mutex_unlock(&r->lock);
	rc = bd_record_mark(r->dev, text);
	return rc ? run_fail(r, rc, "a mark cannot be written") : 0;
}

static int mark_data(struct run *r, uint32_t batch)
{
	char text[64];
	int rc;

	snprintf(text, sizeof text, "data %u", batch);
	rc = bd_record_mark(r->dev, text);
	if (rc)
		return run_fail(r, rc, "a mark cannot be written");
	pthread_mutex_lock(&r->lock);
	r->batch_acked[batch] = 1;
	pthread_mutex_unlock(&r->lock);
	return 0;
}

/* ---- direct writes ---------------------------------------------------- */

static uint32_t new_batch(struct run *r)
{
	uint32_t batch;

	pthread_mutex_lock(&r->lock);
	if (r->batches == r->batch_cap)
		die("more than %u batches of direct writes", r->batch_cap);
	batch = ++r->batches;
	pthread_mutex_unlock(&r->lock);
	return batch;
}

/* The block that is a's holds what it has to. */
static int verify(struct actor *a, unsigned block)
{
	struct run *r = a->r;
	struct ablock *b = &r->blocks[block];
	AUTO_FREE uint8_t *bytes = xalloc(1, r->block_size);
	uint64_t have[SECTORS_MAX] = { 0 };
	int rc = bd_read(r->dev, bytes, r->block_size,
			 r->conf->base->payload[block] * r->block_size);

	if (rc)
		return run_fail(r, rc, "a direct read fails");
	content_hash(r, bytes, have);
	if (memcmp(have, b->sector, r->block_size / 512 * sizeof *have) != 0)
		return run_fail(r, -EIO, "block %u, written directly, does not hold version %llu",
				block, (unsigned long long)b->version);
	return 0;
}

static int write_one(struct actor *a, unsigned block, uint32_t batch)
{
	struct run *r = a->r;
	struct ablock *b = &r->blocks[block];
	AUTO_FREE uint8_t *bytes = xalloc(1, r->block_size);
	uint64_t off = r->conf->base->payload[block] * r->block_size;
	bool zero = !rand_below(&a->seq, ONE_IN_ZERO);
	struct event e = { .kind = EVENT_DATA, .batch = batch };
	int rc;

	if (!zero) {
		content_fill(a, block, PLAIN, b->version + 1, bytes);
		content_stamp(block, 0, b->version + 1, bytes + STAMP_AT);
	}
	/* Told before it is sent: from now on it may be on the disk. */
	pthread_mutex_lock(&r->lock);
	b->role = DATA;
	e.version = ++b->version;
	history_add(r->h, block, &e, bytes);
	content_hash(r, bytes, b->sector);
	pthread_mutex_unlock(&r->lock);
	rc = zero ? bd_zero(r->dev, off, r->block_size, BD_UNMAP) :
		    bd_write(r->dev, bytes, r->block_size, off, 0);
	return rc ? run_fail(r, rc, "a direct write fails") : 0;
}

/* The transaction that refers to the batch promises it: what was done before is durable with it (J1). */
static void promise(struct actor *a, uint32_t batch, uint32_t tid)
{
	struct run *r = a->r;

	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < BASE_BLOCKS; i++) {
		struct block_history *b = &r->h->blocks[i];

		for (unsigned k = b->n; k-- > 0 && b->events[k].kind == EVENT_DATA;)
			if (b->events[k].batch == batch)
				b->events[k].ord = history_ord(r->h, tid);
	}
	pthread_mutex_unlock(&r->lock);
}

/* The end of a batch: a barrier, or a transaction that refers to it, waited for or not. */
static int settle(struct actor *a, uint32_t batch)
{
	struct run *r = a->r;
	int rc;

	if (rand_below(&a->seq, 2)) {
		rc = jrn_barrier(r->jrn);
		return rc ? run_fail(r, rc, "jrn_barrier() fails") : mark_data(r, batch);
	}
	rc = act_handle(a, 1);
	if (rc)
		return rc;
	promise(a, batch, a->tid);
	return rand_below(&a->seq, 2) ? act_wait(a) : 0;
}

int act_data(struct actor *a)
{
	unsigned n = 1 + (unsigned)rand_below(&a->seq, DATA_BLOCKS), blocks[DATA_BLOCKS], have = 0;
	uint32_t batch = new_batch(a->r);
	int rc = 0;

	for (unsigned i = 0; i < n; i++) {
		enum role role = rand_below(&a->seq, 3) ? FREE : DATA;
		int block = actor_pick(a, role, 0);

		if (block < 0)
			continue;
		rc = role == DATA ? verify(a, (unsigned)block) : 0;
		if (rc)
			goto out;
		blocks[have++] = (unsigned)block;
	}
	for (unsigned i = 0; !rc && i < have; i++)
		rc = write_one(a, blocks[i], batch);
	if (!rc && have)
		rc = settle(a, batch);
out:
	actor_release(a);
	return rc;
}

int act_trim(struct actor *a)
{
	struct run *r = a->r;
	int block = actor_pick(a, FREE, 0), rc = 0;
	uint64_t off;

	/* Until one that was in use; the others stay this thread's meanwhile. */
	while (block >= 0 && !r->blocks[block].untrimmed && a->nbusy < TRIM_TRIES)
		block = actor_pick(a, FREE, 0);
	if (block >= 0 && r->blocks[block].untrimmed) {
		off = r->conf->base->payload[block] * r->block_size;
		rc = rand_below(&a->seq, ONE_IN_DISCARD) ?
			     bd_discard(r->dev, off, r->block_size) :
			     bd_zero(r->dev, off, r->block_size, BD_UNMAP);
		r->blocks[block].untrimmed = false;
	}
	actor_release(a);
	return rc ? run_fail(r, rc, "a discard fails") : 0;
}
