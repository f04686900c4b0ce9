/* SPDX-License-Identifier: Apache-2.0 */
/* ops_space.c - room, holes and copies below the cache: FALLOCATE, LSEEK,
 * COPY_FILE_RANGE. The backend does the work on flushed data; the cache is
 * frozen meanwhile and forgets what changed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fusefs/ops.h"

/* The size after a change below the cache. */
static uint64_t size_now(struct request *rq, struct inode *in, struct cache_file *f)
{
	struct be_attr attr;

	rq->call.flags |= BE_REVALIDATE;
	if (backend_getattr(rq->v->be, &rq->call, in->node, &attr))
		attr.size = cache_file_size(f);
	rq->call.flags &= ~BE_REVALIDATE;
	return attr.size;
}

static struct cache_file *regular(struct request *rq, struct inode *in, int *rc)
{
	struct cache_file *f = in ? inode_file_peek(in) : NULL;

	*rc = in ? request_call(rq, false) : -ESTALE;
	if (!*rc && !f)
		*rc = -EBADF;
	if (!*rc && request_must_punt(rq))
		*rc = OP_PUNT;
	return f;
}

int op_fallocate(struct request *rq, int mode, uint64_t off, uint64_t len)
{
	struct inode *in = request_inode(rq);
	struct backend *be = rq->v->be;
	int rc;
	struct cache_file *f = regular(rq, in, &rc);

	if (rc)
		return rc;
	if (!be->ops->fallocate)
		return -EOPNOTSUPP;
	if (off + len < off || off + len > be->limits.file_max)
		return -EFBIG;
	rc = cache_freeze(f, true, !rq->may_block);
	if (rc)
		return request_result(rq, rc);
	rc = backend_fallocate(be, &rq->call, in->node, mode, off, len);
	if (!rc)
		cache_forget_range(f, off, mode & ~FALLOC_FL_KEEP_SIZE ? len : 0,
				   size_now(rq, in, f));
	cache_thaw(f);
	if (!rc) {
		inode_changed(in, rq->s, BE_CHANGED_DATA);
		reply_err(rq, 0);
	}
	return rc == -ENOTSUP ? -EOPNOTSUPP : rc;
}

/* Without help from the backend a file is data up to its end. */
static int seek_plain(uint64_t off, int whence, uint64_t size, uint64_t *out)
{
	if (off >= size)
		return -ENXIO;
	*out = whence == SEEK_DATA ? off : size;
	return 0;
}

int op_lseek(struct request *rq, uint64_t off, int whence)
{
	struct inode *in = request_inode(rq);
	struct backend *be = rq->v->be;
	struct fuse_lseek_out out = { 0 };
	int rc;
	struct cache_file *f = regular(rq, in, &rc);

	if (rc)
		return rc;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	rc = -ENOTSUP;
	if (be->ops->seek) {
		rc = cache_flush(f, !rq->may_block);
		if (!rc)
			rc = backend_seek(be, &rq->call, in->node, off, whence, &out.offset);
	}
	if (rc == -ENOTSUP)
		rc = seek_plain(off, whence, cache_file_size(f), &out.offset);
	if (!rc)
		reply_buf(rq, &out, sizeof out);
	return request_result(rq, rc);
}

static ssize_t copy_frozen(struct request *rq, struct inode *from, uint64_t off_in,
			   struct inode *to, uint64_t off_out, size_t len)
{
	struct cache_file *f = inode_file_peek(to);
	ssize_t n = cache_freeze(f, true, !rq->may_block);

	if (n)
		return n;
	n = backend_copy_range(rq->v->be, &rq->call, from->node, off_in, to->node, off_out, len);
	if (n > 0)
		cache_forget_range(f, off_out, (uint64_t)n, size_now(rq, to, f));
	cache_thaw(f);
	return n;
}

int op_copy_file_range(struct request *rq, uint64_t off_in, uint64_t node_out, uint64_t off_out,
		       uint64_t len, bool wide)
{
	struct inode *from = request_inode(rq), *to = inode_of(rq->s, node_out);
	struct pfuse_copy_out64 out64;
	struct fuse_write_out out;
	int rc;
	struct cache_file *f = regular(rq, from, &rc);
	ssize_t n;

	if (rc)
		return rc;
	if (!to || !inode_file_peek(to))
		return -EBADF;
	if (!rq->v->be->ops->copy_range)
		return -EOPNOTSUPP;
	rc = cache_flush(f, !rq->may_block);
	if (rc)
		return request_result(rq, rc);
	n = copy_frozen(rq, from, off_in, to, off_out, len < (1u << 30) ? len : 1u << 30);
	if (n < 0)
		return n == -ENOTSUP ? -EOPNOTSUPP : request_result(rq, (int)n);
	inode_changed(to, rq->s, BE_CHANGED_DATA);
	out64.bytes = (uint64_t)n;
	out = (struct fuse_write_out){ .size = (uint32_t)n };
	if (wide)
		reply_buf(rq, &out64, sizeof out64);
	else
		reply_buf(rq, &out, sizeof out);
	return 0;
}

int op_copy_file_range_64(struct request *rq)
{
	const struct fuse_copy_file_range_in *arg = request_arg(rq, sizeof *arg);

	if (!arg)
		return -EINVAL;
	return op_copy_file_range(rq, arg->off_in, arg->nodeid_out, arg->off_out, arg->len, true);
}
