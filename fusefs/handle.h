/* SPDX-License-Identifier: Apache-2.0 */
/* handle.h - open files and directories, by the number the kernel carries (fh) */
#ifndef FUSEFS_HANDLE_H
#define FUSEFS_HANDLE_H

#include "backends/backend.h"
#include "cache/readahead.h"
#include "fusefs/inode.h"

struct handle {
	uint64_t fh;
	struct inode *in;
	int flags;                  /* of open(2) */
	const struct be_cred *cred; /* the opener's; counted */
	struct be_dir *dir;         /* directories */
	struct mutex lock;          /* one readdir at a time; guards err_seen */
	uint32_t err_seen;          /* last error of the file that this handle was told */
	struct readahead ra;
};

int handles_init(struct volume *v);
void handles_done(struct volume *v);
/* Takes a count of cred for itself. NULL without memory or numbers. */
struct handle *handle_new(struct volume *v, struct inode *in, int flags,
			  const struct be_cred *cred);
struct handle *handle_of(struct volume *v, uint64_t fh);
void handle_free(struct volume *v, struct handle *h);

#endif
