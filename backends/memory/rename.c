/* SPDX-License-Identifier: Apache-2.0 */
/* rename.c - rename, with replacement, NOREPLACE and EXCHANGE
 *
 * mem->tree is held throughout, so that directories neither move nor vanish.
 * Both directories' locks are held while the names change: lookups see the old
 * state or the new one. A directory that is to be replaced is marked dead
 * before, with only its own lock: it cannot fill again, and since its name
 * cannot change either, nothing can fail after that. */
#include <errno.h>
#include <stdio.h>

#include "backends/memory/memory_impl.h"
#include "common/clock.h"

struct rename {
	struct mem_node *dir, *newdir; /* borrowed */
	const char *name, *newname;
	unsigned flags;
	/* found under both locks */
	struct mem_dent *from, *to;
	/* out: counted */
	struct mem_node *moved, *swapped, *victim;
};

/* With mem->tree: whether n is dir or lies above it. */
static bool is_above(const struct mem_node *n, const struct mem_node *dir)
{
	for (; dir != n; dir = dir->dir.parent)
		if (dir->dir.parent == dir)
			return false;
	return true;
}

static int check_types(const struct rename *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;

	if (S_ISDIR(r->from->type) && is_above(r->from->node, r->newdir))
		return -EINVAL;
	if (!r->to)
		return 0;
	if (exchange)
		return S_ISDIR(r->to->type) && is_above(r->to->node, r->dir) ? -EINVAL : 0;
	if (S_ISDIR(r->from->type) && !S_ISDIR(r->to->type))
		return -ENOTDIR;
	if (!S_ISDIR(r->from->type) && S_ISDIR(r->to->type))
		return -EISDIR;
	/* It holds the way to what is renamed, at least. */
	return S_ISDIR(r->to->type) && is_above(r->to->node, r->dir) ? -ENOTEMPTY : 0;
}

/* Finds both names. 0, 1 when there is nothing to do, or -errno. */
static int find_locked(struct rename *r)
{
	r->from = mem_names_find(&r->dir->dir, r->name);
	r->to = mem_names_find(&r->newdir->dir, r->newname);
	if (!r->from || r->newdir->dir.dead)
		return -ENOENT;
	if (r->to && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!r->to && (r->flags & RENAME_EXCHANGE))
		return -ENOENT;
	if (r->to && r->to->node == r->from->node)
		return 1;
	return check_types(r);
}

static void dent_set(struct mem_dent *e, struct mem_node *n)
{
	e->node = n;
	e->ino = n->node.ino;
	e->type = n->node.type;
}

/* A directory under a new parent is one link less here, one more there. */
static void count_subdir(struct mem_node *was, struct mem_node *is, const struct mem_node *n)
{
	if (!S_ISDIR(n->node.type))
		return;
	was->attr.nlink--;
	is->attr.nlink++;
}

static void exchange_locked(struct rename *r)
{
	r->moved = r->from->node;
	r->swapped = r->to->node;
	be_node_get(&r->moved->node);
	be_node_get(&r->swapped->node);
	dent_set(r->from, r->swapped);
	dent_set(r->to, r->moved);
	count_subdir(r->dir, r->newdir, r->moved);
	count_subdir(r->newdir, r->dir, r->swapped);
}

static int move_locked(struct rename *r)
{
	r->moved = r->from->node;
	if (r->to) {
		r->victim = r->to->node;
		be_node_get(&r->victim->node);
		dent_set(r->to, r->moved);
		if (S_ISDIR(r->victim->node.type))
			r->newdir->attr.nlink--;
	} else {
		int rc = mem_names_insert(&r->newdir->dir, r->newname, r->moved);

		if (rc) {
			r->moved = NULL;
			return rc;
		}
	}
	be_node_get(&r->moved->node);
	mem_names_remove(&r->dir->dir, r->from);
	count_subdir(r->dir, r->newdir, r->moved);
	return 0;
}

/* With mem->tree: the whole change of names. 1: nothing to do. */
static int rename_names(struct rename *r)
{
	int rc;

	mutex_lock_pair(&r->dir->lock, &r->newdir->lock);
	rc = find_locked(r);
	if (!rc && r->to && S_ISDIR(r->to->type) && !(r->flags & RENAME_EXCHANGE)) {
		struct mem_node *target = r->to->node;

		mutex_unlock_pair(&r->dir->lock, &r->newdir->lock);
		rc = mem_dir_kill(target);
		mutex_lock_pair(&r->dir->lock, &r->newdir->lock);
		/* Other names may have come and gone, entries are where they were. */
	}
	if (!rc) {
		if (r->flags & RENAME_EXCHANGE)
			exchange_locked(r);
		else
			rc = move_locked(r);
	}
	if (!rc) {
		mem_dir_touch_locked(r->dir);
		mem_dir_touch_locked(r->newdir);
	}
	mutex_unlock_pair(&r->dir->lock, &r->newdir->lock);
	return rc;
}

/* With mem->tree: what changes at a node that has moved. Consumes the reference. */
static void moved_take(struct mem_node *n, struct mem_node *parent)
{
	if (!n)
		return;
	mutex_lock(&n->lock);
	n->attr.ctime = clock_wall();
	if (S_ISDIR(n->node.type)) {
		n->dir.parent = parent;
		n->dir.parent_ino = parent->node.ino;
	}
	mutex_unlock(&n->lock);
	be_node_put(&n->node);
}

int mem_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_node *newdir, const char *newname, unsigned flags,
	       struct be_removed *out)
{
	struct mem *mem = mem_of(be);
	struct rename r = { .dir = mem_node_of(dir),
			    .newdir = mem_node_of(newdir),
			    .name = name,
			    .newname = newname,
			    .flags = flags };
	int rc;

	(void)call;
	mutex_lock(&mem->tree);
	rc = rename_names(&r);
	moved_take(r.moved, r.newdir);
	moved_take(r.swapped, r.dir);
	mutex_unlock(&mem->tree);
	if (rc < 0)
		return rc;
	out->node = NULL;
	out->gone = false;
	if (r.victim)
		mem_unlinked_take(r.victim, out);
	return 0;
}
