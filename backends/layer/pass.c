/* SPDX-License-Identifier: Apache-2.0 */
/* pass.c - the table of every layer: each operation is shown to the layer and
 * handed to the backend below */
#include "backends/layer/layer_impl.h"

static int before(struct backend *be, const struct layer_what *what)
{
	struct layer *l = (struct layer *)be;

	return l->lops->before ? l->lops->before(l, what) : 0;
}

static ssize_t after(struct backend *be, const struct layer_what *what, ssize_t result)
{
	struct layer *l = (struct layer *)be;

	if (l->lops->after)
		l->lops->after(l, what, result);
	return result;
}

#define PASS_RC(op_, call_, node_, name_, forward)                                    \
	({                                                                            \
		const struct layer_what what_ = { LAYER_##op_, node_, name_, call_ }; \
		int rc_ = before(be, &what_);                                         \
		after(be, &what_, rc_ ? rc_ : (forward));                             \
	})
#define PASS(op, call, node, name, forward) ((int)PASS_RC(op, call, node, name, forward))

/* Cannot fail: a fault is not asked for, but the layer sees it. */
#define PASS_VOID(op_, node_, forward)                                              \
	do {                                                                        \
		const struct layer_what what_ = { LAYER_##op_, node_, NULL, NULL }; \
		(void)before(be, &what_);                                           \
		forward;                                                            \
		(void)after(be, &what_, 0);                                         \
	} while (0)

/* ---- data ------------------------------------------------------------ */

enum be_submit layer_submit_below(struct layer *l, enum layer_op op, struct be_io *io)
{
	switch (op) {
	case LAYER_read:
		return backend_read(l->be.next, io);
	case LAYER_write:
		return backend_write(l->be.next, io);
	default:
		return backend_commit(l->be.next, io);
	}
}

static enum be_submit submit(struct backend *be, enum layer_op op, struct be_io *io)
{
	const struct layer_what what = { op, io->node, NULL, NULL };
	struct layer *l = (struct layer *)be;
	int rc = before(be, &what);

	if (rc) {
		io->result = after(be, &what, rc);
		return BE_DONE;
	}
	return l->lops->submit ? l->lops->submit(l, op, io) : layer_submit_below(l, op, io);
}

static enum be_submit pass_read(struct backend *be, struct be_io *io)
{
	return submit(be, LAYER_read, io);
}

static enum be_submit pass_write(struct backend *be, struct be_io *io)
{
	return submit(be, LAYER_write, io);
}

static enum be_submit pass_commit(struct backend *be, struct be_io *io)
{
	return submit(be, LAYER_commit, io);
}

/* ---- all the others --------------------------------------------------- */

static void pass_close(struct backend *be)
{
	struct layer *l = (struct layer *)be;
	struct backend *next = be->next;

	l->lops->free(l);
	backend_close(next);
}

static int pass_root(struct backend *be, struct be_entry *out)
{
	return PASS(root, NULL, NULL, NULL, backend_root(be->next, out));
}

static int pass_key(struct backend *be, char *out)
{
	return backend_key(be->next, out);
}

static int pass_folder(struct backend *be, const char *uri, struct be_entry *out, struct err *err)
{
	return backend_folder(be->next, uri, out, err);
}

static int pass_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
		       const char *name, struct be_entry *out)
{
	return PASS(lookup, call, dir, name, backend_lookup(be->next, call, dir, name, out));
}

static int pass_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
			struct be_attr *out)
{
	return PASS(getattr, call, node, NULL, backend_getattr(be->next, call, node, out));
}

static int pass_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
			const struct be_setattr *set, struct be_attr *out)
{
	return PASS(setattr, call, node, NULL, backend_setattr(be->next, call, node, set, out));
}

static int pass_access(struct backend *be, const struct be_call *call, struct be_node *node,
		       int mask)
{
	return PASS(access, call, node, NULL, backend_access(be->next, call, node, mask));
}

static ssize_t pass_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
			     char *buf, size_t cap)
{
	return PASS_RC(readlink, call, node, NULL,
		       backend_readlink(be->next, call, node, buf, cap));
}

static int pass_mknod(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, mode_t mode, dev_t rdev, struct be_entry *out)
{
	return PASS(mknod, call, dir, name,
		    backend_mknod(be->next, call, dir, name, mode, rdev, out));
}

static int pass_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, mode_t mode, struct be_entry *out)
{
	return PASS(mkdir, call, dir, name, backend_mkdir(be->next, call, dir, name, mode, out));
}

static int pass_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
			const char *name, const char *target, struct be_entry *out)
{
	return PASS(symlink, call, dir, name,
		    backend_symlink(be->next, call, dir, name, target, out));
}

static int pass_link(struct backend *be, const struct be_call *call, struct be_node *node,
		     struct be_node *dir, const char *name, struct be_entry *out)
{
	return PASS(link, call, dir, name, backend_link(be->next, call, node, dir, name, out));
}

static int pass_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		       const char *name, struct be_removed *out)
{
	return PASS(unlink, call, dir, name, backend_unlink(be->next, call, dir, name, out));
}

static int pass_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, struct be_removed *out)
{
	return PASS(rmdir, call, dir, name, backend_rmdir(be->next, call, dir, name, out));
}

static int pass_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
		       const char *name, struct be_node *newdir, const char *newname,
		       unsigned flags, struct be_removed *out)
{
	return PASS(rename, call, dir, name,
		    backend_rename(be->next, call, dir, name, newdir, newname, flags, out));
}

static int pass_create(struct backend *be, const struct be_call *call, struct be_node *dir,
		       const char *name, mode_t mode, int oflags, struct be_entry *out)
{
	return PASS(create, call, dir, name,
		    backend_create(be->next, call, dir, name, mode, oflags, out));
}

static int pass_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir,
			mode_t mode, int oflags, struct be_entry *out)
{
	return PASS(tmpfile, call, dir, NULL,
		    backend_tmpfile(be->next, call, dir, mode, oflags, out));
}

static int pass_open(struct backend *be, const struct be_call *call, struct be_node *node,
		     int oflags)
{
	return PASS(open, call, node, NULL, backend_open_node(be->next, call, node, oflags));
}

static void pass_release(struct backend *be, struct be_node *node, int oflags)
{
	PASS_VOID(release, node, backend_release(be->next, node, oflags));
}

static int pass_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
			struct be_dir **out)
{
	return PASS(opendir, call, dir, NULL, backend_opendir(be->next, call, dir, out));
}

static int pass_readdir(struct backend *be, const struct be_call *call, struct be_dir *d,
			uint64_t cookie, bool plus, be_emit *emit, void *arg)
{
	return PASS(readdir, call, NULL, NULL,
		    backend_readdir(be->next, call, d, cookie, plus, emit, arg));
}

static void pass_closedir(struct backend *be, struct be_dir *d)
{
	PASS_VOID(closedir, NULL, backend_closedir(be->next, d));
}

static int pass_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir)
{
	return PASS(fsyncdir, call, dir, NULL, backend_fsyncdir(be->next, call, dir));
}

static int pass_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
		       struct statvfs *out)
{
	return PASS(statfs, call, node, NULL, backend_statfs(be->next, call, node, out));
}

static ssize_t pass_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			     const char *name, void *buf, size_t cap)
{
	return PASS_RC(getxattr, call, node, name,
		       backend_getxattr(be->next, call, node, name, buf, cap));
}

static int pass_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			 const char *name, const void *value, size_t len, int flags)
{
	return PASS(setxattr, call, node, name,
		    backend_setxattr(be->next, call, node, name, value, len, flags));
}

static ssize_t pass_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			      char *buf, size_t cap)
{
	return PASS_RC(listxattr, call, node, NULL,
		       backend_listxattr(be->next, call, node, buf, cap));
}

static int pass_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
			    const char *name)
{
	return PASS(removexattr, call, node, name, backend_removexattr(be->next, call, node, name));
}

static int pass_fallocate(struct backend *be, const struct be_call *call, struct be_node *node,
			  int mode, uint64_t off, uint64_t len)
{
	return PASS(fallocate, call, node, NULL,
		    backend_fallocate(be->next, call, node, mode, off, len));
}

static int pass_seek(struct backend *be, const struct be_call *call, struct be_node *node,
		     uint64_t off, int whence, uint64_t *out)
{
	return PASS(seek, call, node, NULL, backend_seek(be->next, call, node, off, whence, out));
}

static ssize_t pass_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
			       uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len)
{
	return PASS_RC(copy_range, call, src, NULL,
		       backend_copy_range(be->next, call, src, src_off, dst, dst_off, len));
}

/* Locks have no name in enum layer_op: they pass unseen. */
static int pass_lock(struct backend *be, const struct be_call *call, struct be_node *node,
		     const struct be_lock *lk)
{
	return backend_lock(be->next, call, node, lk);
}

static int pass_unlock(struct backend *be, const struct be_call *call, struct be_node *node,
		       const struct be_lock *lk)
{
	return backend_unlock(be->next, call, node, lk);
}

static int pass_lock_test(struct backend *be, const struct be_call *call, struct be_node *node,
			  const struct be_lock *lk, struct be_lock *out)
{
	return backend_lock_test(be->next, call, node, lk, out);
}

static int pass_reserve(struct backend *be, struct be_node *node, uint64_t off, size_t len)
{
	return PASS(reserve, NULL, node, NULL, backend_reserve(be->next, node, off, len));
}

static void pass_unreserve(struct backend *be, struct be_node *node, uint64_t off, size_t len)
{
	PASS_VOID(unreserve, node, backend_unreserve(be->next, node, off, len));
}

static void pass_fail_reads(struct backend *be)
{
	backend_fail_reads(be->next);
}

static ssize_t pass_node_save(struct backend *be, struct be_node *node, void *buf, size_t cap)
{
	return PASS_RC(node_save, NULL, node, NULL, backend_node_save(be->next, node, buf, cap));
}

static int pass_node_restore(struct backend *be, const void *buf, size_t len, struct be_entry *out)
{
	return PASS(node_restore, NULL, NULL, NULL, backend_node_restore(be->next, buf, len, out));
}

const struct backend_ops layer_backend_ops = {
	.scheme = "layer",
	.close = pass_close,
	.fail_reads = pass_fail_reads,
	.root = pass_root,
	.key = pass_key,
	.folder = pass_folder,
	.submit_read = pass_read,
	.submit_write = pass_write,
	.submit_commit = pass_commit,
	.lookup = pass_lookup,
	.getattr = pass_getattr,
	.setattr = pass_setattr,
	.access = pass_access,
	.readlink = pass_readlink,
	.mknod = pass_mknod,
	.mkdir = pass_mkdir,
	.symlink = pass_symlink,
	.link = pass_link,
	.unlink = pass_unlink,
	.rmdir = pass_rmdir,
	.rename = pass_rename,
	.create = pass_create,
	.tmpfile = pass_tmpfile,
	.open = pass_open,
	.release = pass_release,
	.opendir = pass_opendir,
	.readdir = pass_readdir,
	.closedir = pass_closedir,
	.fsyncdir = pass_fsyncdir,
	.statfs = pass_statfs,
	.getxattr = pass_getxattr,
	.setxattr = pass_setxattr,
	.listxattr = pass_listxattr,
	.removexattr = pass_removexattr,
	.fallocate = pass_fallocate,
	.seek = pass_seek,
	.copy_range = pass_copy_range,
	.lock = pass_lock,
	.unlock = pass_unlock,
	.lock_test = pass_lock_test,
	.reserve = pass_reserve,
	.unreserve = pass_unreserve,
	.node_save = pass_node_save,
	.node_restore = pass_node_restore,
};
