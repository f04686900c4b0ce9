/* SPDX-License-Identifier: Apache-2.0 */
/* overlay.c - see overlay.h
 *
 * The hash is the sum of the hashes of the units that differ from the base: a sum can be kept up when one unit
 * changes. A unit that was changed back to the base's bytes counts as nothing again. */
#include "tests/crash/overlay.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

void die(const char *fmt, ...)
{
	va_list ap;

	fputs("crashjournal: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(3);
}

void *xalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		die("out of memory");
	return p;
}

char *xprintf(const char *fmt, ...)
{
	char *out;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&out, fmt, ap);
	va_end(ap);
	if (n < 0)
		die("out of memory");
	return out;
}

uint64_t mix64(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ULL;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dULL;
	return x ^ x >> 33;
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	const uint8_t *b = p;
	uint64_t h = mix64(seed ^ n), w;

	for (; n >= sizeof w; n -= sizeof w, b += sizeof w) {
		memcpy(&w, b, sizeof w);
		h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	for (; n; n--)
		h = (h ^ *b++) * 0x100000001b3ULL;
	return mix64(h);
}

uint64_t rand_below(uint64_t *seq, uint64_t n)
{
	*seq += 0x9e3779b97f4a7c15ULL;
	return mix64(*seq) % n;
}

/* ---- the image -------------------------------------------------------- */

void overlay_base(struct overlay *o, const uint8_t *flat, uint64_t size)
{
	assert(size % OVERLAY_UNIT == 0);
	*o = (struct overlay){ .flat = flat, .size = size };
	o->nunits = (unsigned)(size / OVERLAY_UNIT);
	o->own = xalloc(o->nunits, sizeof *o->own);
	o->list = xalloc(o->nunits, sizeof *o->list);
}

void overlay_over(struct overlay *o, const struct overlay *below)
{
	overlay_base(o, below->flat, below->size);
	o->below = below;
	o->hash = below->hash;
}

void overlay_reset(struct overlay *o)
{
	for (unsigned i = 0; i < o->changed; i++) {
		free(o->own[o->list[i]]);
		o->own[o->list[i]] = NULL;
	}
	o->changed = 0;
	o->hash = o->below ? o->below->hash : 0;
}

void overlay_done(struct overlay *o)
{
	if (o->own)
		overlay_reset(o);
	free(o->own);
	free(o->list);
	o->own = NULL;
	o->list = NULL;
}

static const uint8_t *unit_of(const struct overlay *o, unsigned unit)
{
	for (; o->below; o = o->below)
		if (o->own[unit])
			return o->own[unit];
	return o->own[unit] ? o->own[unit] : o->flat + (size_t)unit * OVERLAY_UNIT;
}

static uint64_t unit_hash(const struct overlay *o, unsigned unit, const uint8_t *bytes)
{
	const uint8_t *base = o->flat + (size_t)unit * OVERLAY_UNIT;

	return bytes == base || !memcmp(bytes, base, OVERLAY_UNIT) ?
		       0 :
		       hash_bytes(bytes, OVERLAY_UNIT, mix64(unit + 1));
}

static uint8_t *unit_own(struct overlay *o, unsigned unit)
{
	const uint8_t *old = unit_of(o, unit);

	o->hash -= unit_hash(o, unit, old);
	if (o->own[unit])
		return o->own[unit];
	o->own[unit] = xalloc(1, OVERLAY_UNIT);
	memcpy(o->own[unit], old, OVERLAY_UNIT);
	o->list[o->changed++] = unit;
	return o->own[unit];
}

void overlay_read(const struct overlay *o, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;

	assert(off <= o->size && len <= o->size - off);
	while (len) {
		unsigned unit = (unsigned)(off / OVERLAY_UNIT), at = off % OVERLAY_UNIT;
		size_t n = OVERLAY_UNIT - at < len ? OVERLAY_UNIT - at : len;

		memcpy(to, unit_of(o, unit) + at, n);
		to += n;
		off += n;
		len -= n;
	}
}

void overlay_write(struct overlay *o, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;

	assert(off <= o->size && len <= o->size - off);
	while (len) {
		unsigned unit = (unsigned)(off / OVERLAY_UNIT), at = off % OVERLAY_UNIT;
		size_t n = OVERLAY_UNIT - at < len ? OVERLAY_UNIT - at : len;
		uint8_t *own = unit_own(o, unit);

		memcpy(own + at, from, n);
		o->hash += unit_hash(o, unit, own);
		from += n;
		off += n;
		len -= n;
	}
}

unsigned overlay_copy(const struct overlay *o, uint8_t *flat, uint64_t len)
{
	unsigned n = 0;

	assert(len <= o->size);
	for (unsigned i = 0; i < len / OVERLAY_UNIT; i++) {
		const uint8_t *unit = unit_of(o, i);

		if (memcmp(flat, unit, OVERLAY_UNIT)) {
			memcpy(flat, unit, OVERLAY_UNIT);
			n++;
		}
		flat += OVERLAY_UNIT;
	}
	return n;
}

/* ---- the device ------------------------------------------------------- */

enum { DEPTH = 32, SLOW_BYTES = 32768, SLOW_US = 300, LATE_US = 1000, ONE_IN_LATE = 4 };

struct odev {
	struct bd bd; /* first */
	struct overlay *o;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	/* guarded by lock */
	struct bd_req *queue[DEPTH];
	unsigned n;
	uint64_t shuffle;
	struct bd_req *late; /* with FUA, behind all that come until late_us; NULL: none */
	uint64_t late_us;
	bool slow, ending;
};

static void odev_do(struct odev *d, const struct bd_req *rq)
{
	static const uint8_t zeros[OVERLAY_UNIT];
	uint64_t off = rq->off, end = rq->off + rq->len;

	for (unsigned i = 0; rq->op == BD_READ && i < rq->niov; i++) {
		overlay_read(d->o, rq->iov[i].iov_base, rq->iov[i].iov_len, off);
		off += rq->iov[i].iov_len;
	}
	for (unsigned i = 0; rq->op == BD_WRITE && i < rq->niov; i++) {
		overlay_write(d->o, rq->iov[i].iov_base, rq->iov[i].iov_len, off);
		off += rq->iov[i].iov_len;
	}
	/* What a discard leaves is anything; zeros show who relies on the old bytes. */
	while ((rq->op == BD_ZERO || rq->op == BD_DISCARD) && off < end) {
		size_t n = end - off < sizeof zeros ? (size_t)(end - off) : sizeof zeros;

		overlay_write(d->o, zeros, n, off);
		off += n;
	}
}

/* The late one, when its time has come. */
static struct bd_req *late_locked(struct odev *d)
{
	struct bd_req *rq = d->late;

	if (!rq || (!d->ending && clock_us() < d->late_us))
		return NULL;
	d->late = NULL;
	return rq;
}

static void wait_locked(struct odev *d)
{
	struct timespec until = { .tv_sec = (time_t)(d->late_us / 1000000),
				  .tv_nsec = (long)(d->late_us % 1000000) * 1000 };

	if (d->late)
		pthread_cond_clockwait(&d->more, &d->lock, CLOCK_MONOTONIC, &until);
	else
		pthread_cond_wait(&d->more, &d->lock);
}

static struct bd_req *odev_next(struct odev *d, bool *slow)
{
	struct bd_req *rq;
	unsigned i = 0;

	pthread_mutex_lock(&d->lock);
	while (!(rq = late_locked(d)) && !d->n && !d->ending)
		wait_locked(d);
	if (!rq && d->n) {
		if (d->slow)
			i = d->n - 1;
		else if (d->shuffle)
			i = (unsigned)rand_below(&d->shuffle, d->n);
		rq = d->queue[i];
		memmove(d->queue + i, d->queue + i + 1, (--d->n - i) * sizeof *d->queue);
	}
	*slow = d->slow;
	pthread_mutex_unlock(&d->lock);
	return rq;
}

static void *odev_thread(void *arg)
{
	struct odev *d = arg;
	struct bd_req *rq;
	bool slow;

	pthread_setname_np(pthread_self(), "overlay");
	while ((rq = odev_next(d, &slow))) {
		if (slow && rq->op == BD_WRITE && rq->len <= SLOW_BYTES && !(rq->flags & BD_FUA))
			usleep(SLOW_US);
		odev_do(d, rq);
		bd_complete(rq, 0);
	}
	return NULL;
}

static void odev_submit(struct bd *dev, struct bd_req *rq)
{
	struct odev *d = (struct odev *)dev;

	pthread_mutex_lock(&d->lock);
	assert(d->n < DEPTH);
	if (rq->flags & BD_FUA && d->shuffle && !d->late && !rand_below(&d->shuffle, ONE_IN_LATE)) {
		d->late = rq;
		d->late_us = clock_us() + LATE_US;
	} else {
		d->queue[d->n++] = rq;
	}
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
}

void overlay_slow(struct bd *dev, bool on)
{
	struct odev *d = (struct odev *)dev;

	pthread_mutex_lock(&d->lock);
	d->slow = on;
	pthread_mutex_unlock(&d->lock);
}

static int odev_size(struct bd *dev, uint64_t *out)
{
	*out = ((struct odev *)dev)->o->size;
	return 0;
}

static void odev_close(struct bd *dev)
{
	struct odev *d = (struct odev *)dev;

	pthread_mutex_lock(&d->lock);
	d->ending = true;
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	bd_core_free(dev);
	pthread_cond_destroy(&d->more);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const struct bd_ops odev_ops = {
	.name = "overlay", .submit = odev_submit, .size = odev_size, .close = odev_close
};

int overlay_open(struct overlay *o, uint64_t shuffle, struct bd **out, struct err *err)
{
	static const struct bd_env env;
	struct odev *d = xalloc(1, sizeof *d);
	int rc;

	d->bd.ops = &odev_ops;
	d->bd.limits = (struct bd_limits){ .block = BD_BLOCK_MIN,
					   .align = 1,
					   .max_transfer = 1u << 20,
					   .max_zero = 1u << 20,
					   .max_discard = 1u << 20,
					   .depth = DEPTH,
					   .volatile_cache = true,
					   .fua = true };
	atomic_store(&d->bd.size, o->size);
	d->o = o;
	d->shuffle = shuffle;
	rc = bd_core_new(&d->bd, &env, err);
	if (rc) {
		free(d);
		return rc;
	}
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->more, NULL);
	if (pthread_create(&d->thread, NULL, odev_thread, d))
		die("cannot start a thread");
	*out = &d->bd;
	return 0;
}
