/* SPDX-License-Identifier: Apache-2.0 */
/* model_file.h - operations on open files and what they hold
 *
 * Part of model.c, included once, after model.h. */
#ifndef TESTS_TOOLS_MODEL_FILE_H
#define TESTS_TOOLS_MODEL_FILE_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <linux/falloc.h>

#include "tests/tools/model.h"

/* ---- open files ------------------------------------------------------- */

static inline struct handle *handle_any(bool want_dir)
{
	unsigned from = pick(HANDLES);

	for (unsigned i = 0; i < HANDLES; i++) {
		struct handle *h = &self.handle[(from + i) % HANDLES];

		if (h->fd[REF] >= 0 && h->dir == want_dir)
			return h;
	}
	return NULL;
}

static inline void handle_close(struct handle *h)
{
	if (h->fd[REF] < 0)
		return;
	BOTH(close(h->fd[s]));
	h->fd[MOUNT] = h->fd[REF] = -1;
	agree();
}

static inline void agree_fstat(const struct handle *h)
{
	struct stat st[SIDES];

	BOTH(fstat(h->fd[s], &st[s]));
	if (agree())
		agree_stat(h->path, st);
}

/* What the reference must not be slowed down or aligned by. */
static inline int ref_flags(int flags, int side)
{
	return side == REF ? flags & ~(O_SYNC | O_DSYNC | O_DIRECT) : flags;
}

static inline int pick_open_flags(void)
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

static inline void op_open(void)
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

static inline void op_tmpfile(void)
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

static inline void op_close(void)
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

static inline struct range pick_range(const struct handle *h)
{
	struct range r = { pick_offset(), pick_length() };

	if (h->direct) {
		r.off &= ~4095ull;
		r.len = (r.len + 4095) & ~(size_t)4095;
	}
	return r;
}

static inline void fill(unsigned char *buf, size_t len)
{
	uint64_t x = random_next() | 1;

	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(x >> (i % 7)) ^ (unsigned char)(i * 13) ^
			 (unsigned char)(i >> 8);
}

static inline void op_read(void)
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

static inline void op_write(void)
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

static inline void op_lseek(void)
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
static inline void op_seek_hole(void)
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

static inline uint64_t pick_other_size(const struct stat *st)
{
	uint64_t size = chance(10) ? 0 : pick_offset();

	return size == (uint64_t)st->st_size ? size + 1 : size;
}

static inline void op_ftruncate(void)
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

static inline int truncate_at(int base, const char *path, uint64_t size)
{
	char full[64 + PATH_BYTES];

	snprintf(full, sizeof full, "/proc/self/fd/%d/%s", base, path);
	return truncate(full, (off_t)size);
}

static inline void op_truncate(void)
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
static inline void allocate(int mode, const char *name)
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

static inline void op_punch(void)
{
	allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch");
}

static inline void op_fallocate(void)
{
	allocate(chance(50) ? FALLOC_FL_KEEP_SIZE : 0, "fallocate");
}

static inline void op_zero_range(void)
{
	allocate(FALLOC_FL_ZERO_RANGE | (chance(50) ? FALLOC_FL_KEEP_SIZE : 0), "zero_range");
}

static inline void op_mmap(void)
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

static inline long copy_all(int src, uint64_t from, int dst, uint64_t to, size_t len)
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

static inline void op_copy(void)
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

static inline void op_fsync(void)
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

#endif
