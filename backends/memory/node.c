/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - nodes come, go, and have attributes */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/memory/memory_impl.h"
#include "common/clock.h"

static void type_init(struct mem_node *n)
{
	if (S_ISREG(n->node.type))
		cond_init(&n->file.idle);
	if (S_ISDIR(n->node.type))
		n->attr.nlink = 2;
}

int mem_node_new(struct mem *mem, const struct be_cred *cred, mode_t mode, struct mem_node **out)
{
	struct mem_node *n;

	if (atomic_fetch_add(&mem->inodes_used, 1) >= mem->inodes_max) {
		atomic_fetch_sub(&mem->inodes_used, 1);
		return -ENOSPC;
	}
	n = calloc(1, sizeof *n);
	if (!n) {
		atomic_fetch_sub(&mem->inodes_used, 1);
		return -ENOMEM;
	}
	n->node.be = &mem->be;
	atomic_init(&n->node.refs, 1);
	n->node.ino = n->attr.ino = atomic_fetch_add(&mem->last_ino, 1) + 1;
	n->node.type = mode & S_IFMT;
	n->attr.mode = mode & (S_IFMT | 07777);
	n->attr.uid = cred->uid;
	n->attr.gid = cred->gid;
	n->attr.btime = n->attr.atime = n->attr.mtime = n->attr.ctime = clock_wall();
	mutex_init(&n->lock, S_ISDIR(mode) ? LOCK_be_table : LOCK_be_node);
	type_init(n);
	*out = n;
	return 0;
}

void mem_node_free(struct be_node *node)
{
	struct mem_node *n = mem_node_of(node);
	struct mem *mem = mem_of(node->be);

	if (S_ISREG(node->type)) {
		assert(n->file.users == 0);
		mem_chunks_cut(&n->file.chunks, &mem->space, 0);
		cond_done(&n->file.idle);
	} else if (S_ISDIR(node->type)) {
		mem_names_done(&n->dir);
	} else if (S_ISLNK(node->type)) {
		free(n->target);
	}
	mem_xattrs_free(n);
	mutex_done(&n->lock);
	free(n);
	atomic_fetch_sub(&mem->inodes_used, 1);
}

void mem_entry_fill(struct mem_node *n, struct be_entry *out)
{
	be_node_get(&n->node);
	mutex_lock(&n->lock);
	out->attr = n->attr;
	mutex_unlock(&n->lock);
	out->node = &n->node;
}

int mem_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		struct be_attr *out)
{
	struct mem_node *n = mem_node_of(node);

	(void)be;
	(void)call;
	mutex_lock(&n->lock);
	*out = n->attr;
	mutex_unlock(&n->lock);
	return 0;
}

static void set_owner_locked(struct mem_node *n, const struct be_setattr *set)
{
	if (set->valid & BE_SET_UID)
		n->attr.uid = set->uid;
	if (set->valid & BE_SET_GID)
		n->attr.gid = set->gid;
	if (set->valid & BE_SET_MODE)
		n->attr.mode = (n->attr.mode & S_IFMT) | (set->mode & 07777);
	if (!(set->valid & BE_SET_KILL_SUID) || S_ISDIR(n->attr.mode))
		return;
	n->attr.mode &= ~(mode_t)S_ISUID;
	if (n->attr.mode & S_IXGRP)
		n->attr.mode &= ~(mode_t)S_ISGID;
}

static void set_times_locked(struct mem_node *n, const struct be_setattr *set)
{
	struct timespec now = clock_wall();

	if (set->valid & (BE_SET_SIZE | BE_SET_MTIME_NOW))
		n->attr.mtime = now;
	if (set->valid & BE_SET_MTIME)
		n->attr.mtime = set->mtime;
	if (set->valid & BE_SET_ATIME_NOW)
		n->attr.atime = now;
	if (set->valid & BE_SET_ATIME)
		n->attr.atime = set->atime;
	n->attr.ctime = now;
}

int mem_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		const struct be_setattr *set, struct be_attr *out)
{
	struct mem_node *n = mem_node_of(node);

	(void)call;
	mutex_lock(&n->lock);
	if (set->valid & BE_SET_SIZE) {
		mem_data_idle_locked(n);
		mem_data_truncate_locked(mem_of(be), n, set->size);
	}
	set_owner_locked(n, set);
	set_times_locked(n, set);
	*out = n->attr;
	mutex_unlock(&n->lock);
	return 0;
}

/* The target never changes: no lock. */
ssize_t mem_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
		     char *buf, size_t cap)
{
	struct mem_node *n = mem_node_of(node);
	size_t len = strlen(n->target);

	(void)be;
	(void)call;
	if (len > cap)
		len = cap;
	memcpy(buf, n->target, len);
	return (ssize_t)len;
}
