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
#include "tests/tools/model_tree.h"

#define SHARED_NAMES 16
#define PROCESSES_MAX 16

static pthread_mutex_t *shared_lock; /* one a name, in memory of all processes */

/* ---- open files ------------------------------------------------------- */

static struct handle *handle_any(bool want_dir)
{
	unsigned from = pick(HANDLES);

	for (unsigned i = 0; i < HANDLES; i++) {
		struct handle *h = &self.handle[(from + i) % HANDLES];

		if (h->fd[REF] >= 0 && h->dir == want_dir)
			return h;
	}
	return NULL;
}

static void handle_close(struct handle *h)
{
	if (h->fd[REF] < 0)
		return;
	BOTH(close(h->fd[s]));
	h->fd[MOUNT] = h->fd[REF] = -1;
	agree();
}

static void agree_fstat(const struct handle *h)
{
	struct stat st[SIDES];

	BOTH(fstat(h->fd[s], &st[s]));
	if (agree())
		agree_stat(h->path, st);
}

/* What the reference must not be slowed down or aligned by. */
static int ref_flags(int flags, int side)
{
	return side == REF ? flags & ~(O_SYNC | O_DSYNC | O_DIRECT) : flags;
}

static int pick_open_flags(void)
{
	static const int how[] = { O_RDONLY, O_WRONLY, O_RDWR };
	int flags = how[chance(70) ? 2 : pick(3)];

	flags |= chance(50) ? O_CREAT : 0;
	flags |= chance(8) && flags & O_CREAT ? O_EXCL : 0;
	flags |= chance(8) && !is_without("truncate") ? O_TRUNC : 0;
	flags |= chance(15) ? O_APPEND : 0;
	flags |= chance(5) ? (chance(50) ? O_SYNC : O_DSYNC) : 0;
	flags |= chance(5) ? O_NOFOLLOW : 0;
	if (chance(8) && !is_without("direct"))
		flags |= O_DIRECT;
	if (chance(8) && !(flags & O_CREAT))
		flags = O_RDONLY | O_DIRECTORY;
	return flags;
}

static void op_open(void)
{
	struct handle *h = &self.handle[pick(HANDLES)];
	int flags = pick_open_flags();
	mode_t mode = pick_mode();
	struct stat st;

	handle_close(h);
	pick_path(h->path);
	if (fstatat(self.base[REF], h->path, &st, 0) == 0 && S_ISDIR(st.st_mode))
		flags &= ~O_DIRECT; /* EINVAL or not, nobody cares */
	log_op("open %s flags 0%o mode 0%o", h->path, flags, mode);
	BOTH(openat(self.base[s], h->path, ref_flags(flags, s), mode));
	if (!agree_fd())
		return;
	for (int s = 0; s < SIDES; s++)
		h->fd[s] = (int)both.r[s];
	h->dir = fstat(h->fd[REF], &st) == 0 && S_ISDIR(st.st_mode);
	h->direct = flags & O_DIRECT;
	h->append = flags & O_APPEND;
	h->rd = (flags & O_ACCMODE) != O_WRONLY;
	h->wr = (flags & O_ACCMODE) != O_RDONLY;
	agree_fstat(h);
	if (h->dir && is_without("dirhandle"))
		handle_close(h);
}

static void op_tmpfile(void)
{
	struct handle *h = &self.handle[pick(HANDLES)];

	handle_close(h);
	log_op("tmpfile %s", pick_path(h->path));
	BOTH(openat(self.base[s], h->path, O_TMPFILE | O_RDWR, 0600));
	if (!agree_fd())
		return;
	for (int s = 0; s < SIDES; s++)
		h->fd[s] = (int)both.r[s];
	h->dir = h->direct = h->append = false;
	h->rd = h->wr = true;
}

static void op_close(void)
{
	struct handle *h = &self.handle[pick(HANDLES)];

	if (h->fd[REF] < 0) {
		op_open();
		return;
	}
	log_op("close %s", h->path);
	handle_close(h);
}

/* ---- data ------------------------------------------------------------- */

struct range {
	uint64_t off;
	size_t len;
};

static struct range pick_range(const struct handle *h)
{
	struct range r = { pick_offset(), pick_length() };

	if (h->direct) {
		r.off &= ~4095ull;
		r.len = (r.len + 4095) & ~(size_t)4095;
	}
	return r;
}

static void fill(unsigned char *buf, size_t len)
{
	uint64_t x = random_next() | 1;

	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(x >> (i % 7)) ^ (unsigned char)(i * 13) ^
			 (unsigned char)(i >> 8);
}

static void op_read(void)
{
	struct handle *h = handle_any(false);

	if (!h) {
		op_open();
		return;
	}
	struct range r = pick_range(h);
	bool at = h->direct || chance(70);

	log_op("%s %s off %llu len %zu", at ? "pread" : "read", h->path, (unsigned long long)r.off,
	       r.len);
	if (at)
		BOTH(pread(h->fd[s], self.buf[s], r.len, (off_t)r.off));
	else
		BOTH(read(h->fd[s], self.buf[s], r.len));
	if (agree())
		agree_bytes((size_t)both.r[REF], at ? r.off : 0);
}

static void op_write(void)
{
	struct handle *h = handle_any(false);
	struct stat st;

	if (!h) {
		op_open();
		return;
	}
	struct range r = pick_range(h);
	bool at = h->direct || chance(70);

	if (fstat(h->fd[REF], &st) ||
	    (h->append && (uint64_t)st.st_size + r.len > 2 * opt.max_size))
		return;
	if (!at && lseek(h->fd[REF], 0, SEEK_CUR) + (off_t)r.len > (off_t)opt.max_size)
		return;
	if (h->direct && h->append) /* the end is not aligned */
		return;
	fill(self.buf[REF], r.len);
	log_op("%s %s%s off %llu len %zu", at ? "pwrite" : "write", h->path,
	       h->append ? " (append)" : "", (unsigned long long)r.off, r.len);
	if (at)
		BOTH(pwrite(h->fd[s], self.buf[REF], r.len, (off_t)r.off));
	else
		BOTH(write(h->fd[s], self.buf[REF], r.len));
	if (agree() && chance(25))
		agree_fstat(h);
}

static void op_lseek(void)
{
	struct handle *h = handle_any(false);
	off_t off = (off_t)pick_offset();
	int whence = (int)pick(3);

	if (!h)
		return;
	if (whence != SEEK_SET)
		off = off % 1000 - 500;
	log_op("lseek %s %lld whence %d", h->path, (long long)off, whence);
	BOTH(lseek(h->fd[s], off, whence));
	agree();
}

/* A hole that lseek tells of must read as zero, up to the data after it. */
static void op_seek_hole(void)
{
	struct handle *h = handle_any(false);
	struct stat st;

	if (!h || !h->rd || h->direct || fstat(h->fd[REF], &st) || st.st_size == 0)
		return;
	off_t was = lseek(h->fd[MOUNT], 0, SEEK_CUR),
	      from = (off_t)(pick_offset() % (uint64_t)st.st_size);

	log_op("seek_hole %s from %lld", h->path, (long long)from);
	off_t hole = lseek(h->fd[MOUNT], from, SEEK_HOLE);

	if (hole < from || hole > st.st_size)
		mismatch("SEEK_HOLE gives %lld", (long long)hole);
	off_t data = lseek(h->fd[MOUNT], hole, SEEK_DATA);

	if (data < 0)
		data = st.st_size;
	size_t len = (size_t)(data - hole);

	len = len < BUF_BYTES ? len : BUF_BYTES;
	if (pread(h->fd[REF], self.buf[REF], len, hole) != (ssize_t)len)
		mismatch("hole %lld..%lld is not in the file", (long long)hole, (long long)data);
	for (size_t i = 0; i < len; i++)
		if (self.buf[REF][i])
			mismatch("data at %lld is told as a hole", (long long)hole + (long long)i);
	lseek(h->fd[MOUNT], was, SEEK_SET);
}

static uint64_t pick_other_size(const struct stat *st)
{
	uint64_t size = chance(10) ? 0 : pick_offset();

	return size == (uint64_t)st->st_size ? size + 1 : size;
}

static void op_ftruncate(void)
{
	struct handle *h = handle_any(false);
	struct stat st;

	if (!h || fstat(h->fd[REF], &st))
		return;
	uint64_t size = pick_other_size(&st);

	log_op("ftruncate %s %lld -> %llu", h->path, (long long)st.st_size,
	       (unsigned long long)size);
	BOTH(ftruncate(h->fd[s], (off_t)size));
	agree();
	agree_fstat(h);
}

static int truncate_at(int base, const char *path, uint64_t size)
{
	char full[64 + PATH_BYTES];

	snprintf(full, sizeof full, "/proc/self/fd/%d/%s", base, path);
	return truncate(full, (off_t)size);
}

static void op_truncate(void)
{
	char path[PATH_BYTES];
	struct stat st;

	if (fstatat(self.base[REF], pick_path(path), &st, 0))
		return;
	uint64_t size = pick_other_size(&st);

	log_op("truncate %s %lld -> %llu", path, (long long)st.st_size, (unsigned long long)size);
	BOTH(truncate_at(self.base[s], path, size));
	agree();
}

/* fallocate() in one mode. Whether it moves mtime differs, so it is set. */
static void allocate(int mode, const char *name)
{
	struct handle *h = handle_any(false);

	if (!h)
		return;
	struct range r = { pick_offset(), pick_length() };

	log_op("%s %s off %llu len %zu", name, h->path, (unsigned long long)r.off, r.len);
	BOTH(fallocate(h->fd[s], mode, (off_t)r.off, (off_t)r.len));
	if (agree())
		BOTH(futimens(h->fd[s], NULL));
	agree_fstat(h);
}

static void op_punch(void)
{
	allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch");
}

static void op_fallocate(void)
{
	allocate(chance(50) ? FALLOC_FL_KEEP_SIZE : 0, "fallocate");
}

static void op_zero_range(void)
{
	allocate(FALLOC_FL_ZERO_RANGE | (chance(50) ? FALLOC_FL_KEEP_SIZE : 0), "zero_range");
}

static void op_mmap(void)
{
	struct handle *h = handle_any(false);
	struct stat st;

	if (!h || !h->rd || !h->wr || fstat(h->fd[REF], &st) || st.st_size == 0)
		return;
	size_t size = (size_t)st.st_size, off = pick_offset() % size, len = pick_length();
	bool sync = chance(50);
	int prot = PROT_READ | PROT_WRITE;
	void *map[SIDES];

	len = len < size - off ? len : size - off;
	fill(self.buf[REF], len);
	log_op("mmap-write %s off %zu len %zu%s", h->path, off, len, sync ? ", msync" : "");
	BOTH((map[s] = mmap(NULL, size, prot, MAP_SHARED, h->fd[s], 0)) == MAP_FAILED ? -1 : 0);
	if (!agree())
		return;
	for (int s = 0; s < SIDES; s++)
		memcpy((char *)map[s] + off, self.buf[REF], len);
	if (memcmp(map[MOUNT], map[REF], size) != 0)
		mismatch("mapped bytes differ");
	BOTH(s == REF || !sync ? 0 : msync(map[s], size, MS_SYNC));
	agree();
	BOTH(munmap(map[s], size));
	agree();
	if (!h->direct) {
		BOTH(pread(h->fd[s], self.buf[s], len, (off_t)off));
		agree();
		agree_bytes(len, off);
	}
	if (!sync)
		BOTH(s == REF ? 0 : fsync(h->fd[s]));
	agree();
	BOTH(futimens(h->fd[s], NULL));
}

static long copy_all(int src, uint64_t from, int dst, uint64_t to, size_t len)
{
	loff_t in = (loff_t)from, out = (loff_t)to;
	long total = 0;

	while (len > 0) {
		ssize_t n = copy_file_range(src, &in, dst, &out, len, 0);

		if (n < 0)
			return total ? total : -1;
		if (n == 0)
			break;
		total += n;
		len -= (size_t)n;
	}
	return total;
}

static void op_copy(void)
{
	struct handle *a = handle_any(false), *b = handle_any(false);
	struct stat st;

	if (!a || !b || a->direct || b->direct || fstat(b->fd[REF], &st))
		return;
	uint64_t from = pick_offset(), to = pick_offset();
	size_t len = pick_length();

	log_op("copy_file_range %s %llu -> %s %llu len %zu", a->path, (unsigned long long)from,
	       b->path, (unsigned long long)to, len);
	BOTH(copy_all(a->fd[s], from, b->fd[s], to, len));
	agree();
	agree_fstat(b);
}

static void op_fsync(void)
{
	struct handle *h = handle_any(chance(10));
	bool data = chance(30);

	if (!h)
		return;
	log_op("%s %s", data ? "fdatasync" : "fsync", h->path);
	BOTH(s == REF ? 0 : data ? fdatasync(h->fd[s]) : fsync(h->fd[s]));
	agree();
	agree_fstat(h);
}

/* ---- names ------------------------------------------------------------ */

/* A folder is about to go. Where an open file keeps a hidden name in it
 * (rmdir_open), nothing is left open. */
static void before_folder_goes(const char *path)
{
	struct stat st;

	if (!is_without("rmdir_open") || fstatat(self.base[REF], path, &st, AT_SYMLINK_NOFOLLOW) ||
	    !S_ISDIR(st.st_mode))
		return;
	log_op("close all");
	for (unsigned i = 0; i < HANDLES; i++)
		handle_close(&self.handle[i]);
}

static void op_rename(void)
{
	static const unsigned kinds[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	char from[PATH_BYTES], to[PATH_BYTES];
	unsigned flags = chance(70) ? 0 : kinds[pick(3)];

	if (flags && is_without(flags == RENAME_EXCHANGE ? "exchange" : "noreplace"))
		flags = 0;
	before_folder_goes(pick_path(to));
	log_op("rename %s %s flags %u", pick_path(from), to, flags);
	BOTH(renameat2(self.base[s], from, self.base[s], to, flags));
	agree();
}

static void op_link(void)
{
	char from[PATH_BYTES], to[PATH_BYTES];

	log_op("link %s %s", pick_path(from), pick_path(to));
	BOTH(linkat(self.base[s], from, self.base[s], to, 0));
	agree();
}

static void op_symlink(void)
{
	char target[PATH_BYTES], path[PATH_BYTES];

	log_op("symlink %s at %s", pick_path(target), pick_path(path));
	BOTH(symlinkat(target, self.base[s], path));
	agree();
}

static void op_readlink(void)
{
	char path[PATH_BYTES];

	log_op("readlink %s", pick_path(path));
	BOTH(readlinkat(self.base[s], path, (char *)self.buf[s], PATH_BYTES));
	if (agree())
		agree_bytes((size_t)both.r[REF], 0);
}

static void op_unlink(void)
{
	char path[PATH_BYTES];

	log_op("unlink %s", pick_path(path));
	BOTH(unlinkat(self.base[s], path, 0));
	agree();
}

/* Takes the name away from a file that is open. */
static void op_unlink_open(void)
{
	struct handle *h = handle_any(false);

	if (!h)
		return;
	log_op("unlink %s (open)", h->path);
	BOTH(unlinkat(self.base[s], h->path, 0));
	agree();
	agree_fstat(h);
}

static void op_mkdir(void)
{
	char path[PATH_BYTES];
	mode_t mode = pick_mode();

	log_op("mkdir %s mode 0%o", pick_path(path), mode);
	BOTH(mkdirat(self.base[s], path, mode));
	agree();
}

static void op_rmdir(void)
{
	char path[PATH_BYTES];

	before_folder_goes(pick_path(path));
	log_op("rmdir %s", path);
	BOTH(unlinkat(self.base[s], path, AT_REMOVEDIR));
	agree();
}

static void op_stat(void)
{
	struct stat st[SIDES];
	char path[PATH_BYTES];
	int flags = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;

	log_op("%s %s", flags ? "lstat" : "stat", pick_path(path));
	BOTH(fstatat(self.base[s], path, &st[s], flags));
	if (agree())
		agree_stat(path, st);
}

static void op_fstat(void)
{
	struct handle *h = handle_any(chance(10));

	if (!h)
		return;
	log_op("fstat %s", h->path);
	agree_fstat(h);
}

/* ---- folders ---------------------------------------------------------- */

static void op_readdir(void)
{
	static struct names l[SIDES];
	char path[PATH_BYTES];
	DIR *d[SIDES];

	pick_path(path);
	if (chance(30))
		strcpy(path, ".");
	log_op("readdir %s", path);
	BOTH((d[s] = open_folder(self.base[s], path)) ? 0 : -1);
	if (!agree())
		return;
	for (int s = 0; s < SIDES; s++) {
		names_read(d[s], &l[s], NAMES_MAX);
		closedir(d[s]);
	}
	agree_names(l);
	names_done(&l[MOUNT]);
	names_done(&l[REF]);
}

static bool touch_or_remove(int dir, const char *name, bool make)
{
	if (!make)
		return unlinkat(dir, name, 0) == 0;
	int fd = openat(dir, name, O_CREAT | O_WRONLY | O_NOFOLLOW, 0644);

	return fd >= 0 && close(fd) == 0;
}

/* Names come and go in the middle of a listing; all others are told once. */
static void op_readdir_change(void)
{
	static struct names was, got;
	char path[PATH_BYTES], name[2][16];
	bool make = chance(50);
	DIR *d[SIDES];

	log_op("readdir %s while changing", pick_path(path));
	BOTH((d[s] = open_folder(self.base[s], path)) ? 0 : -1);
	if (!agree())
		return;
	names_read(d[REF], &was, NAMES_MAX);
	names_read(d[MOUNT], &got, pick(6));
	for (int i = 0; i < 2; i++) {
		sprintf(name[i], "n%u", pick(8));
		BOTH(touch_or_remove(dirfd(d[s]), name[i], make) ? 0 : -1);
		agree();
	}
	names_read(d[MOUNT], &got, NAMES_MAX);
	for (unsigned i = 0; i < was.n; i++) {
		unsigned seen = 0;

		for (unsigned k = 0; k < got.n; k++)
			seen += strcmp(was.name[i], got.name[k]) == 0;
		if (seen != 1 && strcmp(was.name[i], name[0]) != 0 &&
		    strcmp(was.name[i], name[1]) != 0)
			mismatch("%s was told %u times", was.name[i], seen);
	}
	names_done(&was);
	names_done(&got);
	closedir(d[MOUNT]);
	closedir(d[REF]);
}

/* ---- attributes ------------------------------------------------------- */

static void op_chmod(void)
{
	struct handle *h = chance(30) ? handle_any(false) : NULL;
	char path[PATH_BYTES];
	mode_t mode = pick_mode();

	log_op("chmod %s 0%o%s", h ? h->path : pick_path(path), mode, h ? " (open)" : "");
	if (h)
		BOTH(fchmod(h->fd[s], mode));
	else
		BOTH(fchmodat(self.base[s], path, mode, 0));
	agree();
}

static void op_chown(void)
{
	static const uid_t id[] = { 0, 2001, 2002, (uid_t)-1 };
	char path[PATH_BYTES];
	uid_t uid = id[pick(4)];
	gid_t gid = id[pick(4)];

	log_op("lchown %s %d %d", pick_path(path), (int)uid, (int)gid);
	BOTH(fchownat(self.base[s], path, uid, gid, AT_SYMLINK_NOFOLLOW));
	agree();
}

static void pick_times(struct timespec t[2])
{
	for (int i = 0; i < 2; i++) {
		t[i] = (struct timespec){ 1000000000 + pick(400000000), pick(1000000000) };
		if (chance(20))
			t[i].tv_nsec = chance(50) ? UTIME_NOW : UTIME_OMIT;
	}
}

static void op_utimens(void)
{
	struct handle *h = chance(40) ? handle_any(false) : NULL;
	char path[PATH_BYTES];
	struct timespec t[2];

	pick_times(t);
	log_op("utimens %s mtime %lld.%09ld%s", h ? h->path : pick_path(path),
	       (long long)t[1].tv_sec, t[1].tv_nsec, h ? " (open)" : "");
	if (h)
		BOTH(futimens(h->fd[s], t));
	else
		BOTH(utimensat(self.base[s], path, t, AT_SYMLINK_NOFOLLOW));
	agree();
	if (h)
		agree_fstat(h);
}

static void op_xattr(void)
{
	static const int how[] = { 0, 0, XATTR_CREATE, XATTR_REPLACE };
	struct handle *h = handle_any(false);
	int flags = how[pick(4)];
	size_t len = pick(200);
	char name[16];

	if (!h)
		return;
	sprintf(name, "user.x%u", pick(3));
	switch (pick(4)) {
	case 0:
		fill(self.buf[REF], len);
		log_op("setxattr %s %s len %zu flags %d", h->path, name, len, flags);
		BOTH(fsetxattr(h->fd[s], name, self.buf[REF], len, flags));
		agree();
		break;
	case 1:
		log_op("removexattr %s %s", h->path, name);
		BOTH(fremovexattr(h->fd[s], name));
		agree();
		break;
	case 2:
		log_op("listxattr %s", h->path);
		BOTH(flistxattr(h->fd[s], NULL, 0));
		agree();
		break;
	default:
		log_op("getxattr %s %s cap %zu", h->path, name, len);
		BOTH(fgetxattr(h->fd[s], name, self.buf[s], len));
		if (agree() && len)
			agree_bytes((size_t)both.r[REF], 0);
	}
}

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
