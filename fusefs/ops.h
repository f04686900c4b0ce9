/* SPDX-License-Identifier: Apache-2.0 */
/* ops.h - the FUSE operations, one file a kind: ops_name.c ops_dir.c ops_file.c
 * ops_attr.c ops_xattr.c ops_lock.c ops_space.c
 *
 * Each returns 0 when it has answered, -errno for an answer with that error,
 * OP_PUNT when it would have to wait and rq->may_block is not set (nothing has
 * happened then), or OP_PARKED when a completion answers.
 * op_raw() decodes the hot and the new operations itself; the others come
 * through libfuse's table (decode.c). */
#ifndef FUSEFS_OPS_H
#define FUSEFS_OPS_H

#include "fusefs/handle.h"
#include "fusefs/inode.h"
#include "fusefs/request.h"
#include "fusefs/session.h"

typedef int op_fn(struct request *rq);

/* Decoded by ourselves: arguments are in the message. */
op_fn op_lookup, op_forget, op_batch_forget, op_getattr, op_setattr, op_statx, op_open, op_create,
	op_tmpfile, op_read, op_write, op_flush, op_release, op_copy_file_range_64, op_interrupt;

/* Decoded by libfuse. */
int op_readlink(struct request *rq);
int op_symlink(struct request *rq, const char *target, const char *name);
int op_mknod(struct request *rq, const char *name, mode_t mode, dev_t rdev);
int op_mkdir(struct request *rq, const char *name, mode_t mode);
int op_unlink(struct request *rq, const char *name);
int op_rmdir(struct request *rq, const char *name);
int op_link(struct request *rq, uint64_t node, uint64_t dir, const char *name);
int op_rename(struct request *rq, const char *name, uint64_t newdir, const char *newname,
	      unsigned flags);
int op_opendir(struct request *rq);
int op_readdir(struct request *rq, uint64_t fh, size_t size, uint64_t off, bool plus);
int op_releasedir(struct request *rq, uint64_t fh);
int op_fsyncdir(struct request *rq);
int op_fsync(struct request *rq, uint64_t fh, bool datasync);
int op_statfs(struct request *rq);
int op_access(struct request *rq, int mask);
int op_getxattr(struct request *rq, const char *name, size_t size);
int op_setxattr(struct request *rq, const char *name, const void *value, size_t size, int flags);
int op_listxattr(struct request *rq, size_t size);
int op_removexattr(struct request *rq, const char *name);
int op_fallocate(struct request *rq, int mode, uint64_t off, uint64_t len);
int op_lseek(struct request *rq, uint64_t off, int whence);
int op_copy_file_range(struct request *rq, uint64_t off_in, uint64_t node_out, uint64_t off_out,
		       uint64_t len, bool wide);
int op_getlk(struct request *rq, uint64_t owner, const struct fuse_file_lock *lk);
int op_setlk(struct request *rq, const struct fuse_lk_in *arg, bool flock, bool wait);

/* The function for an opcode that we decode, or NULL. */
op_fn *op_raw(uint32_t opcode);

/* ---- shared by the operations ---- */
void attr_out(const struct session *s, const struct be_attr *attr, struct fuse_attr *out);
/* Attributes with the cache's knowledge merged in; flags: BE_REVALIDATE. */
int inode_getattr(struct request *rq, struct inode *in, unsigned flags, struct be_attr *out);
/* Enters the entry into the table and fills the reply; takes entry->node. */
int entry_out(struct request *rq, struct be_entry *entry, struct fuse_entry_out *out,
	      struct inode **in);
/* Answers with an entry. */
int reply_entry(struct request *rq, struct be_entry *entry);
/* The inode a request is about; NULL: answer -ESTALE. */
static inline struct inode *request_inode(const struct request *rq)
{
	return inode_of(rq->s, rq->hdr->nodeid);
}
/* Changes the size to what set says, with the cache in step. May punt. */
int inode_setattr(struct request *rq, struct inode *in, const struct be_setattr *set,
		  struct be_attr *out);
/* Clears S_ISUID and S_ISGID as a write by an ordinary user must. May punt. */
int inode_kill_suid(struct request *rq, struct inode *in);
/* A change of size by an ordinary user that also clears them: the caller need not
 * be the owner, who alone may change the mode. May punt. */
int inode_truncate_kill(struct request *rq, struct inode *in, struct be_setattr *set,
			struct be_attr *out);
/* Ids that a mapped session shows and takes. -EPERM for an owner it cannot give. */
int map_owner_in(const struct session *s, struct be_setattr *set);

#endif
