/* SPDX-License-Identifier: Apache-2.0 */
/* local_copy.c - a folder's content into another folder
 *
 * Owners, modes, times and attributes of users (user.*) come along; blocks are shared where the file system can. A file with
 * several names becomes several files; sockets are left out. What is written meanwhile may be in the copy or not. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "common/cleanup.h"

#define DEPTH_MAX 200 /* two descriptors each */
#define XATTRS_MAX 65536
#define USER_XATTR "user."

static int copy_level(int from, int to, unsigned depth);

static int copy_xattrs(int from, int to)
{
	AUTO_FREE char *names = malloc(XATTRS_MAX), *value = malloc(XATTRS_MAX);
	ssize_t n = names && value ? flistxattr(from, names, XATTRS_MAX) : -1;

	if (!names || !value)
		return -ENOMEM;
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t len;

		if (strncmp(names + at, USER_XATTR, strlen(USER_XATTR)))
			continue;
		len = fgetxattr(from, names + at, value, XATTRS_MAX);
		if (len < 0 || fsetxattr(to, names + at, value, (size_t)len, 0))
			return -errno;
	}
	return n < 0 && errno != ENOTSUP ? -errno : 0;
}

/* Times last: whatever is done before changes them. */
static int copy_meta(int from, int to, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	int rc;

	if (fchown(to, st->st_uid, st->st_gid) || fchmod(to, st->st_mode & 07777))
		return -errno;
	rc = copy_xattrs(from, to);
	return !rc && futimens(to, times) ? -errno : rc;
}

static int copy_folder(int from, int to, const char *name, const struct stat *st, unsigned depth)
{
	AUTO_FD int in = -1;
	AUTO_FD int out = -1;
	int rc;

	if (depth == DEPTH_MAX)
		return -ENAMETOOLONG;
	if (mkdirat(to, name, 0700))
		return -errno;
	in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0 || out < 0)
		return -errno;
	rc = copy_level(in, out, depth + 1);
	return rc ? rc : copy_meta(in, out, st);
}

static int copy_file(int from, int to, const char *name, const struct stat *st)
{
	AUTO_FD int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	AUTO_FD int out = -1;
	int rc;

	if (in < 0)
		return -errno;
	out = openat(to, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return -errno;
	rc = local_copy_data(in, out, (uint64_t)st->st_size);
	if (!rc && ftruncate(out, st->st_size))
		rc = -errno;
	return rc ? rc : copy_meta(in, out, st);
}

static int copy_link(int from, int to, const char *name, const struct stat *st)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof target - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (symlinkat(target, to, name) ||
	    fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) ||
	    utimensat(to, name, times, AT_SYMLINK_NOFOLLOW))
		return -errno;
	return 0;
}

static int copy_node(int to, const char *name, const struct stat *st)
{
	if (mknodat(to, name, st->st_mode, st->st_rdev) ||
	    fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW))
		return -errno;
	return 0;
}

static int copy_entry(int from, int to, const char *name, unsigned depth)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno; /* deleted meanwhile */
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return copy_folder(from, to, name, &st, depth);
	case S_IFREG:
		return copy_file(from, to, name, &st);
	case S_IFLNK:
		return copy_link(from, to, name, &st);
	case S_IFSOCK:
		return 0;
	default:
		return copy_node(to, name, &st);
	}
}

static int copy_level(int from, int to, unsigned depth)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int rc = 0;

	if (!d) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (!rc && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			rc = copy_entry(from, to, e->d_name, depth);
	closedir(d);
	return rc;
}

int local_copy_tree(int from, int to)
{
	int rc = copy_level(from, to, 0);

	return !rc && syncfs(to) ? -errno : rc;
}
