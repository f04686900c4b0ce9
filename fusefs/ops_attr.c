/* SPDX-License-Identifier: Apache-2.0 */
/* ops_attr.c - attributes: GETATTR, STATX, SETATTR, ACCESS, STATFS, and how the
 * cache's knowledge of size and times is put over the backend's. */
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/stats.h"
#include "fusefs/cred.h"
#include "fusefs/ops.h"

static uint32_t map_id(int64_t wire, int64_t owner, uint32_t id)
{
	return wire >= 0 && id == (uint32_t)wire ? (uint32_t)owner : id;
}

void attr_out(const struct session *s, const struct be_attr *a, struct fuse_attr *out)
{
	memset(out, 0, sizeof *out);
	out->ino = a->ino;
	out->size = a->size;
	out->blocks = a->blocks;
	out->atime = (uint64_t)a->atime.tv_sec;
	out->mtime = (uint64_t)a->mtime.tv_sec;
	out->ctime = (uint64_t)a->ctime.tv_sec;
	out->atimensec = (uint32_t)a->atime.tv_nsec;
	out->mtimensec = (uint32_t)a->mtime.tv_nsec;
	out->ctimensec = (uint32_t)a->ctime.tv_nsec;
	out->mode = a->mode;
	out->nlink = a->nlink;
	out->uid = map_id(s->opt.uid, s->opt.owner_uid, a->uid);
	out->gid = map_id(s->opt.gid, s->opt.owner_gid, a->gid);
	/* The kernel's encoding of device numbers: 12 bits of major, 20 of minor. */
	out->rdev = (minor(a->rdev) & 0xff) | (major(a->rdev) << 8) |
		    ((minor(a->rdev) & ~0xffu) << 12);
	out->blksize = 65536;
}

int inode_getattr(struct request *rq, struct inode *in, unsigned flags, struct be_attr *out)
{
	struct volume *v = rq->v;
	struct cache_file *f = inode_file_peek(in);
	uint64_t seq;
	int rc = request_call(rq, true);

	if (rc)
		return rc;
	/* A server or a file system stamps ctime when data arrives: programs must see
	 * the stamp that will stay, so it has to arrive first. A flush that fails
	 * keeps its error for fsync and close. */
	if (f && v->opt.consistency != EXCLUSIVE && cache_file_dirty(f) &&
	    cache_flush(f, !rq->may_block) == -EAGAIN && !rq->may_block)
		return OP_PUNT;
	seq = f ? cache_change_seq(f) : 0;
	rq->call.flags |= flags;
	rc = backend_getattr(v->be, &rq->call, in->node, out);
	rq->call.flags &= ~flags;
	if (!rc && f)
		cache_merge_attr(f, out, seq);
	return request_result(rq, rc);
}

static void set_valid(uint64_t ms, uint64_t *sec, uint32_t *nsec)
{
	*sec = ms / 1000;
	*nsec = (uint32_t)(ms % 1000) * 1000000;
}

int op_getattr(struct request *rq)
{
	struct inode *in = request_inode(rq);
	struct fuse_attr_out out = { 0 };
	struct be_attr attr;
	int rc;

	stats_inc(STAT_fuse_getattr);
	if (!in)
		return -ESTALE;
	rc = inode_getattr(rq, in, 0, &attr);
	if (rc)
		return rc;
	set_valid(session_ms(rq->s, rq->s->attr_ms), &out.attr_valid, &out.attr_valid_nsec);
	attr_out(rq->s, &attr, &out.attr);
	reply_buf(rq, &out, sizeof out);
	return 0;
}

static struct pfuse_sx_time sx_time(const struct timespec *ts)
{
	return (struct pfuse_sx_time){ .sec = ts->tv_sec, .nsec = (uint32_t)ts->tv_nsec };
}

int op_statx(struct request *rq)
{
	struct inode *in = request_inode(rq);
	struct pfuse_statx_out out = { 0 };
	struct fuse_attr fa;
	struct be_attr a;
	int rc;

	stats_inc(STAT_fuse_getattr);
	if (!in || !request_arg(rq, sizeof(struct pfuse_statx_in)))
		return in ? -EINVAL : -ESTALE;
	rc = inode_getattr(rq, in, 0, &a);
	if (rc)
		return rc;
	attr_out(rq->s, &a, &fa);
	set_valid(session_ms(rq->s, rq->s->attr_ms), &out.attr_valid, &out.attr_valid_nsec);
	out.stat = (struct pfuse_statx){
		.mask = STATX_BASIC_STATS,
		.blksize = fa.blksize,
		.nlink = fa.nlink,
		.uid = fa.uid,
		.gid = fa.gid,
		.mode = (uint16_t)fa.mode,
		.ino = fa.ino,
		.size = fa.size,
		.blocks = fa.blocks,
		.atime = sx_time(&a.atime),
		.btime = sx_time(&a.btime),
		.ctime = sx_time(&a.ctime),
		.mtime = sx_time(&a.mtime),
		.rdev_major = major(a.rdev),
		.rdev_minor = minor(a.rdev),
	};
	if (a.btime.tv_sec || a.btime.tv_nsec)
		out.stat.mask |= STATX_BTIME;
	reply_buf(rq, &out, sizeof out);
	return 0;
}

/* ---- changing ---- */

int map_owner_in(const struct session *s, struct be_setattr *set)
{
	const struct session_options *o = &s->opt;

	if (!session_mapped(s))
		return 0;
	if ((set->valid & BE_SET_UID && set->uid != (uid_t)o->owner_uid) ||
	    (set->valid & BE_SET_GID && set->gid != (gid_t)o->owner_gid))
		return -EPERM;
	set->valid &= ~(BE_SET_UID | BE_SET_GID); /* it is theirs already */
	return 0;
}

static void setattr_decode(const struct fuse_setattr_in *sa, struct be_setattr *set)
{
	static const struct {
		uint32_t fattr;
		unsigned be;
	} bits[] = { { FATTR_MODE, BE_SET_MODE },
		     { FATTR_UID, BE_SET_UID },
		     { FATTR_GID, BE_SET_GID },
		     { FATTR_SIZE, BE_SET_SIZE },
		     { FATTR_ATIME, BE_SET_ATIME },
		     { FATTR_MTIME, BE_SET_MTIME },
		     { FATTR_ATIME_NOW, BE_SET_ATIME_NOW },
		     { FATTR_MTIME_NOW, BE_SET_MTIME_NOW },
		     { FATTR_KILL_SUIDGID, BE_SET_KILL_SUID } };

	*set = (struct be_setattr){ .mode = sa->mode & 07777,
				    .uid = sa->uid,
				    .gid = sa->gid,
				    .size = sa->size,
				    .atime = { (time_t)sa->atime, (long)sa->atimensec },
				    .mtime = { (time_t)sa->mtime, (long)sa->mtimensec } };
	for (size_t i = 0; i < ARRAY_LEN(bits); i++)
		if (sa->valid & bits[i].fattr)
			set->valid |= bits[i].be;
	if (sa->valid & FATTR_FH && set->valid & BE_SET_SIZE)
		set->valid |= BE_SET_OPENED;
	if (set->valid & BE_SET_ATIME_NOW)
		set->valid &= ~BE_SET_ATIME;
	if (set->valid & BE_SET_MTIME_NOW)
		set->valid &= ~BE_SET_MTIME;
}

static int setattr_frozen(struct request *rq, struct inode *in, struct cache_file *f,
			  const struct be_setattr *set, struct be_attr *out)
{
	int rc = cache_freeze(f, false, !rq->may_block);

	if (rc)
		return request_result(rq, rc);
	rc = backend_setattr(rq->v->be, &rq->call, in->node, set, out);
	if (!rc)
		cache_set_size(f, set->size);
	cache_thaw(f);
	return rc;
}

/* The server checks each write: what was allowed when it was written has to arrive
 * before the permission changes, and before a time that is to stay; and for good, as
 * what a server loses is written again. An error stays with the file. */
static void settle(struct request *rq, struct cache_file *f, const struct be_setattr *set)
{
	bool host_stable = rq->v->be->limits.caps & BE_CAP_HOST_STABLE;

	if (set->valid & ~(unsigned)(BE_SET_SIZE | BE_SET_OPENED) && !host_stable)
		cache_fsync(f, true, rq->cred, false);
	else if (cache_file_dirty(f))
		cache_flush(f, false);
}

int inode_setattr(struct request *rq, struct inode *in, const struct be_setattr *set,
		  struct be_attr *out)
{
	struct volume *v = rq->v;
	struct cache_file *f = inode_file_peek(in);
	uint64_t seq;
	int rc = request_call(rq, false);

	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	if (set->valid & BE_SET_SIZE && set->size > v->be->limits.file_max)
		return -EFBIG;
	if (f && v->be->limits.caps & BE_CAP_BLOCKING && cache_file_owes(f))
		settle(rq, f, set);
	seq = f ? cache_change_seq(f) : 0;
	if (f && set->valid & BE_SET_SIZE)
		rc = setattr_frozen(rq, in, f, set, out);
	else
		rc = backend_setattr(v->be, &rq->call, in->node, set, out);
	if (!rc)
		inode_changed(in, rq->s, BE_CHANGED_ATTR);
	if (rc || !f)
		return request_result(rq, rc);
	if (set->valid & BE_SET_SIZE)
		inode_changed(in, rq->s, BE_CHANGED_DATA);
	cache_own_change(f, out, set->valid & (BE_SET_MTIME | BE_SET_MTIME_NOW | BE_SET_SIZE));
	cache_merge_attr(f, out, set->valid & BE_SET_SIZE ? cache_change_seq(f) : seq);
	return 0;
}

int inode_kill_suid(struct request *rq, struct inode *in)
{
	struct be_setattr set = { .valid = BE_SET_MODE };
	const struct be_cred *own;
	struct be_attr attr;
	int rc = inode_getattr(rq, in, 0, &attr);

	if (rc || !(attr.mode & (S_ISUID | S_ISGID)))
		return rc;
	set.mode = attr.mode & 07777 & ~(mode_t)S_ISUID;
	if (attr.mode & S_IXGRP)
		set.mode &= ~(mode_t)S_ISGID;
	if (set.mode == (attr.mode & 07777))
		return 0;
	/* The writer need not be the owner: the owner's right is used for this. */
	own = cred_for(rq->v->creds, attr.uid, attr.gid, 0, false);
	if (!own)
		return -ENOMEM;
	be_cred_put(rq->cred);
	rq->cred = session_mapped(rq->s) ? NULL : own;
	if (!rq->cred)
		be_cred_put(own);
	rc = inode_setattr(rq, in, &set, &attr);
	be_cred_put(rq->cred);
	rq->cred = NULL;
	return rc ? rc : request_call(rq, true);
}

int inode_truncate_kill(struct request *rq, struct inode *in, struct be_setattr *set,
			struct be_attr *out)
{
	int rc;

	set->valid &= ~BE_SET_KILL_SUID;
	rc = inode_setattr(rq, in, set, out);
	if (!rc)
		rc = inode_kill_suid(rq, in);
	return rc ? rc : inode_getattr(rq, in, 0, out);
}

/* chown(-1, -1) arrives without a word on what it wants: it clears suid and sgid. */
static int setattr_nothing(struct request *rq, struct inode *in, struct be_attr *out)
{
	int rc = S_ISREG(in->type) ? inode_kill_suid(rq, in) : 0;

	return rc ? rc : inode_getattr(rq, in, 0, out);
}

int op_setattr(struct request *rq)
{
	const struct fuse_setattr_in *sa = request_arg(rq, sizeof *sa);
	struct inode *in = request_inode(rq);
	struct fuse_attr_out out = { 0 };
	struct be_setattr set;
	struct be_attr attr = { 0 };
	int rc;

	if (!in || !sa)
		return in ? -EINVAL : -ESTALE;
	setattr_decode(sa, &set);
	rc = map_owner_in(rq->s, &set);
	if (!rc && set.valid & BE_SET_SIZE && set.valid & BE_SET_KILL_SUID)
		rc = inode_truncate_kill(rq, in, &set, &attr);
	else if (!rc && set.valid)
		rc = inode_setattr(rq, in, &set, &attr);
	else if (!rc)
		rc = setattr_nothing(rq, in, &attr);
	if (rc)
		return rc;
	set_valid(session_ms(rq->s, rq->s->attr_ms), &out.attr_valid, &out.attr_valid_nsec);
	attr_out(rq->s, &attr, &out.attr);
	reply_buf(rq, &out, sizeof out);
	return 0;
}

int op_access(struct request *rq, int mask)
{
	struct inode *in = request_inode(rq);
	int rc = in ? request_call(rq, true) : -ESTALE;

	if (rc)
		return rc;
	rc = backend_access(rq->v->be, &rq->call, in->node, mask);
	if (!rc)
		reply_err(rq, 0);
	return request_result(rq, rc);
}

int op_statfs(struct request *rq)
{
	struct inode *in = request_inode(rq);
	struct fuse_statfs_out out = { 0 };
	struct statvfs s;
	int rc = in ? request_call(rq, true) : -ESTALE;

	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	rc = backend_statfs(rq->v->be, &rq->call, in->node, &s);
	if (rc)
		return request_result(rq, rc);
	out.st.blocks = s.f_blocks;
	out.st.bfree = s.f_bfree;
	out.st.bavail = s.f_bavail;
	out.st.files = s.f_files;
	out.st.ffree = s.f_ffree;
	out.st.bsize = (uint32_t)s.f_bsize;
	out.st.frsize = (uint32_t)(s.f_frsize ? s.f_frsize : s.f_bsize);
	out.st.namelen = (uint32_t)rq->v->be->limits.name_max;
	reply_buf(rq, &out, sizeof out);
	return 0;
}
