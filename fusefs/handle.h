/* SPDX-License-Identifier: Apache-2.0 */
/* handle.h - open files and directories, by the number the kernel carries (fh) */
#ifndef FUSEFS_HANDLE_H
#define FUSEFS_HANDLE_H

#include "backends/backend.h"
#include "cache/readahead.h"
#include "fusefs/inode.h"

struct session;

struct handle {
	uint64_t fh;
	struct session *s;
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
struct handle *handle_new(struct session *s, struct inode *in, int flags,
			  const struct be_cred *cred);
/* NULL: not one of this session. */
struct handle *handle_of(const struct session *s, uint64_t fh);
void handle_free(struct handle *h);
/* The session is over: closes what it has open, with the locks taken through it. */
void handles_leave(struct session *s);

#endif
