/* SPDX-License-Identifier: Apache-2.0 */
/* writeback.c - taking dirty data to the backend, and the thread that decides when
 *
 * A pass over a file takes its dirty frames, oldest first, sorts a batch of them
 * by place, and cuts runs of adjacent units, each one write. Units being written
 * are not submitted again until that write has ended, so two writes in flight
 * never overlap; what is written into them meanwhile stays dirty for the next
 * pass.
 *
 * Epochs: every write counts in the epoch it began in. writes_wait_locked()
 * starts a new epoch and waits for the old one to run dry, so a waiter is not
 * held up by writes that began after it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "cache/cache_impl.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"

#define BATCH 1024     /* frames sorted at once */
#define FSYNC_TRIES 16 /* rounds of rewriting after changes of the verifier */
#define SURE_AFTER 2   /* of them, then writes are durable by themselves: each is progress */

struct run_seg {
	uint32_t frame;
	uint64_t units;
};

struct run {
	struct be_io io;
	struct cache_file *file; /* a reference */
	unsigned epoch;
	uint32_t cred;
	struct list link;
	unsigned nsegs, cap;
	struct run_seg *seg;
	struct iovec iov[];
};

/* ---- errors ---- */

void failing_set_locked(struct cache_file *f, int err)
{
	struct cache *c = f->c;

	mutex_assert_held(&f->lock);
	if ((f->failing != 0) == (err != 0) && f->failing == err)
		return;
	mutex_lock(&c->wb_lock);
	c->failing_files += (unsigned)((err != 0) - (f->failing != 0));
	if (err)
		c->last_error = err;
	mutex_unlock(&c->wb_lock);
	f->failing = err;
	if (!err) {
		f->retry_at_ms = 0;
		f->retry_delay_ms = RETRY_MIN_MS;
	}
}

/* cred: index of the credential it was refused to; FILE_CREDS: no other is tried. */
static void refused_locked(struct cache_file *f, int err, uint64_t off, unsigned cred)
{
	bool news = f->failing != err;

	stats_inc(STAT_writeback_errors);
	if ((err == -EACCES || err == -EPERM) && cred < FILE_CREDS) {
		f->creds_refused |= 1u << cred;
		f->cred_turns++;
		if (f->creds_refused != (1u << f->ncreds) - 1)
			return; /* page cred was moved on: another writer's credential is tried */
	}
	f->err = err;
	f->err_seq++;
	failing_set_locked(f, err);
	f->retry_at_ms = clock_ms() + f->retry_delay_ms;
	if (news)
		log_warn("writeback: file=%llu off=%llu: %s, kept dirty, retry in %llu ms",
			 (unsigned long long)f->node->ino, (unsigned long long)off, strerror(-err),
			 (unsigned long long)f->retry_delay_ms);
	if (f->retry_delay_ms < RETRY_MAX_MS)
		f->retry_delay_ms *= 2;
}

static void accepted_locked(struct cache_file *f)
{
	f->creds_refused = 0;
	f->retry_delay_ms = RETRY_MIN_MS;
	failing_set_locked(f, 0);
}

/* ---- completion of a write ---- */

/* A write was taken by another instance of the server than the frame's earlier
 * ones: those are lost, also where a commit is under way, whose answer might come
 * from the new instance and look like a match. */
static void seg_verifier_locked(struct cache_file *f, uint32_t frame, uint64_t verifier)
{
	struct frame *fr = &f->c->frames[frame];
	struct arena_page *pg = page_of(f->c, frame);
	uint64_t lost = pg->unstable | fr->committing;

	if (lost && pg->verifier != verifier) {
		stats_inc(STAT_writeback_rewrites);
		pg->dirty |= lost;
		pg->unstable = fr->committing = 0;
		f->losses++;
	}
	pg->verifier = verifier;
}

static void seg_done_locked(struct run *r, const struct run_seg *s)
{
	struct cache_file *f = r->file;
	struct cache *c = f->c;
	struct arena_page *pg = page_of(c, s->frame);
	struct page_before b = page_before(c, s->frame);

	c->frames[s->frame].writing &= ~s->units;
	if (f->discard) {
		pg->dirty = 0;
	} else if (r->io.result < 0) {
		pg->dirty |= s->units;
		if ((r->io.result == -EACCES || r->io.result == -EPERM) && f->ncreds)
			pg->cred = (pg->cred + 1) % f->ncreds;
	} else if (r->io.stable == BE_UNSTABLE && !(c->be->limits.caps & BE_CAP_HOST_STABLE)) {
		seg_verifier_locked(f, s->frame, r->io.verifier);
		pg->unstable |= s->units & ~pg->dirty;
	}
	page_changed_locked(f, s->frame, b);
}

static void run_booked_locked(struct run *r)
{
	struct cache_file *f = r->file;

	if (r->io.result < 0) {
		refused_locked(f, (int)r->io.result, r->io.off, r->cred);
		return;
	}
	accepted_locked(f);
	f->change_seq++; /* attributes asked for before it do not know of it */
	if (r->io.off + r->io.len > f->be_size)
		f->be_size = r->io.off + r->io.len;
	if (r->io.stable == BE_UNSTABLE)
		f->need_commit = true;
	if (r->io.post_valid)
		token_set_locked(f, &r->io.post);
	else
		f->token_valid = false;
}

static void inflight_done(struct cache *c)
{
	mutex_lock(&c->wb_lock);
	c->inflight--;
	cond_broadcast(&c->wb_cond);
	mutex_unlock(&c->wb_lock);
}

static void run_done(struct be_io *io)
{
	struct run *r = io->priv;
	struct cache_file *f = r->file;
	struct cache *c = f->c;

	mutex_lock(&f->lock);
	run_booked_locked(r);
	for (unsigned i = 0; i < r->nsegs; i++)
		seg_done_locked(r, &r->seg[i]);
	f->epoch_writes[r->epoch]--;
	file_changed_locked(f);
	mutex_unlock(&f->lock);
	be_cred_put(io->cred);
	free(r);
	inflight_done(c);
	file_settle(f);
	if (atomic_load_explicit(&c->nheld, memory_order_relaxed))
		held_release(c);
	file_put(f); /* last: from here file and cache may go */
}

/* ---- cutting runs ---- */

struct dirty_frame {
	uint64_t fno;
	uint32_t frame;
};

static int by_fno(const void *a, const void *b)
{
	const struct dirty_frame *x = a, *y = b;

	return (x->fno > y->fno) - (x->fno < y->fno);
}

static struct run *run_new_locked(struct cache_file *f, uint64_t off, uint32_t cred)
{
	struct cache *c = f->c;
	unsigned cap = c->be->limits.write_max / c->unit + 1;
	struct run *r = malloc(sizeof *r + cap * (sizeof *r->iov + sizeof *r->seg));

	if (!r)
		return NULL;
	memset(r, 0, sizeof *r);
	r->cap = cap;
	r->seg = (struct run_seg *)(void *)(r->iov + cap);
	r->file = f;
	r->cred = cred;
	r->epoch = f->epoch & 1;
	r->io = (struct be_io){ .node = f->node,
				.cred = be_cred_get(f->creds[cred]),
				.iov = r->iov,
				.off = off,
				.want = f->sure ? BE_FILE_SYNC : BE_UNSTABLE,
				.mtime = f->mtime,
				.done = run_done,
				.priv = r };
	f->epoch_writes[r->epoch]++;
	file_get(f);
	return r;
}

static bool run_add_locked(struct cache_file *f, struct list *out, struct run **cur, uint32_t frame,
			   unsigned first, unsigned last)
{
	struct cache *c = f->c;
	struct arena_page *pg = page_of(c, frame);
	uint32_t cred = pg->cred < f->ncreds ? pg->cred : 0;
	uint64_t off = (pg->fno << c->page_shift) + ((uint64_t)first << c->unit_shift);
	size_t bytes = (size_t)(last - first + 1) << c->unit_shift;
	struct page_before b = page_before(c, frame);
	struct run *r = *cur;

	if (off + bytes > f->size) /* the last unit's tail is not the file's */
		bytes = f->size > off ? f->size - off : 0;
	if (bytes && (!r || r->io.off + r->io.len != off || r->nsegs == r->cap || r->cred != cred ||
		      r->io.len + bytes > c->be->limits.write_max)) {
		r = run_new_locked(f, off, cred);
		if (!r)
			return false;
		list_push_back(out, &r->link);
		*cur = r;
	}
	pg->dirty &= ~mask_range(first, last);
	if (bytes) {
		r->seg[r->nsegs] = (struct run_seg){ frame, mask_range(first, last) };
		r->iov[r->nsegs++] =
			(struct iovec){ frame_mem(c, frame) + ((size_t)first << c->unit_shift),
					bytes };
		r->io.niov = r->nsegs;
		r->io.len += bytes;
		c->frames[frame].writing |= mask_range(first, last);
	}
	page_changed_locked(f, frame, b);
	return true;
}

static bool runs_of_frame_locked(struct cache_file *f, struct list *out, struct run **cur,
				 uint32_t frame)
{
	struct cache *c = f->c;
	uint64_t units = page_of(c, frame)->dirty & ~c->frames[frame].writing;
	unsigned run_max = c->be->limits.write_max >> c->unit_shift;

	while (units) {
		unsigned first = (unsigned)__builtin_ctzll(units), last = first;

		while (last + 1 < c->units && (units >> (last + 1) & 1) &&
		       last + 1 - first < run_max)
			last++;
		if (!run_add_locked(f, out, cur, frame, first, last))
			return false;
		units &= ~mask_range(first, last);
	}
	return true;
}

/* Cuts runs from the oldest dirty frames, at most *left of them. Returns frames
 * taken, or -ENOMEM. */
static int cut_batch_locked(struct cache_file *f, unsigned *left, bool *skipped, struct list *out)
{
	struct dirty_frame *d;
	struct run *cur = NULL;
	int n = 0;

	d = malloc((*left < BATCH ? *left : BATCH) * sizeof *d);
	if (!d)
		return -ENOMEM;
	list_for_each(it, &f->dirty) {
		struct frame *fr = list_entry(it, struct frame, dirty_link);
		uint32_t frame = (uint32_t)(fr - f->c->frames);
		uint64_t dirty = page_of(f->c, frame)->dirty;

		if (!*left || n == BATCH)
			break;
		if (dirty & fr->writing)
			*skipped = true;
		if (!(dirty & ~fr->writing))
			continue;
		d[n++] = (struct dirty_frame){ fr->fno, frame };
		--*left;
	}
	qsort(d, (size_t)n, sizeof *d, by_fno);
	for (int i = 0; i < n; i++)
		if (!runs_of_frame_locked(f, out, &cur, d[i].frame))
			n = -ENOMEM;
	free(d);
	return n;
}

static void run_submit(struct cache *c, struct run *r, bool background, bool nowait)
{
	uint64_t limit_ms;

	mutex_lock(&c->wb_lock);
	/* Who is not to wait any more hands over what it has cut. */
	while (!nowait && c->inflight >= c->be->limits.inflight_max && !wait_interrupted(&limit_ms))
		cond_wait_until(&c->wb_cond, &c->wb_lock, limit_ms);
	c->inflight++;
	mutex_unlock(&c->wb_lock);
	r->io.background = background;
	stats_inc(STAT_writeback_ios);
	stats_add(STAT_writeback_bytes, r->io.len);
	if (backend_write(c->be, &r->io) == BE_DONE)
		run_done(&r->io);
}

/* A frozen file's data stays where it is: it may be about to be cut off. */
static int thaw_wait_locked(struct cache_file *f, bool nowait)
{
	int rc = 0;

	while (f->frozen && !rc)
		rc = nowait ? -EAGAIN : file_wait_locked(f);
	return rc;
}

int wb_submit_file(struct cache_file *f, bool background, bool nowait, bool *skipped)
{
	struct list runs = LIST_INIT(runs), *it;
	unsigned left = 0;
	int n;

	mutex_lock(&f->lock);
	list_for_each(d, &f->dirty)
		left++;
	mutex_unlock(&f->lock);
	while (left) {
		mutex_lock(&f->lock);
		n = thaw_wait_locked(f, background || nowait);
		if (!n)
			n = cut_batch_locked(f, &left, skipped, &runs);
		mutex_unlock(&f->lock);
		while ((it = list_pop(&runs)))
			run_submit(f->c, list_entry(it, struct run, link), background, nowait);
		if (n < 0)
			return n;
		if (n < BATCH)
			break;
	}
	return 0;
}

/* ---- commit ---- */

struct commit {
	struct be_io io;
	struct cache_file *file;
};

static void commit_frame_locked(struct cache_file *f, uint32_t frame, const struct be_io *io)
{
	struct frame *fr = &f->c->frames[frame];
	struct arena_page *pg = page_of(f->c, frame);
	struct page_before b = page_before(f->c, frame);

	if (f->discard) {
		/* nobody will ask for it */
	} else if (io->result < 0) {
		pg->unstable |= fr->committing;
	} else if (pg->verifier != io->verifier) {
		stats_inc(STAT_writeback_rewrites);
		pg->dirty |= fr->committing;
		f->losses++;
	}
	fr->committing = 0;
	page_changed_locked(f, frame, b);
}

static void commit_done(struct be_io *io)
{
	struct commit *cm = io->priv;
	struct cache_file *f = cm->file;
	struct cache *c = f->c;

	mutex_lock(&f->lock);
	list_for_each_safe(it, tmp, &f->unstable) {
		uint32_t frame =
			(uint32_t)(list_entry(it, struct frame, unstable_link) - f->c->frames);

		if (f->c->frames[frame].committing)
			commit_frame_locked(f, frame, io);
	}
	if (io->result < 0) {
		f->need_commit = true;
		refused_locked(f, (int)io->result, 0, FILE_CREDS);
	} else if (io->post_valid && f->token_valid) {
		token_set_locked(f, &io->post);
	}
	f->commits--;
	file_changed_locked(f);
	mutex_unlock(&f->lock);
	be_cred_put(io->cred);
	free(cm);
	file_settle(f);
	if (atomic_load_explicit(&c->nheld, memory_order_relaxed))
		held_release(c);
	file_put(f); /* last: from here file and cache may go */
}

bool wb_commit_start(struct cache_file *f, bool datasync, const struct be_cred *cred)
{
	struct commit *cm = calloc(1, sizeof *cm);

	if (!cm)
		return false;
	mutex_lock(&f->lock);
	if (f->ncreds)
		cred = f->creds[f->ncreds - 1];
	if (f->commits || f->frozen || !cred) {
		mutex_unlock(&f->lock);
		free(cm);
		return false;
	}
	list_for_each(it, &f->unstable) {
		uint32_t frame =
			(uint32_t)(list_entry(it, struct frame, unstable_link) - f->c->frames);

		f->c->frames[frame].committing |= page_of(f->c, frame)->unstable;
		page_of(f->c, frame)->unstable = 0;
	}
	f->need_commit = false;
	f->commits++;
	file_get(f);
	cm->file = f;
	cm->io = (struct be_io){ .node = f->node,
				 .datasync = datasync,
				 .done = commit_done,
				 .priv = cm,
				 .cred = be_cred_get(cred) };
	mutex_unlock(&f->lock);
	stats_inc(STAT_commits);
	if (backend_commit(f->c->be, &cm->io) == BE_DONE)
		commit_done(&cm->io);
	return true;
}

/* ---- flush, fsync, drain ---- */

int writes_wait_locked(struct cache_file *f)
{
	unsigned e;
	int rc = 0;

	while (f->epoch_writes[~f->epoch & 1] && !rc)
		rc = file_wait_locked(f);
	if (rc)
		return rc;
	e = f->epoch++ & 1;
	while (f->epoch_writes[e] && !rc)
		rc = file_wait_locked(f);
	return rc;
}

/* One pass: submit, wait. *skipped as in wb_submit_file(). */
static int flush_pass(struct cache_file *f, bool nowait, bool *skipped)
{
	int rc = wb_submit_file(f, false, nowait, skipped);

	mutex_lock(&f->lock);
	if (!nowait && !rc)
		rc = writes_wait_locked(f);
	else if (file_writes(f) && !rc)
		rc = -EAGAIN;
	mutex_unlock(&f->lock);
	return rc;
}

/* *n, a count of f's that its lock guards. */
static uint64_t count_of(struct cache_file *f, const uint64_t *n)
{
	uint64_t now;

	mutex_lock(&f->lock);
	now = *n;
	mutex_unlock(&f->lock);
	return now;
}

int cache_flush(struct cache_file *f, bool nowait)
{
	uint32_t seq = cache_error_seq(f);
	int rc = 0;

	file_get(f);
	/* The second pass is for what was in flight, and dirty again, during the
	 * first; more are for writes refused with one writer's credential. */
	for (int pass = 0; !rc; pass++) {
		bool skipped = false, refused;
		uint64_t turns = count_of(f, &f->cred_turns);

		rc = flush_pass(f, nowait, &skipped);
		mutex_lock(&f->lock);
		if (!rc && f->err_seq != seq)
			rc = f->err;
		refused = f->cred_turns != turns;
		mutex_unlock(&f->lock);
		if (pass >= 1 + FILE_CREDS && refused && !rc)
			rc = -EACCES;
		if (pass >= 1 + FILE_CREDS || (!skipped && !refused))
			break;
	}
	file_put(f);
	return rc;
}

static bool commit_needed(struct cache_file *f, bool datasync, const struct be_cred *cred,
			  bool *busy)
{
	bool need;

	mutex_lock(&f->lock);
	*busy = f->commits != 0;
	need = !list_empty(&f->unstable);
	if (f->c->be->limits.caps & BE_CAP_HOST_STABLE)
		need = f->need_commit || !datasync || *busy;
	if (!f->ncreds && !cred)
		need = false; /* nothing was ever written, and nobody asks */
	*busy |= f->frozen;
	mutex_unlock(&f->lock);
	return need;
}

/* Waits for the commit under way and runs another that covers all that is
 * unstable now. Returns 0, -errno, -EINTR: both go on. */
static int commit_wait(struct cache_file *f, bool datasync, const struct be_cred *cred)
{
	uint32_t seq = cache_error_seq(f);
	int rc = 0;

	while (!rc && !wb_commit_start(f, datasync, cred)) {
		mutex_lock(&f->lock);
		if (f->commits || f->frozen)
			rc = file_wait_locked(f);
		mutex_unlock(&f->lock);
	}
	mutex_lock(&f->lock);
	while (f->commits && !rc)
		rc = file_wait_locked(f);
	if (!rc && f->err_seq != seq)
		rc = f->err;
	mutex_unlock(&f->lock);
	return rc;
}

static void want_sure(struct cache_file *f, int more)
{
	mutex_lock(&f->lock);
	f->sure += (unsigned)more;
	mutex_unlock(&f->lock);
}

int cache_fsync(struct cache_file *f, bool datasync, const struct be_cred *cred, bool nowait)
{
	bool slow = f->c->be->limits.caps & BE_CAP_SLOW_COMMIT, busy, first = true;
	uint64_t losses;
	int rc = 0, tries;

	file_get(f);
	for (tries = 0; tries < FSYNC_TRIES; tries++) {
		if (tries == SURE_AFTER)
			want_sure(f, 1);
		losses = count_of(f, &f->losses);
		rc = cache_flush(f, nowait);
		if (rc)
			break;
		if (count_of(f, &f->losses) != losses) {
			rc = -EIO; /* told by a write: what was flushed before is dirty again */
			continue;
		}
		if (!commit_needed(f, datasync || !first, cred, &busy))
			break;
		if (nowait && (slow || busy)) {
			rc = -EAGAIN;
			break;
		}
		rc = commit_wait(f, datasync, cred);
		first = false;
		if (rc || count_of(f, &f->losses) == losses)
			break; /* what is dirty now was written after we began */
		rc = -EIO;     /* the server lost what it had: once more */
	}
	if (tries >= SURE_AFTER)
		want_sure(f, -1);
	file_put(f);
	return rc;
}

/* The next file on the list that this round has not given up on; a reference.
 * The list's order is no help: the writeback thread changes it. */
static struct cache_file *drain_next(struct cache *c, uint64_t round)
{
	struct cache_file *f = NULL;

	mutex_lock(&c->wb_lock);
	list_for_each(it, &c->dirty_files) {
		struct cache_file *g = list_entry(it, struct cache_file, dirty_files);

		if (g->drained >= round)
			continue;
		f = g;
		file_get(f);
		break;
	}
	mutex_unlock(&c->wb_lock);
	return f;
}

int cache_drain(struct cache *c, bool (*progress)(void *arg, const struct cache_usage *u),
		void *arg)
{
	struct cache_usage u;
	struct cache_file *f;
	uint64_t round;
	int rc = 0;

	mutex_lock(&c->wb_lock);
	round = ++c->drains;
	mutex_unlock(&c->wb_lock);
	while ((f = drain_next(c, round))) {
		int err = cache_fsync(f, true, NULL, false);

		file_settle(f);
		mutex_lock(&c->wb_lock);
		if (err && f->drained < round)
			f->drained = round;
		mutex_unlock(&c->wb_lock);
		file_put(f);
		if (err && !rc)
			rc = err;
		cache_usage(c, &u);
		if (progress && !progress(arg, &u))
			return -EINTR;
	}
	return rc;
}

/* ---- the thread ---- */

void wb_kick(struct cache *c)
{
	mutex_lock(&c->wb_lock);
	c->wb_kick = true;
	cond_broadcast(&c->wb_cond);
	mutex_unlock(&c->wb_lock);
}

/* A file worth writing back now, with a reference; it moves to the list's end. */
static struct cache_file *wb_pick(struct cache *c, bool pressure, unsigned *budget)
{
	uint64_t now = clock_ms();
	struct cache_file *f = NULL;

	mutex_lock(&c->wb_lock);
	while (*budget && !f && !list_empty(&c->dirty_files)) {
		struct cache_file *g = list_first(&c->dirty_files, struct cache_file, dirty_files);

		--*budget;
		if (!pressure && !g->hurry && now - g->dirty_since_ms < c->dirty_age_ms)
			break; /* oldest first: the others are younger */
		list_del(&g->dirty_files);
		list_push_back(&c->dirty_files, &g->dirty_files);
		if (g->retry_at_ms > now)
			continue;
		g->dirty_since_ms = now;
		g->hurry = false;
		f = g;
		file_get(f);
	}
	mutex_unlock(&c->wb_lock);
	return f;
}

static unsigned files_listed(struct cache *c)
{
	unsigned n = 0;

	mutex_lock(&c->wb_lock);
	list_for_each(it, &c->dirty_files)
		n++;
	mutex_unlock(&c->wb_lock);
	return n;
}

static void wb_one(struct cache_file *f, bool pressure)
{
	bool skipped = false, commit, much;

	wb_submit_file(f, true, false, &skipped);
	mutex_lock(&f->lock);
	much = (uint64_t)f->unstable_frames << f->c->page_shift >= f->c->commit_bytes;
	commit = !list_empty(&f->unstable) && !f->commits && (pressure || much || !f->dirty_units);
	mutex_unlock(&f->lock);
	if (commit)
		wb_commit_start(f, true, NULL);
	file_settle(f);
	file_put(f);
}

static void wake_room(struct cache *c)
{
	struct list woken = LIST_INIT(woken);

	mutex_lock(&c->wb_lock);
	/* Still true while they try, so that what becomes free then is noticed. */
	c->has_waiters = !list_empty(&c->room);
	list_splice(&woken, &c->room);
	mutex_unlock(&c->wb_lock);
	waiters_wake(&woken, 0);
}

static void wb_round(struct cache *c)
{
	bool pressure = c->held_frames >= c->held_background || c->has_waiters;
	unsigned budget = files_listed(c);
	struct cache_file *f;

	while ((f = wb_pick(c, pressure, &budget))) {
		wb_one(f, pressure);
		pressure = pressure && (c->held_frames >= c->held_background / 2 || c->has_waiters);
	}
	wake_room(c);
	if (c->nheld)
		held_release(c);
}

void *wb_main(void *arg)
{
	struct cache *c = arg;

	prctl(PR_SET_NAME, "writeback");
	mutex_lock(&c->wb_lock);
	while (!c->stop) {
		if (!c->wb_kick)
			cond_wait_until(&c->wb_cond, &c->wb_lock,
					clock_ms() + (c->has_waiters ? ROOM_TICK_MS : WB_TICK_MS));
		c->wb_kick = false;
		mutex_unlock(&c->wb_lock);
		wb_round(c);
		mutex_lock(&c->wb_lock);
	}
	mutex_unlock(&c->wb_lock);
	return NULL;
}
