/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h */
#include "tests/crash/options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/crash/judge.h"
#include "tests/crash/workload.h"

enum { OPS_MAX = 100000 };

static const char usage[] =
	"usage: crashjournal [OPTION]...\n"
	"  --self-test           does the harness see what it has to see?\n"
	"  --states N            stop after about N states (5000)\n"
	"  --seed N              of the first run; each run takes the next (time)\n"
	"  --fs NAME             1k, 4k or plain (all in turn)\n"
	"  --judges LIST         own,e2fsck,kernel,oracle (all); 'kernel?': where it is possible\n"
	"  --jobs N              workers (CPUs)\n"
	"  --per-run N           states judged of each run (1500)\n"
	"  --threads N --mounts N --ops N   of a run's workload (3, 5, 40)\n"
	"  --mutant NAME|all     break a rule of the journal: it has to be caught within --states\n"
	"  --work DIR            for files, best a tmpfs (TMPDIR or /tmp)\n"
	"  --keep-failed         keep a failed run, in DIR/crashjournal.*/worker-*/run-*\n"
	"  --keep-all            and those that were good\n"
	"  --replay DIR          judge the states of a run that was kept\n"
	"                        (with --mutant NAME: by a recovery whose rule is broken)\n"
	"  --only STATE          with --replay: this one\n"
	"  --keep-state FILE     with --only: write its image\n"
	"  --recover IMAGE       our recovery of an image, nothing else\n";

enum { O_SELF = 256, O_FS, O_JUDGES, O_KEEP, O_KEEP_ALL, O_NUMBER, O_TEXT = O_NUMBER + 32 };

static const struct {
	const char *name;
	size_t offset;
	uint64_t min, max;
} numbers[] = {
	{ "states", offsetof(struct options, states), 1, 1ull << 40 },
	{ "seed", offsetof(struct options, seed), 0, UINT64_MAX },
	{ "jobs", offsetof(struct options, jobs), 1, JOBS_MAX },
	{ "per-run", offsetof(struct options, per_run), 1, 1ull << 40 },
	{ "threads", offsetof(struct options, threads), 1, WORKLOAD_THREADS },
	{ "mounts", offsetof(struct options, mounts), 1, HISTORY_MOUNTS },
	{ "ops", offsetof(struct options, ops), 1, OPS_MAX },
};

static const struct {
	const char *name;
	size_t offset;
} texts[] = {
	{ "mutant", offsetof(struct options, mutant) },
	{ "work", offsetof(struct options, dir) },
	{ "replay", offsetof(struct options, replay) },
	{ "only", offsetof(struct options, only) },
	{ "keep-state", offsetof(struct options, keep_state) },
	{ "recover", offsetof(struct options, recover) },
};

__attribute__((noreturn)) static void refuse(const char *option, const char *value,
					     const char *want)
{
	fprintf(stderr, "crashjournal: --%s '%s': %s is wanted\n", option, value, want);
	exit(EXIT_USAGE);
}

static uint64_t number(unsigned i)
{
	char *end, want[80];
	unsigned long long n;

	errno = 0;
	n = strtoull(optarg, &end, 10);
	if (errno || *end || end == optarg || *optarg == '-' || n < numbers[i].min ||
	    n > numbers[i].max) {
		snprintf(want, sizeof want, "a number from %llu to %llu",
			 (unsigned long long)numbers[i].min, (unsigned long long)numbers[i].max);
		refuse(numbers[i].name, optarg, want);
	}
	return n;
}

static void judges(struct options *o)
{
	static const char *const names[] = { "own", "e2fsck", "kernel", "oracle" };
	AUTO_FREE char *text = strdup(optarg);
	char *save = NULL;

	o->which = 0;
	for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;

		if (!strcmp(w, "kernel?")) {
			o->kernel_if_possible = true;
			w[strlen("kernel")] = '\0';
		}
		while (i < ARRAY_LEN(names) && strcmp(w, names[i]) != 0)
			i++;
		if (i == ARRAY_LEN(names))
			refuse("judges", optarg, "a list of own, e2fsck, kernel, oracle");
		o->which |= 1u << i;
	}
	if (!(o->which & ~JUDGE_ORACLE))
		refuse("judges", optarg, "one that recovers");
}

static void option(struct options *o, int c)
{
	unsigned text = (unsigned)(c - O_TEXT), n = (unsigned)(c - O_NUMBER);

	if (c >= O_TEXT && text < ARRAY_LEN(texts))
		*(const char **)((char *)o + texts[text].offset) = optarg;
	else if (c >= O_NUMBER && n < ARRAY_LEN(numbers))
		*(uint64_t *)((char *)o + numbers[n].offset) = number(n);
	else if (c == O_SELF)
		o->selftest = true;
	else if (c == O_KEEP)
		o->keep_failed = true;
	else if (c == O_KEEP_ALL)
		o->keep_failed = o->keep_all = true;
	else if (c == O_JUDGES)
		judges(o);
	else if (c == O_FS && base_find(optarg))
		o->fs = optarg;
	else if (c == O_FS)
		refuse("fs", optarg, "1k, 4k or plain");
	else {
		fputs(usage, c == 'h' ? stdout : stderr);
		exit(c == 'h' ? 0 : EXIT_USAGE);
	}
}

static void table(struct option *longs)
{
	*longs++ = (struct option){ "self-test", no_argument, NULL, O_SELF };
	*longs++ = (struct option){ "keep-failed", no_argument, NULL, O_KEEP };
	*longs++ = (struct option){ "keep-all", no_argument, NULL, O_KEEP_ALL };
	*longs++ = (struct option){ "judges", required_argument, NULL, O_JUDGES };
	*longs++ = (struct option){ "fs", required_argument, NULL, O_FS };
	*longs++ = (struct option){ "help", no_argument, NULL, 'h' };
	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
		*longs++ = (struct option){ numbers[i].name, required_argument, NULL,
					    O_NUMBER + (int)i };
	for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
		*longs++ =
			(struct option){ texts[i].name, required_argument, NULL, O_TEXT + (int)i };
	*longs = (struct option){ 0 };
}

void options_parse(int argc, char **argv, struct options *out)
{
	struct option longs[7 + ARRAY_LEN(numbers) + ARRAY_LEN(texts)];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int c;

	*out = (struct options){ .states = 5000,
				 .per_run = STATES_PER_RUN,
				 .which = JUDGE_ALL,
				 .threads = 3,
				 .mounts = 5,
				 .ops = 40,
				 .seed = (uint64_t)clock_wall().tv_sec,
				 .jobs = cpus > 0 && cpus < (long)JOBS_MAX ? (uint64_t)cpus : 1,
				 .dir = getenv("TMPDIR") };
	if (!out->dir)
		out->dir = "/tmp";
	table(longs);
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
		option(out, c);
	if (optind < argc) {
		fprintf(stderr, "crashjournal: '%s' is too much\n", argv[optind]);
		exit(EXIT_USAGE);
	}
	if ((out->only || out->keep_state) && !out->replay) {
		fputs("crashjournal: --only and --keep-state need --replay\n", stderr);
		exit(EXIT_USAGE);
	}
}
