/* SPDX-License-Identifier: Apache-2.0 */
/* inode.c - see inode.h. node->upper points back at the inode and is guarded,
 * like the table, by v->inode_lock. */
#include "fusefs/inode.h"

#include <errno.h>
#include <stdlib.h>

#include "fusefs/volume.h"

int inodes_init(struct volume *v)
{
	mutex_init(&v->inode_lock, LOCK_inode_table);
	list_init(&v->idle_inodes);
	v->idle_max = IDLE_INODES_MAX;
	v->inodes = calloc(ARENA_INODES, sizeof *v->inodes);
	v->inode_next = 1;
	return v->inodes ? 0 : -ENOMEM;
}

/* The table's lock is held in all ..._locked. */

static void idle_remove_locked(struct inode *in)
{
	if (list_empty(&in->idle_link))
		return;
	list_del(&in->idle_link);
	in->v->nidle--;
}

static void idle_add_locked(struct inode *in)
{
	idle_remove_locked(in);
	list_push_back(&in->v->idle_inodes, &in->idle_link);
	in->v->nidle++;
}

/* The file, if any, was freed. */
static void inode_free_locked(struct volume *v, struct inode *in)
{
	idle_remove_locked(in);
	in->node->upper = NULL;
	v->inodes[in->nodeid] = NULL;
	v->ninodes--;
	if (v->ninode_free == v->inode_free_cap) {
		uint32_t cap = v->inode_free_cap ? v->inode_free_cap * 2 : 1024;
		uint32_t *p = realloc(v->inode_free, cap * sizeof *p);

		if (p) {
			v->inode_free = p;
			v->inode_free_cap = cap;
		}
	}
	/* Without memory the nodeid is not used again: the table is large. */
	if (v->ninode_free < v->inode_free_cap)
		v->inode_free[v->ninode_free++] = (uint32_t)in->nodeid;
	mutex_done(&in->lock);
}

static bool inode_try_free_locked(struct inode *in)
{
	if (in->lookups || in->opens || !cache_file_try_free(in->file))
		return false;
	inode_free_locked(in->v, in);
	return true;
}

/* The inode that has to go for one that nobody needs any more: itself, or, when
 * it is worth keeping, the oldest of too many that were kept. May be NULL. */
static struct inode *release_locked(struct volume *v, struct inode *in)
{
	if (in->lookups || in->opens)
		return NULL;
	if (in->gone || !cache_file_cached(in->file) || !v->idle_max)
		return in;
	idle_add_locked(in);
	if (v->nidle <= v->idle_max)
		return NULL;
	in = list_entry(v->idle_inodes.next, struct inode, idle_link);
	/* Not tried again before the cache says that it is clean. */
	idle_remove_locked(in);
	return in;
}

/* Frees the inode if nothing needs it. No locks held: putting the node may call the backend. */
static void inode_release(struct volume *v, uint64_t nodeid)
{
	struct inode *in;

	mutex_lock(&v->inode_lock);
	in = v->inodes[nodeid];
	if (in)
		in = release_locked(v, in);
	if (in && !inode_try_free_locked(in))
		in = NULL;
	mutex_unlock(&v->inode_lock);
	if (!in)
		return;
	be_node_put(in->node);
	free(in);
}

void inode_idle(void *arg, uint64_t nodeid)
{
	inode_release(arg, nodeid);
}

void inodes_done(struct volume *v)
{
	v->idle_max = 0;
	for (uint32_t i = 1; v->inodes && i < v->inode_next; i++) {
		struct inode *in = v->inodes[i];

		if (!in)
			continue;
		in->lookups = 0;
		in->opens = 0;
		if (in->file)
			cache_file_discard(in->file);
		inode_release(v, i);
	}
	free(v->inodes);
	free(v->inode_free);
	mutex_done(&v->inode_lock);
}

struct inode *inode_of(struct volume *v, uint64_t nodeid)
{
	return nodeid && nodeid < ARENA_INODES ? v->inodes[nodeid] : NULL;
}

static struct inode *inode_new_locked(struct volume *v, struct be_node *node)
{
	struct inode *in;

	if (!v->ninode_free && v->inode_next == ARENA_INODES)
		return NULL;
	in = calloc(1, sizeof *in);
	if (!in)
		return NULL;
	in->v = v;
	in->nodeid = v->ninode_free ? v->inode_free[--v->ninode_free] : v->inode_next++;
	in->generation = ++v->generation;
	in->node = node;
	in->type = node->type;
	mutex_init(&in->lock, LOCK_inode);
	list_init(&in->posix_locks);
	list_init(&in->flock_locks);
	list_init(&in->lock_waiters);
	list_init(&in->idle_link);
	node->upper = in;
	v->inodes[in->nodeid] = in;
	v->ninodes++;
	return in;
}

struct inode *inode_enter(struct volume *v, struct be_entry *entry)
{
	struct be_node *node = entry->node;
	bool known;
	struct inode *in;

	mutex_lock(&v->inode_lock);
	in = node->upper;
	known = in != NULL;
	if (!known)
		in = inode_new_locked(v, node);
	if (in && !in->lookups++ && known) {
		idle_remove_locked(in);
		if (in->file)
			cache_file_revive(in->file);
	}
	mutex_unlock(&v->inode_lock);
	if (known || !in)
		be_node_put(node); /* the inode has its own count */
	entry->node = NULL;
	return in;
}

void inode_forget(struct volume *v, uint64_t nodeid, uint64_t nlookup)
{
	struct inode *in;
	bool last;

	mutex_lock(&v->inode_lock);
	in = inode_of(v, nodeid);
	if (in)
		in->lookups -= nlookup < in->lookups ? nlookup : in->lookups;
	last = in && !in->lookups;
	mutex_unlock(&v->inode_lock);
	if (last && nodeid != FUSE_ROOT_ID)
		inode_release(v, nodeid);
}

struct cache_file *inode_file(struct inode *in, uint64_t size)
{
	struct cache_file *f = in->file;

	if (f || !S_ISREG(in->type))
		return f;
	mutex_lock(&in->lock);
	f = in->file;
	if (!f && !cache_file_new(in->v->cache, in->node, size, in->nodeid, &f))
		in->file = f;
	mutex_unlock(&in->lock);
	return f;
}

void inode_opened(struct inode *in)
{
	in->opens++;
}

void inode_closed(struct inode *in)
{
	struct volume *v = in->v;
	uint64_t nodeid = in->nodeid;

	if (in->opens == 1 && in->gone && in->file)
		cache_file_discard(in->file);
	in->opens--;
	inode_release(v, nodeid);
}

void inode_unlinked(struct volume *v, struct be_removed *removed)
{
	struct inode *in;

	if (!removed->node)
		return;
	mutex_lock(&v->inode_lock);
	in = removed->node->upper;
	if (in && removed->gone)
		in->gone = true;
	if (in)
		in->lookups++; /* stays while we look at it */
	mutex_unlock(&v->inode_lock);
	if (in && removed->gone && !in->opens && in->file)
		cache_file_discard(in->file);
	if (in)
		inode_forget(v, in->nodeid, 1);
	be_node_put(removed->node);
	removed->node = NULL;
}
