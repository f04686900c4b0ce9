/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the command line of crashjournal */
#ifndef TESTS_CRASH_OPTIONS_H
#define TESTS_CRASH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define EXIT_BAD 1
#define EXIT_USAGE 2
#define EXIT_CANNOT 3
#define JOBS_MAX 64u
#define STATES_PER_RUN 1500u

struct options {
	uint64_t seed, states, per_run, jobs, threads, mounts, ops;
	unsigned which; /* judges */
	bool kernel_if_possible, keep_failed, keep_all, selftest;
	const char *dir, *only, *replay, *recover, *mutant, *keep_state, *fs;
};

/* Ends the program when something is wrong, with a sentence, and after the help. */
void options_parse(int argc, char **argv, struct options *out);

#endif
