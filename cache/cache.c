/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - life of the cache and of its files; what a file knows of itself;
 * who waits for what. Data paths: fill.c (reads), write.c, writeback.c, range.c. */
#include "cache/cache.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_impl.h"
#include "common/clock.h"

static uint32_t log2_of(uint32_t v)
{
	return 31 - (uint32_t)__builtin_clz(v);
}

void cache_tune(struct cache *c, const struct cache_tunables *tun)
{
	uint64_t frames = tun->cache_bytes / c->page_size;

	if (frames > c->nframes)
		frames = c->nframes;
	if (frames < 64)
		frames = c->nframes < 64 ? c->nframes : 64;
	c->frames_limit = (uint32_t)frames;
	c->held_background = (uint32_t)(frames * tun->background_percent / 100);
	c->held_limit = (uint32_t)(frames * tun->limit_percent / 100);
	if (c->held_limit < 2)
		c->held_limit = 2;
	c->dirty_age_ms = tun->dirty_age_ms;
	c->readahead_max = tun->readahead_max;
	if (c->used > frames)
		frames_trim(c);
	wb_kick(c);
}

int cache_new(const struct cache_config *config, struct arena *arena, struct backend *be,
	      struct cache **out)
{
	struct cache *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->arena = arena;
	c->be = be;
	c->page_size = arena->hdr->page_size;
	c->page_shift = log2_of(c->page_size);
	c->unit = c->page_size / 64 > 4096 ? c->page_size / 64 : 4096;
	c->unit_shift = log2_of(c->unit);
	c->units = c->page_size / c->unit;
	c->nframes = arena->hdr->nframes;
	c->idle = config->idle;
	c->idle_arg = config->idle_arg;
	c->stream_bytes = STREAM_BYTES;
	c->commit_bytes = COMMIT_BYTES;
	mutex_init(&c->wb_lock, LOCK_writeback);
	cond_init(&c->wb_cond);
	list_init(&c->dirty_files);
	list_init(&c->held);
	list_init(&c->room);
	if (frames_init(c, config->policy))
		goto fail;
	cache_tune(c, &config->tun);
	if (pthread_create(&c->wb_thread, NULL, wb_main, c))
		goto fail;
	*out = c;
	return 0;
fail:
	frames_done(c);
	free(c);
	return -ENOMEM;
}

void cache_stop_reads(struct cache *c)
{
	backend_fail_reads(c->be);
	while (atomic_load(&c->fills))
		poll(NULL, 0, STOP_TICK_MS);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	mutex_lock(&c->wb_lock);
	c->stop = true;
	cond_broadcast(&c->wb_cond);
	mutex_unlock(&c->wb_lock);
	pthread_join(c->wb_thread, NULL);
	frames_done(c);
	mutex_done(&c->wb_lock);
	cond_done(&c->wb_cond);
	free(c);
}

uint32_t cache_unit(const struct cache *c)
{
	return c->unit;
}

void cache_usage(struct cache *c, struct cache_usage *out)
{
	memset(out, 0, sizeof *out);
	out->page_size = c->page_size;
	out->frames = c->frames_limit;
	out->frames_used = c->used;
	out->dirty_bytes = c->dirty_units * c->unit;
	out->unstable_bytes = c->unstable_units * c->unit;
	out->held_frames = c->held_frames;
	mutex_lock(&c->wb_lock);
	out->writers_held = c->nheld;
	list_for_each(it, &c->dirty_files)
		out->files_dirty++;
	out->files_failing = c->failing_files;
	mutex_unlock(&c->wb_lock);
}

/* ---- files ---- */

int cache_file_new(struct cache *c, struct be_node *node, uint64_t size, uint64_t owner,
		   struct cache_file **out)
{
	struct cache_file *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	f->c = c;
	f->id = ++c->next_file_id;
	f->node = be_node_get(node);
	f->owner = owner;
	f->size = f->be_size = size;
	f->clean_ms = clock_ms();
	mutex_init(&f->lock, LOCK_cfile);
	cond_init(&f->cond);
	list_init(&f->dirty);
	list_init(&f->unstable);
	list_init(&f->waiters);
	list_init(&f->dirty_files);
	f->retry_delay_ms = RETRY_MIN_MS;
	*out = f;
	return 0;
}

static void doom_each(struct cache_file *f, uint32_t frame, void *arg)
{
	(void)arg;
	frame_doom(f->c, frame);
}

bool cache_file_try_free(struct cache_file *f)
{
	if (!f)
		return true;
	if (atomic_fetch_or(&f->refs, FILE_WANTED) & ~FILE_WANTED)
		return false;
	mutex_lock(&f->lock);
	frames_each_locked(f, 0, doom_each, NULL);
	mutex_unlock(&f->lock);
	/* A frame being evicted right now still points here. */
	while (f->nframes)
		sched_yield();
	assert(list_empty(&f->waiters));
	for (unsigned i = 0; i < f->ncreds; i++)
		be_cred_put(f->creds[i]);
	be_node_put(f->node);
	mutex_done(&f->lock);
	cond_done(&f->cond);
	free(f);
	return true;
}

void cache_file_revive(struct cache_file *f)
{
	atomic_fetch_and(&f->refs, ~FILE_WANTED);
}

void file_get(struct cache_file *f)
{
	f->refs++;
}

void file_put(struct cache_file *f)
{
	void (*idle)(void *arg, uint64_t owner) = f->c->idle;
	void *arg = f->c->idle_arg;
	uint64_t owner = f->owner;

	/* From here on file and cache may go. */
	if (atomic_fetch_sub(&f->refs, 1) == (FILE_WANTED | 1) && idle)
		idle(arg, owner);
}

bool cache_file_cached(struct cache_file *f)
{
	return f && f->nframes;
}

uint64_t cache_file_size(struct cache_file *f)
{
	return f->size;
}

bool cache_file_dirty(struct cache_file *f)
{
	bool dirty;

	mutex_lock(&f->lock);
	dirty = f->dirty_units || file_writes(f);
	mutex_unlock(&f->lock);
	return dirty;
}

bool cache_file_owes(struct cache_file *f)
{
	return f->listed;
}

uint64_t cache_change_seq(struct cache_file *f)
{
	uint64_t seq;

	mutex_lock(&f->lock);
	seq = f->change_seq;
	mutex_unlock(&f->lock);
	return seq;
}

/* True while the backend's attributes lag behind what programs did here. */
static bool ours_is_newer_locked(const struct cache_file *f, uint64_t seq)
{
	return f->dirty_units || file_writes(f) || f->frozen || f->change_seq != seq;
}

/* A smaller file than ours, while the backend may still lose what it acknowledged: it
 * has lost it. The commit will tell, and what is kept here is written again. */
static bool may_have_lost_locked(const struct cache_file *f, uint64_t size)
{
	return size < f->size && f->unstable_frames;
}

static void drop_each(struct cache_file *f, uint32_t frame, void *arg)
{
	struct frame *fr = &f->c->frames[frame];
	struct arena_page *pg = page_of(f->c, frame);
	uint64_t keep = pg->dirty | pg->unstable | fr->writing | fr->committing;

	(void)arg;
	mask_store(&pg->valid, pg->valid & keep);
	if (!keep && !fr->fill)
		frame_doom(f->c, frame);
}

static void invalidate_locked(struct cache_file *f)
{
	f->inval_gen++;
	f->clean_ms = clock_ms();
	frames_each_locked(f, 0, drop_each, NULL);
}

void cache_invalidate(struct cache_file *f)
{
	mutex_lock(&f->lock);
	invalidate_locked(f);
	mutex_unlock(&f->lock);
}

static bool token_same_locked(const struct cache_file *f, const struct be_attr *attr)
{
	return f->token_valid && f->token_size == attr->size &&
	       !timespec_cmp(&f->token_mtime, &attr->mtime) &&
	       !timespec_cmp(&f->token_ctime, &attr->ctime);
}

void token_set_locked(struct cache_file *f, const struct be_attr *attr)
{
	mutex_assert_held(&f->lock);
	if (!token_same_locked(f, attr))
		f->token_seen_ms = clock_ms();
	f->token_valid = true;
	f->token_size = attr->size;
	f->token_mtime = attr->mtime;
	f->token_ctime = attr->ctime;
}

/* The token is the same, and what is cached may be older all the same. */
static bool token_hides_locked(const struct cache_file *f)
{
	return be_time_hides_changes(&f->c->be->limits, &f->token_ctime, f->token_seen_ms,
				     f->clean_ms);
}

/* The backend's size is news: what lies beyond, or the zeros that stood there, is not. */
static void adopt_size_locked(struct cache_file *f, uint64_t size)
{
	if (f->size == size && f->be_size == size)
		return;
	invalidate_locked(f);
	f->size = f->be_size = size;
}

/* What was written and is not on the backend yet takes up room all the same, as
 * far as it is not there already. */
static void count_dirty_blocks_locked(const struct cache_file *f, struct be_attr *attr)
{
	uint64_t full = file_unit_count(f->c, f->size) * (f->c->unit / 512);
	uint64_t sum = attr->blocks + (uint64_t)f->dirty_units * (f->c->unit / 512);

	if (attr->blocks < full)
		attr->blocks = sum < full ? sum : full;
}

void cache_merge_attr(struct cache_file *f, struct be_attr *attr, uint64_t seq)
{
	mutex_lock(&f->lock);
	if (ours_is_newer_locked(f, seq) || may_have_lost_locked(f, attr->size))
		attr->size = f->size;
	else
		adopt_size_locked(f, attr->size);
	if (f->dirty_units)
		count_dirty_blocks_locked(f, attr);
	if (f->mtime_ours && (f->dirty_units || file_writes(f))) {
		attr->mtime = f->mtime;
		if (timespec_cmp(&attr->ctime, &f->mtime) < 0)
			attr->ctime = f->mtime;
	}
	mutex_unlock(&f->lock);
}

bool cache_revalidate(struct cache_file *f, const struct be_attr *attr, uint64_t seq)
{
	bool same;

	mutex_lock(&f->lock);
	if (ours_is_newer_locked(f, seq) || may_have_lost_locked(f, attr->size)) {
		mutex_unlock(&f->lock);
		return true; /* cannot be told apart from our own writes */
	}
	same = token_same_locked(f, attr) && !token_hides_locked(f);
	if (!same && f->token_valid)
		invalidate_locked(f);
	adopt_size_locked(f, attr->size);
	token_set_locked(f, attr);
	mutex_unlock(&f->lock);
	return same;
}

void cache_own_change(struct cache_file *f, const struct be_attr *attr, bool mtime)
{
	mutex_lock(&f->lock);
	if (f->token_valid)
		token_set_locked(f, attr);
	if (mtime)
		f->mtime = attr->mtime; /* what is still dirty must not bring another */
	mutex_unlock(&f->lock);
}

int cache_error(struct cache_file *f, uint32_t *seen)
{
	int err = 0;

	mutex_lock(&f->lock);
	if (*seen != f->err_seq)
		err = f->err;
	*seen = f->err_seq;
	mutex_unlock(&f->lock);
	return err;
}

uint32_t cache_error_seq(struct cache_file *f)
{
	uint32_t seq;

	mutex_lock(&f->lock);
	seq = f->err_seq;
	mutex_unlock(&f->lock);
	return seq;
}

/* ---- waiting ---- */

void wait_on_locked(struct cache_file *f, struct cache_wait *w, uint32_t frame)
{
	mutex_assert_held(&f->lock);
	w->file = f;
	w->frame = frame;
	w->queued = true;
	list_push_back(&f->waiters, &w->link);
}

void waiters_take_locked(struct cache_file *f, uint32_t frame, struct list *out)
{
	list_for_each_safe(it, tmp, &f->waiters) {
		struct cache_wait *w = list_entry(it, struct cache_wait, link);

		if (frame != FRAME_NONE && w->frame != frame)
			continue;
		list_del(it);
		w->queued = false;
		list_push_back(out, it);
	}
}

void waiters_wake(struct list *woken, int err)
{
	struct list *it;

	while ((it = list_pop(woken))) {
		struct cache_wait *w = list_entry(it, struct cache_wait, link);

		w->wake(w, err);
	}
}

bool wait_cancel(struct cache_file *f, struct cache_wait *w)
{
	bool mine;

	mutex_lock(&f->lock);
	mine = w->queued;
	if (mine)
		list_del(&w->link);
	w->queued = false;
	mutex_unlock(&f->lock);
	return mine;
}

static _Thread_local const atomic_bool *interrupted;

void cache_interruptible(const atomic_bool *flag)
{
	interrupted = flag;
}

bool wait_interrupted(uint64_t *limit_ms)
{
	*limit_ms = clock_ms() + (interrupted ? INTR_TICK_MS : WAIT_TICK_MS);
	return interrupted && atomic_load(interrupted);
}

int file_wait_locked(struct cache_file *f)
{
	uint64_t limit_ms;

	if (wait_interrupted(&limit_ms))
		return -EINTR;
	f->sleepers++;
	cond_wait_until(&f->cond, &f->lock, limit_ms);
	f->sleepers--;
	return 0;
}

void file_changed_locked(struct cache_file *f)
{
	if (f->sleepers)
		cond_broadcast(&f->cond);
}

void wait_for_room(struct cache *c, struct cache_wait *w)
{
	mutex_lock(&c->wb_lock);
	list_push_back(&c->room, &w->link);
	/* The first one starts a round at once, for a frame may have become free
	 * unnoticed; from then on frames that do are what wakes the thread. */
	if (!c->has_waiters) {
		c->has_waiters = true;
		c->wb_kick = true;
		cond_broadcast(&c->wb_cond);
	}
	mutex_unlock(&c->wb_lock);
}

void room_wake(struct cache *c)
{
	if (!c->has_waiters)
		return;
	mutex_lock(&c->wb_lock);
	c->wb_kick = true;
	cond_broadcast(&c->wb_cond);
	mutex_unlock(&c->wb_lock);
}
