/* SPDX-License-Identifier: Apache-2.0 */
/* ops_name.c - names: LOOKUP, FORGET, making, linking, removing, renaming. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/stats.h"
#include "fusefs/ops.h"

static void entry_valid(const struct session *s, struct fuse_entry_out *out)
{
	uint64_t entry = session_ms(s, s->entry_ms), attr = session_ms(s, s->attr_ms);

	out->entry_valid = entry / 1000;
	out->entry_valid_nsec = (uint32_t)(entry % 1000) * 1000000;
	out->attr_valid = attr / 1000;
	out->attr_valid_nsec = (uint32_t)(attr % 1000) * 1000000;
}

/* Puts the cache's size and times over what came with a name. A size that is news
 * is asked for again, with a sequence number that tells whether it still holds. */
static void entry_merge(struct request *rq, struct inode *in, struct be_attr *attr)
{
	struct cache_file *f = inode_file_peek(in);
	struct be_attr fresh;

	if (!f)
		return;
	if (!cache_file_dirty(f) && attr->size != cache_file_size(f) &&
	    !inode_getattr(rq, in, 0, &fresh)) {
		*attr = fresh;
		return;
	}
	cache_merge_attr(f, attr, UINT64_MAX);
}

int entry_out(struct request *rq, struct be_entry *entry, struct fuse_entry_out *out,
	      struct inode **in_out)
{
	struct inode *in = inode_enter(rq->s, entry);

	if (!in)
		return -ENOMEM;
	entry_merge(rq, in, &entry->attr);
	memset(out, 0, sizeof *out);
	out->nodeid = in->nodeid;
	out->generation = in->generation;
	entry_valid(rq->s, out);
	attr_out(rq->s, &entry->attr, &out->attr);
	if (in_out)
		*in_out = in;
	return 0;
}

int reply_entry(struct request *rq, struct be_entry *entry)
{
	struct fuse_entry_out out;
	int rc = entry_out(rq, entry, &out, NULL);

	if (!rc)
		reply_buf(rq, &out, sizeof out);
	return rc;
}

static int reply_negative(struct request *rq)
{
	struct fuse_entry_out out = { 0 };
	uint64_t ms = session_ms(rq->s, rq->s->negative_ms);

	if (!ms)
		return -ENOENT;
	out.entry_valid = ms / 1000;
	out.entry_valid_nsec = (uint32_t)(ms % 1000) * 1000000;
	reply_buf(rq, &out, sizeof out);
	return 0;
}

int op_lookup(struct request *rq)
{
	const char *name = request_name(rq, 0);
	struct inode *dir = request_inode(rq);
	struct be_entry entry;
	int rc;

	stats_inc(STAT_fuse_lookup);
	if (!dir || !name)
		return dir ? -EINVAL : -ESTALE;
	rc = request_call(rq, true);
	if (!rc)
		rc = backend_lookup(rq->v->be, &rq->call, dir->node, name, &entry);
	if (rc == -ENOENT)
		return reply_negative(rq);
	return rc ? request_result(rq, rc) : reply_entry(rq, &entry);
}

int op_forget(struct request *rq)
{
	const struct fuse_forget_in *in = request_arg(rq, sizeof *in);

	if (in)
		inode_forget(rq->s, rq->hdr->nodeid, in->nlookup);
	reply_none(rq);
	return 0;
}

int op_batch_forget(struct request *rq)
{
	const struct fuse_batch_forget_in *in = request_arg(rq, sizeof *in);
	const struct fuse_forget_one *one = in ? (const void *)(in + 1) : NULL;
	size_t room = in ? (rq->len - sizeof *rq->hdr - sizeof *in) / sizeof *one : 0;

	for (size_t i = 0; in && i < in->count && i < room; i++)
		inode_forget(rq->s, one[i].nodeid, one[i].nlookup);
	reply_none(rq);
	return 0;
}

/* A name in dir is there now: the others may believe that it is not. */
static int reply_made(struct request *rq, struct inode *dir, struct be_entry *entry)
{
	name_changed(dir, rq->s);
	return reply_entry(rq, entry);
}

/* What all operations on a name in a directory begin with. */
static int begin(struct request *rq, struct inode **dir)
{
	int rc;

	*dir = request_inode(rq);
	if (!*dir)
		return -ESTALE;
	rc = request_call(rq, false);
	if (!rc && request_must_punt(rq))
		return OP_PUNT;
	return rc;
}

int op_readlink(struct request *rq)
{
	struct inode *in;
	char buf[PATH_MAX];
	ssize_t n;
	int rc = begin(rq, &in);

	if (rc)
		return rc;
	n = backend_readlink(rq->v->be, &rq->call, in->node, buf, sizeof buf - 1);
	if (n < 0)
		return request_result(rq, (int)n);
	reply_buf(rq, buf, (size_t)n);
	return 0;
}

int op_symlink(struct request *rq, const char *target, const char *name)
{
	struct be_entry entry;
	struct inode *dir;
	int rc = begin(rq, &dir);

	if (!rc)
		rc = backend_symlink(rq->v->be, &rq->call, dir->node, name, target, &entry);
	return rc ? request_result(rq, rc) : reply_made(rq, dir, &entry);
}

int op_mknod(struct request *rq, const char *name, mode_t mode, dev_t rdev)
{
	struct be_entry entry;
	struct inode *dir;
	int rc = begin(rq, &dir);

	if (!rc)
		rc = backend_mknod(rq->v->be, &rq->call, dir->node, name, mode, rdev, &entry);
	return rc ? request_result(rq, rc) : reply_made(rq, dir, &entry);
}

int op_mkdir(struct request *rq, const char *name, mode_t mode)
{
	struct be_entry entry;
	struct inode *dir;
	int rc = begin(rq, &dir);

	if (!rc)
		rc = backend_mkdir(rq->v->be, &rq->call, dir->node, name, mode & 07777, &entry);
	return rc ? request_result(rq, rc) : reply_made(rq, dir, &entry);
}

int op_link(struct request *rq, uint64_t node, uint64_t dir, const char *name)
{
	struct inode *in = inode_of(rq->s, node), *to = inode_of(rq->s, dir);
	struct be_entry entry;
	int rc = request_call(rq, false);

	if (rc || !in || !to)
		return rc ? rc : -ESTALE;
	if (request_must_punt(rq))
		return OP_PUNT;
	rc = backend_link(rq->v->be, &rq->call, in->node, to->node, name, &entry);
	if (rc)
		return request_result(rq, rc);
	in->gone = false; /* a file made without a name has one now */
	if (inode_file_peek(in))
		cache_own_change(inode_file_peek(in), &entry.attr, false);
	inode_changed(in, rq->s, BE_CHANGED_ATTR);
	return reply_made(rq, to, &entry);
}

/* The end of what removes or replaces a name. */
static int removed_from(struct request *rq, int rc, struct inode *dir, struct be_removed *removed)
{
	if (rc)
		return request_result(rq, rc);
	name_changed(dir, rq->s);
	inode_unlinked(rq->s, removed);
	reply_err(rq, 0);
	return 0;
}

int op_unlink(struct request *rq, const char *name)
{
	struct be_removed removed = { 0 };
	struct inode *dir;
	int rc = begin(rq, &dir);

	if (!rc)
		rc = backend_unlink(rq->v->be, &rq->call, dir->node, name, &removed);
	return removed_from(rq, rc, dir, &removed);
}

int op_rmdir(struct request *rq, const char *name)
{
	struct be_removed removed = { 0 };
	struct inode *dir;
	int rc = begin(rq, &dir);

	if (!rc)
		rc = backend_rmdir(rq->v->be, &rq->call, dir->node, name, &removed);
	return removed_from(rq, rc, dir, &removed);
}

int op_rename(struct request *rq, const char *name, uint64_t newdir, const char *newname,
	      unsigned flags)
{
	struct inode *dir, *to = inode_of(rq->s, newdir);
	struct be_removed removed = { 0 };
	int rc = begin(rq, &dir);

	if (!rc && !to)
		rc = -ESTALE;
	if (!rc)
		rc = backend_rename(rq->v->be, &rq->call, dir->node, name, to->node, newname, flags,
				    &removed);
	if (!rc)
		name_changed(dir, rq->s);
	return removed_from(rq, rc, to, &removed);
}
