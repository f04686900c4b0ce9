/* SPDX-License-Identifier: Apache-2.0 */
/* silly_impl.h - between ops_remove.c, which takes names away, and silly.c */
#ifndef BACKENDS_NFS_SILLY_IMPL_H
#define BACKENDS_NFS_SILLY_IMPL_H

#include "backends/nfs/nfs_impl.h"

/* A fresh silly name in dir for node; NULL without memory. */
struct nfs_silly *silly_new(struct nfs_node *dir, const struct nfs_node *node,
			    const struct be_cred *cred);
/* The same with a name that is never swept: what it hides was not removed yet. */
void silly_keep(struct nfs_silly *s, const struct nfs_node *node);
/* A silly name that a listing showed. */
struct nfs_silly *silly_found(struct nfs_node *dir, const char *name, const struct be_cred *cred);
/* The number of the backend that gave the name; false: it is not one of ours. */
bool silly_giver(const char *name, uint64_t *id);
/* Starts its removal, and frees it afterwards. */
void silly_remove(struct nfs_silly *s_take);
void silly_free(struct nfs_silly *s);
/* node's only name is s->name now: kept until its last release, or removed at once
 * when that has happened already. */
void silly_adopt(struct nfs_node *node, struct nfs_silly *s_take);

/* Around the removal of a name of node, which is decided by whether node is open:
 * one at a time, and opens wait until it is over. open: it is, under a name of its
 * own. 0 or -EINTR. */
int removal_begin(struct nfs_node *node, const struct be_call *call, bool *open);
/* gone: the last name went, and no open file is left behind. */
void removal_end(struct nfs_node *node, bool gone);
bool silly_owns_name(struct nfs_node *node, const struct nfs_node *dir, const char *name);

#endif
