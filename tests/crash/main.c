/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - crashjournal: the journal before every power cut
 *
 * The first process starts workers and looks on; a worker takes one run after the other (run.h) until enough states were
 * judged or one was bad. Each file system of base.h in turn, with the next seed. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PERSIFS_MUTANTS
#define PERSIFS_MUTANTS /* as the Makefile does: for those that read this file without it */
#endif
#include "backends/block/ext4/mutant.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tests/crash/kernel.h"
#include "tests/crash/options.h"
#include "tests/crash/run.h"
#include "tests/crash/selftest.h"

#define PROGRESS_MS 2000u
#define LOOK_US 20000

struct shared {
	struct counters counters;
	_Atomic uint64_t next_run;
	atomic_bool stop;
	atomic_uint failed; /* writers of failure; the first one counts */
	char failure[1024];
	char now[JOBS_MAX][64]; /* what a worker is about, for when it dies */
};

static const struct {
	const char *name, *text;
	enum jrn_mutant_id id;
} mutants[] = {
#define X(name, text) { #name, text, JRN_MUTANT_##name },
	JRN_MUTANTS(X)
#undef X
};

/* ---- a worker --------------------------------------------------------- */

static void report(struct shared *sh, const char *text)
{
	if (atomic_fetch_add(&sh->failed, 1) == 0)
		snprintf(sh->failure, sizeof sh->failure, "%s", text);
	atomic_store(&sh->stop, true);
}

static bool enough(const struct options *o, struct shared *sh)
{
	return atomic_load(&sh->stop) || atomic_load(&sh->counters.judged) >= o->states;
}

/* The file systems that runs begin with; -fs NAME: this one. */
static unsigned kinds_of(const struct options *o, const struct base_kind *out[8])
{
	unsigned n = 0;

	for (unsigned i = 0; i < base_nkinds; i++)
		if (!o->fs || !strcmp(o->fs, base_kinds[i].name))
			out[n++] = &base_kinds[i];
	return n;
}

static int worker_runs(const struct options *o, struct shared *sh, unsigned me, struct judge *j,
		       struct err *err)
{
	const struct base_kind *kinds[8];
	unsigned n = kinds_of(o, kinds);
	struct base base[8] = { 0 };
	int rc = 0;

	for (unsigned i = 0; !rc && i < n; i++)
		rc = base_make(kinds[i], o->dir, &base[i], err);
	while (!rc && !enough(o, sh)) {
		uint64_t run = atomic_fetch_add(&sh->next_run, 1);
		struct run_conf rc_conf = { .base = &base[run % n],
					    .seed = o->seed + run,
					    .want = o->per_run,
					    .threads = (unsigned)o->threads,
					    .mounts = (unsigned)o->mounts,
					    .ops = (unsigned)o->ops,
					    .dir = o->dir,
					    .keep = o->keep_all,
					    .stop = &sh->stop,
					    .counters = &sh->counters };

		snprintf(sh->now[me], sizeof sh->now[me], "%s seed %llu", rc_conf.base->kind->name,
			 (unsigned long long)rc_conf.seed);
		rc = judge_base(j, rc_conf.base, err);
		if (!rc)
			rc = run_fresh(j, &rc_conf, err);
	}
	for (unsigned i = 0; i < n; i++)
		base_done(&base[i]);
	return rc;
}

static int worker(const struct options *o, struct shared *sh, unsigned me)
{
	AUTO_FREE char *dir = xprintf("%s/worker-%u", o->dir, me);
	struct options mine = *o;
	struct err err = { "" };
	struct judge j;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mkdir(dir, 0700) && errno != EEXIST)
		die("cannot make %s: %s", dir, strerror(errno));
	mine.dir = dir;
	rc = judge_init(&j, o->which, dir, &err);
	if (!rc)
		rc = worker_runs(&mine, sh, me, &j, &err);
	judge_done(&j);
	if (rc)
		report(sh, err.text);
	rmdir(dir); /* stays when a failed run was saved in it */
	return rc == -EUCLEAN ? EXIT_BAD : rc ? EXIT_CANNOT : 0;
}

/* ---- the first process ------------------------------------------------ */

static void progress(const struct options *o, struct shared *sh, uint64_t began_us)
{
	double s = (double)(clock_us() - began_us) / 1e6;
	uint64_t n = atomic_load(&sh->counters.judged);
	double rate = s > 0 ? (double)n / s : 0;

	fprintf(stderr, "%llu of %llu states, %.0f/s, %.0f s to go\n", (unsigned long long)n,
		(unsigned long long)o->states, rate,
		rate > 0 && n < o->states ? (double)(o->states - n) / rate : 0);
}

/* One worker has ended. */
static void reaped(struct shared *sh, unsigned worker_no, int status)
{
	char text[256];

	if (WIFSIGNALED(status)) {
		snprintf(text, sizeof text, "%s: the worker ended by signal %d (%s)%s",
			 sh->now[worker_no], WTERMSIG(status), strsignal(WTERMSIG(status)),
			 WTERMSIG(status) == SIGALRM ? ": no end within the limit" : "");
		report(sh, text);
	} else if (WEXITSTATUS(status)) {
		snprintf(text, sizeof text, "%s: the worker ended with status %d",
			 sh->now[worker_no], WEXITSTATUS(status));
		report(sh, text);
	}
}

static void look_on(const struct options *o, struct shared *sh, pid_t *pids)
{
	uint64_t began = clock_us(), next = began + PROGRESS_MS * 1000;
	unsigned left = (unsigned)o->jobs;
	int status;

	while (left) {
		pid_t pid = waitpid(-1, &status, WNOHANG);

		for (unsigned i = 0; pid > 0 && i < o->jobs; i++)
			if (pids[i] == pid) {
				reaped(sh, i, status);
				left--;
			}
		if (pid > 0)
			continue;
		usleep(LOOK_US);
		if (clock_us() < next)
			continue;
		if (!o->mutant)
			progress(o, sh, began);
		next += PROGRESS_MS * 1000;
	}
}

static struct shared *shared_new(void)
{
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("out of memory");
	return p;
}

/* Runs until enough was judged or something was bad: true, all was good. */
static bool session(const struct options *o, struct shared *sh)
{
	pid_t pids[JOBS_MAX];

	fflush(NULL);
	for (unsigned i = 0; i < o->jobs; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die("cannot start a process: %s", strerror(errno));
		if (!pids[i])
			_exit(worker(o, sh, i));
	}
	look_on(o, sh, pids);
	return !atomic_load(&sh->failed);
}

static void summary(struct shared *sh, double seconds)
{
	static const char kinds[] = "pmnaxrutdov";
	struct counters *c = &sh->counters;

	printf("%llu states judged:", (unsigned long long)c->judged);
	for (const char *k = kinds; *k; k++)
		printf(" %c %llu", *k, (unsigned long long)c->kinds[(unsigned char)*k]);
	printf("; %llu cuts of a recovery, %llu of a recovery from such a one; %llu equal to others; "
	       "%llu runs; %.1f s, %.0f/s\n",
	       (unsigned long long)c->depth[1], (unsigned long long)c->depth[2],
	       (unsigned long long)c->equal, (unsigned long long)c->runs, seconds,
	       (double)c->judged / seconds);
}

static int judge_all(const struct options *o)
{
	struct shared *sh = shared_new();
	uint64_t began = clock_us();
	bool good = session(o, sh);

	summary(sh, (double)(clock_us() - began) / 1e6);
	if (!good)
		printf("FAILED: %s\n", sh->failure);
	munmap(sh, sizeof *sh);
	return good ? 0 : EXIT_BAD;
}

/* ---- mutants ---------------------------------------------------------- */

/* True: it was caught. */
static bool one_mutant(const struct options *o, unsigned m)
{
	struct shared *sh = shared_new();
	uint64_t began = clock_us();
	bool caught;

	jrn_mutant = mutants[m].id;
	caught = !session(o, sh);
	jrn_mutant = JRN_MUTANT_none;
	printf("%-26s %s %7llu states %6.1f s  %.200s\n", mutants[m].name,
	       caught ? "caught after" : "NOT CAUGHT IN", (unsigned long long)sh->counters.judged,
	       (double)(clock_us() - began) / 1e6, caught ? sh->failure : mutants[m].text);
	fflush(stdout);
	munmap(sh, sizeof *sh);
	return caught;
}

static int judge_mutants(const struct options *o)
{
	unsigned n = 0, missed = 0;

	for (unsigned i = 0; i < ARRAY_LEN(mutants); i++) {
		if (strcmp(o->mutant, "all") != 0 && strcmp(o->mutant, mutants[i].name) != 0)
			continue;
		n++;
		missed += !one_mutant(o, i);
	}
	if (!n) {
		fprintf(stderr, "--mutant: no rule is named '%s'; they are:\n", o->mutant);
		for (unsigned i = 0; i < ARRAY_LEN(mutants); i++)
			fprintf(stderr, "  %-26s %s\n", mutants[i].name, mutants[i].text);
		return EXIT_USAGE;
	}
	printf("%u of %u broken rules caught\n", n - missed, n);
	return missed ? EXIT_BAD : 0;
}

/* ---- a saved run, an image -------------------------------------------- */

static int replay(const struct options *o)
{
	struct shared *sh = shared_new();
	struct run_conf conf = { .only = o->only,
				 .keep_state = o->keep_state,
				 .want = UINT64_MAX,
				 .dir = o->dir,
				 .stop = &sh->stop,
				 .counters = &sh->counters };
	AUTO_FREE char *path = xprintf("%s/base.img", o->replay);
	char kind[16];
	struct base base = { 0 };
	struct judge j;
	struct err err = { "" };
	int rc = run_about(o->replay, kind, &conf.seed, &err);

	for (unsigned i = 0; o->mutant && i < ARRAY_LEN(mutants); i++)
		if (!strcmp(o->mutant, mutants[i].name))
			jrn_mutant = mutants[i].id;

	if (!rc && !base_find(kind))
		rc = err_set(&err, -EINVAL, "%s: no file system is named '%s'", o->replay, kind);
	if (!rc)
		rc = base_read(base_find(kind), path, &base, &err);
	if (!rc)
		rc = judge_init(&j, o->which, o->dir, &err);
	if (rc) {
		fprintf(stderr, "crashjournal: %s\n", err.text);
		return EXIT_CANNOT;
	}
	conf.base = &base;
	rc = judge_base(&j, &base, &err);
	if (!rc)
		rc = run_saved(&j, &conf, o->replay, &err);
	judge_done(&j);
	base_done(&base);
	printf("%llu states judged: %s\n", (unsigned long long)sh->counters.judged,
	       rc ? err.text : "good");
	return rc ? EXIT_BAD : 0;
}

static int recover(const char *path)
{
	static const struct bd_env env;
	struct jrn_recovered found = { 0 };
	struct ext4_super super;
	struct err err = { "" };
	AUTO_FREE char *uri = xprintf("file:%s?buffered=yes", path);
	struct bd *dev;
	int rc;

	rc = bd_open(uri, NULL, &env, &dev, &err);
	if (rc)
		goto out;
	rc = ext4_super_read(dev, &super, &err);
	if (!rc) {
		rc = jrn_recover(dev, &super, &found, &err);
		ext4_super_done(&super);
	}
	bd_close(dev);
out:
	if (rc)
		fprintf(stderr, "crashjournal: %s: %s\n", path, err.text);
	else
		printf("%u transactions, %u blocks written, %u revoked, next %u\n",
		       found.transactions, found.blocks, found.revoked, found.next_sequence);
	return rc ? EXIT_BAD : 0;
}

/* ---- the program ------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void remove_folder(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Leaves the kernel out where it cannot judge, and says why. */
static void try_kernel(struct options *o)
{
	struct err err;
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		AUTO_FREE char *mnt = xprintf("%s/mnt", o->dir);
		char device[32];
		int fd = memfd_create("try", MFD_CLOEXEC);

		if (fd < 0 || ftruncate(fd, 1 << 20) || kernel_prepare(mnt, &err) ||
		    kernel_loop(fd, device, sizeof device, &err) < 0) {
			printf("the kernel does not judge: %s\n", err.text);
			fflush(stdout);
			_exit(1);
		}
		_exit(0);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status)
		o->which &= ~JUDGE_KERNEL;
}

int main(int argc, char **argv)
{
	AUTO_FREE char *dir = NULL;
	struct options o;
	int rc;

	options_parse(argc, argv, &o);
	log_level = LOG_LEVEL_ERROR;
	if (o.recover)
		return recover(o.recover);
	dir = xprintf("%s/crashjournal.XXXXXX", o.dir);
	if (!mkdtemp(dir))
		die("--work %s: %s", o.dir, strerror(errno));
	o.dir = dir;
	if (o.selftest) {
		rc = selftest(dir) ? EXIT_BAD : 0;
		remove_folder(dir);
		return rc;
	}
	if (o.kernel_if_possible)
		try_kernel(&o);
	printf("seed %llu\n", (unsigned long long)o.seed);
	rc = o.replay ? replay(&o) : o.mutant ? judge_mutants(&o) : judge_all(&o);
	if (o.keep_failed && !o.replay && (rc || o.keep_all || o.mutant))
		printf("kept in %s\n", dir);
	else
		remove_folder(dir);
	return rc;
}
