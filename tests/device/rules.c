/* SPDX-License-Identifier: Apache-2.0 */
/* rules.c - what a device refuses, how it ends, and what an error leaves */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/device/devtest.h"

/* ---- requests that are waited for -------------------------------------------- */

struct wait {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned done;
};

static void wait_done(struct bd_req *rq)
{
	struct wait *w = rq->arg;

	pthread_mutex_lock(&w->lock);
	w->done++;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

static int submit_wait(struct bd *dev, struct bd_req *rq)
{
	struct wait w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
	int rc;

	rq->done = wait_done;
	rq->arg = &w;
	rc = bd_submit(dev, rq);
	pthread_mutex_lock(&w.lock);
	while (!rc && !w.done)
		pthread_cond_wait(&w.changed, &w.lock);
	pthread_mutex_unlock(&w.lock);
	return rc ? rc : rq->result;
}

/* ---- rules ---------------------------------------------------------------------- */

static void never(struct bd_req *rq)
{
	errx(EXIT_WRONG, "done() of a request that was refused: op=%d off=%llu", rq->op,
	     (unsigned long long)rq->off);
}

static bool refuses(struct bd *dev, struct bd_req rq, int want, const char *what)
{
	int rc;

	rq.done = never;
	rc = bd_submit(dev, &rq);
	return rc == want || wrong("%s: got %d, want %d", what, rc, want);
}

static bool refuses_ranges(struct bd *dev, void *buf)
{
	uint64_t size = atomic_load(&dev->size), b = dev->limits.block;
	const struct iovec iov = { .iov_base = buf, .iov_len = b };
	const struct bd_req rq = { .op = BD_READ, .len = b, .iov = &iov, .niov = 1 };
	const struct {
		uint64_t off, len;
		const char *what;
	} ranges[] = {
		{ size, b, "behind the end" },
		{ size - b, 2 * b, "over the end" },
		{ b / 2, b, "an offset within a block" },
		{ 1, b, "an odd offset" },
		{ 0, b / 2, "half a block" },
		{ 0, 0, "no bytes" },
		{ UINT64_MAX - b + 1, b, "an end that overflows" },
		{ b, UINT64_MAX - b + 1, "a length that overflows" },
	};
	static const enum bd_op ops[] = { BD_READ, BD_WRITE, BD_ZERO };
	bool good = true;

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		for (size_t k = 0; k < ARRAY_LEN(ops); k++) {
			struct bd_req r = rq;
			const struct iovec piece = { .iov_base = buf, .iov_len = ranges[i].len };

			r.op = ops[k];
			r.off = ranges[i].off;
			r.len = ranges[i].len;
			if (ranges[i].len <= 2 * b)
				r.iov = &piece;
			if (r.op == BD_ZERO)
				r.niov = 0;
			good &= refuses(dev, r, -EINVAL, ranges[i].what);
		}
	return good;
}

static bool refuses_pieces(struct bd *dev, uint8_t *buf)
{
	uint64_t b = dev->limits.block, align = dev->limits.align;
	const struct iovec one = { .iov_base = buf, .iov_len = b };
	const struct iovec two[] = { { buf, b }, { buf + b, b } };
	const struct iovec odd[] = { { buf, align + 1 }, { buf + align + 1, 2 * b - align - 1 } };
	const struct iovec moved = { .iov_base = buf + 1, .iov_len = b };
	struct iovec many[BD_IOV_MAX + 1];
	struct bd_req rq = { .op = BD_READ, .len = b, .iov = &one, .niov = 1 };
	bool good;

	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = one;
	rq.niov = 0;
	good = refuses(dev, rq, -EINVAL, "no pieces");
	rq.niov = 2;
	rq.iov = two;
	good &= refuses(dev, rq, -EINVAL, "pieces longer than the request");
	rq.niov = 1;
	rq.len = 2 * b;
	good &= refuses(dev, rq, -EINVAL, "pieces shorter than the request");
	rq.len = b * ARRAY_LEN(many);
	rq.iov = many;
	rq.niov = ARRAY_LEN(many);
	if (rq.len <= atomic_load(&dev->size))
		good &= refuses(dev, rq, -EINVAL, "too many pieces");
	if (align == 1)
		return good;
	rq = (struct bd_req){ .op = BD_WRITE, .len = b, .iov = &moved, .niov = 1 };
	good &= refuses(dev, rq, -EINVAL, "memory at an odd address");
	rq = (struct bd_req){ .op = BD_WRITE, .len = 2 * b, .iov = odd, .niov = 2 };
	return refuses(dev, rq, -EINVAL, "pieces of odd sizes") && good;
}

static bool refuses_the_rest(struct bd *dev)
{
	uint64_t b = dev->limits.block;
	const struct bd_req flush = { .op = BD_FLUSH, .off = b, .len = b };
	const struct bd_req discard = { .op = BD_DISCARD, .len = b };
	bool good = refuses(dev, flush, -EINVAL, "a flush of a range");

	good &= refuses(dev, (struct bd_req){ .op = BD_OPS, .len = b }, -EINVAL, "no operation");
	if (!dev->limits.max_discard)
		good &= refuses(dev, discard, -ENOTSUP, "a discard that is not supported");
	return good;
}

/* The first and the last block, of which every byte is there. */
static bool ends_work(struct devtest *t, struct bd *dev, uint8_t *buf)
{
	uint64_t b = dev->limits.block, size = t->shadow.head->sectors * SECTOR;
	const uint64_t offs[] = { 0, size - b };
	uint8_t *back = buf + b;

	for (size_t i = 0; i < ARRAY_LEN(offs); i++) {
		uint32_t value = shadow_next(&t->shadow, KIND_DATA);
		int rc;

		shadow_begin(&t->shadow, offs[i], b, value, NULL);
		for (uint64_t at = 0; at < b; at += SECTOR)
			sector_fill(buf + at, t->shadow.head->stamp, (offs[i] + at) / SECTOR,
				    VALUE_GENERATION(value));
		rc = bd_write(dev, buf, b, offs[i], 0);
		if (!rc)
			rc = bd_read(dev, back, b, offs[i]);
		if (rc)
			return wrong("the block at %llu: %s", (unsigned long long)offs[i],
				     strerror(-rc));
		shadow_done(&t->shadow, offs[i], b, value, false);
		if (memcmp(buf, back, b) != 0)
			return wrong("the block at %llu is not what was written",
				     (unsigned long long)offs[i]);
	}
	return true;
}

static bool refuses_after_cancel(struct bd *dev, uint8_t *buf)
{
	const struct iovec iov = { .iov_base = buf, .iov_len = dev->limits.block };
	struct bd_req rq = { .op = BD_READ, .len = dev->limits.block, .iov = &iov, .niov = 1 };
	bool good;

	bd_cancel(dev);
	good = refuses(dev, rq, -ESHUTDOWN, "a read after bd_cancel()");
	rq = (struct bd_req){ .op = BD_FLUSH };
	return refuses(dev, rq, -ESHUTDOWN, "a flush after bd_cancel()") && good;
}

bool test_rules(struct devtest *t)
{
	struct bd *dev = devtest_open(t, NULL);
	AUTO_FREE uint8_t *buf = aligned_alloc(BD_BLOCK_MAX, 4 * BD_BLOCK_MAX);
	struct verify_stats v = { .wrong = 0 };
	struct bd_counts counts;
	bool good;

	if (!buf)
		errx(EXIT_TROUBLE, "out of memory");
	good = refuses_ranges(dev, buf);
	good &= refuses_pieces(dev, buf);
	good &= refuses_the_rest(dev);
	bd_counts(dev, &counts);
	if (counts.refused == 0 || counts.in_flight || counts.waiting)
		good = wrong("the counters: refused %llu, in flight %u, waiting %u",
			     (unsigned long long)counts.refused, counts.in_flight, counts.waiting);
	good &= ends_work(t, dev, buf);
	good &= refuses_after_cancel(dev, buf);
	bd_close(dev);
	return good && devtest_verify(t, true, &v);
}

/* ---- cancel ------------------------------------------------------------------------ */

#define CANCEL_ROUNDS 8u
#define CANCEL_REQUESTS 640u /* more than any depth */

struct ending {
	struct bd_req rq;
	struct iovec iov;
	uint8_t *bytes; /* owned */
	uint32_t value;
	atomic_uint ends;
};

static void ending_done(struct bd_req *rq)
{
	struct ending *e = rq->arg;

	atomic_fetch_add(&e->ends, 1);
}

/* Request i of a round, in a range of its own. */
static void ending_make(struct devtest *t, struct bd *dev, struct ending *e, unsigned i,
			uint64_t *r)
{
	static const enum bd_op ops[] = { BD_WRITE, BD_READ, BD_WRITE, BD_ZERO, BD_FLUSH };
	uint64_t b = dev->limits.block, size = t->shadow.head->sectors * SECTOR;
	uint64_t part = size / CANCEL_REQUESTS / b, len;

	if (!part)
		part = 1;
	len = (1 + rnd_below(r, part < 16 ? part : 16)) * b;
	*e = (struct ending){
		.rq = { .op = ops[rnd_below(r, ARRAY_LEN(ops))], .done = ending_done, .arg = e }
	};
	if (e->rq.op == BD_FLUSH)
		return;
	e->rq.off = i * part * b % (size - len + b) / b * b;
	e->rq.len = len;
	e->bytes =
		aligned_alloc(BD_BLOCK_MAX, (len + BD_BLOCK_MAX - 1) / BD_BLOCK_MAX * BD_BLOCK_MAX);
	if (!e->bytes)
		errx(EXIT_TROUBLE, "out of memory");
	e->iov = (struct iovec){ .iov_base = e->bytes, .iov_len = len };
	if (e->rq.op != BD_ZERO) {
		e->rq.iov = &e->iov;
		e->rq.niov = 1;
	}
	if (e->rq.op == BD_READ)
		return;
	e->value = shadow_next(&t->shadow, e->rq.op == BD_WRITE ? KIND_DATA : KIND_ZERO);
	shadow_begin(&t->shadow, e->rq.off, len, e->value, NULL);
	for (uint64_t at = 0; at < len; at += SECTOR)
		sector_fill(e->bytes + at, t->shadow.head->stamp, (e->rq.off + at) / SECTOR,
			    VALUE_GENERATION(e->value));
}

static bool ending_check(struct ending *e, unsigned *cancelled)
{
	unsigned ends = atomic_load(&e->ends);
	bool good = true;

	if (ends != 1)
		good = wrong("done() ran %u times for a request in flight at the close", ends);
	else if (e->rq.result && e->rq.result != -ECANCELED)
		good = wrong("a request in flight at the close ended with %s",
			     strerror(-e->rq.result));
	*cancelled += e->rq.result == -ECANCELED;
	free(e->bytes);
	return good;
}

static bool cancel_round(struct devtest *t, struct ending *e, unsigned round, unsigned *cancelled)
{
	uint64_t random = rnd_seed(t->seed, 2000 + round);
	struct bd *dev = devtest_open(t, NULL);
	unsigned n = 0, first = CANCEL_REQUESTS * round / CANCEL_ROUNDS;
	bool good = true;
	int rc = 0;

	while (n < CANCEL_REQUESTS && !rc) {
		ending_make(t, dev, &e[n], n, &random);
		rc = bd_submit(dev, &e[n].rq);
		n += rc == 0;
	}
	/* From none to most of them are done by then. */
	for (unsigned i = 0; i < first && i < n; i++)
		while (!atomic_load(&e[i].ends))
			sched_yield();
	bd_close(dev);
	for (unsigned i = 0; i < n; i++)
		good &= ending_check(&e[i], cancelled);
	if (!rc)
		return good;
	free(e[n].bytes);
	return wrong("request %u was refused: %s", n, strerror(-rc));
}

bool test_cancel(struct devtest *t)
{
	struct ending *e = calloc(CANCEL_REQUESTS, sizeof *e);
	struct verify_stats v = { .wrong = 0 };
	unsigned cancelled = 0;
	bool good = e != NULL;

	for (unsigned round = 0; good && round < CANCEL_ROUNDS; round++)
		good = cancel_round(t, e, round, &cancelled) && devtest_verify(t, true, &v);
	free(e);
	printf("cancel: %u closes with %u requests, %u of them cancelled\n", CANCEL_ROUNDS,
	       CANCEL_REQUESTS, cancelled);
	return good;
}

/* ---- faults -------------------------------------------------------------------------- */

#define FAULT_REQUESTS 24u

/* What happened in one run of the script. */
struct faulted {
	unsigned errors, reads_failed,
		after_failure; /* after_failure: other requests that did not fail then */
	bool failed;           /* the device has, by B3 */
	int error;
};

static void script_request(struct devtest *t, struct bd *dev, unsigned i, uint8_t *buf,
			   struct faulted *out)
{
	static const enum bd_op ops[] = {
		BD_WRITE, BD_READ, BD_FLUSH, BD_ZERO, BD_WRITE, BD_DISCARD
	};
	static const enum kind kinds[BD_OPS] = { [BD_WRITE] = KIND_DATA, [BD_ZERO] = KIND_ZERO };
	uint64_t b = dev->limits.block;
	struct iovec iov = { .iov_base = buf, .iov_len = b };
	struct bd_req rq = { .op = ops[i % ARRAY_LEN(ops)] };
	uint64_t covers = shadow_flush_begin(&t->shadow);
	bool was_failed = bd_failed(dev) != 0;
	uint32_t value = 0;
	int rc;

	if (rq.op == BD_DISCARD && !dev->limits.max_discard)
		rq.op = BD_WRITE;
	if (rq.op != BD_FLUSH) {
		rq.off = i / 2 * b;
		rq.len = b;
	}
	if (rq.op == BD_WRITE || rq.op == BD_READ) {
		rq.iov = &iov;
		rq.niov = 1;
	}
	rq.flags = rq.op == BD_WRITE && i % 4 == 0 ? BD_FUA : 0;
	if (rq.op != BD_READ && rq.op != BD_FLUSH) {
		value = shadow_next(&t->shadow, kinds[rq.op]);
		shadow_begin(&t->shadow, rq.off, rq.len, value, NULL);
	}
	for (uint64_t at = 0; rq.op == BD_WRITE && at < b; at += SECTOR)
		sector_fill(buf + at, t->shadow.head->stamp, (rq.off + at) / SECTOR,
			    VALUE_GENERATION(value));
	rc = submit_wait(dev, &rq);
	out->errors += rc != 0;
	out->reads_failed += rc && rq.op == BD_READ;
	out->after_failure += !rc && was_failed && rq.op != BD_READ;
	out->error = rc ? rc : out->error;
	if (value && rc)
		shadow_failed(&t->shadow, rq.off, rq.len, value);
	else if (value)
		shadow_done(&t->shadow, rq.off, rq.len, value, rq.flags & BD_FUA);
	else if (rq.op == BD_FLUSH && !rc)
		shadow_flush_done(&t->shadow, covers);
}

static bool judge_fault(const char *op, unsigned n, const struct faulted *f)
{
	if (f->errors && f->error != -EIO)
		return wrong("%s %u fails: the caller got %s", op, n, strerror(-f->error));
	if (!f->failed)
		return f->errors <= 1 || wrong("%s %u fails: %u requests failed", op, n, f->errors);
	if (f->after_failure)
		return wrong("%s %u fails, and %u later changes did not", op, n, f->after_failure);
	if (f->reads_failed)
		return wrong("%s %u fails, and %u reads did, too", op, n, f->reads_failed);
	return true;
}

/* Until no request fails; *met: how many runs had one. */
static bool faults_of(struct devtest *t, const char *op, bool after, uint8_t *buf, unsigned *met,
		      unsigned *stopped)
{
	struct verify_stats v = { .wrong = 0 };
	struct faulted f;

	for (unsigned n = 1; n <= FAULT_REQUESTS + 1; n++) {
		char layer[64];
		struct bd *dev;

		snprintf(layer, sizeof layer, "fault:%s=%u:EIO,after=%d", op, n, after);
		dev = devtest_open(t, layer);
		f = (struct faulted){ .errors = 0 };
		for (unsigned i = 0; i < FAULT_REQUESTS; i++)
			script_request(t, dev, i, buf, &f);
		f.failed = bd_failed(dev) != 0;
		bd_close(dev);
		if (!judge_fault(op, n, &f) || !devtest_verify(t, true, &v))
			return false;
		if (!f.errors)
			return true;
		(*met)++;
		*stopped += f.failed;
	}
	return wrong("%s: the %uth fails, of fewer", op, FAULT_REQUESTS + 1);
}

bool test_faults(struct devtest *t)
{
	static const char *const ops[] = { "read", "write", "flush", "discard", "zero", "fua" };
	AUTO_FREE uint8_t *buf = aligned_alloc(BD_BLOCK_MAX, BD_BLOCK_MAX);
	struct bd *dev = devtest_open(t, NULL);
	const struct bd_limits l = dev->limits;
	bool good = buf != NULL;

	bd_close(dev);
	for (size_t i = 0; good && i < ARRAY_LEN(ops); i++) {
		unsigned met[2] = { 0, 0 }, stopped = 0;

		for (int after = 0; good && after < 2; after++)
			good = faults_of(t, ops[i], after, buf, &met[after], &stopped);
		printf("faults: %s failed %u and %u times, the device stopped %u times\n", ops[i],
		       met[0], met[1], stopped);
		if (i < 2 && good && !(met[0] && met[1]))
			good = wrong("no %s has failed", ops[i]);
		if (i == 2 && good && l.volatile_cache && stopped != met[0] + met[1])
			good = wrong("the device did not stop after each flush that failed");
	}
	return good;
}
