/* SPDX-License-Identifier: Apache-2.0 */
/* devbench.c - how fast a block device is through our transports alone: no file system, no copies
 *
 *   devbench --device URI --rw randread|randwrite|read|write [--bs BYTES] [--depth N] [--runtime SECONDS] [--json]
 *
 * Keeps depth requests in flight; each is submitted anew by its own done(), as a file system with work enough does.
 * Writes destroy what the device holds. */
#include <errno.h>
#include <getopt.h>
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
	const char *uri, *layers;
	enum bd_op op;
	bool random, json;
	uint64_t bytes; /* of a request */
	unsigned depth;
	double seconds;
	uint64_t blocks; /* of bytes each */
	struct bd *dev;
	struct slot *slots;

	_Atomic bool stop;
};

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

	if (r->random) {
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
		s->rq = (struct bd_req){ .op = r->op,
					 .len = r->bytes,
					 .iov = &s->iov,
					 .niov = 1,
					 .done = on_done,
					 .arg = s };
	}
}

static void measure(struct run *r)
{
	struct timespec span = { .tv_sec = (time_t)r->seconds };
	uint64_t start = clock_us(), total = 0;
	double took;

	span.tv_nsec = (long)((r->seconds - (double)span.tv_sec) * 1e9);
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

static void usage(void)
{
	fputs("usage: devbench --device URI --rw randread|randwrite|read|write [--bs BYTES] [--depth N]\n"
	      "                [--runtime SECONDS] [--layers LAYERS] [--json]\n",
	      stderr);
	exit(2);
}

static void parse_rw(struct run *r, const char *text)
{
	r->random = strncmp(text, "rand", 4) == 0;
	text += r->random ? 4 : 0;
	if (strcmp(text, "read") == 0)
		r->op = BD_READ;
	else if (strcmp(text, "write") == 0)
		r->op = BD_WRITE;
	else
		usage();
}

static uint64_t parse_number(const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (end == text || *end || v < min || v > max)
		usage();
	return v;
}

static void parse(struct run *r, int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "rw", required_argument, NULL, 'w' },
		{ "bs", required_argument, NULL, 'b' },
		{ "depth", required_argument, NULL, 'q' },
		{ "runtime", required_argument, NULL, 't' },
		{ "layers", required_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*r = (struct run){ .op = BD_OPS, .bytes = 4096, .depth = 1, .seconds = 3 };
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd')
			r->uri = optarg;
		else if (c == 'w')
			parse_rw(r, optarg);
		else if (c == 'b')
			r->bytes = parse_number(optarg, BD_BLOCK_MIN, 64 << 20);
		else if (c == 'q')
			r->depth = (unsigned)parse_number(optarg, 1, 4096);
		else if (c == 't')
			r->seconds = (double)parse_number(optarg, 1, 3600);
		else if (c == 'l')
			r->layers = optarg;
		else if (c == 'j')
			r->json = true;
		else
			usage();
	}
	if (!r->uri || r->op == BD_OPS || optind != argc)
		usage();
}

int main(int argc, char **argv)
{
	struct run r;
	struct err err = { "" };

	parse(&r, argc, argv);
	if (bd_open(r.uri, r.layers, NULL, &r.dev, &err)) {
		fprintf(stderr, "devbench: %s\n", err.text);
		return 1;
	}
	r.blocks = r.dev->size / r.bytes;
	if (r.blocks < 2ull * r.depth) {
		fprintf(stderr, "devbench: %s is too small for %u requests of %llu bytes\n", r.uri,
			r.depth, (unsigned long long)r.bytes);
		return 1;
	}
	make_slots(&r);
	measure(&r);
	bd_close(r.dev);
	for (unsigned i = 0; i < r.depth; i++)
		free(r.slots[i].iov.iov_base);
	free(r.slots);
	return 0;
}
