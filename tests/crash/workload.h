/* SPDX-License-Identifier: Apache-2.0 */
/* workload.h - what an ext4 engine does to its journal, at random, recorded
 *
 * On a file system of base.h, several mounts one after the other: each recovers, opens the journal, lets some
 * threads work, and ends clean or as a crash (jrn_abandon()). A thread changes blocks in handles, allocates and frees them, writes
 * data to blocks that are free for it (J4), discards, waits and barriers. Blocks begin with the journal's magic at times, and some
 * are copies of a descriptor or commit block of a transaction to come.
 * All that reaches the device goes to the log of the record layer, with the marks that oracle.h names.
 * Besides, it looks itself: each block read is the newest (F1), transaction numbers grow (J5), and what a crash
 * left, recovered, is right. */
#ifndef TESTS_CRASH_WORKLOAD_H
#define TESTS_CRASH_WORKLOAD_H

#include "tests/crash/base.h"
#include "tests/crash/oracle.h"

#define WORKLOAD_THREADS 8u

struct workload_conf {
	const struct base *base; /* borrowed */
	uint64_t seed;
	unsigned threads, mounts, ops; /* operations of a thread in a mount */
};

/* Runs it; the writes go to log_path (made anew), what happened to out. A sentence: the journal failed, or did wrong. */
int workload_run(const struct workload_conf *conf, const char *log_path, struct history *out,
		 struct err *err);

#endif
