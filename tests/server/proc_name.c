/* SPDX-License-Identifier: Apache-2.0 */
/* proc_name.c - LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK */
#include <string.h>

#include "tests/server/server.h"

/* A directory and a name in it: arguments of every procedure here. */
struct place {
	struct inode *dir;
	uint32_t status;
	struct before before;
	const char *name;
	size_t len;
};

static void get_place(struct call *c, struct place *p)
{
	p->dir = get_handle(c, &p->status);
	p->before = before(p->dir);
	get_name(c, &p->name, &p->len);
}

static void put_place(struct call *c, const struct place *p)
{
	put_wcc(c, &p->before, p->dir);
}

static uint32_t lookup(struct call *c, const struct place *p, struct inode **out)
{
	if (p->dir->type != NF3DIR)
		return NFS3ERR_NOTDIR;
	if (!inode_may(p->dir, c->cred, MAY_X))
		return NFS3ERR_ACCES;
	if (p->len > NAME_BYTES_MAX)
		return NFS3ERR_NAMETOOLONG;
	*out = name_find(p->dir, p->name, p->len);
	if (!*out && p->dir == c->store->root && p->len == strlen(SNAPSHOT_NAME) &&
	    memcmp(p->name, SNAPSHOT_NAME, p->len) == 0)
		*out = c->store->snapshot;
	return *out ? NFS3_OK : NFS3ERR_NOENT;
}

void proc_lookup(struct call *c)
{
	struct inode *i = NULL;
	struct place p;

	get_place(c, &p);
	if (c->in->bad)
		return;
	if (!p.status)
		p.status = lookup(c, &p, &i);
	xw_u32(c->out, p.status);
	if (!p.status) {
		put_handle(c, i);
		put_post(c, i);
	}
	put_post(c, p.dir);
}

/* The end of each procedure that makes something. */
static void put_made(struct call *c, const struct place *p, uint32_t status, const struct inode *i)
{
	xw_u32(c->out, status);
	if (!status) {
		put_post_handle(c, i);
		put_post(c, i);
	}
	put_place(c, p);
}

static uint32_t make(struct call *c, const struct place *p, ftype3 type, const struct wish *w,
		     struct inode **out)
{
	uint32_t status = p->status;

	if (!status)
		status = name_create(c->store, p->dir, p->name, p->len, type, c->cred, out);
	if (!status)
		wish_apply(c, *out, w, true);
	return status;
}

/* ---- CREATE ------------------------------------------------------------------- */

struct how {
	uint32_t mode;
	struct wish wish;
	uint64_t verf;
};

static void get_how(struct call *c, struct how *h)
{
	*h = (struct how){ .mode = xr_u32(c->in) };
	if (h->mode == EXCLUSIVE)
		h->verf = xr_u64(c->in);
	else if (h->mode == UNCHECKED || h->mode == GUARDED)
		get_wish(c, &h->wish);
	else
		c->in->bad = true;
}

/* The name is there already. */
static uint32_t create_again(struct call *c, const struct how *h, struct inode *i)
{
	if (h->mode == EXCLUSIVE)
		return i->verf && i->verf == h->verf ? NFS3_OK : NFS3ERR_EXIST;
	if (h->mode == GUARDED || i->type != NF3REG)
		return NFS3ERR_EXIST;
	if (!h->wish.size_set)
		return NFS3_OK;
	return wish_apply(c, i, &(struct wish){ .size_set = true, .size = h->wish.size }, false);
}

void proc_create(struct call *c)
{
	struct inode *i = NULL;
	struct place p;
	struct how h;
	uint32_t status;

	get_place(c, &p);
	get_how(c, &h);
	if (c->in->bad)
		return;
	status = p.status ? p.status : lookup(c, &p, &i);
	if (!status) {
		status = create_again(c, &h, i);
	} else if (status == NFS3ERR_NOENT) {
		status = make(c, &p, NF3REG, &h.wish, &i);
		if (!status)
			i->verf = h.verf;
	}
	put_made(c, &p, status, i);
}

/* ---- MKDIR, SYMLINK, MKNOD ------------------------------------------------------ */

void proc_mkdir(struct call *c)
{
	struct inode *i = NULL;
	struct place p;
	struct wish w;
	uint32_t status;

	get_place(c, &p);
	get_wish(c, &w);
	if (c->in->bad)
		return;
	status = make(c, &p, NF3DIR, &w, &i);
	put_made(c, &p, status, i);
}

void proc_symlink(struct call *c)
{
	struct inode *i = NULL;
	struct place p;
	struct wish w;
	const char *to;
	uint32_t status;
	size_t len;

	get_place(c, &p);
	get_wish(c, &w);
	get_name(c, &to, &len);
	if (c->in->bad)
		return;
	w.mode_set = true;
	w.mode = 0777;
	w.size_set = false;
	if (!p.status && (!len || len >= PAGE_BYTES))
		p.status = len ? NFS3ERR_NAMETOOLONG : NFS3ERR_INVAL;
	status = make(c, &p, NF3LNK, &w, &i);
	if (!status) {
		i->target = grow(NULL, len + 1);
		memcpy(i->target, to, len);
		i->target[len] = 0;
	}
	put_made(c, &p, status, i);
}

void proc_mknod(struct call *c)
{
	struct inode *i = NULL;
	struct wish w = { 0 };
	struct place p;
	uint32_t status, type, rdev[2] = { 0, 0 };

	get_place(c, &p);
	type = xr_u32(c->in);
	if (type == NF3CHR || type == NF3BLK || type == NF3SOCK || type == NF3FIFO)
		get_wish(c, &w);
	else if (!p.status)
		p.status = NFS3ERR_BADTYPE;
	if (type == NF3CHR || type == NF3BLK) {
		rdev[0] = xr_u32(c->in);
		rdev[1] = xr_u32(c->in);
		if (!p.status && c->cred->uid)
			p.status = NFS3ERR_PERM;
	}
	if (c->in->bad)
		return;
	status = make(c, &p, (ftype3)type, &w, &i);
	if (!status)
		memcpy(i->rdev, rdev, sizeof rdev);
	put_made(c, &p, status, i);
}

/* ---- REMOVE, RMDIR, RENAME, LINK -------------------------------------------------- */

static void remove_name(struct call *c, bool isdir)
{
	struct place p;

	get_place(c, &p);
	if (c->in->bad)
		return;
	if (!p.status)
		p.status = name_remove(c->store, p.dir, p.name, p.len, isdir, c->cred);
	xw_u32(c->out, p.status);
	put_place(c, &p);
}

void proc_remove(struct call *c)
{
	remove_name(c, false);
}

void proc_rmdir(struct call *c)
{
	remove_name(c, true);
}

void proc_rename(struct call *c)
{
	struct place from, to;
	uint32_t status;

	get_place(c, &from);
	get_place(c, &to);
	if (c->in->bad)
		return;
	status = from.status ? from.status : to.status;
	if (status == NFS3ERR_ROFS && from.dir && to.dir && from.dir->frozen != to.dir->frozen)
		status = NFS3ERR_XDEV;
	if (!status)
		status = name_rename(c->store, from.dir, from.name, from.len, to.dir, to.name,
				     to.len, c->cred);
	xw_u32(c->out, status);
	put_place(c, &from);
	put_place(c, &to);
}

void proc_link(struct call *c)
{
	uint32_t status;
	struct inode *i = get_handle(c, &status);
	struct place p;

	get_place(c, &p);
	if (c->in->bad)
		return;
	if (!status)
		status = p.status;
	if (status == NFS3ERR_ROFS && i && p.dir && i->frozen != p.dir->frozen)
		status = NFS3ERR_XDEV;
	if (!status)
		status = name_link(c->store, i, p.dir, p.name, p.len, c->cred);
	xw_u32(c->out, status);
	put_post(c, i);
	put_place(c, &p);
}
