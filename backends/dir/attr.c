/* SPDX-License-Identifier: Apache-2.0 */
/* attr.c - attributes, access, symbolic links' targets, statfs */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"

int dir_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		struct be_attr *out)
{
	struct dnode *n = dnode_of(node);
	struct statx stx;
	int fd = dnode_pin(dir_of(be), n), rc;

	(void)call;
	if (fd < 0)
		return fd;
	rc = dir_statx_fd(fd, &stx); /* whoever has the node may: no identity needed */
	dnode_unpin(n);
	if (!rc)
		dir_attr_from(&stx, out);
	return rc;
}

/* ---- setattr --------------------------------------------------------- */

static int change_mode(const struct dir *d, int fd, mode_t mode)
{
	char magic[16];

	snprintf(magic, sizeof magic, "%d", fd);
	return fchmodat(d->proc_fd, magic, mode, 0) ? -errno : 0;
}

static int change_owner(int fd, const struct be_setattr *set)
{
	uid_t uid = set->valid & BE_SET_UID ? set->uid : (uid_t)-1;
	gid_t gid = set->valid & BE_SET_GID ? set->gid : (gid_t)-1;

	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int change_times(int fd, const struct be_setattr *set)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (set->valid & BE_SET_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (set->valid & BE_SET_ATIME)
		ts[0] = set->atime;
	if (set->valid & BE_SET_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (set->valid & BE_SET_MTIME)
		ts[1] = set->mtime;
	return utimensat(fd, "", ts, AT_EMPTY_PATH) ? -errno : 0;
}

/* The caller has the file open for writing although its mode says no by now. */
static int truncate_opened(struct dnode *n, uint64_t size)
{
	struct dfile *file = dfile_of_node(n, true);
	int rc;

	if (!file)
		return -EACCES;
	rc = ftruncate(file->fd, (off_t)size) ? -errno : 0;
	dfile_put(file);
	return rc;
}

static int change_size(struct dir *d, struct dnode *n, int fd, const struct be_setattr *set)
{
	AUTO_FD int wfd = dir_reopen(d, fd, O_WRONLY);

	if (wfd == -EACCES && set->valid & BE_SET_OPENED)
		return truncate_opened(n, set->size);
	if (wfd < 0)
		return wfd;
	return ftruncate(wfd, (off_t)set->size) ? -errno : 0;
}

/* What the system does not do when the caller is privileged. */
static int kill_suid(const struct dir *d, int fd)
{
	struct statx stx;
	mode_t mode, kill;
	int rc = dir_statx_fd(fd, &stx);

	if (rc || S_ISDIR(stx.stx_mode) || S_ISLNK(stx.stx_mode))
		return rc;
	mode = stx.stx_mode & 07777;
	kill = S_ISUID | (mode & S_IXGRP ? S_ISGID : 0);
	if (!(mode & kill))
		return 0;
	who_become_daemon();
	return change_mode(d, fd, mode & ~kill);
}

/* In the order in which nothing undoes what went before. */
static int change(struct dir *d, struct dnode *n, int fd, const struct be_setattr *set)
{
	int rc = 0;

	if (set->valid & BE_SET_SIZE)
		rc = change_size(d, n, fd, set);
	if (!rc && (set->valid & (BE_SET_UID | BE_SET_GID)))
		rc = change_owner(fd, set);
	if (!rc && (set->valid & BE_SET_MODE))
		rc = change_mode(d, fd, set->mode & 07777);
	if (!rc &&
	    (set->valid & (BE_SET_ATIME | BE_SET_MTIME | BE_SET_ATIME_NOW | BE_SET_MTIME_NOW)))
		rc = change_times(fd, set);
	if (!rc && (set->valid & BE_SET_KILL_SUID))
		rc = kill_suid(d, fd);
	return rc;
}

int dir_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		const struct be_setattr *set, struct be_attr *out)
{
	struct dir *d = dir_of(be);
	struct dnode *n = dnode_of(node);
	struct statx stx;
	int fd = dnode_pin_as(d, n, call->cred), rc;

	if (fd < 0)
		return fd;
	rc = change(d, n, fd, set);
	if (!rc)
		rc = dir_statx_fd(fd, &stx);
	dnode_unpin(n);
	if (!rc)
		dir_attr_from(&stx, out);
	return rc;
}

/* ---- the rest -------------------------------------------------------- */

int dir_access(struct backend *be, const struct be_call *call, struct be_node *node, int mask)
{
	struct dnode *n = dnode_of(node);
	int fd = dnode_pin_as(dir_of(be), n, call->cred), rc;

	if (fd < 0)
		return fd;
	rc = faccessat(fd, "", mask, AT_EACCESS | AT_EMPTY_PATH) ? -errno : 0;
	dnode_unpin(n);
	return rc;
}

ssize_t dir_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
		     char *buf, size_t cap)
{
	struct dnode *n = dnode_of(node);
	int fd = dnode_pin(dir_of(be), n);
	ssize_t len;

	(void)call;
	if (fd < 0)
		return fd;
	len = readlinkat(fd, "", buf, cap);
	if (len < 0)
		len = -errno;
	dnode_unpin(n);
	return len;
}

int dir_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
	       struct statvfs *out)
{
	struct dir *d = dir_of(be);

	(void)call;
	(void)node; /* all of it is on one mount */
	return fstatvfs(d->root_fd, out) ? -errno : 0;
}
