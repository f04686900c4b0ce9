/* SPDX-License-Identifier: Apache-2.0 */
/* file.c - create, open, and what works on ranges of an open file
 *
 * open() asks the file system by opening as the caller. One descriptor serves
 * all openers of a node; it is replaced when a first writer comes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"

#define FMODE_EXEC_FLAG 0x20    /* the kernel opens to execute: asks for X, not R */
#define COPY_MAX (128ULL << 20) /* of one call */

/* The node of a file that was just made, opened. Takes fd. */
static int entry_of_new(struct dir *d, int fd_taken, struct be_entry *out)
{
	AUTO_FD int fd = fd_taken;
	struct dfile *file;
	struct statx stx;
	struct dnode *n;
	int path_fd, rc = dir_statx_fd(fd, &stx);

	if (rc)
		return rc;
	path_fd = dir_reopen(d, fd, O_PATH);
	if (path_fd < 0)
		return path_fd;
	rc = dnode_intern_take(d, path_fd, &stx, &n);
	if (rc)
		return rc;
	file = dfile_new_take(take_fd(&fd), true);
	if (!file) {
		be_node_put(&n->node);
		return -ENOMEM;
	}
	dnode_opened_take(n, file);
	out->node = &n->node;
	dir_attr_from(&stx, &out->attr);
	return 0;
}

/* Opens what is there under the name. */
static int open_existing(struct backend *be, const struct be_call *call, int dirfd,
			 const char *name, int oflags, struct be_entry *out)
{
	struct be_entry e;
	int rc = dir_lookup_at(dir_of(be), dirfd, name, false, &e);

	if (rc)
		return rc == -ENOENT ? -ESTALE : rc; /* just gone: the kernel tries again */
	if (S_ISDIR(e.node->type))
		rc = -EISDIR;
	else if (!S_ISREG(e.node->type))
		rc = -ESTALE;
	else
		rc = dir_open_node(be, call, e.node, oflags);
	if (rc) {
		be_node_put(e.node);
		return rc;
	}
	*out = e;
	return 0;
}

int dir_create(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, mode_t mode, int oflags, struct be_entry *out)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	struct dir *d = dir_of(be);
	int dirfd = dnode_pin_as(d, dnode_of(dir), call->cred), fd, rc;

	if (dirfd < 0)
		return dirfd;
	do {
		fd = openat(dirfd, name, flags, mode);
		rc = fd < 0 ? -errno : 0;
	} while (rc && dir_fds_shrink(d, rc));
	if (!rc)
		rc = entry_of_new(d, fd, out);
	else if (rc == -EEXIST && !(oflags & O_EXCL))
		rc = open_existing(be, call, dirfd, name, oflags, out);
	dnode_unpin(dnode_of(dir));
	return rc;
}

int dir_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir, mode_t mode,
		int oflags, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	int dirfd = dnode_pin_as(d, dnode_of(dir), call->cred), fd, rc;

	if (dirfd < 0)
		return dirfd;
	fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC | (oflags & O_EXCL), mode);
	rc = fd < 0 ? -errno : entry_of_new(d, fd, out);
	dnode_unpin(dnode_of(dir));
	return rc;
}

/* ---- open ------------------------------------------------------------ */

static int access_mask(int oflags)
{
	if (oflags & FMODE_EXEC_FLAG)
		return X_OK;
	switch (oflags & O_ACCMODE) {
	case O_RDONLY:
		return R_OK;
	case O_WRONLY:
		return W_OK;
	default:
		return R_OK | W_OK;
	}
}

static int check_access(int fd, int oflags)
{
	return faccessat(fd, "", access_mask(oflags), AT_EACCESS | AT_EMPTY_PATH) ? -errno : 0;
}

/* An fd for reading, or for both; the caller's right to oflags is checked. */
static int open_checked(struct dir *d, int path_fd, int oflags)
{
	int mode = access_mask(oflags) & W_OK ? O_RDWR : O_RDONLY, rc, fd;

	fd = dir_reopen(d, path_fd, mode);
	if (fd != -EACCES || access_mask(oflags) & R_OK)
		return fd;
	/* May write or execute, but not read as we must: the daemon opens in his stead. */
	rc = check_access(path_fd, oflags);
	if (rc)
		return rc;
	who_become_daemon();
	return dir_reopen(d, path_fd, mode);
}

static int open_new(struct dir *d, int path_fd, int oflags, struct dfile **out)
{
	int fd, rc;

	if (oflags & FMODE_EXEC_FLAG) {
		rc = check_access(path_fd, oflags);
		if (rc)
			return rc;
	}
	do
		fd = open_checked(d, path_fd, oflags);
	while (fd < 0 && dir_fds_shrink(d, fd));
	if (fd < 0)
		return fd;
	*out = dfile_new_take(fd, access_mask(oflags) & W_OK);
	return *out ? 0 : -ENOMEM;
}

int dir_open_node(struct backend *be, const struct be_call *call, struct be_node *node, int oflags)
{
	struct dir *d = dir_of(be);
	struct dnode *n = dnode_of(node);
	struct dfile *file = dfile_of_node(n, access_mask(oflags) & W_OK);
	int fd = dnode_pin_as(d, n, call->cred), rc;

	if (fd < 0) {
		dfile_put(file);
		return fd;
	}
	if (file)
		rc = check_access(fd, oflags);
	else
		rc = open_new(d, fd, oflags, &file);
	dnode_unpin(n);
	if (rc) {
		dfile_put(file);
		return rc;
	}
	dnode_opened_take(n, file);
	return 0;
}

/* ---- ranges ---------------------------------------------------------- */

int dir_fallocate(struct backend *be, const struct be_call *call, struct be_node *node, int mode,
		  uint64_t off, uint64_t len)
{
	struct dfile *file;
	int rc = dfile_get(dir_of(be), dnode_of(node), true, &file);

	if (rc)
		return rc;
	rc = who_become(call->cred); /* for quotas */
	if (!rc && fallocate(file->fd, mode, (off_t)off, (off_t)len))
		rc = -errno;
	dfile_put(file);
	return rc;
}

int dir_seek(struct backend *be, const struct be_call *call, struct be_node *node, uint64_t off,
	     int whence, uint64_t *out)
{
	struct dfile *file;
	int rc = dfile_get(dir_of(be), dnode_of(node), false, &file);
	off_t at;

	(void)call;
	if (rc)
		return rc;
	at = lseek(file->fd, (off_t)off, whence); /* the position itself is used by nobody */
	rc = at < 0 ? -errno : 0;
	dfile_put(file);
	if (!rc)
		*out = (uint64_t)at;
	return rc;
}

static ssize_t copy_all(int from, uint64_t from_off, int to, uint64_t to_off, size_t len)
{
	off_t src = (off_t)from_off, dst = (off_t)to_off;
	size_t done = 0;

	if (len > COPY_MAX)
		len = COPY_MAX;
	while (done < len) {
		ssize_t n = copy_file_range(from, &src, to, &dst, len - done, 0);

		if (n < 0 && !done)
			return errno == EXDEV || errno == ENOSYS ? -ENOTSUP : -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t dir_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
		       uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len)
{
	struct dfile *from = NULL, *to = NULL;
	ssize_t n = dfile_get(dir_of(be), dnode_of(src), false, &from);

	if (!n)
		n = dfile_get(dir_of(be), dnode_of(dst), true, &to);
	if (!n)
		n = who_become(call->cred);
	if (!n)
		n = copy_all(from->fd, src_off, to->fd, dst_off, len);
	dfile_put(from);
	dfile_put(to);
	return n;
}
