/* SPDX-License-Identifier: Apache-2.0 */
/* dirty.c - the books of what the backend does not safely have
 *
 * A frame "owes" while any unit is dirty, being written, unstable or being
 * committed. An owing frame holds one pin, so it cannot be evicted, and counts
 * against the dirty limit: what counts is memory that cannot be had back, so a
 * frame with one dirty unit weighs as much as a full one.
 * Whoever changes a frame's masks takes page_before(), changes, and calls
 * page_changed_locked(), which brings lists and counters in line. */
#include "cache/cache_impl.h"
#include "common/clock.h"

struct page_before page_before(struct cache *c, uint32_t frame)
{
	const struct arena_page *pg = page_of(c, frame);

	return (struct page_before){ pg->dirty | c->frames[frame].writing,
				     pg->unstable | c->frames[frame].committing };
}

static void count_units(struct cache_file *f, uint64_t now, uint64_t was, bool unstable)
{
	int diff = __builtin_popcountll(now) - __builtin_popcountll(was);

	if (unstable) {
		f->c->unstable_units += (uint64_t)(int64_t)diff;
		f->unstable_frames += (now != 0) - (was != 0);
	} else {
		f->c->dirty_units += (uint64_t)(int64_t)diff;
		f->dirty_units += (uint32_t)diff;
	}
}

void page_changed_locked(struct cache_file *f, uint32_t frame, struct page_before b)
{
	struct cache *c = f->c;
	struct frame *fr = &c->frames[frame];
	struct arena_page *pg = page_of(c, frame);
	struct page_before now = page_before(c, frame);
	bool owes = now.dirty || now.unstable;

	mutex_assert_held(&f->lock);
	count_units(f, now.dirty, b.dirty, false);
	count_units(f, now.unstable, b.unstable, true);
	if (pg->dirty && list_empty(&fr->dirty_link))
		list_push_back(&f->dirty, &fr->dirty_link);
	else if (!pg->dirty)
		list_del(&fr->dirty_link);
	if (now.unstable && list_empty(&fr->unstable_link))
		list_push_back(&f->unstable, &fr->unstable_link);
	else if (!now.unstable)
		list_del(&fr->unstable_link);
	if (owes && !fr->held) {
		fr->held = true;
		atomic_fetch_add(&fr->pins, 1);
		c->held_frames++;
	}
	if (owes || !fr->held) {
		page_check(c, frame);
		return;
	}
	fr->held = false;
	c->held_frames--;
	page_check(c, frame);
	frame_unpin(c, frame);
}

void page_mark_dirty_locked(struct cache_file *f, uint32_t frame, uint64_t units)
{
	struct page_before b = page_before(f->c, frame);
	struct arena_page *pg = page_of(f->c, frame);

	pg->dirty |= units;
	page_changed_locked(f, frame, b);
}

void file_list_dirty_locked(struct cache_file *f)
{
	struct cache *c = f->c;

	if (f->listed) /* only changed with both locks held */
		return;
	mutex_lock(&c->wb_lock);
	f->listed = true;
	f->dirty_since_ms = clock_ms();
	list_push_back(&c->dirty_files, &f->dirty_files);
	mutex_unlock(&c->wb_lock);
	file_get(f);
}

void file_hurry_locked(struct cache_file *f)
{
	struct cache *c = f->c;

	mutex_assert_held(&f->lock);
	mutex_lock(&c->wb_lock);
	f->hurry = true;
	list_del(&f->dirty_files);
	list_push_front(&c->dirty_files, &f->dirty_files);
	c->wb_kick = true;
	cond_broadcast(&c->wb_cond);
	mutex_unlock(&c->wb_lock);
}

void file_settle(struct cache_file *f)
{
	struct cache *c = f->c;
	bool unlisted = false;

	mutex_lock(&f->lock);
	/* What was refused has been taken, truncated or discarded meanwhile: nothing
	 * else would ever tell that the file may be written to again. */
	if (f->failing && !f->dirty_units && !f->unstable_frames)
		failing_set_locked(f, 0);
	if (f->listed && !f->dirty_units && !f->unstable_frames) {
		mutex_lock(&c->wb_lock);
		f->listed = false;
		list_del(&f->dirty_files);
		mutex_unlock(&c->wb_lock);
		unlisted = true;
	}
	mutex_unlock(&f->lock);
	if (unlisted)
		file_put(f);
}
