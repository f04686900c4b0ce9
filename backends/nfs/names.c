/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - which node a name in a directory leads to
 *
 * Entries hold no counts: they go when the directory's or the node's last count
 * goes. An entry is believed while its directory's names_gen is what it was when
 * the server told it; the generation grows when others changed the directory. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"
#include "common/hash.h"

#define NAMES_FIRST 4096

struct nname {
	struct list hash_link, dir_link, node_link;
	struct nfs_node *dir, *node; /* see the top: alive as long as the entry */
	uint32_t gen;
	uint32_t len;
	char name[];
};

int nname_init(struct nfs_backend *b)
{
	mutex_init(&b->names_lock, LOCK_be_tree);
	b->names = malloc(NAMES_FIRST * sizeof *b->names);
	if (!b->names)
		return -ENOMEM;
	b->names_size = NAMES_FIRST;
	for (size_t i = 0; i < NAMES_FIRST; i++)
		list_init(&b->names[i]);
	return 0;
}

void nname_done(struct nfs_backend *b)
{
	free(b->names);
	mutex_done(&b->names_lock);
}

static struct list *slot(struct list *table, size_t size, const struct nfs_node *dir,
			 const char *name, size_t len)
{
	struct list *head = &table[hash_bytes(name, len, hash_u64((uintptr_t)dir)) & (size - 1)];

	assert(head->next); /* initialised */
	return head;
}

static struct nname *find_locked(struct nfs_backend *b, const struct nfs_node *dir,
				 const char *name, size_t len)
{
	list_for_each(it, slot(b->names, b->names_size, dir, name, len)) {
		struct nname *e = list_entry(it, struct nname, hash_link);

		if (e->dir == dir && e->len == len && !memcmp(e->name, name, len))
			return e;
	}
	return NULL;
}

static void free_locked(struct nfs_backend *b, struct nname *e)
{
	list_del(&e->hash_link);
	list_del(&e->dir_link);
	list_del(&e->node_link);
	b->nnames--;
	free(e);
}

static void grow_locked(struct nfs_backend *b)
{
	size_t size = b->names_size * 2;
	struct list *t = calloc(size, sizeof *t), *l;

	if (!t)
		return;
	for (size_t i = 0; i < size; i++)
		list_init(&t[i]);
	for (size_t i = 0; i < b->names_size; i++)
		while ((l = list_pop(&b->names[i]))) {
			struct nname *e = list_entry(l, struct nname, hash_link);

			list_push_back(slot(t, size, e->dir, e->name, e->len), l);
		}
	free(b->names);
	b->names = t;
	b->names_size = size;
}

static void insert_locked(struct nfs_backend *b, struct nname *e)
{
	if (++b->nnames > b->names_size)
		grow_locked(b);
	list_push_front(slot(b->names, b->names_size, e->dir, e->name, e->len), &e->hash_link);
	list_push_back(&e->dir->children, &e->dir_link);
	list_push_back(&e->node->names, &e->node_link);
}

void nname_put(struct nfs_node *dir, const char *name, size_t len, struct nfs_node *node,
	       struct nstamp stamp, uint32_t gen)
{
	struct nfs_backend *b = nnode_backend(dir);
	struct nname *old, *e = malloc(sizeof *e + len + 1);

	if (!e)
		return; /* a cache */
	*e = (struct nname){ .dir = dir, .node = node, .gen = gen, .len = (uint32_t)len };
	memcpy(e->name, name, len);
	mutex_lock(&b->names_lock);
	old = find_locked(b, dir, name, len);
	/* A reply from before our last removal here may tell of what was removed. */
	if (stamp.clock < dir->removed_clock) {
		free(e);
	} else {
		if (old)
			free_locked(b, old);
		insert_locked(b, e);
	}
	mutex_unlock(&b->names_lock);
}

struct nfs_node *nname_find(struct nfs_node *dir, const char *name)
{
	struct nfs_backend *b = nnode_backend(dir);
	struct nfs_node *node = NULL;
	struct nname *e;

	mutex_lock(&b->names_lock);
	e = find_locked(b, dir, name, strlen(name));
	if (e && e->gen != atomic_load(&dir->names_gen))
		free_locked(b, e);
	else if (e && be_node_tryget(&e->node->base))
		node = e->node;
	mutex_unlock(&b->names_lock);
	return node;
}

void nname_drop(struct nfs_node *dir, const char *name)
{
	struct nfs_backend *b = nnode_backend(dir);
	struct nname *e;

	mutex_lock(&b->names_lock);
	dir->removed_clock = atomic_fetch_add(&b->clock, 1) + 1;
	e = find_locked(b, dir, name, strlen(name));
	if (e)
		free_locked(b, e);
	mutex_unlock(&b->names_lock);
}

void nname_forget(struct nfs_node *node)
{
	struct nfs_backend *b = nnode_backend(node);

	mutex_lock(&b->names_lock);
	while (!list_empty(&node->children))
		free_locked(b, list_first(&node->children, struct nname, dir_link));
	while (!list_empty(&node->names))
		free_locked(b, list_first(&node->names, struct nname, node_link));
	mutex_unlock(&b->names_lock);
}

void nname_stale(struct nfs_node *node)
{
	nname_forget(node);
	nattr_expire(node);
}
