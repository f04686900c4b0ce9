/* SPDX-License-Identifier: Apache-2.0 */
/* write.c - taking a program's data into frames
 *
 *   new --limit reached--> HELD (c->held, first come first served) --held_release--> PLACING
 *   PLACING: frame after frame under the file's lock; parks when a unit is being
 *   filled, must be read first (a part of it is written), or no frame is free;
 *   wr->at says how far it got, so that it goes on where it stopped.
 *   done: size and time are set, the file is on the list of dirty files.
 *
 * A write to a file that the backend refuses gets that error at once (D8). */
#include <errno.h>
#include <string.h>

#include "cache/cache_impl.h"
#include "common/clock.h"
#include "common/stats.h"
#include "common/tsan.h"

enum wr_step { WR_AGAIN, WR_PARKED, WR_WOULD_PARK, WR_ROOM, WR_READ, WR_TOO_LARGE };

static bool too_large(const struct cache_wr *wr)
{
	uint64_t max = wr->file->c->be->limits.file_max;

	return wr->len > max || wr->off > max - wr->len;
}

static bool over_limit(const struct cache *c)
{
	return c->held_frames >= c->held_limit;
}

/* True: admitted. False: parked in c->held. */
static bool admit(struct cache *c, struct cache_wr *wr)
{
	bool ok;

	if (wr->admitted || (!over_limit(c) && !c->nheld)) {
		wr->admitted = true;
		return true;
	}
	mutex_lock(&c->wb_lock);
	ok = !over_limit(c) && list_empty(&c->held);
	if (!ok && wr->park) {
		list_push_back(&c->held, &wr->held);
		c->nheld++;
		c->wb_kick = true;
		cond_broadcast(&c->wb_cond);
		stats_inc(STAT_writers_held);
	}
	wr->admitted = ok;
	mutex_unlock(&c->wb_lock);
	return ok;
}

/* Index of the credential in the file's table; the oldest gives way when full. */
static uint32_t cred_slot_locked(struct cache_file *f, const struct be_cred *cred)
{
	unsigned i;

	for (i = 0; i < f->ncreds; i++)
		if (f->creds[i]->id == cred->id)
			return i;
	if (f->ncreds < FILE_CREDS) {
		f->creds[f->ncreds] = be_cred_get(cred);
		return f->ncreds++;
	}
	i = FILE_CREDS - 1;
	be_cred_put(f->creds[i]);
	f->creds[i] = be_cred_get(cred);
	return i;
}

/* Units of the part that the write covers only in part and that hold bytes of
 * the file which must survive: they have to be valid first. Parts beyond the end
 * of file are zeroed here instead. */
static uint64_t edges_locked(struct cache_file *f, uint32_t frame, uint32_t in_page, uint32_t part)
{
	struct cache *c = f->c;
	struct arena_page *pg = page_of(c, frame);
	unsigned first = in_page >> c->unit_shift, last = (in_page + part - 1) >> c->unit_shift;
	uint64_t base = pg->fno << c->page_shift, need = 0, edge = 0;

	if (in_page & (c->unit - 1))
		edge |= 1ULL << first;
	/* A tail that covers all the file has of that unit needs nothing from there. */
	if ((in_page + part) & (c->unit - 1)) {
		edge |= 1ULL << last;
		if (base + in_page + part >= f->size &&
		    (last > first || !(in_page & (c->unit - 1))))
			edge &= ~(1ULL << last);
		if (!(edge >> last & 1) && !(pg->valid >> last & 1))
			memset(frame_mem(c, frame) + in_page + part, 0,
			       c->unit - ((in_page + part) & (c->unit - 1)));
	}
	for (edge &= ~pg->valid; edge; edge &= edge - 1) {
		unsigned u = (unsigned)__builtin_ctzll(edge);

		if (!unit_is_hole_locked(f, pg->fno, u)) {
			need |= 1ULL << u;
			continue;
		}
		memset(frame_mem(c, frame) + ((size_t)u << c->unit_shift), 0, c->unit);
		mask_store(&pg->valid, pg->valid | 1ULL << u);
	}
	return need;
}

static enum wr_step wr_park_locked(struct cache_wr *wr, uint32_t frame)
{
	if (!wr->park)
		return WR_WOULD_PARK;
	wait_on_locked(wr->file, &wr->wait, frame);
	return WR_PARKED;
}

/* Copies one part; its frame is pinned by the caller. */
static enum wr_step place_part_locked(struct cache_wr *wr, uint32_t frame, uint32_t in_page,
				      uint32_t part)
{
	struct cache_file *f = wr->file;
	struct cache *c = f->c;
	struct arena_page *pg = page_of(c, frame);
	uint64_t units =
		mask_range(in_page >> c->unit_shift, (in_page + part - 1) >> c->unit_shift);

	if (c->frames[frame].fill & units)
		return wr_park_locked(wr, frame);
	if (edges_locked(f, frame, in_page, part))
		return WR_READ;
	if (c->frames[frame].backed & units)
		TSAN_PAYLOAD(memcpy(frame_mem(c, frame) + in_page, wr->src + wr->at, part));
	else
		arena_store(c->arena, frame, in_page, wr->src + wr->at, part);
	c->frames[frame].backed |= units;
	pg->cred = cred_slot_locked(f, wr->cred);
	mask_store(&pg->valid, pg->valid | units);
	page_mark_dirty_locked(f, frame, units);
	wr->at += part;
	return WR_AGAIN;
}

static enum wr_step place_next_locked(struct cache_wr *wr)
{
	struct cache_file *f = wr->file;
	struct cache *c = f->c;
	uint64_t off = wr->off + wr->at;
	uint32_t in_page = (uint32_t)(off & (c->page_size - 1));
	uint32_t part = c->page_size - in_page;
	uint32_t frame = frame_find_locked(f, off >> c->page_shift);
	enum wr_step step;

	if (part > wr->len - wr->at)
		part = wr->len - wr->at;
	if (frame == FRAME_NONE)
		frame = frame_alloc_locked(f, off >> c->page_shift, false);
	else
		frame_hit(c, frame);
	if (frame == FRAME_NONE)
		return WR_ROOM;
	step = place_part_locked(wr, frame, in_page, part);
	frame_unpin(c, frame);
	return step;
}

/* A program that writes on end will want it all on the store: what is gathered until
 * the background limit only makes it wait at the end. */
static void stream_note_locked(struct cache_file *f, uint64_t off, uint32_t len)
{
	f->stream_bytes = off == f->stream_end ? f->stream_bytes + len : len;
	f->stream_end = off + len;
	if (f->stream_bytes < f->c->stream_bytes)
		return;
	f->stream_bytes = 0;
	file_hurry_locked(f);
}

/* The part from began to wr->at has been placed. */
static void wrote_locked(struct cache_wr *wr, uint32_t began)
{
	struct cache_file *f = wr->file;

	if (wr->off + wr->at > f->size)
		f->size = wr->off + wr->at;
	f->change_seq++;
	f->mtime = clock_wall();
	f->mtime_ours = true;
	file_list_dirty_locked(f);
	stream_note_locked(f, wr->off + began, wr->at - began);
}

static enum wr_step place_all_locked(struct cache_wr *wr)
{
	struct cache_file *f = wr->file;
	enum wr_step step = WR_AGAIN;
	uint32_t began = wr->at;

	if (f->frozen)
		return wr_park_locked(wr, FRAME_THAW);
	/* Another append may have come first while this one waited. */
	if (wr->append && !wr->at)
		wr->off = f->size;
	if (too_large(wr))
		return WR_TOO_LARGE;
	while (wr->at < wr->len && step == WR_AGAIN)
		step = place_next_locked(wr);
	if (wr->at > began)
		wrote_locked(wr, began);
	return step;
}

/* Reads the units that the rest of the write covers only in part. 0, or as fill_range(). */
static int wr_read_edges(struct cache_wr *wr)
{
	struct cache_file *f = wr->file;
	uint64_t unit = f->c->unit, first = wr->off + wr->at, end = wr->off + wr->len;
	bool head = first & (unit - 1), tail = end & (unit - 1) && end < f->size;
	int rc = 0;

	stats_inc(STAT_cache_rmw);
	if (head)
		rc = fill_range(f, first, 1, wr->cred, false, false);
	/* Both are asked for together, and waited for one by one. */
	if (!rc && tail && !(head && (end - 1) / unit == first / unit))
		rc = fill_range(f, end - 1, 1, wr->cred, false, false);
	return rc == -EBUSY ? 0 : rc;
}

static ssize_t wr_wait_room(struct cache_wr *wr)
{
	if (!wr->park)
		return -EAGAIN;
	wait_for_room(wr->file->c, &wr->wait);
	return -EINPROGRESS;
}

static ssize_t wr_advance(struct cache_wr *wr)
{
	struct cache_file *f = wr->file;
	struct cache *c = f->c;
	enum wr_step step;
	int rc = 0;

	if (!admit(c, wr))
		return wr->park ? -EINPROGRESS : -EAGAIN;
	while (wr->at < wr->len) {
		mutex_lock(&f->lock);
		rc = f->failing;
		step = rc ? WR_AGAIN : place_all_locked(wr);
		mutex_unlock(&f->lock);
		if (rc)
			return rc;
		if (step == WR_PARKED)
			return -EINPROGRESS;
		if (step == WR_WOULD_PARK)
			return -EAGAIN;
		if (step == WR_TOO_LARGE)
			return -EFBIG;
		if (step == WR_READ)
			rc = wr_read_edges(wr);
		if (step == WR_ROOM || rc == -ENOBUFS)
			return wr_wait_room(wr);
		if (rc)
			return rc;
	}
	if (c->held_frames >= c->held_background && !c->wb_kick)
		wb_kick(c);
	return wr->len;
}

static void wr_wake(struct cache_wait *w, int err)
{
	struct cache_wr *wr = CONTAINER_OF(w, struct cache_wr, wait);
	ssize_t rc = err ? err : wr_advance(wr);

	if (rc != -EINPROGRESS)
		wr->done(wr, rc);
}

ssize_t cache_write_resume(struct cache_wr *wr)
{
	wr->park = true;
	return wr_advance(wr);
}

ssize_t cache_write(struct cache_wr *wr, bool park)
{
	wr->park = park;
	wr->at = 0;
	wr->admitted = false;
	wr->wait.wake = wr_wake;
	wr->wait.queued = false;
	list_init(&wr->wait.link);
	list_init(&wr->held);
	if (!wr->len)
		return 0;
	if (too_large(wr))
		return -EFBIG;
	return wr_advance(wr);
}

bool cache_write_cancel(struct cache_wr *wr)
{
	struct cache *c = wr->file->c;
	bool mine;

	mutex_lock(&c->wb_lock);
	mine = !list_empty(&wr->held);
	if (mine) {
		list_del(&wr->held);
		c->nheld--;
	}
	mutex_unlock(&c->wb_lock);
	return mine || wait_cancel(wr->file, &wr->wait);
}

/* One step of held_release(): the first writer in line, if there is room or its
 * data cannot be had rid of. */
static struct cache_wr *held_pop(struct cache *c, int *err)
{
	struct cache_wr *wr = NULL;

	mutex_lock(&c->wb_lock);
	*err = 0;
	if (!list_empty(&c->held)) {
		unsigned dirty = 0;

		list_for_each(it, &c->dirty_files)
			dirty++;
		/* Nothing of what fills the cache can be written: waiting would never end. */
		if (c->failing_files && c->failing_files >= dirty)
			*err = c->last_error;
		if (*err || !over_limit(c)) {
			wr = list_entry(list_pop(&c->held), struct cache_wr, held);
			c->nheld--;
		}
	}
	mutex_unlock(&c->wb_lock);
	return wr;
}

/* True when the caller is the one who releases; else that one looks again. Two at
 * once would both see the last free frame and both give it away. */
static bool release_begin(struct cache *c)
{
	bool mine;

	mutex_lock(&c->wb_lock);
	mine = !c->releasing;
	c->releasing = true;
	c->release_again = !mine;
	mutex_unlock(&c->wb_lock);
	return mine;
}

static bool release_end(struct cache *c)
{
	bool again;

	mutex_lock(&c->wb_lock);
	again = c->release_again;
	c->release_again = false;
	c->releasing = again;
	mutex_unlock(&c->wb_lock);
	return !again;
}

void held_release(struct cache *c)
{
	struct cache_wr *wr;
	int err;

	if (!release_begin(c))
		return;
	do {
		while ((wr = held_pop(c, &err))) {
			wr->admitted = true;
			wr_wake(&wr->wait, err);
		}
	} while (!release_end(c));
}
