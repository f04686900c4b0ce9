/* SPDX-License-Identifier: Apache-2.0 */
/* devbench.c - how fast a block device is through our transports alone: no file system, no copies
 *
 *   devbench --device URI [--rw randread|randwrite|read|write] [--bs BYTES] [--depth N] [--runtime TIME] [--layers LAYERS] [--json]
 *
 * Keeps depth requests in flight; each is submitted anew by its own done(), as a file system with work enough does.
 * Writes destroy what the device holds. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/block/device.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/bench/args.h"

#define LINE 64 /* bytes that CPUs exchange */
#define WAIT_MS 60000u

struct slot {
	_Alignas(LINE) struct bd_req rq;
	struct iovec iov;
	struct run *run;
	uint64_t seed, done;
	uint64_t first, next; /* of a sequential slot, in blocks */
	int error;
};

struct run {
	/* set at start, then read only */
	char *uri, *layers; /* owned */
	unsigned rw;        /* see rw_names */
	bool json;
	uint64_t bytes; /* of a request */
	uint64_t depth, runtime_ms;
	uint64_t blocks; /* of bytes each */
	struct bd *dev;
	struct slot *slots;

	_Atomic bool stop;
};

static const char *const rw_names[] = { "randread", "randwrite", "read", "write", NULL };

static bool is_random(const struct run *r)
{
	return r->rw < 2;
}

static enum bd_op op_of(const struct run *r)
{
	return r->rw % 2 ? BD_WRITE : BD_READ;
}

static void die(const char *what, int rc)
{
	fprintf(stderr, "devbench: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static uint64_t random_block(struct slot *s)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 7;
	s->seed ^= s->seed << 17;
	return s->seed % s->run->blocks;
}

static void place(struct slot *s)
{
	struct run *r = s->run;

	if (is_random(r)) {
		s->rq.off = random_block(s) * r->bytes;
		return;
	}
	s->rq.off = s->next * r->bytes;
	s->next += r->depth;
	if (s->next >= r->blocks)
		s->next = s->first;
}

/* Another slot may be at the same place: then it is the next place. */
static void submit(struct slot *s)
{
	int rc;

	do {
		place(s);
		rc = bd_submit(s->run->dev, &s->rq);
	} while (rc == -EBUSY);
	if (rc)
		s->error = rc;
}

static void on_done(struct bd_req *rq)
{
	struct slot *s = rq->arg;

	if (rq->result) {
		s->error = rq->result;
		return;
	}
	s->done++;
	if (!atomic_load_explicit(&s->run->stop, memory_order_relaxed))
		submit(s);
}

static void make_slots(struct run *r)
{
	size_t slots = r->depth * sizeof *r->slots;

	r->slots = aligned_alloc(LINE, slots);
	if (!r->slots)
		die("memory", -ENOMEM);
	memset(r->slots, 0, slots);
	for (unsigned i = 0; i < r->depth; i++) {
		struct slot *s = &r->slots[i];

		s->iov.iov_base = aligned_alloc(BD_BLOCK_MAX, (r->bytes + BD_BLOCK_MAX - 1) &
								      ~(BD_BLOCK_MAX - 1ull));
		if (!s->iov.iov_base)
			die("memory", -ENOMEM);
		s->iov.iov_len = r->bytes;
		memset(s->iov.iov_base, (int)(i | 1), r->bytes);
		s->run = r;
		s->seed = clock_us() * 2654435761u + i + 1;
		s->first = s->next = i;
		s->rq = (struct bd_req){ .op = op_of(r),
					 .len = r->bytes,
					 .iov = &s->iov,
					 .niov = 1,
					 .done = on_done,
					 .arg = s };
	}
}

static void measure(struct run *r)
{
	struct timespec span = { .tv_sec = (time_t)(r->runtime_ms / 1000),
				 .tv_nsec = (long)(r->runtime_ms % 1000 * 1000000) };
	uint64_t start = clock_us(), total = 0;
	double took;

	for (unsigned i = 0; i < r->depth; i++)
		submit(&r->slots[i]);
	while (nanosleep(&span, &span) && errno == EINTR)
		;
	atomic_store(&r->stop, true);
	if (!bd_idle(r->dev, clock_ms() + WAIT_MS))
		die("requests that do not end", -ETIMEDOUT);
	took = (double)(clock_us() - start) / 1e6;
	for (unsigned i = 0; i < r->depth; i++) {
		if (r->slots[i].error)
			die("request", r->slots[i].error);
		total += r->slots[i].done;
	}
	printf(r->json ? "{\"iops\": %.1f, \"mib_s\": %.2f}\n" : "%.0f IOPS, %.1f MiB/s\n",
	       (double)total / took, (double)(total * r->bytes) / took / 1048576);
}

#define AT(member) offsetof(struct run, member)
static const struct opt_def table[] = {
	ARGS_DEVICE(AT(uri)),
	{ .name = "rw",
	  .type = OPT_ENUM,
	  .offset = AT(rw),
	  .choices = rw_names,
	  .dflt = "randread",
	  .help = "what the requests do" },
	{ .name = "bs",
	  .type = OPT_SIZE,
	  .offset = AT(bytes),
	  .min = BD_BLOCK_MIN,
	  .max = 64u << 20,
	  .dflt = "4k",
	  .help = "of a request" },
	{ .name = "depth",
	  .type = OPT_UINT,
	  .offset = AT(depth),
	  .min = 1,
	  .max = 4096,
	  .dflt = "1",
	  .help = "requests in flight" },
	ARGS_RUNTIME(AT(runtime_ms), "3s", "how long"),
	ARGS_LAYERS(AT(layers)),
	ARGS_JSON(AT(json)),
	{ .name = NULL },
};

static const char usage[] = "devbench --device URI [OPTION...]";

int main(int argc, char **argv)
{
	struct run r = { .stop = false };
	struct err err = { "" };

	args_parse(usage, table, &r, argc, argv, 0);
	if (!r.uri)
		args_usage(usage);
	if (bd_open(r.uri, r.layers, NULL, &r.dev, &err)) {
		fprintf(stderr, "devbench: %s\n", err.text);
		return 1;
	}
	r.blocks = r.dev->size / r.bytes;
	if (r.blocks < 2ull * r.depth) {
		fprintf(stderr, "devbench: %s is too small for %llu requests of %llu bytes\n",
			r.uri, (unsigned long long)r.depth, (unsigned long long)r.bytes);
		return 1;
	}
	make_slots(&r);
	measure(&r);
	bd_close(r.dev);
	for (unsigned i = 0; i < r.depth; i++)
		free(r.slots[i].iov.iov_base);
	free(r.slots);
	opt_done(table, &r);
	return 0;
}
