/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - directories: names in the order of their cookies, and what moves them
 *
 * A name keeps its cookie for life, and a new one gets the largest so far: a
 * listing that goes on from any cookie, even of a name that is gone by now, sees
 * every other name exactly once. */
#include "tests/server/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/server/xdr.h"

static uint32_t hash_of(const char *text, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t n = 0; n < len; n++)
		h = (h ^ (uint8_t)text[n]) * 16777619u;
	return h;
}

static bool is_dot(const char *text, size_t len)
{
	return len == 1 && text[0] == '.';
}

static bool is_dotdot(const char *text, size_t len)
{
	return len == 2 && text[0] == '.' && text[1] == '.';
}

static struct name *find(struct inode *dir, const char *text, size_t len)
{
	uint32_t hash = hash_of(text, len);

	for (size_t n = 0; n < dir->nnames; n++) {
		struct name *e = &dir->names[n];

		if (e->hash == hash && e->len == len && memcmp(e->text, text, len) == 0)
			return e;
	}
	return NULL;
}

struct inode *name_find(struct inode *dir, const char *text, size_t len)
{
	struct name *e;

	if (is_dot(text, len))
		return dir;
	if (is_dotdot(text, len))
		return dir->parent;
	e = find(dir, text, len);
	return e ? e->inode : NULL;
}

static void freeze(struct inode *i)
{
	i->frozen = true;
	for (size_t n = 0; n < i->nnames; n++)
		freeze(i->names[n].inode);
}

size_t name_after(const struct inode *dir, uint64_t cookie)
{
	size_t lo = 0, hi = dir->nnames;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (dir->names[mid].cookie <= cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void add(struct store *s, struct inode *dir, const char *text, size_t len, struct inode *i)
{
	struct name *e;

	if (dir->nnames == dir->names_cap) {
		dir->names_cap = dir->names_cap * 2 + 8;
		dir->names = grow(dir->names, dir->names_cap * sizeof *dir->names);
	}
	e = &dir->names[dir->nnames++];
	*e = (struct name){ .hash = hash_of(text, len),
			    .len = (uint32_t)len,
			    .cookie = dir->next_cookie++,
			    .inode = i };
	e->text = grow(NULL, len + 1);
	memcpy(e->text, text, len);
	e->text[len] = 0;
	if (i->type == NF3DIR) {
		i->parent = dir;
		dir->nlink++;
	} else {
		i->nlink++;
	}
	inode_changed(s, dir, true);
	inode_changed(s, i, false);
}

/* The inode stays, even without a name. */
static void take_out(struct store *s, struct inode *dir, struct name *e)
{
	size_t n = (size_t)(e - dir->names);
	struct inode *i = e->inode;

	free(e->text);
	memmove(e, e + 1, (dir->nnames - n - 1) * sizeof *e);
	dir->nnames--;
	if (i->type == NF3DIR)
		dir->nlink--;
	else
		i->nlink--;
	inode_changed(s, dir, true);
	inode_changed(s, i, false);
}

static void remove_last(struct store *s, struct inode *dir, struct name *e)
{
	struct inode *i = e->inode;

	take_out(s, dir, e);
	if (i->type == NF3DIR)
		i->nlink = 0;
	inode_free_if_unnamed(s, i);
}

bool name_freeze(struct store *s, struct inode *dir)
{
	for (size_t n = 0; n < s->root->nnames; n++) {
		if (s->root->names[n].inode != dir || dir->type != NF3DIR || s->snapshot)
			continue;
		take_out(s, s->root, &s->root->names[n]);
		freeze(dir);
		s->snapshot = dir;
		return true;
	}
	return false;
}

static uint32_t check_name(const struct inode *dir, const char *text, size_t len)
{
	if (dir->type != NF3DIR)
		return NFS3ERR_NOTDIR;
	if (len > NAME_BYTES_MAX)
		return NFS3ERR_NAMETOOLONG;
	if (!len || memchr(text, '/', len) || memchr(text, 0, len))
		return NFS3ERR_INVAL;
	return NFS3_OK;
}

static uint32_t check_new(struct inode *dir, const char *text, size_t len, const struct cred *c)
{
	uint32_t rc = check_name(dir, text, len);

	if (rc)
		return rc;
	if (!inode_may(dir, c, MAY_X))
		return NFS3ERR_ACCES;
	if (name_find(dir, text, len))
		return NFS3ERR_EXIST;
	return inode_may(dir, c, MAY_W) ? NFS3_OK : NFS3ERR_ACCES;
}

uint32_t name_create(struct store *s, struct inode *dir, const char *text, size_t len, ftype3 type,
		     const struct cred *c, struct inode **out)
{
	uint32_t rc = check_new(dir, text, len, c);
	struct inode *i;

	if (!rc && type == NF3DIR && dir->nlink >= LINKS_MAX)
		rc = NFS3ERR_MLINK;
	if (!rc && s->limit && s->pages * PAGE_BYTES >= s->limit)
		rc = NFS3ERR_NOSPC;
	if (rc)
		return rc;
	i = inode_new(s, type, c);
	if (dir->mode & S_ISGID) {
		i->gid = dir->gid;
		i->mode = type == NF3DIR ? S_ISGID : 0;
	}
	add(s, dir, text, len, i);
	*out = i;
	return NFS3_OK;
}

uint32_t name_link(struct store *s, struct inode *i, struct inode *dir, const char *text,
		   size_t len, const struct cred *c)
{
	uint32_t rc = check_new(dir, text, len, c);

	if (rc)
		return rc;
	if (i->type == NF3DIR)
		return NFS3ERR_PERM;
	if (i->nlink >= LINKS_MAX)
		return NFS3ERR_MLINK;
	add(s, dir, text, len, i);
	return NFS3_OK;
}

/* May the name go? */
static uint32_t check_going(const struct inode *dir, const struct inode *i, const struct cred *c)
{
	if (!inode_may(dir, c, MAY_W | MAY_X))
		return NFS3ERR_ACCES;
	if ((dir->mode & S_ISVTX) && c->uid && c->uid != dir->uid && c->uid != i->uid)
		return NFS3ERR_PERM;
	return NFS3_OK;
}

uint32_t name_remove(struct store *s, struct inode *dir, const char *text, size_t len, bool isdir,
		     const struct cred *c)
{
	uint32_t rc = check_name(dir, text, len);
	struct name *e;

	if (rc)
		return rc;
	if (is_dot(text, len))
		return isdir ? NFS3ERR_INVAL : NFS3ERR_ISDIR;
	if (is_dotdot(text, len))
		return isdir ? NFS3ERR_NOTEMPTY : NFS3ERR_ISDIR;
	e = find(dir, text, len);
	if (!e)
		return inode_may(dir, c, MAY_X) ? NFS3ERR_NOENT : NFS3ERR_ACCES;
	rc = check_going(dir, e->inode, c);
	if (rc)
		return rc;
	if ((e->inode->type == NF3DIR) != isdir)
		return isdir ? NFS3ERR_NOTDIR : NFS3ERR_ISDIR;
	if (isdir && e->inode->nnames)
		return NFS3ERR_NOTEMPTY;
	remove_last(s, dir, e);
	return NFS3_OK;
}

static bool is_below(const struct inode *dir, const struct inode *top)
{
	while (dir != top && dir != dir->parent)
		dir = dir->parent;
	return dir == top;
}

static uint32_t check_replace(struct inode *to, const struct inode *i, const struct inode *old,
			      const struct cred *c)
{
	uint32_t rc = check_going(to, old, c);

	if (rc)
		return rc;
	if (i->type == NF3DIR && old->type != NF3DIR)
		return NFS3ERR_NOTDIR;
	if (i->type != NF3DIR && old->type == NF3DIR)
		return NFS3ERR_ISDIR;
	return old->type == NF3DIR && old->nnames ? NFS3ERR_NOTEMPTY : NFS3_OK;
}

/* All that speaks against it; *src and *old are what the names stand for. */
static uint32_t check_rename(struct inode *from, const char *a, size_t alen, struct inode *to,
			     const char *b, size_t blen, const struct cred *c, struct name **src,
			     struct name **old)
{
	uint32_t rc = check_name(from, a, alen);

	if (!rc)
		rc = check_name(to, b, blen);
	if (rc)
		return rc;
	if (is_dot(a, alen) || is_dotdot(a, alen) || is_dot(b, blen) || is_dotdot(b, blen))
		return NFS3ERR_INVAL;
	if (!inode_may(from, c, MAY_X) || !inode_may(to, c, MAY_X))
		return NFS3ERR_ACCES;
	*src = find(from, a, alen);
	*old = find(to, b, blen);
	if (!*src)
		return NFS3ERR_NOENT;
	rc = check_going(from, (*src)->inode, c);
	if (rc || (*old && (*old)->inode == (*src)->inode))
		return rc;
	if (!inode_may(to, c, MAY_W | MAY_X))
		return NFS3ERR_ACCES;
	if ((*src)->inode->type == NF3DIR && is_below(to, (*src)->inode))
		return NFS3ERR_INVAL;
	if ((*src)->inode->type == NF3DIR && from != to && !inode_may((*src)->inode, c, MAY_W))
		return NFS3ERR_ACCES; /* its .. changes */
	return *old ? check_replace(to, (*src)->inode, (*old)->inode, c) : NFS3_OK;
}

uint32_t name_rename(struct store *s, struct inode *from, const char *a, size_t alen,
		     struct inode *to, const char *b, size_t blen, const struct cred *c)
{
	struct name *src = NULL, *old = NULL;
	struct inode *i;
	uint32_t rc = check_rename(from, a, alen, to, b, blen, c, &src, &old);

	if (rc || (old && old->inode == src->inode))
		return rc;
	i = src->inode;
	if (old)
		remove_last(s, to, old);
	i->nlink += i->type != NF3DIR; /* stays alive between two names */
	take_out(s, from, find(from, a, alen));
	add(s, to, b, blen, i);
	i->nlink -= i->type != NF3DIR;
	return NFS3_OK;
}
