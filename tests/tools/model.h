/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - frame of model.c: chance, the log of operations, and the verdict
 *
 * Everything is done on both sides by BOTH(); agree() and its relatives end the
 * process with the last operations when the sides differ. Included once. */
#ifndef TESTS_TOOLS_MODEL_H
#define TESTS_TOOLS_MODEL_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HANDLES 12   /* open files of a process */
#define LOG_LINES 60 /* operations shown at a mismatch */
#define LINE_BYTES 240
#define PATH_BYTES 96
#define BUF_BYTES (512u << 10) /* largest transfer */
#define PRESENT 1500000000     /* times set by hand are before, the present is after */

enum { MOUNT, REF, SIDES };

struct handle {
	int fd[SIDES]; /* -1: free slot */
	bool dir, direct, append, rd, wr;
	char path[PATH_BYTES];
};

static struct {
	uint64_t seed;
	long ops, rounds;
	unsigned processes;
	uint64_t max_size;
	const char *without, *remount, *log;
	const char *root[SIDES];
	char *command; /* the whole command line, for the message */
} opt = { .ops = 100000, .rounds = 5, .processes = 1, .max_size = 1u << 20, .without = "" };

/* State of one process. */
static struct {
	unsigned me;
	uint64_t random;
	int base[SIDES]; /* its folder, as descriptor */
	struct handle handle[HANDLES];
	char line[LOG_LINES][LINE_BYTES];
	long count; /* operations begun */
	FILE *log;
	unsigned char *buf[SIDES];
} self;

static struct {
	long r[SIDES];
	int e[SIDES];
} both;

/* Runs the expression for s = MOUNT, REF and keeps values and errnos. */
#define BOTH(expr)                                             \
	do {                                                   \
		for (int s = 0; s < SIDES; s++) {              \
			errno = 0;                             \
			both.r[s] = (long)(expr);              \
			both.e[s] = both.r[s] < 0 ? errno : 0; \
		}                                              \
	} while (0)

/* ---- chance ----------------------------------------------------------- */

static inline uint64_t random_next(void)
{
	uint64_t z = (self.random += 0x9e3779b97f4a7c15u); /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline unsigned pick(unsigned n)
{
	return (unsigned)((random_next() >> 20) % n);
}

static inline bool chance(unsigned percent)
{
	return pick(100) < percent;
}

/* Mostly small, sometimes over several frames, often at a border. */
static inline uint64_t pick_offset(void)
{
	static const unsigned border[] = { 4096, 65536, 131072, 196608 };
	uint64_t off;

	if (chance(15))
		off = border[pick(4)] + pick(5) - 2;
	else if (chance(70))
		off = pick(16 << 10);
	else
		off = pick(chance(70) ? 200 << 10 : 1000 << 10);
	return off < opt.max_size ? off : off % opt.max_size;
}

static inline size_t pick_length(void)
{
	unsigned kind = pick(100);

	if (kind < 60)
		return 1 + pick(512);
	if (kind < 90)
		return 1 + pick(8 << 10);
	return 1 + pick(kind < 98 ? 64 << 10 : 300 << 10);
}

/* A few folders deep, few names: most names exist, and kinds change. */
static inline const char *pick_path(char path[PATH_BYTES])
{
	size_t n = 0;

	for (unsigned depth = pick(3); depth > 0; depth--)
		n += (size_t)sprintf(path + n, "d%u/", pick(3));
	if (chance(25))
		sprintf(path + n, "d%u", pick(3));
	else
		sprintf(path + n, "n%u", pick(8));
	return path;
}

/* ---- log and verdict -------------------------------------------------- */

static inline char *log_slot(long count)
{
	return self.line[count % LOG_LINES];
}

__attribute__((format(printf, 1, 2))) static inline void log_op(const char *fmt, ...)
{
	char *line = log_slot(++self.count);
	int n = snprintf(line, LINE_BYTES, "%u:%ld ", self.me, self.count);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, LINE_BYTES - (size_t)n, fmt, ap);
	va_end(ap);
	if (self.log) {
		fprintf(self.log, "%s\n", line);
		fflush(self.log);
	}
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void mismatch(const char *fmt, ...)
{
	va_list ap;

	flockfile(stdout);
	for (long i = self.count > LOG_LINES ? self.count - LOG_LINES + 1 : 1; i <= self.count; i++)
		printf("  %s\n", log_slot(i));
	printf("MISMATCH in process %u at operation %ld: ", self.me, self.count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nrepeat with: %s\n", opt.command);
	fflush(stdout);
	funlockfile(stdout);
	_exit(1);
}

static inline const char *show(int side)
{
	static char text[SIDES][64];

	if (both.e[side])
		snprintf(text[side], sizeof text[side], "%s", strerrorname_np(both.e[side]));
	else
		snprintf(text[side], sizeof text[side], "%ld", both.r[side]);
	return text[side];
}

/* Both sides must have given the same value or errno; true: they succeeded. */
static inline bool agree(void)
{
	char *line = log_slot(self.count);
	size_t n = strlen(line);

	if (n < LINE_BYTES)
		snprintf(line + n, LINE_BYTES - n, " = %s", show(MOUNT));
	if (both.e[MOUNT] != both.e[REF] || (!both.e[REF] && both.r[MOUNT] != both.r[REF]))
		mismatch("result %s, reference %s", show(MOUNT), show(REF));
	return !both.e[REF];
}

/* For calls that return a descriptor: success is enough. */
static inline bool agree_fd(void)
{
	int fd[SIDES] = { (int)both.r[MOUNT], (int)both.r[REF] };

	for (int s = 0; s < SIDES; s++)
		if (fd[s] >= 0)
			both.r[s] = 0;
	bool ok = agree();

	both.r[MOUNT] = fd[MOUNT];
	both.r[REF] = fd[REF];
	return ok;
}

static inline void agree_bytes(size_t len, uint64_t off)
{
	if (memcmp(self.buf[MOUNT], self.buf[REF], len) == 0)
		return;
	size_t i = 0;

	while (self.buf[MOUNT][i] == self.buf[REF][i])
		i++;
	mismatch("byte %llu is 0x%02x, reference 0x%02x", (unsigned long long)(off + i),
		 self.buf[MOUNT][i], self.buf[REF][i]);
}

static inline bool is_without(const char *class)
{
	size_t n = strlen(class);

	for (const char *p = opt.without; (p = strstr(p, class)); p += n)
		if ((p == opt.without || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

static inline mode_t pick_mode(void)
{
	static const mode_t mode[] = {
		0644, 0600, 0755, 0444, 0, 02755, 04755, 06777, 01777, 02640
	};

	mode_t m = mode[pick(sizeof mode / sizeof *mode)];

	return is_without("setgid") ? m & ~(mode_t)S_ISGID : m;
}

static inline void agree_field(const char *what, const char *name, unsigned long long a,
			       unsigned long long b)
{
	if (a != b)
		mismatch("%s: %s is %llu (0%llo), reference %llu (0%llo)", what, name, a, a, b, b);
}

static inline void agree_time(const char *what, struct timespec a, struct timespec b)
{
	if (a.tv_sec >= PRESENT && b.tv_sec >= PRESENT)
		return;
	if (a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec)
		mismatch("%s: mtime is %lld.%09ld, reference %lld.%09ld", what, (long long)a.tv_sec,
			 a.tv_nsec, (long long)b.tv_sec, b.tv_nsec);
}

static inline void agree_stat(const char *what, const struct stat st[SIDES])
{
	const struct stat *a = &st[MOUNT], *b = &st[REF];
	bool dir = S_ISDIR(b->st_mode);

	agree_field(what, "mode", a->st_mode, b->st_mode);
	agree_field(what, "uid", a->st_uid, b->st_uid);
	agree_field(what, "gid", a->st_gid, b->st_gid);
	if (!dir)
		agree_field(what, "size", (unsigned long long)a->st_size,
			    (unsigned long long)b->st_size);
	if (!dir || !is_without("dirnlink"))
		agree_field(what, "nlink", a->st_nlink, b->st_nlink);
	if (!is_without(dir ? "dirtimes" : S_ISLNK(b->st_mode) ? "linktimes" : "times"))
		agree_time(what, a->st_mtim, b->st_mtim);
}

#endif
