/* SPDX-License-Identifier: Apache-2.0 */
/* local_tree.c - deleting a tree of any depth
 *
 * A folder's folders are moved up to the top of the tree, so that only one level has to be looked at,
 * and what a killed call leaves is a tree again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "common/cleanup.h"

#define RAISED "%llx.up" /* of a folder that was moved up: its inode number, so that no two meet */

static DIR *open_folder(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d;

	/* Its owner may have closed it even to itself. */
	if (fd < 0 && errno == EACCES && !fchmodat(at, name, 0700, 0))
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (fd >= 0 && !d)
		close(fd);
	return d;
}

/* A copy of this call may be a step ahead. */
static int gone(int rc)
{
	return rc == -ENOENT ? 0 : rc;
}

/* A folder that is not empty goes to the top. */
static int raise_folder(int top, int from, const char *name)
{
	char up[64];
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW))
		return gone(-errno);
	snprintf(up, sizeof up, RAISED, (unsigned long long)st.st_ino);
	if (from == top && !strcmp(name, up))
		return 0;
	fchmodat(from, name, 0700, 0);
	return renameat(from, name, top, up) ? gone(-errno) : 0;
}

static int delete_entry(int top, int from, const char *name)
{
	if (!unlinkat(from, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (!unlinkat(from, name, AT_REMOVEDIR) || errno == ENOENT)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	return from == top ? -ENOTEMPTY : raise_folder(top, from, name);
}

/* All entries of one folder; those that are folders go up. */
static int empty_folder(int top, DIR *d, unsigned *budget)
{
	struct dirent *e;
	int rc = 0;

	while (!rc && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!*budget)
			return -EAGAIN;
		(*budget)--;
		rc = delete_entry(top, dirfd(d), e->d_name);
	}
	return rc;
}

/* A folder at the top that is not empty. */
static int delete_child(int top, const char *name, unsigned *budget)
{
	DIR *d = open_folder(top, name);
	int rc = d ? empty_folder(top, d, budget) : gone(-errno);

	if (d)
		closedir(d);
	if (!rc && unlinkat(top, name, AT_REMOVEDIR) && errno != ENOTEMPTY && errno != EEXIST &&
	    errno != ENOENT)
		rc = -errno;
	return rc;
}

/* One pass over the top; *more: something is left. */
static int pass(DIR *top, unsigned *budget, bool *more)
{
	struct dirent *e;
	int rc = 0;

	*more = false;
	rewinddir(top);
	while (!rc && (e = readdir(top))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		*more = true;
		if (!*budget)
			return -EAGAIN;
		(*budget)--;
		rc = delete_entry(dirfd(top), dirfd(top), e->d_name);
		if (rc == -ENOTEMPTY)
			rc = delete_child(dirfd(top), e->d_name, budget);
	}
	return rc;
}

int local_delete_tree(int root, const char *name, unsigned *budget, struct err *err)
{
	DIR *top;
	bool more = true;
	int rc = 0;

	if (!unlinkat(root, name, 0) || errno == ENOENT)
		return 0;
	top = open_folder(root, name);
	if (!top && errno == ENOENT)
		return 0;
	if (!top)
		return err_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
	while (!rc && more)
		rc = pass(top, budget, &more);
	closedir(top);
	if (!rc && unlinkat(root, name, AT_REMOVEDIR) && errno != ENOENT)
		rc = -errno;
	if (rc == -EAGAIN)
		return err_set(err, rc, "a big folder is still being deleted");
	return rc ? err_set(err, rc, "cannot delete '%s': %s", name, strerror(-rc)) : 0;
}
