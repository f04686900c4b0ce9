/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - the checked wrappers: the only way into a backend's table
 *
 * Each asserts that no lock of ours is held, counts (once in a stack: at the
 * bottom), refuses arguments that no store should have to see, and answers
 * -ENOTSUP for a function that the backend does not have. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>

#include "backends/backend.h"
#include "common/lock.h"
#include "common/stats.h"

static void enter(const struct backend *be, enum stat_id counter)
{
	lock_assert_none();
	if (!be->next)
		stats_inc(counter);
}

static void enter_call(const struct backend *be, const struct be_call *call,
		       const struct be_node *node)
{
	assert(call && call->cred);
	assert(node && node->be);
	enter(be, STAT_backend_calls);
}

/* -EINVAL for what is not a single path component. */
static int check_name(const struct backend *be, const char *name)
{
	size_t max = be->limits.name_max, len = strnlen(name, max + 1);

	if (memchr(name, '/', len))
		return -EINVAL;
	if (len == 0 || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return len > max ? -ENAMETOOLONG : 0;
}

/* For operations on name in dir: counts, then 0 or why they cannot be. */
static int enter_name(const struct backend *be, const struct be_call *call,
		      const struct be_node *dir, const char *name)
{
	enter_call(be, call, dir);
	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	return check_name(be, name);
}

static int check_regular(const struct be_node *node)
{
	if (S_ISREG(node->type))
		return 0;
	return S_ISDIR(node->type) ? -EISDIR : -EINVAL;
}

static int check_xattr_name(const char *name)
{
	size_t len = strnlen(name, XATTR_NAME_MAX + 1);

	return len == 0 || len > XATTR_NAME_MAX ? -ERANGE : 0;
}

/* ---- data ----------------------------------------------------------- */

static enum be_submit io_fail(struct be_io *io, int rc)
{
	io->result = rc;
	return BE_DONE;
}

static void io_begin(struct backend *be, struct be_io *io, enum stat_id counter)
{
	assert(io->node && io->cred);
	assert(S_ISREG(io->node->type));
	enter(be, counter);
	io->post_valid = false;
}

/* True when [off, off+len) does not go beyond the largest file. */
static bool range_ok(const struct backend *be, uint64_t off, uint64_t len)
{
	return len <= be->limits.file_max && off <= be->limits.file_max - len;
}

enum be_submit backend_read(struct backend *be, struct be_io *io)
{
	io_begin(be, io, STAT_backend_reads);
	if (io->len == 0 || !range_ok(be, io->off, 0))
		return io_fail(io, 0);
	return be->ops->submit_read(be, io);
}

enum be_submit backend_write(struct backend *be, struct be_io *io)
{
	io_begin(be, io, STAT_backend_writes);
	if (!range_ok(be, io->off, io->len))
		return io_fail(io, -EFBIG);
	return be->ops->submit_write(be, io);
}

enum be_submit backend_commit(struct backend *be, struct be_io *io)
{
	io_begin(be, io, STAT_backend_calls);
	return be->ops->submit_commit(be, io);
}

/* ---- names ---------------------------------------------------------- */

int backend_root(struct backend *be, struct be_entry *out)
{
	enter(be, STAT_backend_calls);
	return be->ops->root(be, out);
}

int backend_key(struct backend *be, char *out)
{
	enter(be, STAT_backend_calls);
	return be->ops->key ? be->ops->key(be, out) : -ENOTSUP;
}

int backend_folder(struct backend *be, const char *uri, struct be_entry *out, struct err *err)
{
	enter(be, STAT_backend_calls);
	if (!be->ops->folder)
		return err_set(err, -ENOTSUP, "'%.200s': this backend has one root only", uri);
	return be->ops->folder(be, uri, out, err);
}

int backend_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, struct be_entry *out)
{
	int rc = enter_name(be, call, dir, name);

	return rc ? rc : be->ops->lookup(be, call, dir, name, out);
}

int backend_mknod(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, mode_t mode, dev_t rdev, struct be_entry *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	if (S_ISDIR(mode) || S_ISLNK(mode))
		return -EINVAL;
	return be->ops->mknod ? be->ops->mknod(be, call, dir, name, mode, rdev, out) : -ENOTSUP;
}

int backend_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, mode_t mode, struct be_entry *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	return be->ops->mkdir ? be->ops->mkdir(be, call, dir, name, mode & 07777, out) : -ENOTSUP;
}

int backend_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		    const char *name, const char *target, struct be_entry *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	if (!*target)
		return -ENOENT;
	if (strnlen(target, PATH_MAX) == PATH_MAX)
		return -ENAMETOOLONG;
	return be->ops->symlink ? be->ops->symlink(be, call, dir, name, target, out) : -ENOTSUP;
}

int backend_link(struct backend *be, const struct be_call *call, struct be_node *node,
		 struct be_node *dir, const char *name, struct be_entry *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	if (S_ISDIR(node->type))
		return -EPERM;
	return be->ops->link ? be->ops->link(be, call, node, dir, name, out) : -ENOTSUP;
}

int backend_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, struct be_removed *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	return be->ops->unlink ? be->ops->unlink(be, call, dir, name, out) : -ENOTSUP;
}

int backend_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_removed *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	return be->ops->rmdir ? be->ops->rmdir(be, call, dir, name, out) : -ENOTSUP;
}

int backend_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, struct be_node *newdir, const char *newname, unsigned flags,
		   struct be_removed *out)
{
	int rc = enter_name(be, call, dir, name);

	if (!rc)
		rc = S_ISDIR(newdir->type) ? check_name(be, newname) : -ENOTDIR;
	if (rc)
		return rc;
	if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
		return -EINVAL;
	if (!be->ops->rename)
		return -ENOTSUP;
	return be->ops->rename(be, call, dir, name, newdir, newname, flags, out);
}

/* ---- one object ----------------------------------------------------- */

int backend_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    struct be_attr *out)
{
	enter_call(be, call, node);
	return be->ops->getattr(be, call, node, out);
}

int backend_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    const struct be_setattr *set, struct be_attr *out)
{
	enter_call(be, call, node);
	assert(!(set->valid & BE_SET_ATIME) || !(set->valid & BE_SET_ATIME_NOW));
	assert(!(set->valid & BE_SET_MTIME) || !(set->valid & BE_SET_MTIME_NOW));
	if (set->valid & BE_SET_SIZE) {
		int rc = check_regular(node);

		if (rc)
			return rc;
		if (!range_ok(be, set->size, 0))
			return -EFBIG;
	}
	return be->ops->setattr ? be->ops->setattr(be, call, node, set, out) : -ENOTSUP;
}

int backend_access(struct backend *be, const struct be_call *call, struct be_node *node, int mask)
{
	enter_call(be, call, node);
	return be->ops->access ? be->ops->access(be, call, node, mask) : 0;
}

ssize_t backend_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
			 char *buf, size_t cap)
{
	enter_call(be, call, node);
	if (!S_ISLNK(node->type))
		return -EINVAL;
	return be->ops->readlink ? be->ops->readlink(be, call, node, buf, cap) : -ENOTSUP;
}

int backend_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
		   struct statvfs *out)
{
	enter_call(be, call, node);
	return be->ops->statfs ? be->ops->statfs(be, call, node, out) : -ENOTSUP;
}

/* ---- open files ----------------------------------------------------- */

int backend_create(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, mode_t mode, int oflags, struct be_entry *out)
{
	int rc = enter_name(be, call, dir, name);

	if (rc)
		return rc;
	if (!be->ops->create)
		return -ENOTSUP;
	return be->ops->create(be, call, dir, name, mode & 07777, oflags & ~O_TRUNC, out);
}

int backend_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir,
		    mode_t mode, int oflags, struct be_entry *out)
{
	enter_call(be, call, dir);
	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	if (!be->ops->tmpfile)
		return -ENOTSUP;
	return be->ops->tmpfile(be, call, dir, mode & 07777, oflags & ~O_TRUNC, out);
}

int backend_open_node(struct backend *be, const struct be_call *call, struct be_node *node,
		      int oflags)
{
	int rc;

	enter_call(be, call, node);
	rc = check_regular(node);
	return rc ? rc : be->ops->open(be, call, node, oflags & ~O_TRUNC);
}

void backend_release(struct backend *be, struct be_node *node, int oflags)
{
	enter(be, STAT_backend_calls);
	be->ops->release(be, node, oflags);
}

int backend_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		    struct be_dir **out)
{
	enter_call(be, call, dir);
	return S_ISDIR(dir->type) ? be->ops->opendir(be, call, dir, out) : -ENOTDIR;
}

int backend_readdir(struct backend *be, const struct be_call *call, struct be_dir *d,
		    uint64_t cookie, bool plus, be_emit *emit, void *arg)
{
	assert(call && call->cred && d);
	enter(be, STAT_backend_calls);
	return be->ops->readdir(be, call, d, cookie, plus, emit, arg);
}

void backend_closedir(struct backend *be, struct be_dir *d)
{
	enter(be, STAT_backend_calls);
	be->ops->closedir(be, d);
}

void backend_fail_reads(struct backend *be)
{
	if (be->ops->fail_reads)
		be->ops->fail_reads(be);
}

int backend_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir)
{
	enter_call(be, call, dir);
	return be->ops->fsyncdir ? be->ops->fsyncdir(be, call, dir) : -ENOTSUP;
}

/* ---- extended attributes -------------------------------------------- */

ssize_t backend_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			 const char *name, void *buf, size_t cap)
{
	int rc = check_xattr_name(name);

	enter_call(be, call, node);
	if (rc)
		return rc;
	return be->ops->getxattr ? be->ops->getxattr(be, call, node, name, buf, cap) : -ENOTSUP;
}

int backend_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		     const char *name, const void *value, size_t len, int flags)
{
	int rc = check_xattr_name(name);

	enter_call(be, call, node);
	if (rc)
		return rc;
	if (len > XATTR_SIZE_MAX)
		return -E2BIG;
	if (!be->ops->setxattr)
		return -ENOTSUP;
	return be->ops->setxattr(be, call, node, name, value, len, flags);
}

ssize_t backend_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			  char *buf, size_t cap)
{
	enter_call(be, call, node);
	return be->ops->listxattr ? be->ops->listxattr(be, call, node, buf, cap) : -ENOTSUP;
}

int backend_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
			const char *name)
{
	int rc = check_xattr_name(name);

	enter_call(be, call, node);
	if (rc)
		return rc;
	return be->ops->removexattr ? be->ops->removexattr(be, call, node, name) : -ENOTSUP;
}

/* ---- space ---------------------------------------------------------- */

int backend_fallocate(struct backend *be, const struct be_call *call, struct be_node *node,
		      int mode, uint64_t off, uint64_t len)
{
	int rc = check_regular(node);

	enter_call(be, call, node);
	if (rc)
		return rc;
	if (len == 0)
		return -EINVAL;
	if (!range_ok(be, off, len))
		return -EFBIG;
	return be->ops->fallocate ? be->ops->fallocate(be, call, node, mode, off, len) : -ENOTSUP;
}

int backend_seek(struct backend *be, const struct be_call *call, struct be_node *node, uint64_t off,
		 int whence, uint64_t *out)
{
	int rc = check_regular(node);

	enter_call(be, call, node);
	if (rc || (whence != SEEK_DATA && whence != SEEK_HOLE))
		return rc ? rc : -EINVAL;
	if (!range_ok(be, off, 0))
		return -ENXIO;
	return be->ops->seek ? be->ops->seek(be, call, node, off, whence, out) : -ENOTSUP;
}

ssize_t backend_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
			   uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len)
{
	int rc = check_regular(src);

	enter_call(be, call, src);
	if (!rc)
		rc = check_regular(dst);
	if (rc)
		return rc;
	if (!range_ok(be, src_off, 0))
		return 0;
	if (!range_ok(be, dst_off, len))
		return -EFBIG;
	if (!be->ops->copy_range)
		return -ENOTSUP;
	return be->ops->copy_range(be, call, src, src_off, dst, dst_off, len);
}

/* ---- locks ---------------------------------------------------------- */

static int enter_lock(struct backend *be, const struct be_call *call, const struct be_node *node,
		      const struct be_lock *lk)
{
	enter_call(be, call, node);
	assert(!(call->flags & BE_NOWAIT));
	if (lk->start > lk->end || lk->end > BE_LOCK_END)
		return -EINVAL;
	return check_regular(node);
}

int backend_lock(struct backend *be, const struct be_call *call, struct be_node *node,
		 const struct be_lock *lk)
{
	int rc = enter_lock(be, call, node, lk);

	if (rc)
		return rc;
	return be->ops->lock ? be->ops->lock(be, call, node, lk) : -ENOTSUP;
}

int backend_unlock(struct backend *be, const struct be_call *call, struct be_node *node,
		   const struct be_lock *lk)
{
	int rc = enter_lock(be, call, node, lk);

	if (rc)
		return rc;
	return be->ops->unlock ? be->ops->unlock(be, call, node, lk) : -ENOTSUP;
}

int backend_lock_test(struct backend *be, const struct be_call *call, struct be_node *node,
		      const struct be_lock *lk, struct be_lock *out)
{
	int rc = enter_lock(be, call, node, lk);

	if (rc)
		return rc;
	return be->ops->lock_test ? be->ops->lock_test(be, call, node, lk, out) : -ENOTSUP;
}

int backend_reserve(struct backend *be, struct be_node *node, uint64_t off, size_t len)
{
	enter(be, STAT_backend_calls);
	if (!range_ok(be, off, len))
		return -EFBIG;
	return be->ops->reserve ? be->ops->reserve(be, node, off, len) : -ENOTSUP;
}

void backend_unreserve(struct backend *be, struct be_node *node, uint64_t off, size_t len)
{
	enter(be, STAT_backend_calls);
	if (be->ops->unreserve)
		be->ops->unreserve(be, node, off, len);
}

/* ---- nodes as bytes ------------------------------------------------- */

ssize_t backend_node_save(struct backend *be, struct be_node *node, void *buf, size_t cap)
{
	enter(be, STAT_backend_calls);
	return be->ops->node_save ? be->ops->node_save(be, node, buf, cap) : -ENOTSUP;
}

int backend_node_restore(struct backend *be, const void *buf, size_t len, struct be_entry *out)
{
	enter(be, STAT_backend_calls);
	return be->ops->node_restore ? be->ops->node_restore(be, buf, len, out) : -ENOTSUP;
}

/* ---- waiting -------------------------------------------------------- */

struct waiter {
	struct mutex lock;
	struct cond done_cond;
	bool done; /* guarded by lock */
};

static void waiter_done(struct be_io *io)
{
	struct waiter *w = io->priv;

	mutex_lock(&w->lock);
	w->done = true;
	cond_signal(&w->done_cond);
	mutex_unlock(&w->lock);
}

static ssize_t submit_wait(struct backend *be, struct be_io *io,
			   enum be_submit (*submit)(struct backend *, struct be_io *))
{
	struct waiter w = { .done = false };

	mutex_init(&w.lock, LOCK_be_rpc);
	cond_init(&w.done_cond);
	io->done = waiter_done;
	io->priv = &w;
	if (submit(be, io) == BE_QUEUED) {
		mutex_lock(&w.lock);
		while (!w.done)
			cond_wait(&w.done_cond, &w.lock);
		mutex_unlock(&w.lock);
	}
	cond_done(&w.done_cond);
	mutex_done(&w.lock);
	return io->result;
}

ssize_t backend_read_wait(struct backend *be, struct be_io *io)
{
	return submit_wait(be, io, backend_read);
}

ssize_t backend_write_wait(struct backend *be, struct be_io *io)
{
	return submit_wait(be, io, backend_write);
}

ssize_t backend_commit_wait(struct backend *be, struct be_io *io)
{
	return submit_wait(be, io, backend_commit);
}
