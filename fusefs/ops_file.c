/* SPDX-License-Identifier: Apache-2.0 */
/* ops_file.c - open files: OPEN, CREATE, READ, WRITE, FLUSH, FSYNC, RELEASE.
 *
 * READ and WRITE are tried on the receiver without parking. What would have to
 * wait is detached from the receiver first, since its completion may come before
 * the call returns. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/stats.h"
#include "fusefs/ops.h"

#define NOT_FOR_BACKENDS (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY)

/* ---- open ---- */

/* close-to-open: does what we know of the file still hold? Makes the cached file. */
static int open_check(struct request *rq, struct inode *in, bool *keep)
{
	struct volume *v = rq->v;
	struct cache_file *f = inode_file_peek(in);
	struct be_attr attr;
	uint64_t seq;
	int rc;

	*keep = true;
	if (f && v->opt.consistency == EXCLUSIVE)
		return 0;
	seq = f ? cache_change_seq(f) : 0;
	rq->call.flags |= BE_REVALIDATE;
	rc = backend_getattr(v->be, &rq->call, in->node, &attr);
	rq->call.flags &= ~BE_REVALIDATE;
	if (rc)
		return rc;
	f = inode_file(in, attr.size);
	if (!f)
		return -ENOMEM;
	*keep = cache_revalidate(f, &attr, seq);
	/* The other sessions' kernels may have the old pages, too. */
	if (!*keep)
		inode_changed(in, rq->s, BE_CHANGED_DATA);
	return 0;
}

static int open_truncate(struct request *rq, struct inode *in, bool kill)
{
	struct be_setattr set = { .valid = BE_SET_SIZE | BE_SET_OPENED };
	struct be_attr attr;

	return kill ? inode_truncate_kill(rq, in, &set, &attr) : inode_setattr(rq, in, &set, &attr);
}

/* The kernel cuts a cached write at the borders of its pages, and appends of another
 * session would come between. */
static bool appends_alone(const struct request *rq, int flags)
{
	if (!(flags & O_APPEND) || rq->v->opt.consistency == EXCLUSIVE)
		return true;
	return (flags & O_ACCMODE) != O_WRONLY && !(rq->s->direct_mmap && rq->v->nsessions > 1);
}

/* What the kernel is told of an opened file. keep: its pages hold. */
static uint32_t open_flags(struct request *rq, struct inode *in, int flags, bool keep)
{
	const struct mount_options *o = &rq->v->opt;
	bool stale = inode_take_stale(in, rq->s);
	uint32_t out = 0;

	/* The file's size, which OPEN does not tell. */
	if (stale)
		session_drop_attr(rq->s, in);
	/* close() of what was opened for reading has nothing to say but that locks go. */
	if ((flags & O_ACCMODE) == O_RDONLY && o->locks == LOCKS_KERNEL)
		out |= FOPEN_NOFLUSH;
	if (o->consistency == STRICT || !appends_alone(rq, flags) ||
	    (rq->s->direct_mmap && inode_write_shared(in)))
		return out | FOPEN_DIRECT_IO;
	return keep && !stale ? out | FOPEN_KEEP_CACHE : out;
}

static struct handle *open_handle(struct request *rq, struct inode *in, int flags)
{
	struct handle *h = handle_new(rq->s, in, flags, rq->cred);
	struct cache_file *f = inode_file_peek(in);

	if (!h)
		return NULL;
	h->err_seen = f ? cache_error_seq(f) : 0;
	return h;
}

int op_open(struct request *rq)
{
	const struct fuse_open_in *arg = request_arg(rq, sizeof *arg);
	struct inode *in = request_inode(rq);
	struct fuse_open_out out = { 0 };
	struct handle *h;
	bool keep;
	int rc, flags;

	stats_inc(STAT_fuse_open);
	if (!in || !arg)
		return in ? -EINVAL : -ESTALE;
	rc = request_call(rq, false);
	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	flags = (int)arg->flags & ~NOT_FOR_BACKENDS;
	/* First: an unlink meanwhile must not take it for closed. */
	if (!inode_opened(in, rq->s, flags))
		return request_result(rq, -ESTALE);
	rc = backend_open_node(rq->v->be, &rq->call, in->node, flags);
	if (rc) {
		inode_closed(in, rq->s, flags);
		return request_result(rq, rc);
	}
	rc = open_check(rq, in, &keep);
	if (!rc && arg->flags & O_TRUNC)
		rc = open_truncate(rq, in, arg->open_flags & FUSE_OPEN_KILL_SUIDGID);
	h = rc ? NULL : open_handle(rq, in, flags);
	if (!h) {
		backend_release(rq->v->be, in->node, flags);
		inode_closed(in, rq->s, flags);
		return rc ? request_result(rq, rc) : -ENFILE;
	}
	out.fh = h->fh;
	out.open_flags = open_flags(rq, in, flags, keep);
	reply_buf(rq, &out, sizeof out);
	return 0;
}

/* The common end of CREATE and TMPFILE: entry is new or opened by the backend. */
static int created(struct request *rq, struct be_entry *entry, int flags, bool truncate)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = { 0 };
	struct be_node *node = be_node_get(entry->node);
	uint64_t size = entry->attr.size;
	struct inode *in = NULL;
	struct handle *h = NULL;
	int rc = entry_out(rq, entry, &out.entry, &in);
	bool opened = !rc && inode_opened(in, rq->s, flags); /* first, as in op_open() */

	if (!rc && !opened)
		rc = -ESTALE;
	if (!rc && !inode_file(in, size))
		rc = -ENOMEM;
	if (!rc && truncate && size)
		rc = open_truncate(rq, in, false);
	if (!rc && truncate)
		out.entry.attr.size = 0;
	if (!rc)
		h = open_handle(rq, in, flags);
	if (!h)
		backend_release(rq->v->be, node, flags);
	be_node_put(node);
	if (!h && opened)
		inode_closed(in, rq->s, flags);
	if (!h && in) {
		inode_forget(rq->s, in->nodeid, 1); /* the kernel is not told of it */
	}
	if (!h)
		return rc ? rc : -ENFILE;
	out.open.fh = h->fh;
	out.open.open_flags = open_flags(rq, in, flags, true);
	reply_buf(rq, &out, sizeof out);
	return 0;
}

int op_create(struct request *rq)
{
	const struct fuse_create_in *arg = request_arg(rq, sizeof *arg);
	const char *name = request_name(rq, sizeof *arg);
	struct inode *dir = request_inode(rq);
	struct be_entry entry;
	int rc, flags;

	stats_inc(STAT_fuse_open);
	if (!dir || !arg || !name)
		return dir ? -EINVAL : -ESTALE;
	rc = request_call(rq, false);
	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	flags = (int)arg->flags & ~NOT_FOR_BACKENDS;
	rc = backend_create(rq->v->be, &rq->call, dir->node, name, arg->mode & 07777,
			    flags | ((int)arg->flags & (O_CREAT | O_EXCL)), &entry);
	if (rc)
		return request_result(rq, rc);
	name_changed(dir, rq->s);
	return created(rq, &entry, flags, arg->flags & O_TRUNC);
}

int op_tmpfile(struct request *rq)
{
	const struct fuse_create_in *arg = request_arg(rq, sizeof *arg);
	struct inode *dir = request_inode(rq);
	struct be_entry entry;
	int rc, flags;

	if (!dir || !arg)
		return dir ? -EINVAL : -ESTALE;
	rc = request_call(rq, false);
	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	flags = (int)arg->flags & ~(NOT_FOR_BACKENDS | O_TMPFILE);
	rc = backend_tmpfile(rq->v->be, &rq->call, dir->node, arg->mode & 07777,
			     flags | ((int)arg->flags & O_EXCL), &entry);
	if (rc == -ENOTSUP)
		return -EOPNOTSUPP;
	if (rc)
		return request_result(rq, rc);
	return created(rq, &entry, flags, false);
}

/* ---- read ---- */

static void read_reply(struct request *rq, ssize_t n)
{
	struct iovec iov[1 + CACHE_PINS_MAX];

	memcpy(iov + 1, rq->rd.iov, rq->rd.niov * sizeof *iov);
	rq->s->read_bytes += (uint64_t)n;
	stats_add(STAT_fuse_read_bytes, (uint64_t)n);
	reply_iov(rq, iov, 1 + rq->rd.niov);
	cache_read_done(&rq->rd);
}

static void read_done(struct cache_rd *rd, ssize_t n)
{
	struct request *rq = CONTAINER_OF(rd, struct request, rd);

	if (n >= 0)
		read_reply(rq, n);
	request_finish(rq, (int)n);
}

static bool read_cancel(struct request *rq)
{
	return cache_read_cancel(&rq->rd);
}

/* strict: nothing of before is good enough. */
static int read_strict(struct request *rq, struct cache_file *f)
{
	struct be_attr attr;
	int rc;

	if (!rq->may_block)
		return OP_PUNT;
	rc = cache_flush(f, false);
	if (!rc)
		rc = inode_getattr(rq, request_inode(rq), BE_REVALIDATE, &attr);
	if (!rc)
		cache_invalidate(f);
	return rc;
}

int op_read(struct request *rq)
{
	const struct fuse_read_in *arg = request_arg(rq, sizeof *arg);
	struct handle *h = arg ? handle_of(rq->s, arg->fh) : NULL;
	struct cache_file *f = h ? inode_file_peek(h->in) : NULL;
	ssize_t n;
	int rc;

	stats_inc(STAT_fuse_read);
	if (!f)
		return arg ? -EBADF : -EINVAL;
	rc = rq->v->opt.consistency == STRICT ? read_strict(rq, f) : 0;
	if (rc)
		return rc;
	rq->rd.file = f;
	rq->rd.off = arg->offset;
	rq->rd.len = arg->size < CACHE_IO_MAX ? arg->size : CACHE_IO_MAX;
	rq->rd.cred = h->cred;
	rq->rd.ra = &h->ra;
	rq->rd.done = read_done;
	n = cache_read(&rq->rd, false);
	if (n == -EAGAIN) {
		request_detach(rq, read_cancel);
		n = cache_read(&rq->rd, true);
		if (n == -EINPROGRESS)
			return OP_PARKED;
	}
	if (n < 0)
		return (int)n;
	read_reply(rq, n);
	return 0;
}

/* ---- write ---- */

static void write_reply(struct request *rq, ssize_t n)
{
	const struct fuse_write_in *arg = request_arg(rq, sizeof *arg);
	struct fuse_write_out out = { .size = (uint32_t)n };
	struct inode *in = request_inode(rq);

	rq->s->write_bytes += (uint64_t)n;
	stats_add(STAT_fuse_write_bytes, (uint64_t)n);
	/* Appended, and the kernel put the data where it thought the end was: it forgets it, too. */
	if (in)
		inode_changed(in, rq->wr.append && rq->wr.off != arg->offset ? NULL : rq->s,
			      BE_CHANGED_DATA);
	reply_buf(rq, &out, sizeof out);
}

static void write_done(struct cache_wr *wr, ssize_t n)
{
	struct request *rq = CONTAINER_OF(wr, struct request, wr);

	if (n >= 0)
		write_reply(rq, n);
	request_finish(rq, (int)n);
}

static bool write_cancel(struct request *rq)
{
	return cache_write_cancel(&rq->wr);
}

/* strict: the backend has it before the program hears of it. */
static int write_strict(struct request *rq, struct cache_file *f)
{
	ssize_t n;
	int rc;

	while ((n = cache_write(&rq->wr, false)) == -EAGAIN) {
		rc = cache_flush(f, false);
		if (rc)
			return rc;
	}
	if (n < 0)
		return (int)n;
	rc = cache_flush(f, false);
	if (rc)
		return rc;
	write_reply(rq, n);
	return 0;
}

static int write_go(struct request *rq, struct cache_file *f)
{
	ssize_t n;

	if (rq->v->opt.consistency == STRICT)
		return rq->may_block ? write_strict(rq, f) : OP_PUNT;
	n = cache_write(&rq->wr, false);
	if (n == -EAGAIN) {
		request_detach(rq, write_cancel);
		rq->wr.src = rq->msg + sizeof *rq->hdr + sizeof(struct fuse_write_in);
		n = cache_write_resume(&rq->wr);
		if (n == -EINPROGRESS)
			return OP_PARKED;
	}
	if (n < 0)
		return (int)n;
	write_reply(rq, n);
	return 0;
}

int op_write(struct request *rq)
{
	const struct fuse_write_in *arg = request_arg(rq, sizeof *arg);
	struct handle *h = arg ? handle_of(rq->s, arg->fh) : NULL;
	struct cache_file *f = h ? inode_file_peek(h->in) : NULL;
	int rc = 0;

	stats_inc(STAT_fuse_write);
	if (!f || arg->size > rq->len - sizeof *rq->hdr - sizeof *arg || arg->size > CACHE_IO_MAX)
		return arg && !h ? -EBADF : -EINVAL;
	if (arg->write_flags & FUSE_WRITE_KILL_SUIDGID)
		rc = inode_kill_suid(rq, h->in);
	if (rc)
		return rc;
	rq->wr = (struct cache_wr){
		.file = f,
		.off = arg->offset,
		.len = arg->size,
		.cred = h->cred,
		.src = (const uint8_t *)(arg + 1),
		.done = write_done,
		.append = arg->flags & O_APPEND && !(arg->write_flags & FUSE_WRITE_CACHE),
	};
	return write_go(rq, f);
}

/* ---- flush, fsync, release ---- */

/* The attempt's own error, or one that this handle was not told yet. */
static int handle_error(struct handle *h, struct cache_file *f, int rc)
{
	int sticky;

	mutex_lock(&h->lock);
	sticky = cache_error(f, &h->err_seen);
	mutex_unlock(&h->lock);
	return rc ? rc : sticky;
}

int op_flush(struct request *rq)
{
	const struct fuse_flush_in *arg = request_arg(rq, sizeof *arg);
	struct handle *h = arg ? handle_of(rq->s, arg->fh) : NULL;
	struct cache_file *f = h ? inode_file_peek(h->in) : NULL;
	int rc = 0;

	if (!h)
		return -EBADF;
	/* What other cells see after close must be there before it returns (D2);
	 * a folder of this machine shows it once it was written. */
	if (f && cache_file_owes(f) && rq->v->opt.consistency != EXCLUSIVE && !h->in->gone) {
		if (rq->v->be->limits.caps & BE_CAP_HOST_STABLE)
			rc = cache_flush(f, !rq->may_block);
		else
			rc = cache_fsync(f, true, h->cred, !rq->may_block);
	}
	if (rc == -EAGAIN && !rq->may_block)
		return OP_PUNT;
	if (filelock_release(rq, h->in, session_lock_owner(rq->s, arg->lock_owner), false) ==
	    OP_PUNT)
		return OP_PUNT;
	if (f)
		rc = handle_error(h, f, rc);
	if (!rc)
		reply_err(rq, 0);
	return rc;
}

int op_fsync(struct request *rq, uint64_t fh, bool datasync)
{
	struct handle *h = handle_of(rq->s, fh);
	struct cache_file *f = h ? inode_file_peek(h->in) : NULL;
	int rc;

	stats_inc(STAT_fuse_fsync);
	if (!f)
		return -EBADF;
	rc = cache_fsync(f, datasync, h->cred, !rq->may_block);
	if (rc == -EAGAIN && !rq->may_block)
		return OP_PUNT;
	rc = handle_error(h, f, rc);
	if (!rc)
		reply_err(rq, 0);
	return rc;
}

int op_release(struct request *rq)
{
	const struct fuse_release_in *arg = request_arg(rq, sizeof *arg);
	struct handle *h = arg ? handle_of(rq->s, arg->fh) : NULL;
	int rc = 0;

	if (!h)
		return -EBADF;
	/* Locks go at once: close() does not wait for us, and the next request may ask. */
	if (arg->release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
		rc = filelock_release(rq, h->in, session_lock_owner(rq->s, arg->lock_owner), true);
	if (!rc)
		rc = filelock_release_handle(rq, h->in, h->fh);
	if (rc == OP_PUNT || request_must_punt(rq))
		return OP_PUNT; /* the last release of a removed file may ask the server */
	backend_release(rq->v->be, h->in->node, h->flags);
	inode_closed(h->in, rq->s, h->flags);
	handle_free(h);
	reply_err(rq, 0);
	return 0;
}
