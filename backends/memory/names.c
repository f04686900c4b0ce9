/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - lookup, create, link and remove
 *
 * Each of them holds one directory's lock at a time. See memory_impl.h for
 * what keeps a node alive while it has names. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "backends/memory/memory_impl.h"
#include "common/clock.h"

void mem_dir_touch_locked(struct mem_node *dir)
{
	mutex_assert_held(&dir->lock);
	dir->attr.mtime = dir->attr.ctime = clock_wall();
	dir->attr.size = dir->dir.count * MEM_DIRENT_BYTES;
}

int mem_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_entry *out)
{
	struct mem_node *d = mem_node_of(dir), *n = NULL;
	struct mem_dent *e;

	(void)be;
	(void)call;
	mutex_lock(&d->lock);
	e = mem_names_find(&d->dir, name);
	if (e) {
		n = e->node;
		be_node_get(&n->node);
	}
	mutex_unlock(&d->lock);
	if (!n)
		return -ENOENT;
	mutex_lock(&n->lock);
	out->attr = n->attr;
	mutex_unlock(&n->lock);
	out->node = &n->node;
	return 0;
}

/* ---- making --------------------------------------------------------- */

/* Gives a node that nobody else knows yet what it gets from its directory. */
static void inherit_locked(struct mem_node *dir, struct mem_node *n)
{
	if (!(dir->attr.mode & S_ISGID))
		return;
	n->attr.gid = dir->attr.gid;
	if (S_ISDIR(n->attr.mode))
		n->attr.mode |= S_ISGID;
}

/* Enters the new node n under name; the directory takes a reference of its own. */
static int enter_locked(struct mem_node *dir, const char *name, struct mem_node *n)
{
	int rc;

	if (dir->dir.dead)
		return -ENOENT;
	rc = mem_names_insert(&dir->dir, name, n);
	if (rc)
		return rc;
	be_node_get(&n->node);
	inherit_locked(dir, n);
	if (S_ISDIR(n->node.type)) {
		n->dir.parent = dir;
		n->dir.parent_ino = dir->node.ino;
		dir->attr.nlink++;
	} else {
		n->attr.nlink = 1;
	}
	mem_dir_touch_locked(dir);
	return 0;
}

/* Gives the caller's reference of the new node n to out when name could be made. */
static int make_take(struct mem_node *dir, const char *name, struct mem_node *n,
		     struct be_entry *out)
{
	struct be_attr attr;
	int rc;

	mutex_lock(&dir->lock);
	rc = mem_names_find(&dir->dir, name) ? -EEXIST : enter_locked(dir, name, n);
	attr = n->attr; /* nobody else can have seen it before the unlock */
	mutex_unlock(&dir->lock);
	if (rc) {
		be_node_put(&n->node);
		return rc;
	}
	out->node = &n->node;
	out->attr = attr;
	return 0;
}

int mem_mknod(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, dev_t rdev, struct be_entry *out)
{
	struct mem_node *n;
	int rc = mem_node_new(mem_of(be), call->cred, mode, &n);

	if (rc)
		return rc;
	if (S_ISCHR(mode) || S_ISBLK(mode))
		n->attr.rdev = rdev;
	return make_take(mem_node_of(dir), name, n, out);
}

int mem_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, struct be_entry *out)
{
	struct mem_node *n;
	int rc = mem_node_new(mem_of(be), call->cred, S_IFDIR | mode, &n);

	return rc ? rc : make_take(mem_node_of(dir), name, n, out);
}

int mem_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		const char *name, const char *target, struct be_entry *out)
{
	struct mem_node *n;
	int rc = mem_node_new(mem_of(be), call->cred, S_IFLNK | 0777, &n);

	if (rc)
		return rc;
	n->target = strdup(target);
	if (!n->target) {
		be_node_put(&n->node);
		return -ENOMEM;
	}
	n->attr.size = strlen(target);
	return make_take(mem_node_of(dir), name, n, out);
}

/* What create() finds under its name. Takes a reference for out. */
static int open_existing_locked(struct mem_dent *e, int oflags, struct mem_node **out)
{
	if (oflags & O_EXCL)
		return -EEXIST;
	if (S_ISDIR(e->type))
		return -EISDIR;
	if (!S_ISREG(e->type))
		return -ESTALE; /* somebody was faster: the kernel looks again */
	be_node_get(&e->node->node);
	*out = e->node;
	return 0;
}

int mem_create(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, mode_t mode, int oflags, struct be_entry *out)
{
	struct mem_node *d = mem_node_of(dir), *n, *old = NULL;
	struct be_attr attr;
	struct mem_dent *e;
	int rc = mem_node_new(mem_of(be), call->cred, S_IFREG | mode, &n);

	if (rc)
		return rc;
	mutex_lock(&d->lock);
	e = mem_names_find(&d->dir, name);
	rc = e ? open_existing_locked(e, oflags, &old) : enter_locked(d, name, n);
	attr = n->attr;
	mutex_unlock(&d->lock);
	if (rc || old)
		be_node_put(&n->node);
	if (rc)
		return rc;
	if (old) {
		/* One reference is out's, the other is open()'s. */
		mem_entry_fill(old, out);
		return 0;
	}
	out->node = be_node_get(&n->node);
	out->attr = attr;
	return 0;
}

int mem_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir, mode_t mode,
		int oflags, struct be_entry *out)
{
	struct mem_node *d = mem_node_of(dir), *n;
	int rc = mem_node_new(mem_of(be), call->cred, S_IFREG | mode, &n);

	if (rc)
		return rc;
	mutex_lock(&d->lock);
	rc = d->dir.dead ? -ENOENT : 0;
	inherit_locked(d, n);
	mutex_unlock(&d->lock);
	if (rc) {
		be_node_put(&n->node);
		return rc;
	}
	n->linkable = !(oflags & O_EXCL);
	mem_entry_fill(n, out);
	return 0;
}

/* Takes a share of nlink for a name to come; the tree's reference with the first,
 * which *first tells. */
static int link_reserve(struct mem_node *n, bool *first)
{
	int rc = 0;

	mutex_lock(&n->lock);
	if (n->attr.nlink == 0 && !n->linkable) {
		rc = -ENOENT;
	} else if (n->attr.nlink >= MEM_LINKS_MAX) {
		rc = -EMLINK;
	} else {
		*first = n->attr.nlink++ == 0;
		if (*first)
			be_node_get(&n->node);
		n->linkable = false;
		n->attr.ctime = clock_wall();
	}
	mutex_unlock(&n->lock);
	return rc;
}

static int link_enter(struct mem_node *d, const char *name, struct mem_node *n)
{
	int rc;

	mutex_lock(&d->lock);
	if (d->dir.dead)
		rc = -ENOENT;
	else if (mem_names_find(&d->dir, name))
		rc = -EEXIST;
	else
		rc = mem_names_insert(&d->dir, name, n);
	if (!rc)
		mem_dir_touch_locked(d);
	mutex_unlock(&d->lock);
	return rc;
}

/* Gives the share back when the name could not be made. */
static void link_cancel(struct mem_node *n, bool first)
{
	struct be_removed removed;

	mutex_lock(&n->lock);
	n->linkable = first;
	mutex_unlock(&n->lock);
	be_node_get(&n->node);
	mem_unlinked_take(n, &removed);
	be_node_put(removed.node);
}

int mem_link(struct backend *be, const struct be_call *call, struct be_node *node,
	     struct be_node *dir, const char *name, struct be_entry *out)
{
	struct mem_node *n = mem_node_of(node);
	bool first = false;
	int rc;

	(void)be;
	(void)call;
	rc = link_reserve(n, &first);
	if (rc)
		return rc;
	rc = link_enter(mem_node_of(dir), name, n);
	if (rc) {
		link_cancel(n, first);
		return rc;
	}
	mem_entry_fill(n, out);
	return 0;
}

/* ---- removing ------------------------------------------------------- */

void mem_unlinked_take(struct mem_node *n, struct be_removed *out)
{
	bool gone;

	mutex_lock(&n->lock);
	if (!S_ISDIR(n->node.type))
		n->attr.nlink--;
	gone = n->attr.nlink == 0;
	n->attr.ctime = clock_wall();
	mutex_unlock(&n->lock);
	out->node = &n->node;
	out->gone = gone;
	if (gone)
		be_node_put(&n->node); /* the tree's */
}

int mem_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_removed *out)
{
	struct mem_node *d = mem_node_of(dir), *n = NULL;
	struct mem_dent *e;
	int rc = 0;

	(void)be;
	(void)call;
	mutex_lock(&d->lock);
	e = mem_names_find(&d->dir, name);
	if (!e) {
		rc = -ENOENT;
	} else if (S_ISDIR(e->type)) {
		rc = -EISDIR;
	} else {
		n = e->node;
		be_node_get(&n->node);
		mem_names_remove(&d->dir, e);
		mem_dir_touch_locked(d);
	}
	mutex_unlock(&d->lock);
	if (n)
		mem_unlinked_take(n, out);
	return rc;
}

int mem_dir_kill(struct mem_node *dir)
{
	int rc = 0;

	mutex_lock(&dir->lock);
	if (dir->dir.count) {
		rc = -ENOTEMPTY;
	} else {
		dir->dir.dead = true;
		dir->attr.nlink = 0;
	}
	mutex_unlock(&dir->lock);
	return rc;
}

/* With mem->tree, under which no directory is moved or removed by others. */
static int find_dir(struct mem_node *d, const char *name, struct mem_node **out)
{
	struct mem_dent *e;
	int rc = 0;

	mutex_lock(&d->lock);
	e = mem_names_find(&d->dir, name);
	if (!e)
		rc = -ENOENT;
	else if (!S_ISDIR(e->type))
		rc = -ENOTDIR;
	else
		*out = e->node;
	mutex_unlock(&d->lock);
	return rc;
}

int mem_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      struct be_removed *out)
{
	struct mem_node *d = mem_node_of(dir), *n = NULL;
	struct mem *mem = mem_of(be);
	int rc;

	(void)call;
	mutex_lock(&mem->tree);
	rc = find_dir(d, name, &n);
	if (!rc)
		rc = mem_dir_kill(n);
	if (!rc) {
		mutex_lock(&d->lock);
		be_node_get(&n->node);
		mem_names_remove(&d->dir, mem_names_find(&d->dir, name));
		d->attr.nlink--;
		mem_dir_touch_locked(d);
		mutex_unlock(&d->lock);
	}
	mutex_unlock(&mem->tree);
	if (!rc)
		mem_unlinked_take(n, out);
	return rc;
}
