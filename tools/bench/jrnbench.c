/* SPDX-License-Identifier: Apache-2.0 */
/* jrnbench.c - how many commits a second the journal makes, alone: no file system above it
 *
 *   jrnbench --device URI [--threads N] [--runtime TIME] [--blocks N] [--first BLOCK] [--layers LAYERS] [--json]
 *
 * The device holds an ext4 file system made by mke2fs, with a journal, that nobody uses. Each thread does what fsync()
 * of a changed inode costs: a handle that changes blocks (1) of its own, then jrn_wait(). The blocks are free ones: from
 * --first on, else the last of the file system. They have to be zero, and are zero again at the end. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/device.h"
#include "backends/block/ext4/journal.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "tools/bench/args.h"

#define BUFFERS_BYTES (64u << 20)
#define SAMPLES_MAX 1000000u /* latencies kept of a thread */

struct run;

struct worker {
	pthread_t thread;
	struct run *run;
	uint64_t first; /* block */
	uint64_t done;
	uint32_t *us; /* owned: how long each took */
	unsigned nus;
	int error;
};

struct run {
	/* set at start, then read only */
	char *uri, *layers; /* owned */
	uint64_t threads, blocks;
	uint64_t first;
	uint64_t runtime_ms;
	bool json;
	struct bd *dev;
	struct ext4_super super;
	struct bufs *bufs;
	struct jrn *jrn;
	struct worker *workers;

	_Atomic bool stop;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "jrnbench: %s: %s\n", what, why);
	exit(1);
}

/* Changes all blocks of a thread to one value. */
static int change(struct worker *w, uint64_t value, uint32_t *tid)
{
	struct buf_owner plain = { .type = BUF_PLAIN };
	struct run *r = w->run;
	struct txn t;
	int rc = txn_begin(r->jrn, r->blocks, &t);

	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < r->blocks; i++) {
		struct buf *b = NULL;

		rc = buf_get(r->bufs, w->first + i, plain, &b);
		if (rc)
			break;
		buf_lock(b);
		memcpy(buf_change(&t, b, 0, sizeof value), &value, sizeof value);
		buf_unlock(b);
		buf_put(b);
	}
	*tid = txn_end(&t);
	return rc;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint32_t tid;

	while (!w->error && !atomic_load_explicit(&w->run->stop, memory_order_relaxed)) {
		uint64_t start = clock_us();

		w->error = change(w, w->done + 1, &tid);
		if (!w->error)
			w->error = jrn_wait(w->run->jrn, tid);
		if (w->nus < SAMPLES_MAX)
			w->us[w->nus++] = (uint32_t)(clock_us() - start);
		w->done++;
	}
	return NULL;
}

/* ---- before and after ------------------------------------------------------- */

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* Nobody's data is written over: what is not zero is not free. */
static void check_free(struct run *r)
{
	struct buf_owner plain = { .type = BUF_PLAIN };
	uint64_t n = r->threads * r->blocks;

	if (!r->first)
		r->first = n < r->super.blocks ? r->super.blocks - n : 0;
	if (!r->first || n > r->super.blocks - r->first)
		die(r->uri, "too small for so many blocks");
	for (uint64_t i = 0; i < n; i++) {
		struct buf *b;
		int rc = buf_get(r->bufs, r->first + i, plain, &b);

		if (rc)
			die(r->uri, strerror(-rc));
		if (!is_zero(b->data, r->super.block_size))
			die(r->uri, "its last blocks are in use: name free ones by --first");
		buf_put(b);
	}
}

static void start(struct run *r)
{
	struct bufs_conf bc = { .memory = BUFFERS_BYTES };
	struct jrn_conf jc = { .super = &r->super };
	struct jrn_recovered recovered;
	struct err err = { "" };

	if (bd_open(r->uri, r->layers, NULL, &r->dev, &err) ||
	    ext4_super_read(r->dev, &r->super, &err) ||
	    jrn_recover(r->dev, &r->super, &recovered, &err))
		die(r->uri, err.text);
	bc.dev = r->dev;
	bc.block_size = r->super.block_size;
	bc.blocks = r->super.blocks;
	if (bufs_new(&bc, &r->bufs))
		die("buffers", strerror(ENOMEM));
	check_free(r);
	jc.dev = r->dev;
	jc.bufs = r->bufs;
	if (jrn_open(&jc, &r->jrn, &err))
		die(r->uri, err.text);
}

static void finish(struct run *r)
{
	uint32_t tid;
	int rc = 0;

	for (unsigned i = 0; !rc && i < r->threads; i++)
		rc = change(&r->workers[i], 0, &tid);
	if (!rc)
		rc = jrn_close(r->jrn);
	if (rc)
		die(r->uri, strerror(-rc));
	bufs_free(r->bufs);
	ext4_super_done(&r->super);
	bd_close(r->dev);
}

/* ---- the measurement ---------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void report(struct run *r, double took, const struct jrn_counts *c)
{
	uint64_t done = 0;
	size_t n = 0;
	uint32_t *us;

	for (unsigned i = 0; i < r->threads; i++) {
		done += r->workers[i].done;
		n += r->workers[i].nus;
	}
	us = malloc((n ? n : 1) * sizeof *us);
	if (!us || !n)
		die("measurement", "nothing was done");
	n = 0;
	for (unsigned i = 0; i < r->threads; i++) {
		memcpy(us + n, r->workers[i].us, r->workers[i].nus * sizeof *us);
		n += r->workers[i].nus;
		free(r->workers[i].us);
	}
	qsort(us, n, sizeof *us, by_value);
	printf(r->json ?
		       "{\"commits_s\": %.1f, \"fsyncs_s\": %.1f, \"p50_us\": %u, \"p99_us\": %u, "
		       "\"max_us\": %u, \"seal_us_max\": %llu}\n" :
		       "%.0f commits/s, %.0f fsyncs/s; half within %u us, 99 %% within %u us, the "
		       "longest %u us; longest seal %llu us\n",
	       (double)c->commits / took, (double)done / took, us[n / 2], us[n * 99 / 100],
	       us[n - 1], (unsigned long long)c->seal_us_max);
	free(us);
}

static void measure(struct run *r)
{
	struct timespec span = { .tv_sec = (time_t)(r->runtime_ms / 1000),
				 .tv_nsec = (long)(r->runtime_ms % 1000 * 1000000) };
	uint64_t begin = clock_us();
	struct jrn_counts c;
	double took;

	for (unsigned i = 0; i < r->threads; i++) {
		struct worker *w = &r->workers[i];

		w->run = r;
		w->first = r->first + i * r->blocks;
		w->us = malloc(SAMPLES_MAX * sizeof *w->us);
		if (!w->us)
			die("memory", strerror(ENOMEM));
	}
	for (unsigned i = 0; i < r->threads; i++)
		if (pthread_create(&r->workers[i].thread, NULL, work, &r->workers[i]))
			die("thread", strerror(EAGAIN));
	while (nanosleep(&span, &span) && errno == EINTR)
		;
	atomic_store(&r->stop, true);
	for (unsigned i = 0; i < r->threads; i++)
		pthread_join(r->workers[i].thread, NULL);
	took = (double)(clock_us() - begin) / 1e6;
	jrn_counts(r->jrn, &c);
	for (unsigned i = 0; i < r->threads; i++)
		if (r->workers[i].error)
			die("commit", strerror(-r->workers[i].error));
	report(r, took, &c);
}

/* ---- the command line ------------------------------------------------------------ */

#define AT(member) offsetof(struct run, member)
static const struct opt_def table[] = {
	ARGS_DEVICE(AT(uri)),
	{ .name = "threads",
	  .type = OPT_UINT,
	  .offset = AT(threads),
	  .min = 1,
	  .max = 256,
	  .dflt = "1",
	  .help = "that commit at once" },
	ARGS_RUNTIME(AT(runtime_ms), "3s", "how long"),
	{ .name = "blocks",
	  .type = OPT_UINT,
	  .offset = AT(blocks),
	  .min = 1,
	  .max = 1000,
	  .dflt = "1",
	  .help = "that a handle changes" },
	{ .name = "first",
	  .type = OPT_UINT,
	  .offset = AT(first),
	  .help = "block; 0: the last ones of the file system" },
	ARGS_LAYERS(AT(layers)),
	ARGS_JSON(AT(json)),
	{ .name = NULL },
};

static const char usage[] = "jrnbench --device URI [OPTION...]";

int main(int argc, char **argv)
{
	struct run r = { .stop = false };

	args_parse(usage, table, &r, argc, argv, 0);
	if (!r.uri)
		args_usage(usage);
	start(&r);
	r.workers = calloc(r.threads, sizeof *r.workers);
	if (!r.workers)
		die("memory", strerror(ENOMEM));
	measure(&r);
	finish(&r);
	free(r.workers);
	opt_done(table, &r);
	return 0;
}
