/* SPDX-License-Identifier: Apache-2.0 */
/* range.c - when the backend changes a file's size or bytes below the cache
 *
 *   cache_freeze()   readers and writers begin to wait; what is in flight ends
 *   ... the backend truncates, punches, copies ...
 *   cache_set_size() / cache_forget_range()
 *   cache_thaw()     those who wait go on
 *
 * One freeze at a time a file; a second one waits for the first to thaw. */
#include <errno.h>
#include <string.h>

#include "cache/cache_impl.h"
#include "common/tsan.h"

static bool in_flight(const struct cache_file *f)
{
	return f->fills || file_writes(f) || f->commits;
}

/* *mine: it is frozen, and by us, though perhaps not yet at rest. */
static int freeze_locked(struct cache_file *f, bool nowait, bool *mine)
{
	int rc = 0;

	*mine = false;
	while (f->frozen && !rc)
		rc = nowait ? -EAGAIN : file_wait_locked(f);
	if (rc)
		return rc;
	*mine = true;
	f->frozen = 1;
	while (in_flight(f) && !rc)
		rc = nowait ? -EAGAIN : file_wait_locked(f);
	return rc;
}

int cache_freeze(struct cache_file *f, bool flush, bool nowait)
{
	bool mine;
	int rc = 0;

	file_get(f);
	for (;;) {
		if (flush)
			rc = cache_flush(f, nowait);
		if (rc)
			break;
		mutex_lock(&f->lock);
		rc = freeze_locked(f, nowait, &mine);
		if (!rc && (!flush || !f->dirty_units || f->discard)) {
			mutex_unlock(&f->lock);
			return 0; /* the reference goes with the thaw */
		}
		mutex_unlock(&f->lock);
		/* Not to be had, or written to meanwhile: let go, and once more. */
		if (mine) {
			file_get(f);
			cache_thaw(f);
		}
		if (rc)
			break;
	}
	file_put(f);
	return rc;
}

void cache_thaw(struct cache_file *f)
{
	struct list woken = LIST_INIT(woken);

	mutex_lock(&f->lock);
	f->frozen = 0;
	waiters_take_locked(f, FRAME_NONE, &woken);
	file_changed_locked(f);
	mutex_unlock(&f->lock);
	waiters_wake(&woken, 0);
	file_settle(f);
	file_put(f);
}

struct span {
	uint64_t off, end;
};

/* Forgets the units that touch the span; nothing is in flight. */
static void forget_each(struct cache_file *f, uint32_t frame, void *arg)
{
	const struct span *s = arg;
	struct cache *c = f->c;
	struct arena_page *pg = page_of(c, frame);
	struct page_before b = page_before(c, frame);
	uint64_t base = pg->fno << c->page_shift, lo, hi, units;

	if (base >= s->end || base + c->page_size <= s->off)
		return;
	lo = s->off > base ? s->off - base : 0;
	hi = s->end - base < c->page_size ? s->end - base : c->page_size;
	units = mask_range((unsigned)(lo >> c->unit_shift), (unsigned)((hi - 1) >> c->unit_shift));
	pg->dirty &= ~units;
	pg->unstable &= ~units;
	page_changed_locked(f, frame, b);
	mask_store(&pg->valid, pg->valid & ~units);
	if (!pg->valid)
		frame_doom(c, frame);
}

/* The unit that holds the end keeps its head; its tail becomes zero. */
static void zero_tail_locked(struct cache_file *f, uint64_t size)
{
	struct cache *c = f->c;
	uint32_t in_page = (uint32_t)(size & (c->page_size - 1));
	uint32_t in_unit = (uint32_t)(size & (c->unit - 1));
	uint32_t frame;

	if (!in_unit)
		return;
	frame = frame_find_locked(f, size >> c->page_shift);
	if (frame == FRAME_NONE)
		return;
	TSAN_PAYLOAD(memset(frame_mem(c, frame) + in_page, 0, c->unit - in_unit));
	frame_unpin(c, frame);
}

static void forget_locked(struct cache_file *f, uint64_t off, uint64_t end)
{
	struct span s = { off, end };

	frames_each_locked(f, off >> f->c->page_shift, forget_each, &s);
}

void cache_set_size(struct cache_file *f, uint64_t size)
{
	uint64_t unit = f->c->unit;

	mutex_lock(&f->lock);
	assert(f->frozen);
	if (size < f->size) {
		forget_locked(f, (size + unit - 1) & ~(unit - 1), UINT64_MAX);
		zero_tail_locked(f, size);
	}
	f->size = f->be_size = size;
	f->change_seq++;
	f->token_valid = false;
	mutex_unlock(&f->lock);
}

void cache_forget_range(struct cache_file *f, uint64_t off, uint64_t len, uint64_t new_size)
{
	mutex_lock(&f->lock);
	assert(f->frozen);
	if (len)
		forget_locked(f, off, off + len < off ? UINT64_MAX : off + len);
	f->size = f->be_size = new_size;
	f->change_seq++;
	f->token_valid = false;
	mutex_unlock(&f->lock);
}

static void discard_each(struct cache_file *f, uint32_t frame, void *arg)
{
	struct page_before b = page_before(f->c, frame);

	(void)arg;
	page_of(f->c, frame)->dirty = page_of(f->c, frame)->unstable = 0;
	page_changed_locked(f, frame, b);
}

void cache_file_discard(struct cache_file *f)
{
	file_get(f);
	mutex_lock(&f->lock);
	f->discard = true;
	frames_each_locked(f, 0, discard_each, NULL);
	mutex_unlock(&f->lock);
	file_settle(f);
	file_put(f);
}
