/* SPDX-License-Identifier: Apache-2.0 */
/* fill.c - reading: hits without a lock, misses filled from the backend
 *
 * A read walks its frames in order. A frame whose units are valid is pinned and
 * becomes a part of the answer. At the first miss all that the rest of the read
 * lacks is asked of the backend at once; then the read waits frame by frame, so
 * the slowest reply decides, not the sum. When frames are too scarce to pin all
 * of them, the read copies what it has into memory of its own (bounce) and lets
 * go: a read never waits for a frame while it holds another. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_impl.h"
#include "cache/readahead.h"
#include "common/stats.h"
#include "common/tsan.h"

struct fill_seg {
	uint32_t frame;
	uint64_t units;
};

/* One read from the backend: adjacent units of adjacent frames. */
struct fill {
	struct be_io io;
	struct cache_file *file; /* a reference */
	uint64_t inval_gen;
	struct list link; /* until submitted */
	unsigned nsegs, cap;
	struct fill_seg *seg;
	struct iovec iov[];
};

bool unit_is_hole_locked(const struct cache_file *f, uint64_t fno, unsigned unit)
{
	return (fno << f->c->page_shift) + ((uint64_t)unit << f->c->unit_shift) >= f->be_size;
}

/* ---- completion ---- */

/* Puts what came into the frame of one segment; got: bytes of the read that
 * belong to it or to later ones. */
static void fill_land_locked(struct fill *fl, const struct fill_seg *s, size_t got, bool keep)
{
	struct cache *c = fl->file->c;
	struct frame *fr = &c->frames[s->frame];
	struct arena_page *pg = page_of(c, s->frame);
	unsigned first = (unsigned)__builtin_ctzll(s->units);
	size_t bytes = (size_t)__builtin_popcountll(s->units) << c->unit_shift;
	uint8_t *mem = frame_mem(c, s->frame) + ((size_t)first << c->unit_shift);

	if (got < bytes)
		memset(mem + got, 0, bytes - got);
	fr->fill &= ~s->units;
	if (keep)
		mask_store(&pg->valid, pg->valid | s->units);
	page_check(c, s->frame);
}

static void fill_done(struct be_io *io)
{
	struct fill *fl = io->priv;
	struct cache_file *f = fl->file;
	struct cache *c = f->c;
	struct list woken = LIST_INIT(woken);
	size_t got = io->result < 0 ? 0 : (size_t)io->result;
	int err = io->result < 0 ? (int)io->result : 0;
	bool keep;

	mutex_lock(&f->lock);
	keep = !err && fl->inval_gen == f->inval_gen;
	for (unsigned i = 0; i < fl->nsegs; i++) {
		size_t bytes = (size_t)__builtin_popcountll(fl->seg[i].units) << f->c->unit_shift;

		fill_land_locked(fl, &fl->seg[i], got, keep);
		got -= got < bytes ? got : bytes;
		waiters_take_locked(f, fl->seg[i].frame, &woken);
	}
	f->fills--;
	file_changed_locked(f);
	mutex_unlock(&f->lock);
	for (unsigned i = 0; i < fl->nsegs; i++)
		frame_unpin(f->c, fl->seg[i].frame);
	if (!err)
		stats_add(STAT_cache_fill_bytes, (uint64_t)io->result);
	be_cred_put(io->cred);
	waiters_wake(&woken, err);
	file_put(f);
	free(fl);
	c->fills--; /* last: from here the cache may go */
}

/* ---- issue ---- */

static struct fill *fill_new_locked(struct cache_file *f, const struct be_cred *cred, uint64_t off)
{
	unsigned cap = f->c->be->limits.read_max / f->c->unit + 1;
	struct fill *fl;

	if (cap > CACHE_PINS_MAX)
		cap = CACHE_PINS_MAX;
	fl = malloc(sizeof *fl + cap * (sizeof *fl->iov + sizeof *fl->seg));
	if (!fl)
		return NULL;
	memset(fl, 0, sizeof *fl);
	fl->cap = cap;
	fl->seg = (struct fill_seg *)(void *)(fl->iov + cap);
	fl->file = f;
	fl->inval_gen = f->inval_gen;
	fl->io = (struct be_io){ .node = f->node,
				 .cred = be_cred_get(cred),
				 .iov = fl->iov,
				 .off = off,
				 .done = fill_done,
				 .priv = fl };
	file_get(f);
	f->fills++;
	f->c->fills++;
	return fl;
}

/* Adds units first..last of a pinned frame to the run; starts a new one when
 * they do not follow. False without memory. */
static bool fill_add_locked(struct cache_file *f, struct list *out, struct fill **cur,
			    uint32_t frame, unsigned first, unsigned last,
			    const struct be_cred *cred)
{
	struct cache *c = f->c;
	uint64_t off =
		(page_of(c, frame)->fno << c->page_shift) + ((uint64_t)first << c->unit_shift);
	size_t bytes = (size_t)(last - first + 1) << c->unit_shift;
	struct fill *fl = *cur;

	if (!fl || fl->io.off + fl->io.len != off || fl->nsegs == fl->cap ||
	    fl->io.len + bytes > c->be->limits.read_max) {
		fl = fill_new_locked(f, cred, off);
		if (!fl)
			return false;
		list_push_back(out, &fl->link);
		*cur = fl;
	}
	fl->seg[fl->nsegs] = (struct fill_seg){ frame, mask_range(first, last) };
	fl->iov[fl->nsegs++] =
		(struct iovec){ frame_mem(c, frame) + ((size_t)first << c->unit_shift), bytes };
	fl->io.niov = fl->nsegs;
	fl->io.len += bytes;
	c->frames[frame].fill |= mask_range(first, last);
	c->frames[frame].backed |= mask_range(first, last);
	atomic_fetch_add(&c->frames[frame].pins, 1);
	return true;
}

/* Units beyond the backend's end are zeros that need no question. */
static void fill_holes_locked(struct cache_file *f, uint32_t frame, uint64_t *missing)
{
	struct cache *c = f->c;
	struct arena_page *pg = page_of(c, frame);

	for (uint64_t m = *missing; m; m &= m - 1) {
		unsigned u = (unsigned)__builtin_ctzll(m);

		if (!unit_is_hole_locked(f, pg->fno, u))
			continue;
		memset(frame_mem(c, frame) + ((size_t)u << c->unit_shift), 0, c->unit);
		mask_store(&pg->valid, pg->valid | 1ULL << u);
		*missing &= ~(1ULL << u);
	}
}

static bool fill_frame_locked(struct cache_file *f, struct list *out, struct fill **cur,
			      uint32_t frame, uint64_t missing, const struct be_cred *cred)
{
	unsigned run_max = f->c->be->limits.read_max >> f->c->unit_shift;

	fill_holes_locked(f, frame, &missing);
	while (missing) {
		unsigned first = (unsigned)__builtin_ctzll(missing), last = first;

		while (last + 1 < f->c->units && (missing >> (last + 1) & 1) &&
		       last + 1 - first < run_max)
			last++;
		if (!fill_add_locked(f, out, cur, frame, first, last, cred))
			return false;
		missing &= ~mask_range(first, last);
	}
	return true;
}

static uint64_t units_in_frame(const struct cache *c, uint64_t fno, uint64_t off, uint64_t end)
{
	uint64_t base = fno << c->page_shift;
	uint64_t lo = off > base ? off - base : 0;
	uint64_t hi = end - base < c->page_size ? end - base : c->page_size;

	return mask_range((unsigned)(lo >> c->unit_shift), (unsigned)((hi - 1) >> c->unit_shift));
}

/* Returns 0, or -ENOBUFS when frames ran out (what was found is in out). */
static int fill_collect_locked(struct cache_file *f, uint64_t off, uint64_t end,
			       const struct be_cred *cred, bool ahead, struct list *out)
{
	struct cache *c = f->c;
	struct fill *cur = NULL;

	for (uint64_t fno = off >> c->page_shift; fno <= (end - 1) >> c->page_shift; fno++) {
		uint64_t need = units_in_frame(c, fno, off, end);
		uint32_t frame = frame_find_locked(f, fno);
		bool ok;

		if (frame == FRAME_NONE)
			frame = frame_alloc_locked(f, fno, ahead);
		if (frame == FRAME_NONE)
			return -ENOBUFS;
		need &= ~(page_of(c, frame)->valid | c->frames[frame].fill);
		stats_add(ahead ? STAT_readahead_units : STAT_cache_misses,
			  (uint64_t)__builtin_popcountll(need));
		ok = fill_frame_locked(f, out, &cur, frame, need, cred);
		frame_unpin(c, frame);
		if (!ok)
			return -ENOMEM;
	}
	return 0;
}

int fill_range(struct cache_file *f, uint64_t off, uint64_t len, const struct be_cred *cred,
	       bool ahead, bool whole)
{
	struct cache *c = f->c;
	struct list todo = LIST_INIT(todo);
	uint64_t mask = whole ? c->page_size - 1 : c->unit - 1, end = (off + len + mask) & ~mask;
	uint64_t eof = (f->size + c->unit - 1) & ~(uint64_t)(c->unit - 1);
	struct list *it;
	int rc;

	off &= ~mask;
	if (end > eof)
		end = eof;
	if (off >= end)
		return 0;
	mutex_lock(&f->lock);
	rc = f->frozen ? -EBUSY : fill_collect_locked(f, off, end, cred, ahead, &todo);
	mutex_unlock(&f->lock);
	while ((it = list_pop(&todo))) {
		struct fill *fl = list_entry(it, struct fill, link);

		if (backend_read(c->be, &fl->io) == BE_DONE)
			fill_done(&fl->io);
	}
	return rc;
}

/* ---- one read ---- */

static void rd_unpin_all(struct cache_rd *rd)
{
	for (unsigned i = 0; i < rd->npins; i++)
		frame_unpin(rd->file->c, rd->pins[i]);
	rd->npins = 0;
}

void cache_read_done(struct cache_rd *rd)
{
	rd_unpin_all(rd);
	free(rd->bounce);
	rd->bounce = NULL;
}

/* The part of the read that lies in a frame: where and how long. */
static uint32_t rd_part(const struct cache_rd *rd, uint32_t at, uint32_t *in_page)
{
	uint32_t page = rd->file->c->page_size, left = rd->want - at;

	*in_page = (uint32_t)((rd->off + at) & (page - 1));
	return left < page - *in_page ? left : page - *in_page;
}

/* Takes over the pin. */
static void rd_take(struct cache_rd *rd, uint32_t frame, uint32_t in_page, uint32_t part)
{
	struct cache *c = rd->file->c;

	if (rd->bounce) {
		TSAN_PAYLOAD(memcpy(rd->bounce + rd->bounced, frame_mem(c, frame) + in_page, part));
		frame_unpin(c, frame);
	} else {
		rd->iov[rd->npins] = (struct iovec){ frame_mem(c, frame) + in_page, part };
		rd->pins[rd->npins++] = frame;
	}
	rd->bounced += part;
}

static int rd_start_bounce(struct cache_rd *rd)
{
	uint32_t at = 0;

	if (rd->bounce)
		return 0;
	rd->bounce = malloc(rd->want);
	if (!rd->bounce)
		return -ENOMEM;
	for (unsigned i = 0; i < rd->npins; at += (uint32_t)rd->iov[i++].iov_len)
		TSAN_PAYLOAD(memcpy(rd->bounce + at, rd->iov[i].iov_base, rd->iov[i].iov_len));
	rd_unpin_all(rd);
	return 0;
}

static uint64_t rd_units(const struct cache *c, uint32_t in_page, uint32_t part)
{
	return mask_range(in_page >> c->unit_shift, (in_page + part - 1) >> c->unit_shift);
}

/* Every frame valid and pinned, or false with nothing pinned beyond rd->bounced. */
static bool rd_hits(struct cache_rd *rd)
{
	struct cache *c = rd->file->c;

	while (rd->bounced < rd->want) {
		uint32_t in_page, part = rd_part(rd, rd->bounced, &in_page);
		uint64_t need = rd_units(c, in_page, part);
		uint32_t frame = frame_find(rd->file, (rd->off + rd->bounced) >> c->page_shift);

		if (frame == FRAME_NONE)
			return false;
		if (need & ~mask_load(&page_of(c, frame)->valid)) {
			frame_unpin(c, frame);
			return false;
		}
		frame_hit(c, frame);
		stats_add(STAT_cache_hits, (uint64_t)__builtin_popcountll(need));
		rd_take(rd, frame, in_page, part);
	}
	return true;
}

enum rd_step { RD_AGAIN, RD_PARKED, RD_ASK, RD_WOULD_PARK };

static enum rd_step rd_park_locked(struct cache_rd *rd, uint32_t frame)
{
	if (!rd->park)
		return RD_WOULD_PARK;
	wait_on_locked(rd->file, &rd->wait, frame);
	return RD_PARKED;
}

/* The next frame under the lock: taken, waited for, or to be asked for. */
static enum rd_step rd_next_locked(struct cache_rd *rd)
{
	struct cache_file *f = rd->file;
	struct cache *c = f->c;
	uint32_t in_page, part = rd_part(rd, rd->bounced, &in_page);
	uint64_t need = rd_units(c, in_page, part);
	uint32_t frame;

	if (f->frozen)
		return rd_park_locked(rd, FRAME_THAW);
	frame = frame_find_locked(f, (rd->off + rd->bounced) >> c->page_shift);
	if (frame == FRAME_NONE)
		return RD_ASK;
	if (!(need & ~page_of(c, frame)->valid)) {
		rd_take(rd, frame, in_page, part);
		return RD_AGAIN;
	}
	frame_unpin(c, frame);
	return need & c->frames[frame].fill ? rd_park_locked(rd, frame) : RD_ASK;
}

static ssize_t rd_finish(struct cache_rd *rd)
{
	if (rd->bounce) {
		rd->iov[0] = (struct iovec){ rd->bounce, rd->want };
		rd->niov = 1;
	} else {
		rd->niov = rd->npins;
	}
	return rd->want;
}

static ssize_t rd_fail(struct cache_rd *rd, int err)
{
	cache_read_done(rd);
	return err;
}

/* The file may have become shorter since the read began. */
static void rd_clip(struct cache_rd *rd)
{
	uint64_t size = rd->file->size, end = rd->off + rd->want;

	if (end > size)
		rd->want = size > rd->off + rd->bounced ? (uint32_t)(size - rd->off) : rd->bounced;
}

static void rd_wake(struct cache_wait *w, int err);

/* Goes on until done, failed or parked. */
static ssize_t rd_advance(struct cache_rd *rd, bool whole)
{
	struct cache_file *f = rd->file;
	enum rd_step step;
	int rc;

	for (;;) {
		rd_clip(rd);
		if (rd->bounced == rd->want)
			return rd_finish(rd);
		mutex_lock(&f->lock);
		step = rd_next_locked(rd);
		mutex_unlock(&f->lock);
		if (step == RD_PARKED)
			return -EINPROGRESS;
		if (step == RD_WOULD_PARK)
			return rd_fail(rd, -EAGAIN);
		if (step == RD_AGAIN)
			continue;
		rc = fill_range(f, rd->off + rd->bounced, rd->want - rd->bounced, rd->cred, false,
				whole);
		if (rc == -EBUSY || !rc)
			continue;
		if (rc != -ENOBUFS || rd_start_bounce(rd))
			return rd_fail(rd, rc == -ENOBUFS ? -ENOMEM : rc);
		/* Perhaps the next frame got in; else wait without holding any. */
		mutex_lock(&f->lock);
		step = rd_next_locked(rd);
		mutex_unlock(&f->lock);
		if (step == RD_WOULD_PARK || (step == RD_ASK && !rd->park))
			return rd_fail(rd, -EAGAIN);
		if (step == RD_ASK)
			wait_for_room(f->c, &rd->wait);
		if (step != RD_AGAIN)
			return -EINPROGRESS;
	}
}

static void rd_wake(struct cache_wait *w, int err)
{
	struct cache_rd *rd = CONTAINER_OF(w, struct cache_rd, wait);
	ssize_t rc = err ? rd_fail(rd, err) : rd_advance(rd, false);

	if (rc != -EINPROGRESS)
		rd->done(rd, rc);
}

bool cache_read_cancel(struct cache_rd *rd)
{
	if (!wait_cancel(rd->file, &rd->wait))
		return false;
	cache_read_done(rd);
	return true;
}

/* Whole frames and reads in advance pay for a program that reads on; a random
 * reader gets what it asked for. */
static bool rd_ahead(struct cache_rd *rd)
{
	struct cache *c = rd->file->c;
	struct ra_advice adv = { 0 };

	if (rd->ra)
		adv = readahead_note(rd->ra, rd->off, rd->len, c->readahead_max);
	if (adv.len && c->be->limits.caps & BE_CAP_BLOCKING && rd->off + rd->len < rd->file->size)
		fill_range(rd->file, adv.off, adv.len, rd->cred, true, true);
	return adv.sequential;
}

ssize_t cache_read(struct cache_rd *rd, bool park)
{
	uint64_t size = rd->file->size;
	bool whole, hit;

	rd->npins = rd->niov = 0;
	rd->bounced = 0;
	rd->bounce = NULL;
	rd->park = park;
	rd->wait.wake = rd_wake;
	rd->wait.queued = false;
	list_init(&rd->wait.link);
	if (rd->off >= size || !rd->len)
		return 0;
	rd->want = size - rd->off < rd->len ? (uint32_t)(size - rd->off) : rd->len;
	hit = rd_hits(rd);
	whole = rd_ahead(rd);
	return hit ? rd_finish(rd) : rd_advance(rd, whole);
}
