/* SPDX-License-Identifier: Apache-2.0 */
/* dir_impl.h - the parts of the dir backend
 *
 *   dir.c    opening, closing, the table     who.c      acting as the caller
 *   node.c   the table of nodes              fds.c      descriptors of nodes and of their data
 *   names.c  lookup, make, remove, rename    attr.c     attributes, access, statfs
 *   file.c   create, open, ranges            io.c       data, and threads for it
 *   readdir.c  xattr.c
 *
 * A node is (device, inode number) plus a way back to the object: an O_PATH
 * descriptor, or, when that was closed to stay within the limit, a file handle.
 * While a descriptor is open the inode number cannot be used again; a node
 * without one is the same object only if the handles are equal.
 *
 * Nothing leaves the folder: names are single components below a descriptor,
 * symbolic links are never followed, ".." is never used, and an object that
 * lies on another mount is refused with -EXDEV.
 *
 * Identity: most operations run as the caller (who.c). Afterwards the thread
 * stays what it is until the next operation needs something else: a program
 * that uses this backend starts its threads before the first call, or they
 * inherit a caller's identity.
 *
 * Locks, none held across another's file operation that may wait long:
 *   table_lock, fds_lock (be_table; never both)  then  a node's lock (be_node);
 *   a directory stream's and a pool's lock (be_queue) alone. */
#ifndef BACKENDS_DIR_DIR_IMPL_H
#define BACKENDS_DIR_DIR_IMPL_H

#include <sys/stat.h>

#include "backends/backend.h"
#include "common/cleanup.h"
#include "common/list.h"
#include "common/lock.h"

#define DIR_IO_MAX (1u << 20)
#define DIR_DATA_THREADS 4
#define DIR_COMMIT_THREADS 4
#define DIR_FDS_SPARE 512 /* descriptors not used for nodes: open files, sockets */
#define DIR_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

struct dir;

/* An open file description for data. Counted: by its node while opens > 0, and
 * by each transfer in flight. */
struct dfile {
	_Atomic unsigned refs;
	int fd;
	bool writable;
};

struct dnode {
	struct be_node node;
	dev_t dev; /* set when made, as is btime */
	struct statx_timestamp btime;
	/* guarded by table_lock */
	struct dnode *next; /* of the same bucket */
	bool in_table;
	/* guarded by fds_lock */
	struct list fd_link; /* while fd may be closed for others */
	/* guarded by lock */
	struct mutex lock;
	int fd;            /* O_PATH; -1: closed, handle leads back */
	unsigned fd_users; /* keep it open */
	bool fd_used;      /* since the closing hand passed by */
	bool unlinked;     /* has no name: never closed, no handle may lead back */
	struct be_handle handle;
	struct dfile *data; /* counted; NULL: not open */
	unsigned opens;
};

struct pool;

struct dir {
	struct backend be;
	/* set at start, then read only */
	int root_fd;      /* the folder, opened for reading */
	int proc_fd;      /* /proc/self/fd: opens a descriptor's object anew */
	bool no_paths;    /* the process opens none */
	bool proc_is_cwd; /* it is the working folder, and /proc is not there */
	/* Handles by others, see be_env; NULL: by the kernel. */
	int (*handle_get)(void *arg, int fd, struct be_handle *out);
	int (*handle_open)(void *arg, const struct be_handle *h);
	void *helper_arg;
	dev_t root_dev;
	uint64_t root_mnt;                    /* 0: the kernel does not tell */
	bool in_ram;                          /* a file system that never waits for a device */
	bool handles;                         /* objects can be found again by handle */
	size_t fds_max;                       /* O_PATH descriptors worth keeping */
	struct dnode *root;                   /* counted */
	struct pool *data_pool, *commit_pool; /* owned */
	atomic_bool no_nowait;                /* RWF_NOWAIT is not known here */

	struct mutex table_lock;
	/* guarded by table_lock */
	struct dnode **buckets; /* owned; a power of two */
	size_t nbuckets, count;

	struct mutex fds_lock;
	/* guarded by fds_lock */
	struct list fds; /* nodes with an fd, next to be looked at first */
	size_t nfds;
};

static inline struct dir *dir_of(struct backend *be)
{
	return (struct dir *)be;
}

static inline struct dnode *dnode_of(struct be_node *node)
{
	return (struct dnode *)node;
}

/* ---- who.c ----------------------------------------------------------- */

/* Learns what the process may do; before any other thread runs. */
void who_init(void);
/* True when callers' identities can be assumed; else all is done as we are. */
bool who_can_switch(void);
/* The calling thread acts as cred from here on. 0 or -EPERM (then it is the daemon). */
int who_become(const struct be_cred *cred);
/* The calling thread has the daemon's user id and privileges (and some caller's groups):
 * for opening what is there, not for making anything. */
void who_become_daemon(void);
/* The calling thread is again what the process was at who_init(). */
void who_restore(void);

/* ---- node.c ---------------------------------------------------------- */

void dir_attr_from(const struct statx *stx, struct be_attr *out);
/* Of the object itself, by its O_PATH or data descriptor. 0 or -errno. */
int dir_statx_fd(int fd, struct statx *out);
/* -EXDEV for what is mounted inside the folder. */
int dir_check_mount(const struct dir *d, const struct statx *stx);
/* The node of what stx describes, counted, when it is known and is surely the
 * same object. Else NULL; *maybe tells whether a closer look could find it. */
struct dnode *dnode_known(struct dir *d, const struct statx *stx, bool *maybe);
/* A guess for the sake of speed. */
bool dnode_likely_known(struct dir *d, uint64_t ino);
/* The node of what the O_PATH descriptor fd stands for. Takes fd in any case. */
int dnode_intern_take(struct dir *d, int fd, const struct statx *stx, struct dnode **out);
void dnode_free(struct be_node *node);
/* For callers of operations on node: pins it and becomes cred. The descriptor or -errno. */
int dnode_pin_as(struct dir *d, struct dnode *n, const struct be_cred *cred);

/* save.c */
ssize_t dir_node_save(struct backend *be, struct be_node *node, void *buf, size_t cap);
int dir_node_restore(struct backend *be, const void *buf, size_t len, struct be_entry *out);

/* ---- fds.c ----------------------------------------------------------- */

/* An O_PATH descriptor of the node, open until dnode_unpin(); -ESTALE when the
 * object is gone. May leave the thread acting as the daemon. */
int dnode_pin(struct dir *d, struct dnode *n);
void dnode_unpin(struct dnode *n);
/* Makes a node with an fd known to the closing hand; closes others beyond the limit. */
void dir_fds_add(struct dir *d, struct dnode *n);
void dir_fds_remove(struct dir *d, struct dnode *n);
/* Descriptors ran out: closes what can be. True when a new try may help. */
bool dir_fds_shrink(struct dir *d, int error);
/* Fills handle from the O_PATH descriptor. 0 or -errno. */
int dhandle_get(const struct dir *d, int fd, struct be_handle *out);
/* An O_PATH descriptor, opened as the daemon; -ESTALE when the object is gone. */
int dhandle_open(const struct dir *d, const struct be_handle *h);
/* Opens what the O_PATH descriptor fd stands for. An fd or -errno. */
int dir_reopen(const struct dir *d, int fd, int oflags);

/* Data descriptor of the node, good for writing if asked for, opened as the
 * daemon when nobody has it open. */
int dfile_get(struct dir *d, struct dnode *n, bool writing, struct dfile **out);
void dfile_put(struct dfile *file);
/* The descriptor the node has open, counted, or NULL when there is none that will do. */
struct dfile *dfile_of_node(struct dnode *n, bool writing);
/* Counts an opener; file becomes the node's unless it has one as good. Takes file (may be NULL). */
void dnode_opened_take(struct dnode *n, struct dfile *file);
/* NULL without memory; fd is taken in any case. */
struct dfile *dfile_new_take(int fd, bool writable);
void dir_release(struct backend *be, struct be_node *node, int oflags);

/* ---- io.c ------------------------------------------------------------- */

/* Threads for transfers that wait for a disk. */
int dir_pool_new(const char *name, unsigned threads, struct pool **out);

/* ---- operations; see backend.h ---------------------------------------- */

enum be_submit dir_submit_read(struct backend *be, struct be_io *io);
enum be_submit dir_submit_write(struct backend *be, struct be_io *io);
enum be_submit dir_submit_commit(struct backend *be, struct be_io *io);

int dir_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_entry *out);
/* name below the O_PATH descriptor, as the thread's identity. likely_new: saves a call if so. */
int dir_lookup_at(struct dir *d, int dirfd, const char *name, bool likely_new,
		  struct be_entry *out);
int dir_mknod(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, dev_t rdev, struct be_entry *out);
int dir_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, struct be_entry *out);
int dir_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		const char *name, const char *target, struct be_entry *out);
int dir_link(struct backend *be, const struct be_call *call, struct be_node *node,
	     struct be_node *dir, const char *name, struct be_entry *out);
int dir_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_removed *out);
int dir_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      struct be_removed *out);
int dir_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_node *newdir, const char *newname, unsigned flags,
	       struct be_removed *out);

int dir_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		struct be_attr *out);
int dir_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		const struct be_setattr *set, struct be_attr *out);
int dir_access(struct backend *be, const struct be_call *call, struct be_node *node, int mask);
ssize_t dir_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
		     char *buf, size_t cap);
int dir_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
	       struct statvfs *out);

int dir_create(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, mode_t mode, int oflags, struct be_entry *out);
int dir_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir, mode_t mode,
		int oflags, struct be_entry *out);
int dir_open_node(struct backend *be, const struct be_call *call, struct be_node *node, int oflags);
int dir_fallocate(struct backend *be, const struct be_call *call, struct be_node *node, int mode,
		  uint64_t off, uint64_t len);
int dir_seek(struct backend *be, const struct be_call *call, struct be_node *node, uint64_t off,
	     int whence, uint64_t *out);
ssize_t dir_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
		       uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len);

int dir_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		struct be_dir **out);
int dir_readdir(struct backend *be, const struct be_call *call, struct be_dir *d, uint64_t cookie,
		bool plus, be_emit *emit, void *arg);
void dir_closedir(struct backend *be, struct be_dir *d);
int dir_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir);

ssize_t dir_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		     const char *name, void *buf, size_t cap);
int dir_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		 const char *name, const void *value, size_t len, int flags);
ssize_t dir_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		      char *buf, size_t cap);
int dir_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    const char *name);

#endif
