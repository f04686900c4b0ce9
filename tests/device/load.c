/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - random requests, many in flight; see load.h
 *
 * Each thread has depth slots. A slot chooses a request that overlaps none in flight, enters it into the shadow, and
 * submits it, alone or in a row; its done() compares what was read and frees the slot. Now and then a slot takes the
 * range of one in flight on purpose, which the device has to refuse. */
#include "tests/device/load.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/block/layers.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/list.h"

#define ROW_MAX 8u
#define TRIES 20
#define COMPLAINTS_MAX 10
#define BEYOND_MAX \
	(48ull     \
	 << 20) /* a request that is larger than max_transfer, if it is not larger than this */

struct load;

struct slot {
	struct list link; /* of its thread, while free */
	struct load *ld;
	struct worker *worker;
	struct bd_req rq;
	struct iovec iov[BD_IOV_MAX];
	uint8_t *memory, *bytes; /* owned; where the bytes begin */
	size_t room;
	struct cell *expect; /* of a read: what stood there when it was sent */
	size_t expect_room;
	uint32_t value;    /* of a change */
	uint64_t covers;   /* of a flush */
	bool active, sent; /* sent: bd_submit() has taken it */
};

struct worker {
	pthread_t thread;
	struct load *ld;
	struct slot *slots;
	struct list free;
	uint64_t random;
	bool ended;
};

struct load {
	const struct load_conf *conf;
	struct load_stats *stats;
	struct worker *workers;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock, as the shadow */
	uint64_t begun;
	bool wrong, half;
	unsigned complaints;
};

uint64_t rnd_seed(uint64_t seed, uint64_t stream)
{
	return hash_u64(seed * 0x9e3779b97f4a7c15ULL + stream + 1) | 1;
}

/* ---- complaints ----------------------------------------------------------- */

static const char *const op_names[BD_OPS] = { "read", "write", "flush", "discard", "zero" };

static void tell_rq(const struct bd_req *rq)
{
	fprintf(stderr, "  %s%s%s off=%llu len=%llu pieces=%u: %s\n", op_names[rq->op],
		rq->flags & BD_FUA ? " FUA" : "", rq->flags & BD_UNMAP ? " UNMAP" : "",
		(unsigned long long)rq->off, (unsigned long long)rq->len, rq->niov,
		rq->result ? strerror(-rq->result) : "done");
}

static void complain_locked(struct load *ld, const struct bd_req *rq, const char *what)
{
	ld->wrong = true;
	if (ld->complaints++ >= COMPLAINTS_MAX)
		return;
	fprintf(stderr, "devtest: %s\n", what);
	tell_rq(rq);
}

static void tell_in_flight(struct load *ld)
{
	for (unsigned t = 0; t < ld->conf->threads; t++)
		for (unsigned i = 0; i < ld->conf->depth; i++)
			if (ld->workers[t].slots[i].active)
				tell_rq(&ld->workers[t].slots[i].rq);
}

/* ---- the end of a request -------------------------------------------------- */

static bool is_cut(const struct load *ld)
{
	return ld->conf->cut && atomic_load(ld->conf->cut);
}

static void check_read_locked(struct load *ld, struct slot *s)
{
	uint64_t first = s->rq.off / SECTOR, n = s->rq.len / SECTOR;

	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *p = s->bytes + i * SECTOR;
		uint32_t found = sector_find(p, ld->conf->shadow->head->stamp, first + i);

		if (cell_is(&s->expect[i], found))
			continue;
		complain_locked(ld, &s->rq, "a read got what was not written");
		if (ld->complaints <= COMPLAINTS_MAX)
			cell_tell(&s->expect[i], first + i, found, p);
		return;
	}
	ld->stats->sectors_checked += n;
}

static void mark_flush_locked(struct load *ld, const struct slot *s)
{
	char text[64];

	snprintf(text, sizeof text, "flushed %llu", (unsigned long long)s->covers);
	if (bd_record_mark(ld->conf->marked, text))
		complain_locked(ld, &s->rq, "a mark was refused");
	ld->stats->marks++;
}

static void succeeded_locked(struct load *ld, struct slot *s)
{
	struct shadow *shadow = ld->conf->shadow;
	const struct bd_req *rq = &s->rq;

	ld->stats->ops[rq->op]++;
	ld->stats->bytes[rq->op] += rq->len;
	ld->stats->fua += (rq->flags & BD_FUA) != 0;
	if (rq->op == BD_READ) {
		check_read_locked(ld, s);
	} else if (rq->op == BD_FLUSH) {
		shadow_flush_done(shadow, s->covers);
		if (ld->conf->marked)
			mark_flush_locked(ld, s);
	} else {
		shadow_done(shadow, rq->off, rq->len, s->value, rq->flags & BD_FUA);
	}
}

static void failed_locked(struct load *ld, struct slot *s)
{
	const struct bd_req *rq = &s->rq;

	ld->stats->errors++;
	if (rq->op != BD_READ && rq->op != BD_FLUSH)
		shadow_failed(ld->conf->shadow, rq->off, rq->len, s->value);
	if (!ld->conf->may_fail && !(is_cut(ld) && rq->result == -EIO))
		complain_locked(ld, rq, "a request failed");
}

static void slot_done(struct bd_req *rq)
{
	struct slot *s = rq->arg;
	struct load *ld = s->ld;

	pthread_mutex_lock(&ld->lock);
	if (!s->active) {
		complain_locked(ld, rq, "done() of a request that is not in flight");
	} else if (rq->result) {
		failed_locked(ld, s);
	} else {
		succeeded_locked(ld, s);
	}
	s->active = false;
	list_push_back(&s->worker->free, &s->link);
	pthread_cond_broadcast(&ld->changed);
	pthread_mutex_unlock(&ld->lock);
}

/* ---- choosing --------------------------------------------------------------- */

static bool changes(enum bd_op op)
{
	return op == BD_WRITE || op == BD_ZERO || op == BD_DISCARD;
}

static bool collides(const struct bd_req *a, const struct bd_req *b)
{
	return a->off < b->off + b->len && b->off < a->off + a->len &&
	       (changes(a->op) || changes(b->op));
}

/* One in flight that rq overlaps, or NULL. */
static const struct slot *colliding_locked(struct load *ld, const struct bd_req *rq)
{
	for (unsigned t = 0; t < ld->conf->threads; t++)
		for (unsigned i = 0; i < ld->conf->depth; i++) {
			const struct slot *s = &ld->workers[t].slots[i];

			if (s->active && &s->rq != rq && collides(&s->rq, rq))
				return s;
		}
	return NULL;
}

static enum bd_op choose_op(struct load *ld, uint64_t *r)
{
	unsigned x = (unsigned)rnd_below(r, 100);

	if (x < 38)
		return BD_READ;
	if (x < 80)
		return BD_WRITE;
	if (x < 90)
		return BD_ZERO;
	if (x < 95)
		return ld->conf->dev->limits.max_discard ? BD_DISCARD : BD_WRITE;
	return BD_FLUSH;
}

/* Mostly small, seldom larger than the transport takes at once. */
static uint64_t choose_len(struct load *ld, uint64_t *r, uint64_t bytes)
{
	const struct bd_limits *l = &ld->conf->dev->limits;
	uint64_t x = rnd_below(r, 1000), max = 16 * (uint64_t)l->block;

	if (x >= 700)
		max = 64u << 10;
	if (x >= 950)
		max = 1u << 20;
	if (x >= 996)
		max = l->max_transfer < BEYOND_MAX / 2 ? 2 * l->max_transfer : BEYOND_MAX;
	if (max > bytes / 4)
		max = bytes / 4;
	return (1 + rnd_below(r, max / l->block ? max / l->block : 1)) * l->block;
}

static uint64_t choose_off(struct load *ld, uint64_t *r, uint64_t bytes, uint64_t len)
{
	uint32_t block = ld->conf->dev->limits.block;
	uint64_t x = rnd_below(r, 20), last = (bytes - len) / block;

	if (x == 0)
		return 0;
	if (x == 1)
		return last * block; /* the end of the device */
	if (x < 6)
		return rnd_below(r, last / 8 + 1) * block; /* often the same blocks */
	return rnd_below(r, last + 1) * block;
}

/* Pieces of any size that the limits allow, at any address that they allow. */
static void choose_pieces(struct slot *s, uint64_t *r)
{
	struct bd_req *rq = &s->rq;
	uint32_t align = rq->dev->limits.align;
	uint64_t left = rq->len, units = left / align;
	unsigned most = 1 + (unsigned)rnd_below(r, rnd_below(r, 4) ? 8 : BD_IOV_MAX);
	uint8_t *p = s->bytes;

	rq->iov = s->iov;
	for (rq->niov = 0; left; rq->niov++) {
		uint64_t n = left;

		if (rq->niov + 1 < most && units > 1)
			n = (1 + rnd_below(r, units > most ? 2 * units / most : 1)) * align;
		if (n > left)
			n = left;
		s->iov[rq->niov] = (struct iovec){ .iov_base = p, .iov_len = n };
		p += n;
		left -= n;
	}
}

/* Room for want bytes, not much more. */
static void *grown(void *old, size_t *room, size_t want)
{
	if (*room >= want && *room <= 4 * want + (1u << 20))
		return old;
	free(old);
	*room = want;
	old = aligned_alloc(BD_BLOCK_MAX, (want + BD_BLOCK_MAX - 1) / BD_BLOCK_MAX * BD_BLOCK_MAX);
	if (!old)
		errx(EXIT_TROUBLE, "out of memory");
	return old;
}

static void choose_locked(struct load *ld, struct slot *s, uint64_t *r)
{
	uint64_t bytes = ld->conf->shadow->head->sectors * SECTOR;

	s->rq = (struct bd_req){ .op = choose_op(ld, r), .done = slot_done, .arg = s };
	s->rq.dev = ld->conf->dev;
	if (s->rq.op == BD_FLUSH)
		return;
	s->rq.len = choose_len(ld, r, bytes);
	s->rq.off = choose_off(ld, r, bytes, s->rq.len);
	if (s->rq.op == BD_WRITE && rnd_below(r, 5) == 0)
		s->rq.flags = BD_FUA;
	if (s->rq.op == BD_ZERO)
		s->rq.flags = (unsigned)rnd_below(r, 4) & (BD_FUA | BD_UNMAP);
}

/* Into the shadow; old: what is changed there, for a request that may be refused. */
static void enter_locked(struct load *ld, struct slot *s, struct cell *old)
{
	static const enum kind kinds[BD_OPS] = { [BD_WRITE] = KIND_DATA, [BD_ZERO] = KIND_ZERO };
	struct shadow *shadow = ld->conf->shadow;
	struct bd_req *rq = &s->rq;

	s->active = true;
	s->sent = false;
	if (changes(rq->op)) {
		s->value = shadow_next(shadow, kinds[rq->op]);
		shadow_begin(shadow, rq->off, rq->len, s->value, old);
	} else if (rq->op == BD_FLUSH) {
		s->covers = shadow_flush_begin(shadow);
	} else {
		size_t n = rq->len / SECTOR * sizeof *s->expect;

		s->expect = grown(s->expect, &s->expect_room, n);
		memcpy(s->expect, shadow->cells + rq->off / SECTOR, n);
	}
}

/* Memory and bytes, once the request stands. */
static void prepare(struct slot *s, uint64_t *r)
{
	const struct bd_limits *l = &s->rq.dev->limits;
	uint64_t sectors = s->rq.len / SECTOR;

	if (s->rq.op != BD_READ && s->rq.op != BD_WRITE)
		return;
	s->memory = grown(s->memory, &s->room, s->rq.len + BD_BLOCK_MAX);
	s->bytes = s->memory + rnd_below(r, BD_BLOCK_MAX / l->align) * l->align;
	for (uint64_t i = 0; s->rq.op == BD_WRITE && i < sectors; i++)
		sector_fill(s->bytes + i * SECTOR, s->ld->conf->shadow->head->stamp,
			    s->rq.off / SECTOR + i, VALUE_GENERATION(s->value));
	if (s->rq.op == BD_READ)
		memset(s->bytes, 0xee, s->rq.len);
	choose_pieces(s, r);
}

/* ---- submitting --------------------------------------------------------------- */

static struct slot *slot_take_locked(struct worker *w)
{
	struct list *l = list_pop(&w->free);

	return l ? list_entry(l, struct slot, link) : NULL;
}

static void slot_give_locked(struct slot *s)
{
	s->active = false;
	list_push_back(&s->worker->free, &s->link);
}

/* A request of which some other is in the way goes back; what could be done instead is the next turn's. */
static bool begin_locked(struct load *ld, struct slot *s, uint64_t *r)
{
	for (int i = 0; i < TRIES; i++) {
		choose_locked(ld, s, r);
		if (!colliding_locked(ld, &s->rq)) {
			enter_locked(ld, s, NULL);
			return true;
		}
	}
	return false;
}

/* What the device has refused has changed nothing; only after a power cut may it do so. */
static void refused_locked(struct load *ld, struct slot *s, int rc)
{
	s->rq.result = rc;
	ld->stats->refused++;
	if (changes(s->rq.op))
		shadow_failed(ld->conf->shadow, s->rq.off, s->rq.len, s->value);
	if (!ld->conf->may_fail && !(is_cut(ld) && rc == -EIO))
		complain_locked(ld, &s->rq, "a good request was refused");
	slot_give_locked(s);
}

static void submit_row(struct load *ld, struct slot **row, unsigned n)
{
	struct bd_req *rqs[ROW_MAX];
	unsigned taken;
	int rc = 0;

	for (unsigned i = 0; i < n; i++)
		rqs[i] = &row[i]->rq;
	if (n == 1) {
		rc = bd_submit(ld->conf->dev, rqs[0]);
		taken = rc == 0;
	} else {
		taken = bd_submit_all(ld->conf->dev, rqs, n, &rc);
	}
	pthread_mutex_lock(&ld->lock);
	for (unsigned i = 0; i < taken; i++)
		row[i]->sent = true; /* one that has ended meanwhile is not active */
	for (; taken < n; taken++)
		refused_locked(ld, row[taken], rc);
	pthread_mutex_unlock(&ld->lock);
}

static const struct slot *any_in_flight_locked(struct load *ld, uint64_t *r)
{
	unsigned n = ld->conf->threads * ld->conf->depth, at = (unsigned)rnd_below(r, n);

	for (unsigned i = 0; i < n; i++) {
		unsigned k = (at + i) % n;
		const struct slot *s = &ld->workers[k / ld->conf->depth].slots[k % ld->conf->depth];

		if (s->active && s->sent && s->rq.len)
			return s;
	}
	return NULL;
}

/* Asks for what overlaps another. It is refused, or the other has just ended and it is a request as any. The lock
 * is held meanwhile, for what it changes in the shadow is the other's. */
static void overlap_locked(struct load *ld, struct slot *s, uint64_t *r)
{
	const struct slot *other = any_in_flight_locked(ld, r);
	uint32_t block = ld->conf->dev->limits.block;
	struct cell *old;
	int rc;

	if (!other) {
		slot_give_locked(s);
		return;
	}
	s->rq = (struct bd_req){ .op = changes(other->rq.op) && rnd(r) % 2 ? BD_READ : BD_WRITE,
				 .off = other->rq.off + rnd_below(r, other->rq.len / block) * block,
				 .len = block,
				 .done = slot_done,
				 .arg = s,
				 .dev = ld->conf->dev };
	old = calloc(block / SECTOR, sizeof *old);
	if (!old)
		errx(EXIT_TROUBLE, "out of memory");
	enter_locked(ld, s, old);
	prepare(s, r);
	rc = bd_submit(ld->conf->dev, &s->rq);
	if (rc == -EBUSY) {
		ld->stats->overlaps_refused++;
		if (changes(s->rq.op))
			shadow_undo(ld->conf->shadow, s->rq.off, s->rq.len, old);
		slot_give_locked(s);
	} else if (rc) {
		refused_locked(ld, s, rc);
	} else {
		s->sent = true;
		ld->stats->overlaps_late++;
	}
	free(old);
}

/* ---- threads -------------------------------------------------------------------- */

static bool may_begin_locked(struct load *ld)
{
	const struct load_conf *c = ld->conf;

	return ld->begun < c->ops && !ld->wrong && !is_cut(ld) &&
	       !(c->enough && atomic_load(c->enough));
}

/* A turn of a worker: one request, or a row of them. */
static void turn_locked(struct load *ld, struct worker *w)
{
	unsigned want = rnd_below(&w->random, 8) ? 1 :
						   2 + (unsigned)rnd_below(&w->random, ROW_MAX - 1);
	struct slot *row[ROW_MAX], *s;
	unsigned n = 0;

	if (rnd_below(&w->random, 20) == 0) {
		ld->begun++;
		overlap_locked(ld, slot_take_locked(w), &w->random);
		return;
	}
	while (n < want && (s = slot_take_locked(w))) {
		if (!begin_locked(ld, s, &w->random)) {
			list_push_front(&w->free, &s->link);
			break;
		}
		row[n++] = s;
	}
	ld->begun += n ? n : 1;
	ld->stats->rows += n > 1;
	pthread_mutex_unlock(&ld->lock);
	for (unsigned i = 0; i < n; i++)
		prepare(row[i], &w->random);
	if (n)
		submit_row(ld, row, n);
	pthread_mutex_lock(&ld->lock);
}

static unsigned in_flight_locked(const struct worker *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->ld->conf->depth; i++)
		n += w->slots[i].active;
	return n;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	struct load *ld = w->ld;

	pthread_mutex_lock(&ld->lock);
	while (may_begin_locked(ld)) {
		if (list_empty(&w->free)) {
			pthread_cond_wait(&ld->changed, &ld->lock);
			continue;
		}
		turn_locked(ld, w);
		if (!ld->half && ld->begun >= ld->conf->ops / 2) {
			ld->half = true;
			pthread_cond_broadcast(&ld->changed);
		}
	}
	while (in_flight_locked(w))
		pthread_cond_wait(&ld->changed, &ld->lock);
	w->ended = true;
	pthread_cond_broadcast(&ld->changed);
	pthread_mutex_unlock(&ld->lock);
	return NULL;
}

static bool all_ended_locked(const struct load *ld)
{
	for (unsigned t = 0; t < ld->conf->threads; t++)
		if (!ld->workers[t].ended)
			return false;
	return true;
}

static void run_halfway_locked(struct load *ld)
{
	uint64_t bytes;

	pthread_mutex_unlock(&ld->lock);
	bytes = ld->conf->halfway(ld->conf->halfway_arg);
	pthread_mutex_lock(&ld->lock);
	shadow_grow(ld->conf->shadow, bytes);
}

/* Whoever does not end within the limit ends all. */
static void watch(struct load *ld)
{
	bool waits = ld->conf->halfway != NULL;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ld->conf->limit_s;
	pthread_mutex_lock(&ld->lock);
	while (!all_ended_locked(ld) || waits) {
		if (waits && (ld->half || all_ended_locked(ld))) {
			waits = false;
			run_halfway_locked(ld);
		} else if (pthread_cond_timedwait(&ld->changed, &ld->lock, &until) == ETIMEDOUT) {
			fprintf(stderr, "devtest: not done after %u s; in flight:\n",
				ld->conf->limit_s);
			tell_in_flight(ld);
			_exit(EXIT_LATE);
		}
	}
	pthread_mutex_unlock(&ld->lock);
}

static void worker_init(struct load *ld, struct worker *w, unsigned t)
{
	w->ld = ld;
	w->random = rnd_seed(ld->conf->seed, t);
	w->slots = calloc(ld->conf->depth, sizeof *w->slots);
	if (!w->slots)
		errx(EXIT_TROUBLE, "out of memory");
	list_init(&w->free);
	for (unsigned i = 0; i < ld->conf->depth; i++) {
		w->slots[i].ld = ld;
		w->slots[i].worker = w;
		list_push_back(&w->free, &w->slots[i].link);
	}
}

static void worker_free(struct load *ld, struct worker *w)
{
	for (unsigned i = 0; i < ld->conf->depth; i++) {
		free(w->slots[i].memory);
		free(w->slots[i].expect);
	}
	free(w->slots);
}

bool load_run(const struct load_conf *conf, struct load_stats *stats)
{
	struct load ld = { .conf = conf,
			   .stats = stats,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .changed = PTHREAD_COND_INITIALIZER };
	uint64_t start = clock_us();

	ld.workers = calloc(conf->threads, sizeof *ld.workers);
	if (!ld.workers)
		errx(EXIT_TROUBLE, "out of memory");
	for (unsigned t = 0; t < conf->threads; t++)
		worker_init(&ld, &ld.workers[t], t);
	for (unsigned t = 0; t < conf->threads; t++)
		if (pthread_create(&ld.workers[t].thread, NULL, worker_thread, &ld.workers[t]))
			errx(EXIT_TROUBLE, "cannot start a thread");
	watch(&ld);
	for (unsigned t = 0; t < conf->threads; t++)
		pthread_join(ld.workers[t].thread, NULL);
	for (unsigned t = 0; t < conf->threads; t++)
		worker_free(&ld, &ld.workers[t]);
	free(ld.workers);
	stats->seconds += (double)(clock_us() - start) / 1e6;
	return !ld.wrong;
}

/* ---- all of it --------------------------------------------------------------------- */

#define VERIFY_BYTES (1u << 20)

/* The sectors of a block are of one write, for blocks are not torn. Discarded ones hold anything. */
static bool block_is_whole(const uint32_t *found, const struct cell *cells, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (VALUE_GENERATION(cells[i].discarded) >= VALUE_GENERATION(cells[i].floor))
			return true;
	for (uint64_t i = 1; i < n; i++)
		if (found[i] != found[0])
			return false;
	return true;
}

static void verify_block(struct shadow *shadow, const uint8_t *p, uint64_t first, bool after,
			 struct verify_stats *out)
{
	uint64_t n = shadow->head->block / SECTOR;
	struct cell *cells = shadow->cells + first;
	uint32_t found[BD_BLOCK_MAX / SECTOR];
	bool good = true;

	for (uint64_t i = 0; i < n; i++) {
		found[i] = sector_find(p + i * SECTOR, shadow->head->stamp, first + i);
		out->lost += !cell_is(&cells[i], found[i]);
		if (after ? cell_may_be(&cells[i], found[i]) : cell_is(&cells[i], found[i]))
			continue;
		good = false;
		if (out->wrong++ < COMPLAINTS_MAX)
			cell_tell(&cells[i], first + i, found[i], p + i * SECTOR);
	}
	if (good && !block_is_whole(found, cells, n) && out->wrong++ < COMPLAINTS_MAX)
		fprintf(stderr, "devtest: block at sector %llu has parts of two writes\n",
			(unsigned long long)first);
	for (uint64_t i = 0; after && i < n; i++)
		shadow_settle(shadow, first + i, found[i]);
}

bool load_verify(struct bd *dev, struct shadow *shadow, bool after, struct verify_stats *out)
{
	uint64_t bytes = shadow->head->sectors * SECTOR, wrong = out->wrong;
	uint8_t *buf = aligned_alloc(BD_BLOCK_MAX, VERIFY_BYTES);

	if (!buf)
		errx(EXIT_TROUBLE, "out of memory");
	for (uint64_t off = 0; off < bytes; off += VERIFY_BYTES) {
		uint64_t len = bytes - off < VERIFY_BYTES ? bytes - off : VERIFY_BYTES;
		int rc = bd_read(dev, buf, len, off);

		for (unsigned i = 1; rc && i < out->tries; i++)
			rc = bd_read(dev, buf, len, off);
		if (rc) {
			fprintf(stderr, "devtest: reading %llu bytes at %llu: %s\n",
				(unsigned long long)len, (unsigned long long)off, strerror(-rc));
			out->wrong++;
			break;
		}
		for (uint64_t at = 0; at < len; at += shadow->head->block)
			verify_block(shadow, buf + at, (off + at) / SECTOR, after, out);
		out->sectors += len / SECTOR;
	}
	free(buf);
	if (after)
		shadow->covered = shadow->nchanges = 0;
	return out->wrong == wrong;
}
