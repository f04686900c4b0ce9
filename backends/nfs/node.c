/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - nodes by file handle
 *
 * The table holds no counts. A node whose count has reached zero may still be
 * found until be_nfs_node_free() has taken it out: finders count only what is
 * not zero, and put a new node beside a dying one. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/silly_impl.h"
#include "common/hash.h"
#include "common/log.h"

#define TABLE_FIRST 1024

static struct list *make_table(size_t n)
{
	struct list *t = calloc(n, sizeof *t);

	for (size_t i = 0; t && i < n; i++)
		list_init(&t[i]);
	return t;
}

int nnode_table_init(struct nfs_backend *b)
{
	mutex_init(&b->table_lock, LOCK_be_table);
	b->table = make_table(TABLE_FIRST);
	b->table_size = TABLE_FIRST;
	return b->table ? 0 : -ENOMEM;
}

static void nnode_destroy(struct nfs_node *node)
{
	silly_free(node->silly);
	mutex_done(&node->lock);
	free(node);
}

void nnode_table_done(struct nfs_backend *b)
{
	struct list *l;

	if (b->nnodes)
		log_warn("nfs: closed with %zu nodes in use", b->nnodes);
	for (size_t i = 0; b->table && i < b->table_size; i++)
		while ((l = list_pop(&b->table[i]))) {
			struct nfs_node *node = list_entry(l, struct nfs_node, hash_link);

			nname_forget(node);
			/* Its directory's count means nothing any more. */
			if (node->silly) {
				nsweep_del(b, node->silly);
				atomic_store(&b->silly_left, true);
			}
			free(node->silly);
			node->silly = NULL;
			nnode_destroy(node);
		}
	free(b->table);
	mutex_done(&b->table_lock);
}

static struct list *bucket(struct list *table, size_t size, const struct nfs_handle *fh)
{
	struct list *head = &table[hash_bytes(fh->data, fh->len, 0) & (size - 1)];

	assert(head->next); /* initialised */
	return head;
}

static struct nfs_node *find_locked(struct nfs_backend *b, const struct nfs_handle *fh)
{
	list_for_each(it, bucket(b->table, b->table_size, fh)) {
		struct nfs_node *node = list_entry(it, struct nfs_node, hash_link);

		if (node->fh.len == fh->len && !memcmp(node->fh.data, fh->data, fh->len) &&
		    be_node_tryget(&node->base))
			return node;
	}
	return NULL;
}

/* Twice the buckets; without memory the old ones do. */
static void grow_locked(struct nfs_backend *b)
{
	size_t size = b->table_size * 2;
	struct list *t = make_table(size);

	if (!t)
		return;
	for (size_t i = 0; i < b->table_size; i++) {
		struct list *l;

		while ((l = list_pop(&b->table[i]))) {
			struct nfs_node *node = list_entry(l, struct nfs_node, hash_link);

			list_push_back(bucket(t, size, &node->fh), l);
		}
	}
	free(b->table);
	b->table = t;
	b->table_size = size;
}

static struct nfs_node *nnode_new(struct nfs_backend *b, const struct nfs_handle *fh,
				  const struct be_attr *attr)
{
	struct nfs_node *node = calloc(1, sizeof *node);

	if (!node)
		return NULL;
	node->base.be = &b->base;
	node->base.refs = 1;
	node->base.ino = attr->ino;
	node->base.type = attr->mode & S_IFMT;
	node->fh = *fh;
	list_init(&node->hash_link);
	list_init(&node->children);
	list_init(&node->names);
	mutex_init(&node->lock, LOCK_be_node);
	return node;
}

static bool is_what(const struct nfs_node *node, const struct be_attr *attr)
{
	return node->base.type == (attr->mode & S_IFMT) && node->base.ino == attr->ino;
}

int nnode_get(struct nfs_backend *b, const struct nfs_handle *fh, const struct be_attr *attr,
	      struct nfs_node **out)
{
	struct nfs_node *node = nroot_find(b, fh);

	mutex_lock(&b->table_lock);
	if (!node)
		node = find_locked(b, fh);
	if (!node) {
		node = nnode_new(b, fh, attr);
		if (node) {
			if (++b->nnodes > b->table_size)
				grow_locked(b);
			list_push_front(bucket(b->table, b->table_size, fh), &node->hash_link);
		}
	}
	mutex_unlock(&b->table_lock);
	if (!node)
		return -ENOMEM;
	if (!is_what(node, attr)) {
		nnode_put(node);
		return -ESTALE;
	}
	*out = node;
	return 0;
}

void nnode_retire(struct nfs_backend *b, const struct nfs_handle *fh, const struct be_attr *attr)
{
	struct nfs_node *node;
	bool wrong;

	mutex_lock(&b->table_lock);
	node = find_locked(b, fh);
	wrong = node && !is_what(node, attr) && !nroot_is(node);
	if (wrong)
		list_del(&node->hash_link);
	mutex_unlock(&b->table_lock);
	if (wrong)
		nname_stale(node);
	nnode_put(node);
}

void be_nfs_node_free(struct be_node *base)
{
	struct nfs_node *node = be_nfs_node(base);
	struct nfs_backend *b = nnode_backend(node);

	nname_forget(node);
	mutex_lock(&b->table_lock);
	list_del(&node->hash_link);
	b->nnodes--;
	mutex_unlock(&b->table_lock);
	nnode_destroy(node);
}
