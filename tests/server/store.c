/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - inodes: their numbers, permissions and times; the check of the whole
 *
 * 1. nlink of a directory is 2 + its subdirectories; of all else, its names.
 * 2. store.inode[n] is NULL or has number n. Without names it is freed at once.
 * 3. Every inode is reached from root or snapshot by exactly nlink names (directories: one). */
#include "tests/server/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/server/xdr.h"

#define INO_FIRST 2

static struct inode *inode_alloc(struct store *s)
{
	struct inode *i = memset(grow(NULL, sizeof *i), 0, sizeof *i);

	if (s->next_ino >= s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->inode = grow(s->inode, s->cap * sizeof(struct inode *));
	}
	i->ino = s->next_ino++;
	i->next_cookie = 3; /* 1 and 2 are . and .. */
	s->inode[i->ino] = i;
	s->files++;
	return i;
}

struct inode *inode_new(struct store *s, ftype3 type, const struct cred *c)
{
	struct inode *i = inode_alloc(s);

	i->type = type;
	i->uid = c->uid;
	i->gid = c->gid;
	i->nlink = type == NF3DIR ? 2 : 0;
	i->atime = i->mtime = i->ctime = store_now(s);
	return i;
}

static void inode_free(struct store *s, struct inode *i)
{
	data_free(s, i);
	for (size_t n = 0; n < i->nnames; n++)
		free(i->names[n].text);
	free(i->names);
	free(i->target);
	s->inode[i->ino] = NULL;
	s->files--;
	free(i);
}

void inode_free_if_unnamed(struct store *s, struct inode *i)
{
	if (!i->nlink)
		inode_free(s, i);
}

void store_init(struct store *s)
{
	static const struct cred root;

	s->next_ino = s->cap = INO_FIRST;
	s->inode =
		memset(grow(NULL, INO_FIRST * sizeof *s->inode), 0, INO_FIRST * sizeof *s->inode);
	s->root = inode_new(s, NF3DIR, &root);
	s->root->mode = 0755;
	s->root->parent = s->root;
}

void store_done(struct store *s)
{
	for (uint64_t n = 0; n < s->next_ino; n++)
		if (s->inode[n])
			inode_free(s, s->inode[n]);
	free(s->inode);
}

struct inode *store_find(const struct store *s, uint64_t ino)
{
	return ino < s->next_ino ? s->inode[ino] : NULL;
}

struct timespec store_now(const struct store *s)
{
	struct timespec t;
	uint64_t ns;

	clock_gettime(CLOCK_REALTIME, &t);
	if (s->grain_ns > 1) {
		ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
		ns -= ns % s->grain_ns;
		t = (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	}
	return t;
}

struct inode *store_walk(struct store *s, const char *path)
{
	struct inode *i = s->root;

	while (i && *path) {
		size_t n = strcspn(path, "/");

		if (n)
			i = i->type == NF3DIR ? name_find(i, path, n) : NULL;
		path += n + (path[n] == '/');
	}
	return i;
}

/* ---- permissions and times -------------------------------------------- */

bool cred_in_group(const struct cred *c, uint32_t gid)
{
	for (unsigned n = 0; n < c->ngroups; n++)
		if (c->groups[n] == gid)
			return true;
	return c->gid == gid;
}

bool inode_may(const struct inode *i, const struct cred *c, unsigned want)
{
	uint32_t mode = i->mode;

	if (c->uid == 0)
		return !(want & MAY_X) || i->type == NF3DIR || (mode & 0111);
	if (c->uid == i->uid)
		mode >>= 6;
	else if (cred_in_group(c, i->gid))
		mode >>= 3;
	return (mode & want) == want;
}

void inode_changed(struct store *s, struct inode *i, bool content)
{
	i->ctime = store_now(s);
	if (content)
		i->mtime = i->ctime;
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

void inode_accessed(struct store *s, struct inode *i)
{
	struct timespec now = store_now(s);

	if (!later(i->atime, i->mtime) || !later(i->atime, i->ctime) ||
	    now.tv_sec - i->atime.tv_sec >= 24 * 3600)
		i->atime = now;
}

/* ---- check ------------------------------------------------------------- */

#define BROKEN(...) (snprintf(msg, size, __VA_ARGS__), false)

static bool check_dir(struct store *s, struct inode *d, char *msg, size_t size)
{
	uint32_t subdirs = 0;
	uint64_t last = 2;

	for (size_t n = 0; n < d->nnames; n++) {
		struct name *e = &d->names[n];

		if (e->cookie <= last)
			return BROKEN("inode %lu: cookies out of order", d->ino);
		last = e->cookie;
		if (store_find(s, e->inode->ino) != e->inode)
			return BROKEN("inode %lu: name %s of no inode", d->ino, e->text);
		e->inode->seen++;
		if (e->inode->type != NF3DIR)
			continue;
		subdirs++;
		if (e->inode->parent != d)
			return BROKEN("inode %lu: not the parent of %s", d->ino, e->text);
	}
	return d->nlink == subdirs + 2 ? true : BROKEN("inode %lu: nlink %u", d->ino, d->nlink);
}

static bool check_inode(const struct store *s, const struct inode *i, char *msg, size_t size)
{
	if (i->seen != (i->type == NF3DIR ? (i != s->root && i != s->snapshot) : i->nlink))
		return BROKEN("inode %lu: %u names, nlink %u", i->ino, i->seen, i->nlink);
	if (i->stable_size > i->size)
		return BROKEN("inode %lu: stable size %lu beyond %lu", i->ino, i->stable_size,
			      i->size);
	return true;
}

bool store_check(struct store *s, char *msg, size_t size)
{
	uint64_t pages = 0, files = 0;

	for (uint64_t n = 0; n < s->next_ino; n++)
		if (s->inode[n])
			s->inode[n]->seen = 0;
	for (uint64_t n = 0; n < s->next_ino; n++)
		if (s->inode[n] && s->inode[n]->type == NF3DIR &&
		    !check_dir(s, s->inode[n], msg, size))
			return false;
	for (uint64_t n = 0; n < s->next_ino; n++) {
		if (!s->inode[n])
			continue;
		if (!check_inode(s, s->inode[n], msg, size))
			return false;
		pages += s->inode[n]->pages;
		files++;
	}
	if (pages != s->pages || files != s->files)
		return BROKEN("%lu pages, counted %lu; %lu inodes, counted %lu", pages, s->pages,
			      files, s->files);
	return true;
}
