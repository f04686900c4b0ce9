/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - lookup, make, link, remove, rename: each a single component below
 * a directory's own descriptor, as the caller */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "backends/dir/dir_impl.h"

static int statx_name(int dirfd, const char *name, struct statx *out)
{
	return statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, DIR_STATX_MASK, out) ?
		       -errno :
		       0;
}

static void entry_set(struct dnode *n, const struct statx *stx, struct be_entry *out)
{
	out->node = &n->node;
	dir_attr_from(stx, &out->attr);
}

/* By a descriptor of its own: sees one object, whatever happens to the name. */
static int lookup_open(struct dir *d, int dirfd, const char *name, struct be_entry *out)
{
	AUTO_FD int fd = -1;
	struct statx stx;
	struct dnode *n;
	int rc;

	do {
		fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		rc = fd < 0 ? -errno : 0;
	} while (rc && dir_fds_shrink(d, rc));
	if (!rc)
		rc = dir_statx_fd(fd, &stx);
	if (!rc)
		rc = dir_check_mount(d, &stx);
	if (!rc)
		rc = dnode_intern_take(d, take_fd(&fd), &stx, &n);
	if (rc)
		return rc;
	entry_set(n, &stx, out);
	return 0;
}

int dir_lookup_at(struct dir *d, int dirfd, const char *name, bool likely_new, struct be_entry *out)
{
	struct statx stx;
	struct dnode *n;
	bool maybe;
	int rc;

	if (likely_new)
		return lookup_open(d, dirfd, name, out);
	rc = statx_name(dirfd, name, &stx);
	if (!rc)
		rc = dir_check_mount(d, &stx);
	if (rc)
		return rc;
	n = dnode_known(d, &stx, &maybe);
	if (!n)
		return lookup_open(d, dirfd, name, out);
	entry_set(n, &stx, out);
	return 0;
}

int dir_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	int fd = dnode_pin_as(d, dnode_of(dir), call->cred), rc;

	if (fd < 0)
		return fd;
	rc = dir_lookup_at(d, fd, name, false, out);
	dnode_unpin(dnode_of(dir));
	return rc;
}

/* ---- making ---------------------------------------------------------- */

/* The node of what was just made. When somebody swapped it for another kind of
 * thing meanwhile it is as if we had been too late altogether. */
static int made(struct dir *d, int dirfd, const char *name, mode_t type, struct be_entry *out)
{
	struct be_entry e;
	int rc = dir_lookup_at(d, dirfd, name, true, &e);

	if (rc)
		return rc;
	if (e.node->type != type) {
		be_node_put(e.node);
		return -ESTALE;
	}
	*out = e;
	return 0;
}

int dir_mknod(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, dev_t rdev, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	int fd = dnode_pin_as(d, dnode_of(dir), call->cred), rc;

	if (fd < 0)
		return fd;
	rc = mknodat(fd, name, mode, S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0) ? -errno : 0;
	if (!rc)
		rc = made(d, fd, name, mode & S_IFMT, out);
	dnode_unpin(dnode_of(dir));
	return rc;
}

int dir_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	int fd = dnode_pin_as(d, dnode_of(dir), call->cred), rc;

	if (fd < 0)
		return fd;
	rc = mkdirat(fd, name, mode) ? -errno : 0;
	if (!rc)
		rc = made(d, fd, name, S_IFDIR, out);
	dnode_unpin(dnode_of(dir));
	return rc;
}

int dir_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		const char *name, const char *target, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	int fd = dnode_pin_as(d, dnode_of(dir), call->cred), rc;

	if (fd < 0)
		return fd;
	rc = symlinkat(target, fd, name) ? -errno : 0;
	if (!rc)
		rc = made(d, fd, name, S_IFLNK, out);
	dnode_unpin(dnode_of(dir));
	return rc;
}

/* The magic link in /proc is followed to the object itself and no further. */
static int link_fd(struct dir *d, struct dnode *n, int fd, int dirfd, const char *name)
{
	char magic[16];

	snprintf(magic, sizeof magic, "%d", fd);
	if (linkat(d->proc_fd, magic, dirfd, name, AT_SYMLINK_FOLLOW))
		return -errno;
	mutex_lock(&n->lock);
	n->unlinked = false;
	mutex_unlock(&n->lock);
	return 0;
}

int dir_link(struct backend *be, const struct be_call *call, struct be_node *node,
	     struct be_node *dir, const char *name, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	struct dnode *n = dnode_of(node);
	struct statx stx;
	int fd = dnode_pin(d, n), dirfd, rc;

	if (fd < 0)
		return fd;
	dirfd = dnode_pin_as(d, dnode_of(dir), call->cred);
	if (dirfd < 0) {
		dnode_unpin(n);
		return dirfd;
	}
	rc = link_fd(d, n, fd, dirfd, name);
	if (!rc)
		rc = dir_statx_fd(fd, &stx);
	dnode_unpin(dnode_of(dir));
	dnode_unpin(n);
	if (rc)
		return rc;
	be_node_get(node);
	entry_set(n, &stx, out);
	return 0;
}

/* ---- removing -------------------------------------------------------- */

/* What an operation is about to take the name of. */
struct victim {
	struct dnode *n; /* counted and pinned; NULL: not known here */
	int fd;
	bool last; /* as far as could be seen before */
};

static void victim_find(struct dir *d, int dirfd, const char *name, const struct be_cred *cred,
			struct victim *v)
{
	struct be_entry e;
	struct statx stx;
	bool maybe;

	memset(v, 0, sizeof *v);
	if (statx_name(dirfd, name, &stx) || dir_check_mount(d, &stx))
		return;
	v->last = S_ISDIR(stx.stx_mode) || stx.stx_nlink == 1;
	v->n = dnode_known(d, &stx, &maybe);
	if (!v->n && maybe && lookup_open(d, dirfd, name, &e) == 0)
		v->n = dnode_of(e.node);
	if (!v->n)
		return;
	v->fd = dnode_pin(d, v->n);
	if (v->fd < 0) {
		be_node_put(&v->n->node);
		v->n = NULL;
	}
	if (who_become(cred))
		v->last = false; /* cannot be: it was cred a moment ago */
}

static void victim_drop(struct victim *v)
{
	if (!v->n)
		return;
	dnode_unpin(v->n);
	be_node_put(&v->n->node);
	v->n = NULL;
}

/* It has lost the name: tells about it. The truth is what the object says now. */
static void victim_removed(struct victim *v, struct be_removed *out)
{
	struct statx stx;

	out->gone = v->last;
	out->node = NULL;
	if (!v->n)
		return;
	if (!S_ISDIR(v->n->node.type) && dir_statx_fd(v->fd, &stx) == 0)
		out->gone = stx.stx_nlink == 0;
	if (out->gone) {
		mutex_lock(&v->n->lock);
		v->n->unlinked = true;
		mutex_unlock(&v->n->lock);
	}
	dnode_unpin(v->n);
	out->node = &v->n->node;
}

static int remove_name(struct backend *be, const struct be_call *call, struct be_node *dir,
		       const char *name, int flags, struct be_removed *out)
{
	struct dir *d = dir_of(be);
	int fd = dnode_pin_as(d, dnode_of(dir), call->cred), rc;
	struct victim v;

	if (fd < 0)
		return fd;
	victim_find(d, fd, name, call->cred, &v);
	rc = unlinkat(fd, name, flags) ? -errno : 0;
	dnode_unpin(dnode_of(dir));
	if (rc)
		victim_drop(&v);
	else
		victim_removed(&v, out);
	return rc;
}

int dir_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_removed *out)
{
	return remove_name(be, call, dir, name, 0, out);
}

int dir_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      struct be_removed *out)
{
	int rc = remove_name(be, call, dir, name, AT_REMOVEDIR, out);

	return rc == -EEXIST ? -ENOTEMPTY : rc;
}

/* True when both names lead to one object: the rename does nothing. */
static bool same_object(int fd, const char *name, const struct dnode *n)
{
	struct statx stx;

	return n && statx_name(fd, name, &stx) == 0 && stx.stx_ino == n->node.ino;
}

static int rename_at(struct dir *d, int fd, const char *name, int newfd, const char *newname,
		     unsigned flags, const struct be_cred *cred, struct be_removed *out)
{
	struct victim v = { .n = NULL };
	int rc;

	if (!flags)
		victim_find(d, newfd, newname, cred, &v);
	if (same_object(fd, name, v.n)) {
		victim_drop(&v);
		v.last = false;
	}
	if (renameat2(fd, name, newfd, newname, flags)) {
		rc = errno == EEXIST && !flags ? -ENOTEMPTY : -errno;
		victim_drop(&v);
		return rc;
	}
	victim_removed(&v, out);
	return 0;
}

int dir_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_node *newdir, const char *newname, unsigned flags,
	       struct be_removed *out)
{
	struct dir *d = dir_of(be);
	int fd = dnode_pin(d, dnode_of(dir)), newfd, rc;

	if (fd < 0)
		return fd;
	newfd = dnode_pin_as(d, dnode_of(newdir), call->cred);
	if (newfd < 0) {
		dnode_unpin(dnode_of(dir));
		return newfd;
	}
	rc = rename_at(d, fd, name, newfd, newname, flags, call->cred, out);
	dnode_unpin(dnode_of(newdir));
	dnode_unpin(dnode_of(dir));
	return rc;
}
