/* SPDX-License-Identifier: Apache-2.0 */
/* local_impl.h - parts of the provider "local": notes, deleting trees, quotas of folders, who uses an image */
#ifndef BACKENDS_PROVIDERS_LOCAL_IMPL_H
#define BACKENDS_PROVIDERS_LOCAL_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backends/providers/provider.h"
#include "common/err.h"

#define LOCAL_STEP 200000 /* files that one call deletes at most */

#define LOCAL_SIDE_MAX (PROVIDER_NAME_MAX + 16)

/* errno as one of the provider's errors, with a sentence. */
int local_failed(struct err *err, const char *what, const char *name);

/* What lies beside the volume *name in the folder root: ".WHAT-NAME". */
void local_side_name(const char *what, const char *name, char buf[LOCAL_SIDE_MAX]);
bool local_has_side(int root, const char *what, const char *name, struct stat *st);
void local_drop_side(int root, const char *what, const char *name);

struct local_note {
	uint64_t size;
	uint32_t project; /* of quotas; 0: none */
};
int local_write_note(int root, const char *name, const struct local_note *n, struct err *err);
/* Zeros when there is none that makes sense. */
void local_read_note(int root, const char *name, struct local_note *n);

/* The image *name is host's; fills out's part about who had it. -EBUSY: another's; -EINVAL: host has no name. */
int local_map_image(int root, const char *name, const struct provider_host *host,
		    struct provider_mapping *out, struct err *err);
/* Only what is host's. */
void local_unmap_image(int root, const char *name, const struct provider_host *host);

/* -errno. The file to is new and empty. */
int local_copy_data(int from, int to, uint64_t size);

/* Of two folders, the second one new and empty. -errno. */
int local_copy_tree(int from, int to);

/* Deletes the tree *name of the folder root, at most *budget files of it (which is counted down). -EAGAIN: more is left;
 * the next call goes on. Never leaves the tree; needs two descriptors, whatever its depth. */
int local_delete_tree(int root, const char *name, unsigned *budget, struct err *err);

/* Files below the folder may take up so many bytes (0: no limit). *id: the project, of an earlier call, or 0. -EOPNOTSUPP: the
 * file system has no project quotas, or they are off. */
int local_set_quota(int folder, uint64_t bytes, uint32_t *id, const char *name, struct err *err);
/* Bytes that a project uses. -EOPNOTSUPP. */
int local_quota_used(int folder, uint32_t id, uint64_t *out);

#endif
