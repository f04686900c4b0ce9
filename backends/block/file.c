/* SPDX-License-Identifier: Apache-2.0 */
/* file.c - image files and block devices: what they are, and one request on them
 *
 * FUA is RWF_DSYNC, with O_DIRECT: of a block device it becomes a write with FUA, of a file the host's fdatasync with its
 * journal. Either takes errors that belong to older writes, and the kernel tells each of them once (B3). Through the page
 * cache other writes' errors are the rule, and the core flushes in place of FUA, one flush at a time.
 * What sysfs does not tell (it may be hidden) is taken as the worst: a volatile cache. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "backends/block/exclusive.h"
#include "backends/block/file_impl.h"
#include "common/cleanup.h"
#include "common/log.h"

/* ---- one request ------------------------------------------------------- */

int file_fallocate_mode(struct file *f, struct bd_req *rq)
{
	bool punch = rq->op == BD_DISCARD || (rq->flags & BD_UNMAP && !atomic_load(&f->no_punch));

	rq->priv[0].u64 = punch;
	return (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
}

bool file_fallocate_again(struct file *f, const struct bd_req *rq, int error)
{
	if (error != -EOPNOTSUPP || rq->op != BD_ZERO || !rq->priv[0].u64)
		return false;
	atomic_store(&f->no_punch, true);
	return true;
}

static int do_fallocate(struct file *f, struct bd_req *rq)
{
	int rc;

	do {
		int mode = file_fallocate_mode(f, rq);

		rc = fallocate(f->fd, mode, (off_t)rq->off, (off_t)rq->len) ? -errno : 0;
	} while (rc == -EINTR || file_fallocate_again(f, rq, rc));
	return rc;
}

static int do_discard(struct file *f, struct bd_req *rq)
{
	uint64_t range[2] = { rq->off, rq->len };

	if (!f->is_block)
		return do_fallocate(f, rq);
	return ioctl(f->fd, BLKDISCARD, range) ? -errno : 0;
}

/* What is left of the n pieces when done bytes are. */
static unsigned advance(struct iovec *iov, unsigned n, size_t done)
{
	unsigned first = 0;

	while (first < n && done >= iov[first].iov_len)
		done -= iov[first++].iov_len;
	memmove(iov, iov + first, (n - first) * sizeof *iov);
	if (first < n) {
		iov[0].iov_base = (uint8_t *)iov[0].iov_base + done;
		iov[0].iov_len -= done;
	}
	return n - first;
}

static int do_transfer(struct file *f, const struct bd_req *rq)
{
	int flags = rq->flags & BD_FUA ? RWF_DSYNC : 0;
	struct iovec iov[BD_IOV_MAX];
	const struct iovec *at = rq->iov;
	unsigned n = rq->niov;
	uint64_t off = rq->off, end = rq->off + rq->len;

	for (;;) {
		ssize_t got = rq->op == BD_READ ? preadv2(f->fd, at, (int)n, (off_t)off, flags) :
						  pwritev2(f->fd, at, (int)n, (off_t)off, flags);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO; /* the file is shorter than it was */
		off += (uint64_t)got;
		if (off >= end)
			return 0;
		if (at == rq->iov)
			memcpy(iov, rq->iov, n * sizeof *iov);
		at = iov;
		n = advance(iov, n, (size_t)got);
	}
}

int file_execute(struct file *f, struct bd_req *rq)
{
	switch (rq->op) {
	case BD_READ:
	case BD_WRITE:
		return do_transfer(f, rq);
	case BD_FLUSH:
		return fdatasync(f->fd) ? -errno : 0;
	case BD_ZERO:
		return do_fallocate(f, rq);
	default:
		return do_discard(f, rq);
	}
}

int file_size_now(struct bd *dev, uint64_t *out)
{
	return bd_exclusive_size(file_of(dev)->fd, out);
}

/* ---- limits ------------------------------------------------------------- */

/* A word of a block device's queue; "" where it is not to be had. A partition has its disk's. */
static void queue_text(dev_t dev, const char *name, char *out, size_t cap)
{
	static const char *const folders[] = { "queue", "../queue" };

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(folders) && !out[0]; i++) {
		char path[128];
		AUTO_FD int fd = -1;
		ssize_t n;

		snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev),
			 folders[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, out, cap - 1);
		out[n > 0 ? n : 0] = '\0';
		out[strcspn(out, "\n")] = '\0';
	}
}

static uint64_t queue_number(dev_t dev, const char *name, uint64_t unknown)
{
	char text[32], *end;
	uint64_t v;

	queue_text(dev, name, text, sizeof text);
	v = strtoull(text, &end, 10);
	return end == text ? unknown : v;
}

static int block_limits(struct file *f, const struct stat *st, bool direct)
{
	struct bd_limits *l = &f->bd.limits;
	int logical = 0;
	unsigned physical = 0, best = 0;
	char text[32];
	uint64_t discard;

	if (ioctl(f->fd, BLKSSZGET, &logical) || logical <= 0)
		return -ENOTTY;
	l->block = (uint32_t)logical;
	if (ioctl(f->fd, BLKPBSZGET, &physical))
		physical = 0;
	if (ioctl(f->fd, BLKIOOPT, &best))
		best = 0;
	l->preferred = best ? best : physical;
	queue_text(st->st_rdev, "write_cache", text, sizeof text);
	l->volatile_cache = !direct || strcmp(text, "write through") != 0;
	l->rotational = queue_number(st->st_rdev, "rotational", 0) != 0;
	discard = queue_number(st->st_rdev, "discard_max_bytes", FILE_RANGE_MAX);
	l->max_discard = discard ? FILE_RANGE_MAX : 0;
	l->discard_granularity =
		(uint32_t)queue_number(st->st_rdev, "discard_granularity", l->block);
	l->zero_fast = queue_number(st->st_rdev, "write_zeroes_max_bytes", 0) > 0;
	return 0;
}

static bool may_punch(const struct file *f, const struct stat *st)
{
	/* Behind the end, where nothing is. */
	return fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, st->st_size,
			 BD_BLOCK_MAX) == 0;
}

static void file_limits(struct file *f, const struct stat *st)
{
	struct bd_limits *l = &f->bd.limits;

	l->block = BD_BLOCK_MIN;
	l->preferred = (uint32_t)st->st_blksize;
	l->volatile_cache = true;
	l->zero_fast = true;
	if (!l->readonly && may_punch(f, st)) {
		l->max_discard = FILE_RANGE_MAX;
		l->discard_granularity = (uint32_t)st->st_blksize;
	} else {
		atomic_store(&f->no_punch, true);
	}
}

/* What O_DIRECT asks of memory and of offsets. */
static void direct_alignment(struct file *f)
{
	struct bd_limits *l = &f->bd.limits;

	l->align = l->block;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) || !(sx.stx_mask & STATX_DIOALIGN))
		return;
	/* The open let O_DIRECT pass, and this file cannot: one that is encrypted. */
	if (sx.stx_dio_offset_align == 0) {
		int has = fcntl(f->fd, F_GETFL);

		if (has >= 0 && fcntl(f->fd, F_SETFL, has & ~O_DIRECT) == 0) {
			l->align = 1;
			l->volatile_cache = true;
			l->fua = false;
		}
		return;
	}
	if (sx.stx_dio_offset_align > l->block)
		l->block = sx.stx_dio_offset_align;
	l->align = sx.stx_dio_mem_align > l->block ? sx.stx_dio_mem_align : l->block;
#endif
}

static int find_limits(struct file *f, const char *name, unsigned depth, bool readonly,
		       struct err *err)
{
	struct bd_limits *l = &f->bd.limits;
	int flags = fcntl(f->fd, F_GETFL), rc = 0;
	bool direct = flags & O_DIRECT;
	struct stat st;
	uint64_t size = 0;

	if (flags < 0 || fstat(f->fd, &st))
		return err_set(err, -errno, "device '%.300s': %s", name, strerror(errno));
	l->readonly = readonly || (flags & O_ACCMODE) == O_RDONLY;
	l->depth = depth;
	l->max_transfer = FILE_TRANSFER_MAX;
	l->max_zero = FILE_RANGE_MAX;
	l->fua = direct;
	l->align = 1;
	f->is_block = S_ISBLK(st.st_mode);
	if (f->is_block)
		rc = block_limits(f, &st, direct);
	else if (S_ISREG(st.st_mode))
		file_limits(f, &st);
	else
		rc = -ENOTBLK;
	if (rc == 0)
		rc = bd_exclusive_size(f->fd, &size);
	if (rc)
		return err_set(err, rc, "device '%.300s' is not one that can be used: %s", name,
			       strerror(-rc));
	if (direct)
		direct_alignment(f);
	if (size < l->block)
		return err_set(err, -EINVAL,
			       "device '%.300s' has %llu bytes; one block alone has %u", name,
			       (unsigned long long)size, l->block);
	f->bd.size = size - size % l->block;
	return 0;
}

/* ---- open ---------------------------------------------------------------- */

struct file_options {
	enum bd_engine engine;
	bool buffered;
	unsigned depth;
};

static int parse_options(const struct uri *uri, const struct bd_env *env, struct file_options *out,
			 struct err *err)
{
	static const char *const known[] = { "engine", "buffered", "queue", NULL };
	const char *engine = uri_param(uri, "engine"), *buffered = uri_param(uri, "buffered");
	uint64_t depth = 0;
	int rc = uri_only_params(uri, known, err);

	if (rc)
		return rc;
	if (uri->host[0])
		return err_set(err, -EINVAL, "file:%.200s: a host ('%.100s') has no place here",
			       uri->path, uri->host);
	if (uri->path[0] != '/')
		return err_set(err, -EINVAL, "file:%.300s: the path has to begin with a slash",
			       uri->path);
	out->engine = env->engine;
	if (engine && strcmp(engine, "uring") == 0)
		out->engine = BD_URING;
	else if (engine && strcmp(engine, "threads") == 0)
		out->engine = BD_THREADS;
	else if (engine)
		return err_set(err, -EINVAL, "engine=%.100s: it is uring or threads", engine);
	out->buffered = buffered && strcmp(buffered, "yes") == 0;
	if (buffered && !out->buffered && strcmp(buffered, "no") != 0)
		return err_set(err, -EINVAL, "buffered=%.100s: it is yes or no", buffered);
	rc = uri_param_u64(uri, "queue", 1, BD_DEPTH_MAX, FILE_DEPTH, &depth, err);
	out->depth = (unsigned)depth;
	return rc;
}

static int open_file(const struct uri *uri, const struct bd_env *env, bool buffered,
		     struct err *err)
{
	uint32_t busy_ms = env->busy_ms ? env->busy_ms : BD_BUSY_MS;
	unsigned flags = (env->readonly ? BD_OPEN_READONLY : 0) | (buffered ? BD_OPEN_BUFFERED : 0);
	int fd, has;

	if (!env->open_device)
		return bd_exclusive_open(uri->path, flags, busy_ms, err);
	fd = env->open_device(env->open_arg, 0, busy_ms, err);
	if (fd < 0 || !buffered)
		return fd;
	has = fcntl(fd, F_GETFL);
	if (has >= 0 && fcntl(fd, F_SETFL, has & ~O_DIRECT) == 0)
		return fd;
	close(fd);
	return err_set(err, -EINVAL, "device '%.300s': buffered=yes cannot be set", uri->path);
}

static int without_ring(const struct file *f, const char *name, int rc, struct err *err)
{
	if (f->engine == BD_URING)
		return err_set(err, rc, "device '%.300s': engine=uring, but there is no ring: %s",
			       name, strerror(-rc));
	log_info("device '%s': no io_uring (%s), threads do its work", name, strerror(-rc));
	return 0;
}

static int make_engine(struct file *f, const char *name, struct err *err)
{
	int rc;

	if (f->engine == BD_THREADS)
		return 0;
	rc = file_ring_new(f, &f->ring);
	if (rc)
		return without_ring(f, name, rc, err);
	f->bd.ops = &file_uring_ops;
	return 0;
}

static int start_engine(struct file *f, const char *name, struct err *err)
{
	int rc = file_pool_new(f, f->bd.limits.depth, &f->pool);

	if (rc)
		return err_set(err, rc, "device '%.300s': no threads can be started", name);
	rc = f->ring ? file_ring_start(f->ring) : 0;
	if (!rc)
		return 0;
	/* A sandbox that does not know of it came between. */
	file_ring_free(take_ptr(&f->ring));
	f->bd.ops = &file_threads_ops;
	return without_ring(f, name, rc, err);
}

void file_free(struct file *f)
{
	file_pool_free(f->pool);
	bd_core_free(&f->bd);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static int file_prepare(const struct uri *uri, const struct bd_env *env, struct bd **out,
			struct err *err)
{
	struct file_options o = { 0 };
	struct file *f;
	int rc = parse_options(uri, env, &o, err);

	if (rc)
		return rc;
	f = calloc(1, sizeof *f);
	if (!f)
		return err_set(err, -ENOMEM, "device '%.300s': no memory", uri->path);
	f->bd.ops = &file_threads_ops;
	f->engine = o.engine;
	f->fd = rc = open_file(uri, env, o.buffered, err);
	if (rc >= 0)
		rc = find_limits(f, uri->path, o.depth, env->readonly, err);
	if (rc >= 0)
		rc = make_engine(f, uri->path, err);
	if (rc < 0) {
		file_free(f);
		return rc;
	}
	*out = &f->bd;
	return 0;
}

static int file_open(const struct uri *uri, const struct bd_env *env, struct bd **out,
		     struct err *err)
{
	struct bd *dev = env->prepared;
	int rc;

	assert(dev->ops == &file_uring_ops || dev->ops == &file_threads_ops);
	rc = bd_core_new(dev, env, err);
	if (!rc)
		rc = start_engine(file_of(dev), uri->path, err);
	if (rc) {
		dev->ops->close(dev);
		return rc;
	}
	*out = dev;
	return 0;
}

static const char *const schemes[] = { "file", NULL };

const struct bd_transport bd_file = {
	.schemes = schemes,
	.uri_help = "/path or file:/path",
	.prepare = file_prepare,
	.open = file_open,
};
