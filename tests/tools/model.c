/* SPDX-License-Identifier: Apache-2.0 */
/* model.c - random operations on a mount and on a reference folder, compared
 *
 *   model [options] MOUNT REFERENCE        (model --help lists the options)
 *
 * A run has rounds. In a round each process makes its share of the operations
 * inside its own folder pN of both sides, holding up to HANDLES files open, so
 * that unlinked and replaced files stay in use; one in four operations of a run
 * with several processes goes to the folder "shared", where a lock for each
 * name keeps both sides in the same order. Between rounds the parent lets a
 * command remount the tested side, then compares both trees whole.
 *
 * Compared after each operation: value, errno, data, attributes. Times follow
 * one rule: a time set by hand (before 2017) is equal on both sides, or both
 * have moved to the present since. Nothing else about the clock is comparable.
 *
 * The operations follow from the seed alone (and, with several processes, from
 * who comes first to a shared name). A mismatch prints the last operations and
 * the command line that repeats the run. Exit 0: equal, 1: mismatch, 2: usage. */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include "tests/tools/model.h"
#include "tests/tools/model_file.h"
#include "tests/tools/model_name.h"
#include "tests/tools/model_tree.h"

#define SHARED_NAMES 16
#define PROCESSES_MAX 16

static pthread_mutex_t *shared_lock; /* one a name, in memory of all processes */

/* ---- the shared folder ------------------------------------------------ */

static int shared_rewrite(int base, const char *path, const struct range *r, int flags)
{
	int fd = openat(base, path, flags | O_CREAT | O_RDWR, 0644);

	if (fd < 0)
		return -1;
	ssize_t n = pwrite(fd, self.buf[REF], r->len, (off_t)r->off);

	return close(fd) || n < 0 ? -1 : (int)n;
}

static long shared_read(int side, const char *path)
{
	int fd = openat(self.base[side], path, O_RDONLY);

	if (fd < 0)
		return -1;
	long n = pread(fd, self.buf[side], BUF_BYTES, 0);

	return close(fd) ? -1 : n;
}

/* One operation on shared name i (and k), whose locks are held. */
static void shared_op(unsigned i, unsigned k)
{
	char path[PATH_BYTES], other[PATH_BYTES];
	struct range r = { pick_offset(), pick_length() };

	sprintf(path, "../shared/s%u", i);
	sprintf(other, "../shared/s%u", k);
	switch (pick(10)) {
	case 0:
	case 1:
	case 2:
		log_op("shared write %s off %llu len %zu", path, (unsigned long long)r.off, r.len);
		fill(self.buf[REF], r.len);
		BOTH(shared_rewrite(self.base[s], path, &r, 0));
		break;
	case 3:
		log_op("shared append %s len %zu", path, r.len % 1000);
		r.len %= 1000;
		fill(self.buf[REF], r.len);
		BOTH(shared_rewrite(self.base[s], path, &r, O_APPEND));
		break;
	case 4:
		if (is_without("truncate"))
			break;
		log_op("shared truncate %s %llu", path, (unsigned long long)r.off);
		BOTH(truncate_at(self.base[s], path, r.off));
		break;
	case 5:
		if (is_without("rename"))
			break;
		log_op("shared rename %s %s", path, other);
		BOTH(renameat(self.base[s], path, self.base[s], other));
		break;
	case 6:
		log_op("shared unlink %s", path);
		BOTH(unlinkat(self.base[s], path, 0));
		break;
	default:
		log_op("shared read %s", path);
		BOTH(shared_read(s, path));
		if (!both.e[REF] && !both.e[MOUNT] && both.r[REF] == both.r[MOUNT])
			agree_bytes((size_t)both.r[REF], 0);
	}
	agree();
}

static void op_shared(void)
{
	unsigned i = pick(SHARED_NAMES), k = pick(SHARED_NAMES);
	unsigned first = i < k ? i : k, second = i < k ? k : i;
	struct stat st[SIDES];
	char path[PATH_BYTES];

	pthread_mutex_lock(&shared_lock[first]);
	if (second != first)
		pthread_mutex_lock(&shared_lock[second]);
	shared_op(i, k);
	sprintf(path, "../shared/s%u", i);
	BOTH(fstatat(self.base[s], path, &st[s], 0));
	if (agree())
		agree_stat(path, st);
	if (second != first)
		pthread_mutex_unlock(&shared_lock[second]);
	pthread_mutex_unlock(&shared_lock[first]);
}

/* ---- what is run how often -------------------------------------------- */

static const struct op {
	void (*run)(void);
	const char *class; /* what --without names */
	unsigned weight;
} ops[] = {
	{ op_open, "open", 90 },
	{ op_close, "open", 20 },
	{ op_read, "read", 110 },
	{ op_write, "write", 170 },
	{ op_lseek, "lseek", 10 },
	{ op_seek_hole, "seek_hole", 8 },
	{ op_ftruncate, "truncate", 25 },
	{ op_truncate, "truncate", 25 },
	{ op_punch, "punch", 20 },
	{ op_fallocate, "fallocate", 10 },
	{ op_zero_range, "zero_range", 10 },
	{ op_mmap, "mmap", 20 },
	{ op_copy, "copy", 15 },
	{ op_fsync, "fsync", 15 },
	{ op_tmpfile, "tmpfile", 5 },
	{ op_rename, "rename", 50 },
	{ op_link, "link", 25 },
	{ op_symlink, "symlink", 15 },
	{ op_readlink, "symlink", 10 },
	{ op_unlink, "unlink", 40 },
	{ op_unlink_open, "unlink_open", 15 },
	{ op_mkdir, "mkdir", 40 },
	{ op_rmdir, "mkdir", 25 },
	{ op_stat, "stat", 80 },
	{ op_fstat, "stat", 30 },
	{ op_readdir, "readdir", 25 },
	{ op_readdir_change, "readdir", 12 },
	{ op_chmod, "chmod", 25 },
	{ op_chown, "chown", 15 },
	{ op_utimens, "times", 30 },
	{ op_xattr, "xattr", 25 },
};
#define N_OPS (sizeof ops / sizeof *ops)

static bool op_enabled[N_OPS];

static void run_one_op(void)
{
	unsigned total = 0, at;

	if (opt.processes > 1 && chance(25)) {
		op_shared();
		return;
	}
	for (size_t i = 0; i < N_OPS; i++)
		total += op_enabled[i] ? ops[i].weight : 0;
	at = pick(total);
	for (size_t i = 0; i < N_OPS; i++) {
		if (!op_enabled[i])
			continue;
		if (at < ops[i].weight) {
			ops[i].run();
			return;
		}
		at -= ops[i].weight;
	}
}

/* ---- rounds ----------------------------------------------------------- */

static void compare_all(long round)
{
	struct tree t = { 0 };
	int dir[SIDES];

	self.me = opt.processes;
	self.count = 0;
	for (int s = 0; s < SIDES; s++)
		dir[s] = open(opt.root[s], O_RDONLY | O_DIRECTORY);
	agree_tree(&t, dir, ".");
	free(t.pair);
	printf("round %ld of %ld: equal, %lu files, %lu links, %lu folders, %llu bytes\n", round,
	       opt.rounds, t.files, t.links, t.folders, t.bytes);
	fflush(stdout);
}

static void process_main(unsigned me, long round)
{
	char name[16];

	self.me = me;
	self.count = 0;
	self.random = opt.seed * 1000003 + (uint64_t)round * 1009 + me;
	sprintf(name, "p%u", me);
	for (int s = 0; s < SIDES; s++) {
		int root = open(opt.root[s], O_RDONLY | O_DIRECTORY);

		self.base[s] = openat(root, name, O_RDONLY | O_DIRECTORY);
		close(root);
		if (self.base[s] < 0)
			mismatch("%s/%s: %s", opt.root[s], name, strerror(errno));
	}
	for (unsigned i = 0; i < HANDLES; i++)
		self.handle[i].fd[MOUNT] = self.handle[i].fd[REF] = -1;
	if (opt.log) {
		char path[512];

		snprintf(path, sizeof path, "%s.r%ld.p%u", opt.log, round, me);
		self.log = fopen(path, "w");
	}
	for (long i = opt.ops / opt.rounds / opt.processes; i > 0; i--)
		run_one_op();
	for (unsigned i = 0; i < HANDLES; i++)
		handle_close(&self.handle[i]);
	fflush(stdout);
	_exit(0);
}

static bool run_round(long round)
{
	pid_t pid[PROCESSES_MAX];
	bool ok = true;
	int status;

	fflush(stdout);
	for (unsigned p = 0; p < opt.processes; p++) {
		pid[p] = fork();
		if (pid[p] == 0)
			process_main(p, round);
	}
	for (unsigned left = opt.processes; left > 0; left--) {
		pid_t who = wait(&status);

		for (unsigned p = 0; p < opt.processes; p++)
			if (pid[p] == who)
				pid[p] = -1;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		if (WIFSIGNALED(status) && ok)
			printf("a process was killed by signal %d\n", WTERMSIG(status));
		for (unsigned p = 0; p < opt.processes && ok; p++)
			if (pid[p] > 0)
				kill(pid[p], SIGKILL);
		ok = false;
	}
	return ok;
}

/* A feature is used when both sides have it. */
static void probe_result(const char *feature, const char *root, long result)
{
	static char list[512];
	size_t n;

	if (result >= 0 || is_without(feature))
		return;
	printf("without %s: %s: %s\n", feature, root, strerror(errno));
	n = list[0] ? strlen(list) : (size_t)snprintf(list, sizeof list, "%s", opt.without);
	snprintf(list + n, sizeof list - n, ",%s", feature);
	opt.without = list;
}

#define PROBE(feature, call) probe_result(feature, root, is_without(feature) ? 0 : (long)(call))

static void probe(const char *root)
{
	int dir = open(root, O_RDONLY | O_DIRECTORY);
	int fd = openat(dir, "probe", O_CREAT | O_RDWR, 0644);
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (fd < 0) {
		fprintf(stderr, "%s: %s\n", root, strerror(errno));
		exit(2);
	}
	PROBE("punch", fallocate(fd, punch, 0, 10));
	PROBE("zero_range", fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 10));
	PROBE("fallocate", fallocate(fd, 0, 0, 10));
	PROBE("xattr", fsetxattr(fd, "user.probe", "x", 1, 0));
	PROBE("tmpfile", close(openat(dir, ".", O_TMPFILE | O_RDWR, 0600)));
	PROBE("noreplace", renameat2(dir, "probe", dir, "probe1", RENAME_NOREPLACE));
	close(openat(dir, "probe", O_CREAT | O_WRONLY, 0644));
	close(openat(dir, "probe1", O_CREAT | O_WRONLY, 0644));
	PROBE("exchange", renameat2(dir, "probe", dir, "probe1", RENAME_EXCHANGE));
	unlinkat(dir, "probe", 0);
	unlinkat(dir, "probe1", 0);
	close(fd);
	close(dir);
}

static void prepare(void)
{
	char path[512];
	pthread_mutexattr_t attr;

	for (int s = 0; s < SIDES; s++)
		for (unsigned p = 0; p <= opt.processes; p++) {
			snprintf(path, sizeof path, p < opt.processes ? "%s/p%u" : "%s/shared",
				 opt.root[s], p);
			if (mkdir(path, 0755)) {
				fprintf(stderr, "%s: %s\n", path, strerror(errno));
				exit(2);
			}
		}
	shared_lock = mmap(NULL, SHARED_NAMES * sizeof *shared_lock, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared_lock == MAP_FAILED)
		exit(2);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	for (unsigned i = 0; i < SHARED_NAMES; i++)
		pthread_mutex_init(&shared_lock[i], &attr);
	for (int s = 0; s < SIDES; s++)
		if (posix_memalign((void **)&self.buf[s], 4096, BUF_BYTES))
			exit(2);
}

static const char usage[] =
	"usage: model [options] MOUNT REFERENCE     (both empty folders)\n"
	"  --seed N        the operations follow from it (default: from the clock)\n"
	"  --ops N         operations of all processes and rounds (100000)\n"
	"  --rounds N      rounds; both trees are compared after each (5)\n"
	"  --processes N   processes at a time (1)\n"
	"  --max-size N    largest offset in a file (1048576)\n"
	"  --without A,B   leave out: open read write lseek seek_hole truncate punch\n"
	"                  fallocate zero_range mmap copy fsync tmpfile rename noreplace\n"
	"                  exchange link symlink unlink unlink_open mkdir stat readdir\n"
	"                  chmod chown times dirtimes dirhandle linktimes dirnlink setgid rmdir_open xattr\n"
	"                  direct\n"
	"  --remount CMD   command run after each round, before the comparison\n"
	"  --log FILE      all operations, to FILE.r<round>.p<process>\n";

static bool parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", 1, NULL, 's' },     { "ops", 1, NULL, 'n' },
		{ "rounds", 1, NULL, 'r' },   { "processes", 1, NULL, 'p' },
		{ "max-size", 1, NULL, 'm' }, { "without", 1, NULL, 'w' },
		{ "remount", 1, NULL, 'c' },  { "log", 1, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};

	opt.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		unsigned long long n = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (c) {
		case 's':
			opt.seed = n;
			break;
		case 'n':
			opt.ops = (long)n;
			break;
		case 'r':
			opt.rounds = (long)n;
			break;
		case 'p':
			opt.processes = (unsigned)n;
			break;
		case 'm':
			opt.max_size = n;
			break;
		case 'w':
			opt.without = optarg;
			break;
		case 'c':
			opt.remount = optarg;
			break;
		case 'l':
			opt.log = optarg;
			break;
		default:
			return false;
		}
	}
	if (argc - optind != 2 || opt.ops < 1 || opt.rounds < 1 || opt.processes < 1 ||
	    opt.processes > PROCESSES_MAX || opt.max_size < 1)
		return false;
	opt.root[MOUNT] = argv[optind];
	opt.root[REF] = argv[optind + 1];
	return true;
}

/* The command line with the seed in front, so that the last one wins. */
static void keep_command(int argc, char **argv)
{
	size_t len = 64;
	FILE *f;

	f = open_memstream(&opt.command, &len);
	fprintf(f, "%s", argv[0]);
	for (int i = 1; i < argc; i++)
		fprintf(f, strchr(argv[i], ' ') ? " '%s'" : " %s", argv[i]);
	fprintf(f, " --seed %llu", (unsigned long long)opt.seed);
	fclose(f);
}

int main(int argc, char **argv)
{
	if (!parse_options(argc, argv)) {
		fputs(usage, stderr);
		return 2;
	}
	keep_command(argc, argv);
	printf("seed %llu, %ld operations, %u process%s\n", (unsigned long long)opt.seed, opt.ops,
	       opt.processes, opt.processes > 1 ? "es" : "");
	umask(0);
	prepare();
	probe(opt.root[MOUNT]);
	probe(opt.root[REF]);
	for (size_t i = 0; i < N_OPS; i++)
		op_enabled[i] = !is_without(ops[i].class);
	for (long round = 1; round <= opt.rounds; round++) {
		if (!run_round(round))
			return 1;
		if (opt.remount && system(opt.remount) != 0) {
			printf("remount failed: %s\n", opt.remount);
			return 1;
		}
		compare_all(round);
	}
	free(opt.command);
	return 0;
}
