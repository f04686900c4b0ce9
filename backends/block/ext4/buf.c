/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c - see buf.h
 *
 * A buffer is in the table from its first get on; whoever comes while it is read waits. Dirty ones are held by their
 * transaction, so what is on the LRU list is clean: its bytes are at home or in an image. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/buf_impl.h"
#include "backends/block/ext4/jbd2.h"
#include "common/cleanup.h"

enum {
	TABLE_MIN = 64, /* powers of two */
	TABLE_MAX = 1 << 18,
	IMAGES_MAX = 1 << 16,
	ALIGN_MIN = 64,
};

static size_t bucket_of(uint64_t block, size_t mask)
{
	return (size_t)(block * 0x9e3779b97f4a7c15ull >> 20) & mask;
}

static struct list *table_new(size_t n)
{
	struct list *t = malloc(n * sizeof *t);

	for (size_t i = 0; t && i < n; i++)
		list_init(&t[i]);
	return t;
}

static size_t table_size(uint64_t wanted, size_t most)
{
	size_t n = TABLE_MIN;

	while (n < wanted && n < most)
		n *= 2;
	return n;
}

void *bufs_memory(const struct bufs *bs, size_t bytes)
{
	void *p = NULL;

	return posix_memalign(&p, bs->align, bytes) ? NULL : p;
}

int bufs_new(const struct bufs_conf *conf, struct bufs **out)
{
	struct bufs *bs = calloc(1, sizeof *bs);
	size_t n = table_size(conf->memory / conf->block_size, TABLE_MAX);

	if (!bs)
		return -ENOMEM;
	bs->conf = *conf;
	bs->align = ALIGN_MIN;
	if (conf->dev->limits.align > bs->align)
		bs->align = conf->dev->limits.align;
	bs->table = table_new(n);
	if (!bs->table) {
		free(bs);
		return -ENOMEM;
	}
	bs->mask = n - 1;
	mutex_init(&bs->lock, LOCK_bufs);
	mutex_init(&bs->image_lock, LOCK_jrn_image);
	cond_init(&bs->read);
	list_init(&bs->lru);
	*out = bs;
	return 0;
}

static void buf_free(struct buf *b)
{
	pthread_rwlock_destroy(&b->lock);
	free(b->data);
	free(b);
}

void bufs_free(struct bufs *bs)
{
	struct list *l;

	if (!bs)
		return;
	assert(!bs->images);
	assert(!bs->held);
	while ((l = list_pop(&bs->lru)))
		buf_free(list_entry(l, struct buf, lru));
	cond_done(&bs->read);
	mutex_done(&bs->image_lock);
	mutex_done(&bs->lock);
	free(bs->table);
	free(bs);
}

static struct buf *buf_new(struct bufs *bs, uint64_t block)
{
	struct buf *b = calloc(1, sizeof *b);
	pthread_rwlockattr_t attr;

	if (!b)
		return NULL;
	b->data = bufs_memory(bs, bs->conf.block_size);
	if (!b->data) {
		free(b);
		return NULL;
	}
	b->block = block;
	b->bufs = bs;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&b->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	list_init(&b->lru);
	list_init(&b->hash);
	list_init(&b->txn_link);
	return b;
}

/* ---- the table ------------------------------------------------------------- */

static struct buf *find_locked(struct bufs *bs, uint64_t block)
{
	struct list *bucket = &bs->table[bucket_of(block, bs->mask)];

	mutex_assert_held(&bs->lock);
	list_for_each(l, bucket) {
		struct buf *b = list_entry(l, struct buf, hash);

		if (b->block == block)
			return b;
	}
	return NULL;
}

static void own(struct buf *b, struct buf_owner owner)
{
	b->type = owner.type;
	b->owner_ino = owner.ino;
	b->owner_gen = owner.gen;
}

static void hold_locked(struct buf *b, struct buf_owner owner)
{
	struct bufs *bs = b->bufs;

	if (!b->refs++) {
		bs->held++;
		if (!list_empty(&b->lru)) {
			list_del(&b->lru);
			bs->clean_bytes -= bs->conf.block_size;
		}
		own(b, owner);
	}
}

static void insert_locked(struct bufs *bs, struct buf *b, struct buf_owner owner)
{
	list_push_front(&bs->table[bucket_of(b->block, bs->mask)], &b->hash);
	hold_locked(b, owner);
}

static void evict_locked(struct bufs *bs)
{
	while (bs->clean_bytes > bs->conf.memory) {
		struct buf *b = list_entry(list_pop(&bs->lru), struct buf, lru);

		assert(!b->refs && !b->dirty);
		list_del(&b->hash);
		bs->clean_bytes -= bs->conf.block_size;
		bs->evictions++;
		buf_free(b);
	}
}

static void put_locked(struct buf *b)
{
	struct bufs *bs = b->bufs;

	assert(b->refs);
	if (--b->refs)
		return;
	bs->held--;
	assert(!b->dirty);
	if (b->gone || b->fresh || b->error) {
		list_del(&b->hash);
		buf_free(b);
		return;
	}
	list_push_back(&bs->lru, &b->lru);
	bs->clean_bytes += bs->conf.block_size;
	evict_locked(bs);
}

void buf_hold(struct buf *b)
{
	mutex_lock(&b->bufs->lock);
	assert(b->refs);
	b->refs++;
	mutex_unlock(&b->bufs->lock);
}

bool buf_is_gone(struct buf *b)
{
	bool gone;

	mutex_lock(&b->bufs->lock);
	gone = b->gone;
	mutex_unlock(&b->bufs->lock);
	return gone;
}

struct buf *bufs_detach(struct bufs *bs, uint64_t block)
{
	struct buf *b;

	mutex_lock(&bs->lock);
	b = find_locked(bs, block);
	if (b) {
		list_del(&b->hash);
		b->gone = true;
		if (b->refs) {
			b->refs++;
		} else {
			list_del(&b->lru);
			bs->clean_bytes -= bs->conf.block_size;
			buf_free(b);
			b = NULL;
		}
	}
	mutex_unlock(&bs->lock);
	return b;
}

bool bufs_drop_unheld(struct bufs *bs, uint64_t block)
{
	struct buf *b;
	bool held;

	mutex_lock(&bs->lock);
	b = find_locked(bs, block);
	held = b && b->refs;
	if (b && !held) {
		list_del(&b->hash);
		list_del(&b->lru);
		bs->clean_bytes -= bs->conf.block_size;
		buf_free(b);
	}
	mutex_unlock(&bs->lock);
	return !held;
}

bool bufs_drop(struct bufs *bs, uint64_t block)
{
	struct buf *b = bufs_detach(bs, block);

	buf_put(b);
	return !b;
}

/* ---- images ------------------------------------------------------------------ */

int images_init(struct bufs *bs, uint32_t log_blocks)
{
	size_t n = table_size(log_blocks, IMAGES_MAX);
	struct list *t = table_new(n);
	int rc = 0;

	if (!t)
		return -ENOMEM;
	mutex_lock(&bs->image_lock);
	if (bs->images) {
		rc = -EBUSY;
	} else {
		bs->images = t;
		bs->image_mask = n - 1;
	}
	mutex_unlock(&bs->image_lock);
	if (rc)
		free(t);
	return rc;
}

void images_done(struct bufs *bs)
{
	mutex_lock(&bs->image_lock);
	free(bs->images);
	bs->images = NULL;
	mutex_unlock(&bs->image_lock);
}

struct list *image_bucket_locked(struct bufs *bs, uint64_t block)
{
	mutex_assert_held(&bs->image_lock);
	return &bs->images[bucket_of(block, bs->image_mask)];
}

void image_insert_locked(struct bufs *bs, struct jrn_image *im)
{
	list_push_front(image_bucket_locked(bs, im->block), &im->bucket);
}

void image_remove_locked(struct jrn_image *im)
{
	list_del(&im->bucket);
}

static struct jrn_image *newest_locked(struct bufs *bs, uint64_t block)
{
	if (!bs->images)
		return NULL;
	list_for_each(l, image_bucket_locked(bs, block)) {
		struct jrn_image *im = list_entry(l, struct jrn_image, bucket);

		if (im->block == block)
			return im;
	}
	return NULL;
}

bool image_exists(struct bufs *bs, uint64_t block)
{
	bool found;

	mutex_lock(&bs->image_lock);
	found = newest_locked(bs, block);
	mutex_unlock(&bs->image_lock);
	return found;
}

/* When the newest image has gone home, so have, or are void, all older ones. */
static bool image_copy(struct bufs *bs, uint64_t block, uint8_t *to)
{
	const struct jrn_image *im;
	bool live;

	mutex_lock(&bs->image_lock);
	im = newest_locked(bs, block);
	live = im && im->data;
	if (live) {
		memcpy(to, im->data, bs->conf.block_size);
		if (im->escaped) {
			uint32_t magic = htobe32(JBD2_MAGIC);

			memcpy(to, &magic, sizeof magic);
		}
	}
	mutex_unlock(&bs->image_lock);
	return live;
}

/* ---- getting ------------------------------------------------------------------- */

static int fill(struct bufs *bs, struct buf *b)
{
	size_t bytes = bs->conf.block_size;
	int rc;

	if (image_copy(bs, b->block, b->data))
		return 0;
	rc = bd_read(bs->conf.dev, b->data, bytes, b->block * bytes);
	if (!rc && bs->conf.check)
		rc = bs->conf.check(bs->conf.arg, b);
	return rc;
}

/* b was put into the table by the caller, who holds it. */
static int read_in(struct bufs *bs, struct buf *b)
{
	int rc;

	buf_lock(b);
	rc = fill(bs, b);
	buf_unlock(b);
	mutex_lock(&bs->lock);
	bs->reads++;
	if (rc) {
		list_del(&b->hash);
		b->error = rc;
	} else {
		b->valid = true;
	}
	cond_broadcast(&bs->read);
	if (rc)
		put_locked(b);
	mutex_unlock(&bs->lock);
	return rc;
}

/* Waits until b, held by the caller, was read by whoever put it into the table; gives it up if that failed. */
static int wait_read_locked(struct bufs *bs, struct buf *b)
{
	int rc;

	while (!b->valid && !b->error)
		cond_wait(&bs->read, &bs->lock);
	rc = b->error;
	if (rc)
		put_locked(b);
	else
		bs->hits++;
	return rc;
}

/* 1: block is not in the table. */
static int join_locked(struct bufs *bs, uint64_t block, struct buf_owner owner, struct buf **out)
{
	struct buf *b = find_locked(bs, block);
	int rc;

	if (!b)
		return 1;
	hold_locked(b, owner);
	rc = wait_read_locked(bs, b);
	if (!rc)
		*out = b;
	return rc;
}

int buf_get(struct bufs *bs, uint64_t block, struct buf_owner owner, struct buf **out)
{
	struct buf *b = NULL;
	int rc;

	if (block >= bs->conf.blocks)
		return -EINVAL;
	mutex_lock(&bs->lock);
	rc = join_locked(bs, block, owner, out);
	mutex_unlock(&bs->lock);
	if (rc <= 0)
		return rc;
	b = buf_new(bs, block);
	if (!b)
		return -ENOMEM;
	mutex_lock(&bs->lock);
	rc = join_locked(bs, block, owner, out); /* another one was quicker */
	if (rc > 0)
		insert_locked(bs, b, owner);
	mutex_unlock(&bs->lock);
	if (rc <= 0) {
		buf_free(b);
		return rc;
	}
	rc = read_in(bs, b);
	if (!rc)
		*out = b;
	return rc;
}

int buf_get_new(struct bufs *bs, uint64_t block, struct buf_owner owner, struct buf **out)
{
	struct buf *b = NULL, *old;
	int rc = 0;

	if (block >= bs->conf.blocks)
		return -EINVAL;
	b = buf_new(bs, block);
	if (!b)
		return -ENOMEM;
	memset(b->data, 0, bs->conf.block_size);
	b->valid = b->fresh = true;
	mutex_lock(&bs->lock);
	old = find_locked(bs, block);
	if (old && old->refs) {
		rc = -EBUSY;
	} else {
		if (old) { /* of the block's former life */
			list_del(&old->hash);
			list_del(&old->lru);
			bs->clean_bytes -= bs->conf.block_size;
			buf_free(old);
		}
		insert_locked(bs, b, owner);
	}
	mutex_unlock(&bs->lock);
	if (rc)
		buf_free(b);
	else
		*out = b;
	return rc;
}

void buf_put(struct buf *b)
{
	struct bufs *bs;

	if (!b)
		return;
	bs = b->bufs; /* b may be freed under the lock */
	mutex_lock(&bs->lock);
	put_locked(b);
	mutex_unlock(&bs->lock);
}

void buf_lock(struct buf *b)
{
	int rc = pthread_rwlock_wrlock(&b->lock);

	assert(!rc);
}

void buf_lock_shared(struct buf *b)
{
	int rc = pthread_rwlock_rdlock(&b->lock);

	assert(!rc);
}

void buf_unlock(struct buf *b)
{
	pthread_rwlock_unlock(&b->lock);
}

void bufs_counts(struct bufs *bs, struct bufs_counts *out)
{
	mutex_lock(&bs->lock);
	*out = (struct bufs_counts){
		.hits = bs->hits,
		.reads = bs->reads,
		.evictions = bs->evictions,
		.bytes = bs->clean_bytes + bs->held * bs->conf.block_size,
		.held = bs->held,
	};
	mutex_unlock(&bs->lock);
}
