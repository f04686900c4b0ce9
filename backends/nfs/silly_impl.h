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
/* Open, and still under a name of its own. */
bool silly_is_open(struct nfs_node *node);
bool silly_owns_name(struct nfs_node *node, const struct nfs_node *dir, const char *name);

#endif
