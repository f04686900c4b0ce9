/* SPDX-License-Identifier: Apache-2.0 */
/* posix.h - frame of the posix_*.c programs: one named sub-test a rule
 *
 *   posix_data [--without FEATURE,...] [--skip NAME,...] [--entries N] DIR [NAME...]
 *   posix_data --list
 *
 * Each sub-test runs in a process of its own, inside a fresh folder DIR/NAME,
 * which must be removable afterwards. A check that fails prints where and why
 * and ends the process; SKIP() says which feature is missing. A feature counts
 * as missing only when --without names it: a backend that silently loses one
 * fails here. Exit 0: nothing failed. */
#ifndef TESTS_TOOLS_POSIX_H
#define TESTS_TOOLS_POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIP 77
#define FRAME 65536u       /* unit of the cache */
#define SUBTEST_SECONDS 90 /* a sub-test that lasts longer hangs */

struct subtest {
	const char *name;
	void (*run)(void);
};
#define SUBTEST(fn)     \
	{               \
#fn, fn \
	}

struct user {
	uid_t uid;
	gid_t gid;
	gid_t extra; /* supplementary group, 0: none */
};

static const char *posix_without = "", *posix_skip = "";
static long posix_entries = 50000;

/* ---- checks: each ends the process when it does not hold -------------- */

__attribute__((format(printf, 3, 4), noreturn)) static inline void
subtest_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	flockfile(stdout);
	printf("  %s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	funlockfile(stdout);
	_exit(1);
}

#define FAIL(...) subtest_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(cond)                                  \
	do {                                         \
		if (!(cond))                         \
			FAIL("not true: %s", #cond); \
	} while (0)
/* Both sides as integers, shown when they differ. */
#define EQUAL(got, want)                                                             \
	do {                                                                         \
		long long got_ = (long long)(got), want_ = (long long)(want);        \
		if (got_ != want_)                                                   \
			FAIL("%s is %lld, not %s = %lld", #got, got_, #want, want_); \
	} while (0)
/* A call that must succeed; its value. */
#define OK(call)                                                \
	__extension__({                                         \
		long long ok_ = (long long)(call);              \
		if (ok_ < 0)                                    \
			FAIL("%s: %s", #call, strerror(errno)); \
		ok_;                                            \
	})
#define OK_INT(call) ((int)OK(call))
/* A call that must fail with exactly this errno. */
#define FAILS(call, err)                                                                    \
	do {                                                                                \
		errno = 0;                                                                  \
		long long r_ = (long long)(call);                                           \
		if (r_ >= 0)                                                                \
			FAIL("%s succeeded, expected %s", #call, strerror(err));            \
		if (errno != (err))                                                         \
			FAIL("%s: %s, expected %s", #call, strerror(errno), strerror(err)); \
	} while (0)
#define FAILS_EITHER(call, err1, err2)                                               \
	do {                                                                         \
		errno = 0;                                                           \
		long long r_ = (long long)(call);                                    \
		if (r_ >= 0 || (errno != (err1) && errno != (err2)))                 \
			FAIL("%s: %lld %s, expected %s", #call, r_, strerror(errno), \
			     strerror(err1));                                        \
	} while (0)
#define SKIP(reason)                               \
	do {                                       \
		printf("  skipped: %s\n", reason); \
		fflush(stdout);                    \
		_exit(EXIT_SKIP);                  \
	} while (0)

/* The call, made by a process of that user, must end with err (0: succeed). */
#define AS(who, call, err)                                                               \
	do {                                                                             \
		fflush(stdout);                                                          \
		pid_t as_ = fork();                                                      \
		if (as_ == 0) {                                                          \
			become(who);                                                     \
			_exit((long long)(call) < 0 ? errno : 0);                        \
		}                                                                        \
		int got_ = exit_status(as_);                                             \
		if (got_ != (err))                                                       \
			FAIL("uid %u: %s: %s, expected %s", (unsigned)(who)->uid, #call, \
			     strerror(got_), strerror(err));                             \
	} while (0)

static inline void become(const struct user *who)
{
	if (setgroups(who->extra ? 1 : 0, &who->extra) || setresgid(who->gid, who->gid, who->gid) ||
	    setresuid(who->uid, who->uid, who->uid))
		FAIL("become uid %u: %s", (unsigned)who->uid, strerror(errno));
}

/* Exit code of a child; ends the sub-test when the child died otherwise. */
static inline int exit_status(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		FAIL("fork or wait: %s", strerror(errno));
	if (!WIFEXITED(status))
		FAIL("child killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static inline pid_t start_child(void (*fn)(void *), void *arg)
{
	fflush(stdout);
	pid_t pid = fork();

	if (pid < 0)
		FAIL("fork: %s", strerror(errno));
	if (pid == 0) {
		fn(arg);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

static inline void join_child(pid_t pid)
{
	if (exit_status(pid) != 0)
		FAIL("a child process failed");
}

/* Is word in a list of words with commas? */
static inline bool is_listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

static inline bool has_feature(const char *feature)
{
	return !is_listed(posix_without, feature);
}

#define NEED(feature)                                        \
	do {                                                 \
		if (!has_feature(feature))                   \
			SKIP("the backend has no " feature); \
	} while (0)
#define NEED_ROOT()                         \
	do {                                \
		if (geteuid() != 0)         \
			SKIP("needs root"); \
	} while (0)

/* ---- small helpers ---------------------------------------------------- */

/* A new file with this text. */
/* A new, empty one, open for both. */
static inline int new_file(const char *name)
{
	return OK_INT(open(name, O_CREAT | O_EXCL | O_RDWR, 0644));
}

static inline void make_file(const char *path, const char *text, mode_t mode)
{
	int fd = OK_INT(open(path, O_CREAT | O_EXCL | O_WRONLY, 0600));

	EQUAL(write(fd, text, strlen(text)), strlen(text));
	OK(fchmod(fd, mode));
	OK(close(fd));
}

static inline void expect_text(const char *path, const char *text)
{
	char buf[256];
	int fd = OK_INT(open(path, O_RDONLY));
	ssize_t n = OK(read(fd, buf, sizeof buf - 1));

	buf[n] = '\0';
	if (strcmp(buf, text) != 0)
		FAIL("%s holds \"%s\", not \"%s\"", path, buf, text);
	OK(close(fd));
}

static inline struct stat stat_of(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		FAIL("lstat %s: %s", path, strerror(errno));
	return st;
}

static inline struct stat stat_fd(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st;
}

/* The byte that a tested file holds at off. */
static inline unsigned char pattern_at(uint64_t off, unsigned seed)
{
	return (unsigned char)((off * 31 + (off >> 8) * 7 + (off >> 16) * 3 + seed) % 251 + 1);
}

static inline void pattern_fill(void *buf, size_t len, uint64_t off, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		((unsigned char *)buf)[i] = pattern_at(off + i, seed);
}

static inline void pattern_write(int fd, uint64_t off, size_t len, unsigned seed)
{
	unsigned char *buf = malloc(len ? len : 1);

	CHECK(buf != NULL);
	pattern_fill(buf, len, off, seed);
	EQUAL(pwrite(fd, buf, len, (off_t)off), len);
	free(buf);
}

/* len bytes at off must be the pattern (zero: must be zero bytes). */
static inline void pattern_expect(int fd, uint64_t off, size_t len, unsigned seed, bool zero)
{
	unsigned char *buf = malloc(len ? len : 1);

	CHECK(buf != NULL);
	EQUAL(pread(fd, buf, len, (off_t)off), len);
	for (size_t i = 0; i < len; i++) {
		unsigned char want = zero ? 0 : pattern_at(off + i, seed);

		if (buf[i] != want)
			FAIL("byte %llu is 0x%02x, not 0x%02x", (unsigned long long)(off + i),
			     buf[i], want);
	}
	free(buf);
}

static inline int time_cmp(struct timespec a, struct timespec b)
{
	if (a.tv_sec != b.tv_sec)
		return a.tv_sec < b.tv_sec ? -1 : 1;
	return a.tv_nsec < b.tv_nsec ? -1 : a.tv_nsec > b.tv_nsec;
}

/* Longer than the grain of any file system's clock here. */
static inline void clock_tick(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
}

/* ---- main ------------------------------------------------------------- */

static inline void remove_folder(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
		_exit(127);
	}
	if (exit_status(pid) != 0)
		printf("  rm -rf %s failed\n", path);
}

static inline void subtest_child(const struct subtest *t, int dir)
{
	if (fchdir(dir) || mkdir(t->name, 0755) || chdir(t->name)) {
		printf("  folder %s: %s\n", t->name, strerror(errno));
		fflush(stdout);
		_exit(1);
	}
	if (is_listed(posix_skip, t->name))
		SKIP("the server cannot");
	umask(022);
	alarm(SUBTEST_SECONDS);
	t->run();
	fflush(stdout);
	_exit(0);
}

/* 0, 1 or EXIT_SKIP. */
static inline int subtest_run(const struct subtest *t, int dir)
{
	struct timespec t0, t1;
	struct stat st;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	fflush(stdout);
	pid_t pid = fork();

	if (pid == 0)
		subtest_child(t, dir);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	int rc = WIFEXITED(status) ? WEXITSTATUS(status) : 1;

	if (WIFSIGNALED(status))
		printf("  killed by signal %d\n", WTERMSIG(status));
	remove_folder(t->name);
	if (fstatat(dir, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		printf("  the folder could not be removed\n");
		rc = 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("%s %s %.2f s\n",
	       rc == 0         ? "PASS" :
	       rc == EXIT_SKIP ? "SKIP" :
				 "FAIL",
	       t->name, (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
	fflush(stdout);
	return rc;
}

static inline bool is_chosen(const struct subtest *t, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, t->name) == 0)
			return true;
	return false;
}

static inline int posix_main(int argc, char **argv, const struct subtest *tests, size_t ntests)
{
	int failed = 0, ran = 0, i = 1;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t k = 0; k < ntests; k++)
			puts(tests[k].name);
		return 0;
	}
	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--without") == 0)
			posix_without = argv[i + 1];
		else if (strcmp(argv[i], "--skip") == 0)
			posix_skip = argv[i + 1];
		else if (strcmp(argv[i], "--entries") == 0)
			posix_entries = atol(argv[i + 1]);
		else
			break;
	}
	if (i >= argc || argv[i][0] == '-') {
		fprintf(stderr,
			"usage: %s [--without FEATURE,...] [--skip NAME,...] [--entries N] DIR [NAME...]\n",
			argv[0]);
		return 2;
	}
	int dir = open(argv[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || fchdir(dir)) {
		fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
		return 2;
	}
	for (size_t k = 0; k < ntests; k++) {
		if (!is_chosen(&tests[k], argv + i + 1))
			continue;
		ran++;
		failed += subtest_run(&tests[k], dir) == 1;
	}
	close(dir);
	printf("%d sub-tests, %d failed\n", ran, failed);
	return failed > 0 || ran == 0;
}

#endif
