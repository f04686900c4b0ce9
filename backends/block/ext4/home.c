/* SPDX-License-Identifier: Apache-2.0 */
/* home.c - brings images home and moves the log's tail; see journal.h
 *
 * A round takes the oldest transactions, as many as make enough room, writes their live images, in order of their
 * blocks and neighbours together, flushes, and only then says in the journal superblock that the log begins behind them.
 * Rounds follow one another: so no two writes of a block are ever in flight. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/ext4/jrn_impl.h"
#include "backends/block/ext4/mutant.h"
#include "common/cleanup.h"
#include "common/log.h"

enum {
	HOME_START_PART = 2,         /* of the log is used: images go home */
	HOME_GOAL_PART = 4,          /* until so little is */
	HOME_ROUND_BYTES = 64 << 20, /* of images, and what is left of the transaction */
	HOME_JOIN_BYTES = 1 << 20,
};

/* Image and block number side by side, for sorting. */
struct going {
	uint64_t block;
	struct jrn_image *im;
};

struct round {
	struct going *images; /* owned */
	unsigned n, cap;
	struct sealed *last; /* the youngest that it takes; NULL: none */
	uint32_t blocks;     /* of the log that become free */
};

static bool asked_locked(const struct jrn *j)
{
	const struct sealed *s;

	if (!j->home_asked || list_empty(&j->log))
		return false;
	s = list_first(&j->log, struct sealed, link);
	return s->durable && tid_geq(j->home_upto, s->tid);
}

bool jrn_home_due_locked(const struct jrn *j)
{
	if (j->error || list_empty(&j->log) || !list_first(&j->log, struct sealed, link)->durable)
		return false;
	if (j->space_wanted || asked_locked(j))
		return true;
	/* Room that nobody waits for is used again so late that the new tail is durable by some other flush. */
	return j->used > j->log_blocks / HOME_START_PART && !MUTANT(tail_without_fua);
}

/* ---- a round: what it takes ----------------------------------------------------- */

static int round_add(struct round *r, struct jrn_image *im)
{
	if (r->n == r->cap) {
		unsigned cap = r->cap ? 2 * r->cap : 256;
		struct going *more = realloc(r->images, cap * sizeof *more);

		if (!more)
			return -ENOMEM;
		r->images = more;
		r->cap = cap;
	}
	r->images[r->n++] = (struct going){ .block = im->block, .im = im };
	return 0;
}

static bool round_takes(const struct jrn *j, const struct round *r, const struct sealed *s)
{
	if (!s->durable || (size_t)r->n * j->super.block_size >= HOME_ROUND_BYTES)
		return false;
	if (j->home_asked && tid_geq(j->home_upto, s->tid))
		return true;
	return j->used - r->blocks > j->log_blocks / HOME_GOAL_PART;
}

/* Two images of a block cannot be among them: when the younger became durable, the older was dropped, or was on
 * its way home in a round that is over. */
static int round_collect(struct jrn *j, struct round *r)
{
	int rc = 0;

	mutex_lock(&j->lock);
	mutex_lock(&j->bufs->image_lock);
	list_for_each(l, &j->log) {
		struct sealed *s = list_entry(l, struct sealed, link);

		if (rc || !round_takes(j, r, s))
			break;
		for (unsigned i = 0; !rc && i < s->nimages; i++)
			if (s->images[i].data)
				rc = round_add(r, &s->images[i]);
		r->last = s;
		r->blocks += s->blocks;
	}
	for (unsigned i = 0; !rc && i < r->n; i++)
		r->images[i].im->homing = true;
	mutex_unlock(&j->bufs->image_lock);
	mutex_unlock(&j->lock);
	return rc;
}

/* ---- writing ----------------------------------------------------------------------- */

static int by_block(const void *a, const void *b)
{
	const struct going *x = a, *y = b;

	return (x->block > y->block) - (x->block < y->block);
}

static bool joins(const struct round *r, unsigned i, const struct jlog_run *run)
{
	return i && r->images[i].block == r->images[i - 1].block + 1 && run->niov < BD_IOV_MAX &&
	       run->len < HOME_JOIN_BYTES;
}

/* Images that are on their way keep their data: it is read without a lock. */
static int round_write(struct jrn *j, struct round *r)
{
	uint32_t bs = j->super.block_size;
	AUTO_FREE struct iovec *iov = calloc(r->n ? r->n : 1, sizeof *iov);
	AUTO_FREE struct jlog_run *runs = calloc(r->n ? r->n : 1, sizeof *runs);
	unsigned n = 0;

	if (!iov || !runs)
		return -ENOMEM;
	if (r->n)
		qsort(r->images, r->n, sizeof *r->images, by_block);
	for (unsigned i = 0; i < r->n; i++) {
		iov[i] = (struct iovec){ .iov_base = r->images[i].im->data, .iov_len = bs };
		if (n && joins(r, i, &runs[n - 1])) {
			runs[n - 1].niov++;
			runs[n - 1].len += bs;
		} else {
			runs[n++] = (struct jlog_run){
				.off = r->images[i].block * bs, .len = bs, .iov = &iov[i], .niov = 1
			};
		}
	}
	return jlog_write(j->dev, runs, n, 0);
}

/* They are home, or the journal has stopped. */
static void round_settle(struct jrn *j, struct round *r, bool home)
{
	mutex_lock(&j->bufs->image_lock);
	for (unsigned i = 0; i < r->n; i++) {
		r->images[i].im->homing = false;
		if (home)
			image_drop_locked(r->images[i].im);
	}
	mutex_unlock(&j->bufs->image_lock);
	mutex_lock(&j->lock);
	if (home)
		j->counts.home_writes += r->n;
	cond_broadcast(&j->settled);
	mutex_unlock(&j->lock);
}

/* ---- the tail ----------------------------------------------------------------------- */

static int tail_write(struct jrn *j, const struct round *r)
{
	return jrn_log_tail(j, r->last, MUTANT(tail_without_fua) ? 0 : BD_FUA);
}

static int tail_before_flush_done(struct jrn *j, const struct round *r)
{
	struct early flush = { .rq = { .op = BD_FLUSH } };
	int rc = early_begin(j->dev, &flush);

	return rc ? rc : early_end(&flush, tail_write(j, r));
}

static void log_free(struct jrn *j, const struct round *r)
{
	struct list done;
	struct list *l;
	bool last = false;

	list_init(&done);
	mutex_lock(&j->lock);
	while (!last) {
		l = list_pop(&j->log);
		last = l == &r->last->link;
		list_push_back(&done, l);
	}
	j->used -= r->blocks;
	j->space_wanted = false;
	if (j->home_asked && !asked_locked(j))
		j->home_asked = false;
	cond_broadcast(&j->settled);
	mutex_lock(&j->bufs->image_lock);
	list_for_each(m, &done) {
		struct sealed *s = list_entry(m, struct sealed, link);

		for (unsigned i = 0; i < s->nimages; i++)
			image_remove_locked(&s->images[i]);
	}
	mutex_unlock(&j->bufs->image_lock);
	mutex_unlock(&j->lock);
	while ((l = list_pop(&done)))
		sealed_free(list_entry(l, struct sealed, link));
}

/* J2 */
static int move_tail(struct jrn *j, const struct round *r)
{
	int rc;

	if (MUTANT(tail_before_flush_done) && r->n && r->last)
		return tail_before_flush_done(j, r);
	rc = r->n ? jrn_flush(j) : 0;
	return !rc && r->last ? tail_write(j, r) : rc;
}

static int round_run(struct jrn *j, struct round *r)
{
	int rc = 0;

	if (MUTANT(tail_moved_early) && r->last)
		rc = tail_write(j, r);
	if (!rc)
		rc = round_write(j, r);
	round_settle(j, r, !rc);
	if (!rc && !MUTANT(tail_moved_early))
		rc = move_tail(j, r);
	if (!rc && r->last)
		log_free(j, r);
	return rc;
}

static void home_round(struct jrn *j)
{
	struct round r = { .last = NULL };
	int rc = round_collect(j, &r);

	if (!rc)
		rc = round_run(j, &r);
	if (rc)
		jrn_fail(j, rc, "committed blocks could not be written home");
	free(r.images);
}

void *jrn_home_main(void *arg)
{
	struct jrn *j = arg;
	bool stop = false;

	pthread_setname_np(pthread_self(), "ext4-home");
	while (!stop) {
		bool due;

		mutex_lock(&j->lock);
		while (!j->home_stop && !jrn_home_due_locked(j))
			cond_wait(&j->home_work, &j->lock);
		stop = j->home_stop;
		due = jrn_home_due_locked(j);
		mutex_unlock(&j->lock);
		if (due && !stop)
			home_round(j);
	}
	return NULL;
}
