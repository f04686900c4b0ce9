/* SPDX-License-Identifier: Apache-2.0 */
/* devtest.h - what the parts of devtest share */
#ifndef TESTS_DEVICE_DEVTEST_H
#define TESTS_DEVICE_DEVTEST_H

#include "tests/device/load.h"
#include "tests/device/shadow.h"

struct devtest {
	/* options */
	const char *uri, *layers, *state, *grow_cmd, *log;
	uint64_t ops, seed, size;
	unsigned threads, depth, limit_s, cuts, settle_ms;
	bool may_fail, restartable;
	/* what is tested */
	struct shadow shadow;
	struct load_stats stats;
	uint64_t round; /* so that the parts have random numbers of their own */
};

/* The device under test with the layers of the options and those of more (may be NULL) above; exits on failure. */
struct bd *devtest_open(struct devtest *t, const char *more);
/* Opens it, compares all of it (load_verify()), and closes it. */
bool devtest_verify(struct devtest *t, bool after, struct verify_stats *out);
void devtest_load_conf(struct devtest *t, struct bd *dev, uint64_t ops, struct load_conf *out);
/* Says why the test fails; returns false. */
bool wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- the parts: false when the device did something wrong -------------- */

/* What cannot be asked is refused, and what can just be asked is done. */
bool test_rules(struct devtest *t);
/* Random requests; all that was flushed is there after a close. */
bool test_load(struct devtest *t);
/* Closed with requests in flight: each ends once. */
bool test_cancel(struct devtest *t);
/* The nth request of each operation fails, for n = 1, 2, ... until none does. */
bool test_faults(struct devtest *t);
/* The log of the record layer has what happened, in an order that tells what was durable. */
bool test_replay(struct devtest *t);
/* Power cuts in the middle. */
bool test_cuts(struct devtest *t);

#endif
