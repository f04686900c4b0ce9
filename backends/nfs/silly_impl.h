/* SPDX-License-Identifier: Apache-2.0 */
/* silly_impl.h - between ops_remove.c, which takes names away, and silly.c */
#ifndef BACKENDS_NFS_SILLY_IMPL_H
#define BACKENDS_NFS_SILLY_IMPL_H

#include "backends/nfs/nfs_impl.h"

/* A fresh silly name in dir for node; NULL without memory. */
struct nfs_silly *silly_new(struct nfs_node *dir, const struct nfs_node *node,
			    const struct be_cred *cred);
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
