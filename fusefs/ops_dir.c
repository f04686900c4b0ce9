/* SPDX-License-Identifier: Apache-2.0 */
/* ops_dir.c - reading directories. The backend emits entries; they are packed
 * into the reply as the kernel wants them. An entry with attributes counts as a
 * LOOKUP of its node. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "fusefs/ops.h"

/* An entry whose node is entered into the table after the backend has let go. */
struct late {
	size_t at; /* of its entry_out in the reply */
	struct be_entry entry;
};

struct pack {
	uint8_t *buf;
	size_t len, cap;
	bool plus;
	struct late *late;
	size_t nlate, late_cap;
};

/* Close-to-open for names: what the kernel has cached of the directory holds when
 * its times are those of last time. */
static bool dir_unchanged(struct request *rq, struct inode *in)
{
	struct be_attr attr;
	bool same;

	if (rq->v->opt.consistency == EXCLUSIVE)
		return true;
	if (inode_getattr(rq, in, BE_REVALIDATE, &attr))
		return false;
	mutex_lock(&in->lock);
	same = !timespec_cmp(&in->dir_mtime, &attr.mtime) &&
	       !timespec_cmp(&in->dir_ctime, &attr.ctime);
	if (!same)
		in->dir_seen_ms = clock_ms();
	in->dir_mtime = attr.mtime;
	in->dir_ctime = attr.ctime;
	same = same && !be_time_hides_changes(&rq->v->be->limits, &attr.ctime, in->dir_seen_ms,
					      in->dir_kept_ms);
	if (!same)
		in->dir_kept_ms = clock_ms();
	mutex_unlock(&in->lock);
	/* The other sessions' kernels may have the old listing, too. */
	if (!same)
		inode_changed(in, rq->s, BE_CHANGED_NAMES);
	return same;
}

static bool listing_holds(struct request *rq, struct inode *in)
{
	bool stale = inode_take_stale(in, rq->s);

	return dir_unchanged(rq, in) && !stale;
}

int op_opendir(struct request *rq)
{
	struct inode *in = request_inode(rq);
	struct fuse_open_out out = { 0 };
	struct be_dir *dir;
	struct handle *h;
	int rc = in ? request_call(rq, true) : -ESTALE;

	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	rc = backend_opendir(rq->v->be, &rq->call, in->node, &dir);
	if (rc)
		return request_result(rq, rc);
	h = handle_new(rq->s, in, O_RDONLY, rq->cred);
	if (!h) {
		backend_closedir(rq->v->be, dir);
		return -ENFILE;
	}
	h->dir = dir;
	if (rq->v->opt.consistency != STRICT)
		out.open_flags = FOPEN_CACHE_DIR | (listing_holds(rq, in) ? FOPEN_KEEP_CACHE : 0);
	inode_opened(in, rq->s, O_RDONLY);
	out.fh = h->fh;
	reply_buf(rq, &out, sizeof out);
	return 0;
}

int op_releasedir(struct request *rq, uint64_t fh)
{
	struct handle *h = handle_of(rq->s, fh);

	if (!h)
		return -EBADF;
	backend_closedir(rq->v->be, h->dir);
	inode_closed(h->in, rq->s, h->flags);
	handle_free(h);
	reply_err(rq, 0);
	return 0;
}

static void pack_dirent(struct fuse_dirent *d, const struct be_dirent *ent, size_t padded)
{
	d->ino = ent->ino;
	d->off = ent->cookie;
	d->namelen = (uint32_t)ent->name_len;
	d->type = (ent->type & S_IFMT) >> 12;
	memcpy(d->name, ent->name, ent->name_len);
	memset(d->name + ent->name_len, 0, padded - ent->name_len);
}

/* Without memory the entry goes without attributes: the kernel will look it up. */
static void pack_late(struct pack *p, const struct be_dirent *ent)
{
	if (p->nlate == p->late_cap) {
		size_t cap = p->late_cap ? p->late_cap * 2 : 32;
		struct late *l = realloc(p->late, cap * sizeof *l);

		if (!l)
			return;
		p->late = l;
		p->late_cap = cap;
	}
	p->late[p->nlate++] = (struct late){ p->len, { be_node_get(ent->node), *ent->attr } };
}

static void enter_late(struct request *rq, struct pack *p)
{
	for (size_t i = 0; i < p->nlate; i++) {
		struct fuse_direntplus *dp = (void *)(p->buf + p->late[i].at);

		if (entry_out(rq, &p->late[i].entry, &dp->entry_out, NULL))
			memset(&dp->entry_out, 0, sizeof dp->entry_out);
	}
	free(p->late);
}

static bool emit(void *arg, const struct be_dirent *ent)
{
	struct pack *p = arg;
	size_t padded = (ent->name_len + 7) & ~(size_t)7;
	size_t size = padded + (p->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET);
	struct fuse_direntplus *dp = (void *)(p->buf + p->len);

	/* Names longer than the kernel takes are not shown. */
	if (ent->name_len > NAME_BYTES_MAX)
		return true;
	if (p->len + size > p->cap)
		return false;
	if (!p->plus) {
		pack_dirent((void *)(p->buf + p->len), ent, padded);
		p->len += size;
		return true;
	}
	memset(&dp->entry_out, 0, sizeof dp->entry_out);
	if (ent->node && ent->attr)
		pack_late(p, ent);
	pack_dirent(&dp->dirent, ent, padded);
	p->len += size;
	return true;
}

int op_readdir(struct request *rq, uint64_t fh, size_t size, uint64_t off, bool plus)
{
	struct handle *h = handle_of(rq->s, fh);
	struct pack p = { .cap = size < ARENA_PAYLOAD_MAX ? size : ARENA_PAYLOAD_MAX,
			  .plus = plus };
	int rc = h ? request_call(rq, true) : -EBADF;

	if (rc || request_must_punt(rq))
		return rc ? rc : OP_PUNT;
	p.buf = malloc(p.cap);
	if (!p.buf)
		return -ENOMEM;
	rc = backend_readdir(rq->v->be, &rq->call, h->dir, off, plus, emit, &p);
	enter_late(rq, &p);
	/* What was packed is delivered; the error comes with the next call. */
	if (!rc || p.len) {
		reply_buf(rq, p.buf, p.len);
		rc = 0;
	}
	free(p.buf);
	return request_result(rq, rc);
}

int op_fsyncdir(struct request *rq)
{
	struct inode *in = request_inode(rq);
	int rc = in ? request_call(rq, true) : -ESTALE;

	if (rc)
		return rc;
	if (rq->v->be->limits.caps & BE_CAP_FSYNC_DIR) {
		if (!rq->may_block)
			return OP_PUNT;
		rc = backend_fsyncdir(rq->v->be, &rq->call, in->node);
	}
	if (!rc)
		reply_err(rq, 0);
	return rc;
}
