/* SPDX-License-Identifier: Apache-2.0 */
/* local_impl.h - parts of the provider "local": deleting trees, and quotas of folders */
#ifndef BACKENDS_PROVIDERS_LOCAL_IMPL_H
#define BACKENDS_PROVIDERS_LOCAL_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define LOCAL_STEP 200000 /* files that one call deletes at most */

/* Deletes the tree *name of the folder root, at most *budget files of it (which is counted down). -EAGAIN: more is left;
 * the next call goes on. Never leaves the tree; needs two descriptors, whatever its depth. */
int local_delete_tree(int root, const char *name, unsigned *budget, struct err *err);

/* Files below the folder may take up so many bytes (0: no limit). *id: the project, of an earlier call, or 0. -EOPNOTSUPP: the
 * file system has no project quotas, or they are off. */
int local_set_quota(int folder, uint64_t bytes, uint32_t *id, const char *name, struct err *err);
/* Bytes that a project uses. -EOPNOTSUPP. */
int local_quota_used(int folder, uint32_t id, uint64_t *out);

#endif
