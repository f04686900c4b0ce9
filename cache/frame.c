/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c - frames: found without a lock, pinned, allocated, evicted
 *
 * The index is a hash table of chains through the frames themselves. Frames
 * never move and are never unmapped, so a reader may walk a chain while it
 * changes: it pins what looks right and checks again; whatever it misses, it
 * finds under the file's lock. Only a frame without pins is evicted, and only
 * by who turned its pin word from 0 to PIN_BUSY. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_impl.h"
#include "common/hash.h"
#include "common/stats.h"

#define WALK_MAX 64 /* steps of a lock-free walk; chains are about one long */
#define TRIM_BATCH 256

static uint64_t key_hash(uint64_t file_id, uint64_t fno)
{
	return hash_u64(file_id * 0x9e3779b97f4a7c15ULL + fno);
}

static _Atomic uint32_t *bucket(struct cache *c, uint64_t hash)
{
	return &c->buckets[hash & c->bucket_mask];
}

static struct mutex *shard_lock(struct cache *c, uint64_t hash)
{
	return &c->shards[(hash & c->bucket_mask) % INDEX_SHARDS].lock;
}

int frames_init(struct cache *c, enum policy_kind policy)
{
	uint32_t nbuckets = 64;

	while (nbuckets < c->nframes)
		nbuckets *= 2;
	c->bucket_mask = nbuckets - 1;
	c->buckets = malloc(nbuckets * sizeof *c->buckets);
	c->frames = calloc(c->nframes, sizeof *c->frames);
	c->free_stack = malloc(c->nframes * sizeof *c->free_stack);
	if (!c->buckets || !c->frames || !c->free_stack ||
	    policy_init(&c->policy, policy, c->nframes))
		return -ENOMEM;
	for (uint32_t i = 0; i < nbuckets; i++)
		c->buckets[i] = FRAME_NONE;
	for (uint32_t i = 0; i < c->nframes; i++) {
		c->frames[i].pins = PIN_BUSY;
		list_init(&c->frames[i].dirty_link);
		list_init(&c->frames[i].unstable_link);
		c->free_stack[c->nframes - 1 - i] = i; /* low frames first: huge pages fill up */
	}
	c->nfree = c->nframes;
	for (int i = 0; i < INDEX_SHARDS; i++)
		mutex_init(&c->shards[i].lock, LOCK_index);
	mutex_init(&c->frames_lock, LOCK_frames);
	return 0;
}

void frames_done(struct cache *c)
{
	policy_done(&c->policy);
	free(c->frames);
	free(c->buckets);
	free(c->free_stack);
}

/* ---- pins ---- */

static bool frame_pin(struct frame *fr)
{
	uint32_t p = atomic_load_explicit(&fr->pins, memory_order_relaxed);

	while (!(p & (PIN_BUSY | PIN_DOOMED)))
		if (atomic_compare_exchange_weak_explicit(
			    &fr->pins, &p, p + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

/* The caller holds PIN_BUSY and has it out of index and policy. */
static void frame_free(struct cache *c, uint32_t frame)
{
	struct frame *fr = &c->frames[frame];
	struct cache_file *f = fr->file;
	struct arena_page *pg = page_of(c, frame);

	fr->file = NULL;
	fr->fill = fr->writing = fr->committing = 0;
	pg->inode = 0;
	pg->dirty = pg->unstable = 0;
	mask_store(&pg->valid, 0);
	atomic_store(&fr->pins, PIN_BUSY);
	mutex_lock(&c->frames_lock);
	c->free_stack[c->nfree++] = frame;
	mutex_unlock(&c->frames_lock);
	c->used--;
	f->nframes--; /* last: from here the file may go */
}

static void index_remove(struct cache *c, uint32_t frame)
{
	struct frame *fr = &c->frames[frame];
	uint64_t hash = key_hash(fr->file_id, fr->fno);
	_Atomic uint32_t *link = bucket(c, hash);

	mutex_lock(shard_lock(c, hash));
	while (*link != frame && *link != FRAME_NONE)
		link = &c->frames[*link].hash_next;
	if (*link == frame)
		atomic_store(link, atomic_load(&fr->hash_next));
	mutex_unlock(shard_lock(c, hash));
}

static void doomed_claim(struct cache *c, uint32_t frame)
{
	uint32_t p = PIN_DOOMED;

	if (!atomic_compare_exchange_strong(&c->frames[frame].pins, &p, PIN_DOOMED | PIN_BUSY))
		return;
	mutex_lock(&c->frames_lock);
	policy_unlink(&c->policy, frame);
	mutex_unlock(&c->frames_lock);
	frame_free(c, frame);
	room_wake(c);
}

void frame_unpin(struct cache *c, uint32_t frame)
{
	uint32_t old = atomic_fetch_sub_explicit(&c->frames[frame].pins, 1, memory_order_release);

	assert(old & PIN_COUNT);
	if ((old & PIN_COUNT) != 1)
		return;
	if (old & PIN_DOOMED)
		doomed_claim(c, frame);
	else if (atomic_load_explicit(&c->has_waiters, memory_order_relaxed))
		room_wake(c);
}

void frame_doom(struct cache *c, uint32_t frame)
{
	uint32_t old = atomic_fetch_or(&c->frames[frame].pins, PIN_DOOMED);

	if (old & PIN_BUSY)
		return; /* being evicted: its evictor frees it */
	index_remove(c, frame);
	if (!(old & PIN_COUNT))
		doomed_claim(c, frame);
}

void frame_hit(struct cache *c, uint32_t frame)
{
	const struct policy_ops *ops = c->policy.ops;

	if (ops->moves_on_hit) {
		mutex_lock(&c->frames_lock);
		ops->hit(&c->policy, frame);
		mutex_unlock(&c->frames_lock);
	} else {
		ops->hit(&c->policy, frame);
	}
}

/* ---- finding ---- */

static bool frame_is(const struct frame *fr, uint64_t file_id, uint64_t fno)
{
	return atomic_load_explicit(&fr->file_id, memory_order_relaxed) == file_id &&
	       atomic_load_explicit(&fr->fno, memory_order_relaxed) == fno;
}

/* Pins the frame if it still is what it looked like. */
static bool frame_pin_if(struct cache *c, uint32_t frame, uint64_t file_id, uint64_t fno)
{
	struct frame *fr = &c->frames[frame];

	if (!frame_is(fr, file_id, fno) || !frame_pin(fr))
		return false;
	if (frame_is(fr, file_id, fno))
		return true;
	frame_unpin(c, frame);
	return false;
}

uint32_t frame_find(struct cache_file *f, uint64_t fno)
{
	struct cache *c = f->c;
	uint32_t at = atomic_load_explicit(bucket(c, key_hash(f->id, fno)), memory_order_acquire);

	for (int i = 0; i < WALK_MAX && at != FRAME_NONE; i++) {
		if (frame_pin_if(c, at, f->id, fno))
			return at;
		at = atomic_load_explicit(&c->frames[at].hash_next, memory_order_acquire);
	}
	return FRAME_NONE;
}

uint32_t frame_find_locked(struct cache_file *f, uint64_t fno)
{
	struct cache *c = f->c;
	uint64_t hash = key_hash(f->id, fno);
	uint32_t at;

	if (!atomic_load_explicit(&f->nframes, memory_order_relaxed))
		return FRAME_NONE;
	mutex_lock(shard_lock(c, hash));
	for (at = *bucket(c, hash); at != FRAME_NONE; at = c->frames[at].hash_next)
		if (frame_pin_if(c, at, f->id, fno))
			break;
	mutex_unlock(shard_lock(c, hash));
	return at;
}

struct each {
	void (*fn)(struct cache_file *f, uint32_t frame, void *arg);
	void *arg;
};

void frames_each_locked(struct cache_file *f, uint64_t first,
			void (*fn)(struct cache_file *f, uint32_t frame, void *arg), void *arg)
{
	struct cache *c = f->c;
	uint64_t last = f->fno_max;

	if (!f->nframes)
		return;
	mutex_assert_held(&f->lock);
	/* By page number while that is the shorter way, else over all frames. */
	if (last >= first && last - first < c->nframes / 4) {
		for (uint64_t fno = first; fno <= last; fno++) {
			uint32_t frame = frame_find_locked(f, fno);

			if (frame == FRAME_NONE)
				continue;
			fn(f, frame, arg);
			frame_unpin(c, frame);
		}
		return;
	}
	for (uint32_t i = 0; i < c->nframes; i++) {
		struct frame *fr = &c->frames[i];
		uint64_t fno = fr->fno;

		if (fr->file_id != f->id || fno < first || !frame_pin_if(c, i, f->id, fno))
			continue;
		fn(f, i, arg);
		frame_unpin(c, i);
	}
}

/* ---- allocating ---- */

static bool try_evict(void *arg, uint32_t frame)
{
	struct cache *c = arg;
	uint32_t zero = 0;

	return atomic_compare_exchange_strong(&c->frames[frame].pins, &zero, PIN_BUSY);
}

static uint32_t take_free(struct cache *c)
{
	uint32_t frame = FRAME_NONE;

	mutex_lock(&c->frames_lock);
	if (c->nfree && c->used < c->frames_limit) {
		frame = c->free_stack[--c->nfree];
		c->used++;
	}
	mutex_unlock(&c->frames_lock);
	return frame;
}

/* Evicts one clean frame into the free list. */
static bool evict_one(struct cache *c)
{
	uint32_t frame;

	mutex_lock(&c->frames_lock);
	frame = c->policy.ops->victim(&c->policy, try_evict, c, EVICT_TRIES);
	mutex_unlock(&c->frames_lock);
	if (frame == POLICY_NONE)
		return false;
	index_remove(c, frame);
	c->frames[frame].file_id = 0;
	frame_free(c, frame);
	stats_inc(STAT_cache_evictions);
	return true;
}

uint32_t frame_alloc_locked(struct cache_file *f, uint64_t fno, bool unproven)
{
	struct cache *c = f->c;
	uint64_t hash = key_hash(f->id, fno);
	uint32_t frame = take_free(c);
	struct frame *fr;

	while (frame == FRAME_NONE) {
		if (!evict_one(c))
			return FRAME_NONE;
		frame = take_free(c);
	}
	if (!f->nframes || fno > f->fno_max)
		f->fno_max = fno;
	fr = &c->frames[frame];
	fr->file = f;
	f->nframes++;
	page_of(c, frame)->fno = fno;
	page_of(c, frame)->cred = 0;
	page_of(c, frame)->inode = (uint32_t)f->owner;
	fr->fno = fno;
	fr->file_id = f->id;
	c->policy.node[frame].key = hash;
	mutex_lock(&c->frames_lock);
	c->policy.ops->insert(&c->policy, frame, unproven);
	mutex_unlock(&c->frames_lock);
	atomic_store_explicit(&fr->pins, 1, memory_order_release);
	mutex_lock(shard_lock(c, hash));
	fr->hash_next = atomic_load(bucket(c, hash));
	atomic_store_explicit(bucket(c, hash), frame, memory_order_release);
	mutex_unlock(shard_lock(c, hash));
	return frame;
}

void frames_trim(struct cache *c)
{
	while (c->used > c->frames_limit && evict_one(c))
		;
	mutex_lock(&c->frames_lock);
	for (uint32_t i = 0; i < c->nfree; i++) {
		arena_release_frames(c->arena, c->free_stack[i], 1);
		c->frames[c->free_stack[i]].backed = 0;
	}
	mutex_unlock(&c->frames_lock);
}

/* ---- states ---- */

enum page_state page_state(struct cache *c, uint32_t frame)
{
	const struct frame *fr = &c->frames[frame];
	const struct arena_page *pg = page_of(c, frame);

	if (fr->writing)
		return PAGE_WRITING;
	if (pg->dirty)
		return PAGE_DIRTY;
	if (fr->fill)
		return PAGE_FILLING;
	if (pg->unstable || fr->committing)
		return PAGE_UNSTABLE;
	return pg->valid ? PAGE_CLEAN : PAGE_EMPTY;
}

void page_check(struct cache *c, uint32_t frame)
{
#ifdef PERSIFS_DEBUG
	const struct frame *fr = &c->frames[frame];
	const struct arena_page *pg = page_of(c, frame);
	uint64_t owed = pg->dirty | pg->unstable | fr->writing | fr->committing;

	assert(!(owed & ~pg->valid));                         /* I1 */
	assert(!(fr->fill & pg->valid));                      /* I2 */
	assert(!(owed | fr->fill) || (fr->pins & PIN_COUNT)); /* I3 */
	assert(fr->held == (owed != 0));
	assert(list_empty(&fr->dirty_link) == (pg->dirty == 0));
	assert(fr->pins & PIN_DOOMED ||
	       (fr->file_id == fr->file->id && pg->fno == fr->fno)); /* I5 */
#else
	(void)c;
	(void)frame;
#endif
}
