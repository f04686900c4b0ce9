/* SPDX-License-Identifier: Apache-2.0 */
/* proc_attr.c - GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF */
#include <sys/stat.h>

#include "tests/server/server.h"

void proc_getattr(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);

	if (c->in->bad)
		return;
	xw_u32(c->out, status);
	if (i)
		put_attr(c, i);
}

/* ---- SETATTR ---------------------------------------------------------------- */

static uint32_t wish_allowed(const struct call *c, const struct inode *i, const struct wish *w)
{
	const struct cred *cred = c->cred;
	bool owner = !cred->uid || cred->uid == i->uid;
	bool now = w->atime_how == SET_TO_SERVER_TIME || w->mtime_how == SET_TO_SERVER_TIME;
	bool given = w->atime_how == SET_TO_CLIENT_TIME || w->mtime_how == SET_TO_CLIENT_TIME;

	if (w->uid_set && cred->uid && (!owner || w->uid != i->uid))
		return NFS3ERR_PERM;
	if (w->gid_set && cred->uid &&
	    (!owner || (w->gid != i->gid && !cred_in_group(cred, w->gid))))
		return NFS3ERR_PERM;
	if ((w->mode_set || given) && !owner)
		return NFS3ERR_PERM;
	if ((w->size_set || now) && !owner && !inode_may(i, cred, MAY_W))
		return NFS3ERR_ACCES;
	if (w->size_set && i->type != NF3REG)
		return i->type == NF3DIR ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
	return w->size_set && w->size > FILE_BYTES_MAX ? NFS3ERR_FBIG : NFS3_OK;
}

/* As Linux does: another owner takes set-id bits away, so does a change of content
 * by anyone but root; and only a member keeps set-gid in a new mode. */
static void drop_setid(const struct call *c, struct inode *i, const struct wish *w)
{
	bool owner_change = w->uid_set || w->gid_set;

	if (i->type != NF3DIR && (owner_change || (w->size_set && c->cred->uid))) {
		i->mode &= ~(uint32_t)S_ISUID;
		if (i->mode & S_IXGRP)
			i->mode &= ~(uint32_t)S_ISGID;
	}
	if (w->mode_set && c->cred->uid && !cred_in_group(c->cred, i->gid))
		i->mode &= ~(uint32_t)S_ISGID;
}

static void set_time(struct call *c, struct timespec *t, time_how how, struct timespec given)
{
	if (how == SET_TO_SERVER_TIME)
		*t = store_now(c->store);
	else if (how == SET_TO_CLIENT_TIME)
		*t = given;
}

uint32_t wish_apply(struct call *c, struct inode *i, const struct wish *w, bool creating)
{
	uint32_t rc = creating ? NFS3_OK : wish_allowed(c, i, w);

	if (rc)
		return rc;
	if (w->size_set && i->type == NF3REG) {
		data_resize(c->store, i, w->size);
		inode_changed(c->store, i, true);
	}
	if (w->mode_set)
		i->mode = w->mode | (creating && i->type == NF3DIR ? i->mode & S_ISGID : 0);
	if (w->uid_set)
		i->uid = creating && c->cred->uid ? c->cred->uid : w->uid;
	if (w->gid_set && (!creating || !c->cred->uid || cred_in_group(c->cred, w->gid)))
		i->gid = w->gid;
	if (!creating)
		drop_setid(c, i, w);
	set_time(c, &i->atime, w->atime_how, w->atime);
	set_time(c, &i->mtime, w->mtime_how, w->mtime);
	inode_changed(c->store, i, false);
	return NFS3_OK;
}

void proc_setattr(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	struct before b = before(i);
	struct wish w;
	bool guard;
	uint32_t sec = 0, nsec = 0;

	get_wish(c, &w);
	guard = xr_u32(c->in);
	if (guard) {
		sec = xr_u32(c->in);
		nsec = xr_u32(c->in);
	}
	if (c->in->bad)
		return;
	if (!status && guard &&
	    ((uint32_t)i->ctime.tv_sec != sec || (uint32_t)i->ctime.tv_nsec != nsec))
		status = NFS3ERR_NOT_SYNC;
	if (!status)
		status = wish_apply(c, i, &w, false);
	xw_u32(c->out, status);
	put_wcc(c, &b, i);
}

/* ---- ACCESS, and what the file system can ----------------------------------- */

static uint32_t access_of(const struct inode *i, const struct cred *cred)
{
	bool dir = i->type == NF3DIR;
	uint32_t bits = 0;

	if (inode_may(i, cred, MAY_R))
		bits |= ACCESS3_READ;
	if (inode_may(i, cred, MAY_W) && !i->frozen)
		bits |= ACCESS3_MODIFY | ACCESS3_EXTEND | (dir ? ACCESS3_DELETE : 0);
	if (inode_may(i, cred, MAY_X))
		bits |= dir ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
	return bits;
}

void proc_access(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	uint32_t want = xr_u32(c->in);

	if (c->in->bad)
		return;
	xw_u32(c->out, status);
	put_post(c, i);
	if (i)
		xw_u32(c->out, want & access_of(i, c->cred));
}

/* What the caller may use, as a server with quotas tells it. */
static void room(const struct call *c, uint64_t *total, uint64_t *left)
{
	const struct store *s = c->store;
	uint64_t used = s->pages * PAGE_BYTES;

	*total = s->limit ? s->limit : 1ULL << 40;
	*left = used < *total ? *total - used : 0;
	if (!s->quota || c->cred->uid != s->quota_uid)
		return;
	used = data_quota_used(s);
	*total = s->quota < *total ? s->quota : *total;
	used = used < s->quota ? s->quota - used : 0;
	*left = used < *left ? used : *left;
}

void proc_fsstat(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	uint64_t total, left;

	if (c->in->bad)
		return;
	xw_u32(c->out, status);
	put_post(c, i);
	if (!i)
		return;
	room(c, &total, &left);
	xw_u64(c->out, total);
	xw_u64(c->out, left);
	xw_u64(c->out, left);
	xw_u64(c->out, 1ULL << 32);
	xw_u64(c->out, (1ULL << 32) - c->store->files);
	xw_u64(c->out, (1ULL << 32) - c->store->files);
	xw_u32(c->out, 0);
}

void proc_fsinfo(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	uint64_t grain = c->store->grain_ns ? c->store->grain_ns : 1;

	if (c->in->bad)
		return;
	xw_u32(c->out, status);
	put_post(c, i);
	if (!i)
		return;
	for (unsigned n = 0; n < 2; n++) { /* READ, WRITE */
		xw_u32(c->out, IO_BYTES_MAX);
		xw_u32(c->out, IO_BYTES_MAX);
		xw_u32(c->out, PAGE_BYTES);
	}
	xw_u32(c->out, LIST_BYTES_MAX);
	xw_u64(c->out, FILE_BYTES_MAX);
	xw_u32(c->out, (uint32_t)(grain / 1000000000));
	xw_u32(c->out, (uint32_t)(grain % 1000000000));
	xw_u32(c->out, FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
}

void proc_pathconf(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);

	if (c->in->bad)
		return;
	xw_u32(c->out, status);
	put_post(c, i);
	if (!i)
		return;
	xw_u32(c->out, LINKS_MAX);
	xw_u32(c->out, NAME_BYTES_MAX);
	xw_u32(c->out, 1); /* no_trunc */
	xw_u32(c->out, 1); /* chown_restricted */
	xw_u32(c->out, 0); /* case_insensitive */
	xw_u32(c->out, 1); /* case_preserving */
}
