/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - one recorded run of the workload, and its states before the judge
 *
 *   workload -> log + history -> cuts -> judge
 *                                  '-> our recovery, recorded -> its cuts -> judge
 *                                                                  '-> ... (RUN_DEPTH levels)
 *
 * A state's name: CUT[/CUT[/CUT]], as states.h writes cuts. Within a run a name means the same state for ever: the log and
 * the history can be saved and judged again. (The workload has threads, so a seed alone does not repeat it.)
 *
 * Threads: one process a worker, counters in shared memory. */
#ifndef TESTS_CRASH_RUN_H
#define TESTS_CRASH_RUN_H

#include <stdatomic.h>

#include "tests/crash/judge.h"
#include "tests/crash/states.h"
#include "tests/crash/workload.h"

#define RUN_DEPTH 2u /* cuts during a recovery from a cut, and in the recovery from that */
#define STATE_NAME_MAX 100u
#define RUN_LIMIT_S 120u /* of a workload, or of one state; then the worker ends by SIGALRM */

struct counters {
	_Atomic uint64_t runs, judged, equal, kinds[128], depth[RUN_DEPTH + 1];
};

struct run_conf {
	const struct base *base;
	uint64_t seed, want; /* states to judge, about */
	unsigned threads, mounts, ops;
	const char *dir;           /* for files; owned by the worker */
	const char *only;          /* judge this state alone; NULL: all, sampled */
	bool keep;                 /* save the run though it is good */
	const char *keep_state;    /* with only: its image goes to this file */
	const atomic_bool *stop;   /* borrowed */
	struct counters *counters; /* borrowed */
};

/* A workload, and its states. 0: all are good; -EUCLEAN and a sentence: one is not, or the workload failed; then the run is saved
 * in dir/run-NAME-SEED. */
int run_fresh(struct judge *j, const struct run_conf *conf, struct err *err);
/* The same of a run that was saved in folder from. */
int run_saved(struct judge *j, const struct run_conf *conf, const char *from, struct err *err);
/* Which file system and seed a saved run has. */
int run_about(const char *from, char kind[16], uint64_t *seed, struct err *err);

#endif
