/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - random requests, many in flight, each answer compared with the shadow */
#ifndef TESTS_DEVICE_LOAD_H
#define TESTS_DEVICE_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/block/device.h"
#include "tests/device/shadow.h"

struct load_conf {
	struct bd *dev;
	struct shadow *shadow;
	uint64_t seed;
	uint64_t ops;
	unsigned threads, depth; /* depth: in flight, each thread */
	unsigned limit_s;        /* from here to the end; then it exits with EXIT_LATE */
	bool may_fail;           /* errors are counted, not complained about */
	struct bd *marked;       /* gets a mark in its record layer after each flush; NULL: none */
	/* Called once, beside the load, when half the operations were begun; returns how large the device is
	 * now. NULL: nothing happens then. */
	uint64_t (*halfway)(void *arg);
	void *halfway_arg;
	/* A request that ends with -EIO after this became true has met the power cut; NULL: never. */
	const atomic_bool *cut;
	/* No request is begun any more once this is true; NULL: never. */
	const atomic_bool *enough;
};

struct load_stats {
	uint64_t ops[BD_OPS], bytes[BD_OPS];
	uint64_t fua, rows, sectors_checked;
	uint64_t overlaps_refused, overlaps_late; /* -EBUSY; taken, as the other had just ended */
	uint64_t refused, errors, marks;
	double seconds;
};

#define EXIT_WRONG 1
#define EXIT_TROUBLE 2
#define EXIT_LATE 3

/* Adds to *stats. False: the device did something wrong, stderr tells what. All requests have ended. */
bool load_run(const struct load_conf *conf, struct load_stats *stats);

/* Reads all of it, and compares each sector: with what a live device has to hold, or (after) with what one may hold that was
 * cut off, killed or closed, which becomes what it holds. lost: sectors that have not the newest. A block of several sectors
 * that holds parts of two writes is wrong, too. */
struct verify_stats {
	uint64_t sectors, lost, wrong;
	unsigned tries; /* of a read that fails; 0: one */
};
bool load_verify(struct bd *dev, struct shadow *shadow, bool after, struct verify_stats *out);

/* Random numbers that a seed decides. */
static inline uint64_t rnd(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dULL;
}
static inline uint64_t rnd_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rnd(state) * n) >> 64);
}
uint64_t rnd_seed(uint64_t seed, uint64_t stream);

#endif
