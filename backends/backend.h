/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h - what a store of files does for the cache and for fusefs
 *
 * One struct backend is one open volume. A backend fills a table of functions
 * (struct backend_ops); callers never touch it but use the checked wrappers
 * below (backend_lookup(), backend_read(), ...), which assert that no lock of
 * ours is held, count, and turn a missing function into -ENOTSUP.
 *
 * Threads: every operation may run in many threads at once; close() runs last
 *          and alone.
 * Errors:  0, a count, or -errno. -ETIMEDOUT when a soft mount's time limit is
 *          over, -EINTR when *call->interrupted was seen, -EAGAIN only when
 *          BE_NOWAIT was asked for and the answer is not in memory (and by lock()).
 * Outputs: set only on success.
 *
 * Layers (layer/fault.c, delay.c, trace.c) implement the same table above
 * another backend and hand nodes through unchanged. */
#ifndef BACKENDS_BACKEND_H
#define BACKENDS_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "common/err.h"

struct backend;
struct backend_ops;
struct be_dir;

/* ---- who asks ------------------------------------------------------- */

#define BE_CRED_GROUPS_MAX 1024 /* more supplementary groups are dropped, with a warning */

/* An identity. Immutable and counted; equal identities need not be one object.
 * id is unique for the life of the process, so caches may key by it. */
struct be_cred {
	_Atomic unsigned refs;
	uint32_t id;
	uid_t uid;
	gid_t gid;
	unsigned ngroups;
	gid_t groups[]; /* supplementary */
};

/* NULL without memory. refs starts at 1. */
struct be_cred *be_cred_new(uid_t uid, gid_t gid, unsigned ngroups, const gid_t *groups);
struct be_cred *be_cred_get(const struct be_cred *cred);
void be_cred_put(const struct be_cred *cred);
/* True when gid is the credential's group or one of its supplementary ones. */
bool be_cred_in_group(const struct be_cred *cred, gid_t gid);

#define BE_NOWAIT 1u     /* answer from memory or -EAGAIN: never wait for network or disk */
#define BE_REVALIDATE 2u /* getattr: ask the store itself, not an attribute cache */

/* One call: borrowed by the backend until the operation returns. */
struct be_call {
	const struct be_cred *cred;
	uint64_t op_id; /* of a non-idempotent operation: the same on its retry; else 0 */
	unsigned flags; /* BE_NOWAIT, BE_REVALIDATE */
	const atomic_bool *interrupted; /* NULL: cannot be; polled at least every 250 ms of a wait */
};

/* ---- objects -------------------------------------------------------- */

/* One file, directory, ... of the store. A backend embeds it as first member of
 * its own node. Unique: while counted, the same object of the store is the same
 * be_node, whatever name it was looked up by. */
struct be_node {
	struct backend *be; /* whose node it is: the bottom one of a stack */
	_Atomic unsigned refs;
	uint64_t ino; /* file number in the store */
	mode_t type;  /* S_IFMT bits */
	void *upper;  /* for the layer above, which guards it; NULL at first */
};

struct be_node *be_node_get(struct be_node *node); /* of a node that the caller holds counted */
/* For a backend that finds node in its own table, under that table's lock: counts
 * it unless its last reference is gone already. False: node is on its way to
 * node_free(), the finder makes a new one in its place. */
bool be_node_tryget(struct be_node *node);
void be_node_put(struct be_node *node); /* NULL is fine; the last one calls ops->node_free */

struct be_attr {
	uint64_t ino;
	mode_t mode; /* with S_IFMT bits */
	uint32_t nlink;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes */
	struct timespec atime, mtime, ctime;
	struct timespec btime; /* tv_sec == 0 && tv_nsec == 0: unknown */
};

struct be_entry {
	struct be_node *node; /* counted: the receiver puts it */
	struct be_attr attr;
};

#define BE_SET_MODE 0x01u
#define BE_SET_UID 0x02u
#define BE_SET_GID 0x04u
#define BE_SET_SIZE 0x08u
#define BE_SET_ATIME 0x10u
#define BE_SET_MTIME 0x20u
#define BE_SET_ATIME_NOW 0x40u /* the store's own clock; excludes BE_SET_ATIME */
#define BE_SET_MTIME_NOW 0x80u
#define BE_SET_KILL_SUID \
	0x100u /* with SIZE, UID or GID: also clear S_ISUID, and S_ISGID of a group-executable file */
#define BE_SET_OPENED \
	0x200u /* with SIZE: the caller has the file open for writing; that is permission enough */

struct be_setattr {
	unsigned valid; /* BE_SET_* */
	mode_t mode;    /* permission bits only */
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec atime, mtime;
};

/* What unlink, rmdir or a replacing rename took away. */
struct be_removed {
	struct be_node *node; /* counted, or NULL when the backend does not know it */
	bool gone;            /* that was its last name */
};

/* ---- data ----------------------------------------------------------- */

enum be_stable {
	BE_UNSTABLE,  /* the store may lose it until a commit returns the same verifier */
	BE_DATA_SYNC, /* data on stable storage */
	BE_FILE_SYNC, /* data and metadata on stable storage */
};

enum be_submit {
	BE_QUEUED, /* io->done will run, once, on a thread of the backend */
	BE_DONE,   /* completed inside submit: io->result is set, done does not run */
};

/* One read, write or commit in flight. The submitter owns it and all it points
 * to; the backend borrows them until completion.
 *   read:   fills iov from off; result = bytes, short only at the end of file.
 *   write:  result = len, or -errno; short writes are resubmitted by the backend.
 *   commit: makes [off, off+len) durable (len 0: to the end); iov unused.
 * A write at or beyond the end extends the file. Two writes in flight never
 * overlap: the cache sees to it. */
struct be_io {
	struct be_node *node;       /* kept alive by the submitter until done */
	const struct be_cred *cred; /* borrowed until done */
	struct iovec *
		iov; /* frame memory itself: data lands in place; the backend may modify the array */
	unsigned niov;
	uint64_t off;
	size_t len;          /* sum of iov */
	enum be_stable want; /* write: least durability that will do */
	bool datasync;       /* commit: data and size will do */
	bool background;     /* write: not waited for by a program (may be delayed behind others) */
	struct timespec mtime; /* write: when the program wrote; used with BE_CAP_WRITE_MTIME */
	/* out */
	ssize_t result;
	enum be_stable stable; /* write: what was achieved */
	uint64_t verifier; /* write, commit: the server's instance; equal = nothing lost in between */
	bool post_valid;   /* write, commit: post holds the attributes after it */
	struct be_attr post;
	void (*done)(struct be_io *io);
	void *priv;              /* submitter's */
	void *be_priv;           /* backend's while in flight */
	struct backend *be_done; /* layers: free for use while in flight */
};

/* ---- file locks ----------------------------------------------------- */

#define BE_LOCK_END ((uint64_t)INT64_MAX) /* as end: however far the file grows */

/* A lock on the bytes [start, end] of a file, both included; end at most
 * BE_LOCK_END. An owner excludes all others, never itself: a lock over its own
 * older ones replaces these there (upgrade, downgrade, split). */
struct be_lock {
	uint64_t owner; /* any number; the same for as long as the owner lives */
	bool flock;     /* of flock(2): not the owner that has this number with fcntl(2) */
	bool exclusive; /* else shared */
	uint64_t start, end;
};

/* ---- directories ---------------------------------------------------- */

struct be_dirent {
	const char *name; /* valid during the call of emit; not NUL-terminated */
	size_t name_len;
	uint64_t ino;
	mode_t type;                /* S_IFMT bits; 0: unknown */
	uint64_t cookie;            /* where the entry after this one starts; never 0 */
	struct be_node *node;       /* with attributes: borrowed, or NULL */
	const struct be_attr *attr; /* or NULL */
};

/* Returns false when there is no room: the entry was not taken. */
typedef bool be_emit(void *arg, const struct be_dirent *ent);

/* ---- limits, capabilities ------------------------------------------- */

#define BE_CAP_BLOCKING \
	0x001u /* operations may wait long (network): run them on a thread that may block */
#define BE_CAP_SLOW_COMMIT 0x002u /* a commit may wait for a disk or network */
#define BE_CAP_CRED 0x004u        /* checks permissions itself, by call->cred (groups needed) */
#define BE_CAP_WRITE_MTIME 0x008u /* a write sets the file's mtime and ctime to io->mtime */
#define BE_CAP_SHARED 0x010u /* others may change files behind our back (default: close-to-open) */
#define BE_CAP_XATTR 0x020u
#define BE_CAP_READDIRPLUS 0x040u /* readdir can return nodes and attributes */
#define BE_CAP_NO_CACHE 0x080u    /* reserved for stores that must see each request */
#define BE_CAP_FSYNC_DIR 0x100u   /* fsyncdir does something */
#define BE_CAP_HOST_STABLE \
	0x200u /* unstable data is lost only with this machine: need not be kept for a rewrite */
#define BE_CAP_GONE_IS_LOST 0x800u /* a file without names that is not open cannot be opened */
#define BE_CAP_LOCKS 0x400u        /* keeps file locks that other machines see: ask it for each */

struct be_limits {
	uint32_t read_max, read_pref;   /* bytes of one read */
	uint32_t write_max, write_pref; /* bytes of one write */
	uint32_t inflight_max;          /* data requests worth having in flight */
	uint32_t name_max;              /* bytes of a name */
	uint64_t file_max;              /* largest file size */
	uint64_t time_grain_ns;         /* its clock's tick, when coarse; 0: too fine to matter */
	unsigned caps;                  /* BE_CAP_* */
};

/* Two changes within one tick of a store's clock have one time. Something was read
 * at or after read_ms (clock_ms()) and first found under this ctime at seen_ms: true
 * when it may lack a change that has the same ctime. */
bool be_time_hides_changes(const struct be_limits *l, const struct timespec *ctime,
			   uint64_t seen_ms, uint64_t read_ms);

/* A TCP connection that a backend wants. */
struct be_dial {
	const char *host; /* a name, looked up anew each time, or an address */
	uint16_t port;
	bool resvport;     /* from a source port below 1024 */
	unsigned first;    /* which of the name's addresses is tried first, modulo their number */
	uint32_t limit_ms; /* to give up after */
};

#define BE_HANDLE_MAX 112 /* longer ones count as none */

/* What leads back to an object of a local file system without a descriptor of it. */
struct be_handle {
	int32_t type;
	uint32_t len; /* 0: none */
	unsigned char bytes[BE_HANDLE_MAX];
};

/* What a backend opens by path, while its process still may: see backend_prepare(). */
struct be_prepared {
	int folder_fd;    /* dir: the folder, opened for reading; else -1 */
	int proc_fd;      /* dir: /proc/self/fd, when nothing else of /proc is to be had; else -1 */
	bool proc_is_cwd; /* proc_fd is the working folder, and there is no /proc */
	bool no_handles;  /* dir: what is found again by handle cannot be opened */
	int lock_fd;      /* nfs: shows others that we live; -1: none */
	char run_file[32]; /* nfs: lock_fd's name in env.run_dir */
	void *state;       /* the backend's own, malloc'd; NULL: not prepared */
};
#define BE_PREPARED_NONE                                      \
	{                                                     \
		.folder_fd = -1, .proc_fd = -1, .lock_fd = -1 \
	}

/* What the mount gives to a backend when it opens it. */
struct be_env {
	unsigned nconnect;     /* connections to a server */
	uint32_t rsize, wsize; /* upper bounds of one request; 0: the server's preference */
	bool resvport;         /* use a source port below 1024 */
	bool soft;             /* give up after timeout_ms, else retry for ever */
	uint32_t timeout_ms;
	uint32_t reply_ms; /* a server that has not answered for so long is asked again; 0: 60 s */
	/* A folder that the daemons of this machine share, gone with the machine; NULL: none.
	 * Borrowed during the open. */
	const char *run_dir;
	/* Borrowed during the open, which takes what is in it; NULL: the backend opens paths by itself. */
	struct be_prepared *prepared;
	/* Removes prepared->run_file, for a process that cannot. May be NULL. */
	void (*run_file_done)(void *arg);
	/* Handles for a process that may not use them: of an object by a descriptor of it, and an O_PATH
	 * descriptor back. 0 or a descriptor, or -errno. NULL: the backend asks the kernel. */
	int (*handle_get)(void *arg, int fd, struct be_handle *out);
	int (*handle_open)(void *arg, const struct be_handle *h);
	void *helper_arg; /* of these three; outlives the backend */
	/* Who we are to the store when nobody asks; borrowed during the open. NULL: the process. */
	const struct be_cred *self;
	bool nlm; /* NFS: file locks are taken at the server (BE_CAP_LOCKS), or the open fails */
	/* Opens a TCP connection for the backend (a sandboxed worker has others do
	 * it); NULL: the backend connects by itself. dial() does not wait: it returns
	 * an fd that becomes readable when the outcome is known, or -errno. dialled()
	 * takes that fd and returns the connection, or -errno with a sentence; NULL:
	 * what dial() returned is the connection. Closing the fd gives the dialling up. */
	int (*dial)(void *arg, const struct be_dial *want, struct err *err);
	int (*dialled)(int fd_take, struct err *err);
	void *dial_arg;
	/* Upcall: somebody else changed node. Any thread, no locks held; may be NULL. */
	void (*changed)(void *arg, struct be_node *node, unsigned what);
	void *changed_arg;
};
#define BE_CHANGED_ATTR 1u
#define BE_CHANGED_DATA 2u
#define BE_CHANGED_NAMES 4u

#define BE_KEY_BYTES 96
#define BE_NODE_SAVE_MAX 128 /* bytes of a saved node in the arena */

/* ---- the table ------------------------------------------------------ */

/* Names are single path components, NUL-terminated, never empty, ".", ".." or
 * with a slash. Optional functions are marked; NULL there means -ENOTSUP. */
struct backend_ops {
	const char *scheme; /* in the URI, "nfs" */
	void (*close)(struct backend *be);
	/* Optional. Nobody wants what is being read any more: reads in flight end soon, with
	 * -ETIMEDOUT, and so do later ones. NULL: they end by themselves. */
	void (*fail_reads)(struct backend *be);
	void (*node_free)(struct be_node *node);
	int (*root)(struct backend *be, struct be_entry *out);
	/* Optional. What the volume is, however it was named: mounts of one key on one machine
	 * must share a cache. Letters, digits, ".", "_", "-"; less than BE_KEY_BYTES with
	 * its NUL. NULL: each mount is a volume of its own. May wait. */
	int (*key)(struct backend *be, char *out);
	/* Optional. The folder that another URI names. -EXDEV: it is of another volume. May wait. */
	int (*folder)(struct backend *be, const char *uri, struct be_entry *out, struct err *err);

	enum be_submit (*submit_read)(struct backend *be, struct be_io *io);
	enum be_submit (*submit_write)(struct backend *be, struct be_io *io);
	enum be_submit (*submit_commit)(struct backend *be, struct be_io *io);

	int (*lookup)(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, struct be_entry *out);
	int (*getattr)(struct backend *be, const struct be_call *call, struct be_node *node,
		       struct be_attr *out);
	int (*setattr)(struct backend *be, const struct be_call *call, struct be_node *node,
		       const struct be_setattr *set, struct be_attr *out);
	/* mask: R_OK | W_OK | X_OK. 0 or -EACCES. Optional: NULL means that the kernel decides by mode. */
	int (*access)(struct backend *be, const struct be_call *call, struct be_node *node,
		      int mask);
	/* Returns the length; the target is cut at cap, no NUL is added. */
	ssize_t (*readlink)(struct backend *be, const struct be_call *call, struct be_node *node,
			    char *buf, size_t cap);
	int (*mknod)(struct backend *be, const struct be_call *call, struct be_node *dir,
		     const char *name, mode_t mode, dev_t rdev, struct be_entry *out);
	int (*mkdir)(struct backend *be, const struct be_call *call, struct be_node *dir,
		     const char *name, mode_t mode, struct be_entry *out);
	int (*symlink)(struct backend *be, const struct be_call *call, struct be_node *dir,
		       const char *name, const char *target, struct be_entry *out);
	int (*link)(struct backend *be, const struct be_call *call, struct be_node *node,
		    struct be_node *dir, const char *name, struct be_entry *out);
	int (*unlink)(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, struct be_removed *out);
	int (*rmdir)(struct backend *be, const struct be_call *call, struct be_node *dir,
		     const char *name, struct be_removed *out);
	/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE (-EINVAL where the store cannot). */
	int (*rename)(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, struct be_node *newdir, const char *newname, unsigned flags,
		      struct be_removed *out);

	/* Makes (unless it exists; O_EXCL: fails then) and opens a regular file:
	 * counts like open(). oflags as for open(2); O_TRUNC is the caller's affair. */
	int (*create)(struct backend *be, const struct be_call *call, struct be_node *dir,
		      const char *name, mode_t mode, int oflags, struct be_entry *out);
	/* Optional. A file without a name, opened. */
	int (*tmpfile)(struct backend *be, const struct be_call *call, struct be_node *dir,
		       mode_t mode, int oflags, struct be_entry *out);
	/* Checks permission for oflags' access mode and keeps the file's data
	 * reachable until the matching release(), also after its last name is gone. */
	int (*open)(struct backend *be, const struct be_call *call, struct be_node *node,
		    int oflags);
	void (*release)(struct backend *be, struct be_node *node, int oflags);

	int (*opendir)(struct backend *be, const struct be_call *call, struct be_node *dir,
		       struct be_dir **out);
	/* Emits entries from cookie on (0: the start) until emit refuses, or the end;
	 * "." and ".." included. plus: with nodes and attributes where cheap.
	 * Cookies stay valid while entries come and go. 0 or -errno. */
	int (*readdir)(struct backend *be, const struct be_call *call, struct be_dir *d,
		       uint64_t cookie, bool plus, be_emit *emit, void *arg);
	void (*closedir)(struct backend *be, struct be_dir *d);
	int (*fsyncdir)(struct backend *be, const struct be_call *call,
			struct be_node *dir); /* optional */

	int (*statfs)(struct backend *be, const struct be_call *call, struct be_node *node,
		      struct statvfs *out);

	/* Optional: all four. cap 0 asks for the size; -ERANGE when it does not fit. */
	ssize_t (*getxattr)(struct backend *be, const struct be_call *call, struct be_node *node,
			    const char *name, void *buf, size_t cap);
	int (*setxattr)(struct backend *be, const struct be_call *call, struct be_node *node,
			const char *name, const void *value, size_t len, int flags);
	ssize_t (*listxattr)(struct backend *be, const struct be_call *call, struct be_node *node,
			     char *buf, size_t cap);
	int (*removexattr)(struct backend *be, const struct be_call *call, struct be_node *node,
			   const char *name);

	/* Optional. mode as for fallocate(2). The cache has flushed the range. */
	int (*fallocate)(struct backend *be, const struct be_call *call, struct be_node *node,
			 int mode, uint64_t off, uint64_t len);
	/* Optional. whence: SEEK_DATA or SEEK_HOLE. -ENXIO beyond the end. */
	int (*seek)(struct backend *be, const struct be_call *call, struct be_node *node,
		    uint64_t off, int whence, uint64_t *out);
	/* Optional. Returns bytes copied. Both ranges have been flushed. */
	ssize_t (*copy_range)(struct backend *be, const struct be_call *call, struct be_node *src,
			      uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len);

	/* Optional: all three, with BE_CAP_LOCKS. Locks of the store. Only on a thread that may
	 * block (never with BE_NOWAIT), with all conflicts among our own owners settled
	 * before: the store decides between us and others. Operations of one owner
	 * on overlapping ranges do not run at the same time.
	 * lock: 0; -EAGAIN when another has it: it does not wait for others, who wants
	 * to wait asks again. -EINTR, -ETIMEDOUT and -EIO mean that the lock is not had, and
	 * what the store may have granted meanwhile is given back. -ENOLCK, -EDEADLK,
	 * -EROFS, -ESTALE, -EFBIG. May wait for a store that just restarted. A lock
	 * that the store forgot and that cannot be had again makes reads and writes
	 * of the file fail with -EIO until its owner unlocks it. */
	int (*lock)(struct backend *be, const struct be_call *call, struct be_node *node,
		    const struct be_lock *lk);
	/* Gives back what the owner has in the range; nothing is fine. After any result
	 * the range is free, or will be as soon as the store can be asked. */
	int (*unlock)(struct backend *be, const struct be_call *call, struct be_node *node,
		      const struct be_lock *lk);
	/* 0: lock() would succeed now. 1: *out is in the way (its owner means nothing). */
	int (*lock_test)(struct backend *be, const struct be_call *call, struct be_node *node,
			 const struct be_lock *lk, struct be_lock *out);

	/* Optional: delayed allocation below the cache. Room for a future write is
	 * taken now (-ENOSPC, -EDQUOT here and never later); completion of the write
	 * uses it up, unreserve gives it back. */
	int (*reserve)(struct backend *be, struct be_node *node, uint64_t off, size_t len);
	void (*unreserve)(struct backend *be, struct be_node *node, uint64_t off, size_t len);

	/* For the arena: a node as bytes that a later process opens again. Returns
	 * the length <= cap <= BE_NODE_SAVE_MAX, or -errno. */
	ssize_t (*node_save)(struct backend *be, struct be_node *node, void *buf, size_t cap);
	int (*node_restore)(struct backend *be, const void *buf, size_t len, struct be_entry *out);
};

/* Embedded as first member of each backend's own struct. */
struct backend {
	const struct backend_ops *ops;
	struct be_limits limits; /* set by open; read only afterwards */
	struct backend *next;    /* layers: the one below; else NULL */
};

struct uri;

struct backend_type {
	const char *scheme;
	const char *uri_help; /* "nfs://host/export/path?..." */
	/* Opens the volume; err gets a sentence when it fails. */
	int (*open)(const char *uri, const struct be_env *env, struct backend **out,
		    struct err *err);
	/* Optional: opens what open() needs by path. */
	int (*prepare)(const char *uri, const struct be_env *env, struct be_prepared *out,
		       struct err *err);
	int (*uri_key)(const char *uri, char *out);               /* optional */
	bool (*key_fits)(const struct uri *uri, const char *key); /* optional */
};

/* Opens by path whatever backend_open() of the URI will need, reads no content and asks no
 * server: for a process that gives up paths and privileges between the two. *out is
 * BE_PREPARED_NONE before. */
int backend_prepare(const char *uri, const struct be_env *env, struct be_prepared *out,
		    struct err *err);
/* The key that the volume of this URI would have now, as far as it can be told without opening it:
 * out[BE_KEY_BYTES]. -ENOTSUP: it cannot. */
int backend_uri_key(const char *uri, char *out);
/* May the volume of this URI have this key? Asked of what a process says that could be subverted: other
 * volumes' keys do not fit, as far as that can be told without asking the server. */
bool backend_key_fits(const char *uri, const char *key);
/* Closes what is still in it. */
void be_prepared_done(struct be_prepared *p);

/* Opens by the URI's scheme among memory, dir, nfs, with the layers named in
 * layers ("fault:...,delay:...,trace"; NULL or "": none) above it. */
int backend_open(const char *uri, const char *layers, const struct be_env *env,
		 struct backend **out, struct err *err);
void backend_close(struct backend *be); /* NULL is fine */

/* ---- checked wrappers ------------------------------------------------ */

enum be_submit backend_read(struct backend *be, struct be_io *io);
enum be_submit backend_write(struct backend *be, struct be_io *io);
enum be_submit backend_commit(struct backend *be, struct be_io *io);

int backend_root(struct backend *be, struct be_entry *out);
int backend_key(struct backend *be, char *out); /* -ENOTSUP: it has none */
int backend_folder(struct backend *be, const char *uri, struct be_entry *out, struct err *err);
int backend_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, struct be_entry *out);
int backend_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    struct be_attr *out);
int backend_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    const struct be_setattr *set, struct be_attr *out);
int backend_access(struct backend *be, const struct be_call *call, struct be_node *node, int mask);
ssize_t backend_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
			 char *buf, size_t cap);
int backend_mknod(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, mode_t mode, dev_t rdev, struct be_entry *out);
int backend_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, mode_t mode, struct be_entry *out);
int backend_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		    const char *name, const char *target, struct be_entry *out);
int backend_link(struct backend *be, const struct be_call *call, struct be_node *node,
		 struct be_node *dir, const char *name, struct be_entry *out);
int backend_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, struct be_removed *out);
int backend_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_removed *out);
int backend_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, struct be_node *newdir, const char *newname, unsigned flags,
		   struct be_removed *out);
int backend_create(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, mode_t mode, int oflags, struct be_entry *out);
int backend_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir,
		    mode_t mode, int oflags, struct be_entry *out);
int backend_open_node(struct backend *be, const struct be_call *call, struct be_node *node,
		      int oflags);
void backend_release(struct backend *be, struct be_node *node, int oflags);
int backend_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		    struct be_dir **out);
int backend_readdir(struct backend *be, const struct be_call *call, struct be_dir *d,
		    uint64_t cookie, bool plus, be_emit *emit, void *arg);
void backend_closedir(struct backend *be, struct be_dir *d);
void backend_fail_reads(struct backend *be);
int backend_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir);
int backend_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
		   struct statvfs *out);
ssize_t backend_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			 const char *name, void *buf, size_t cap);
int backend_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		     const char *name, const void *value, size_t len, int flags);
ssize_t backend_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
			  char *buf, size_t cap);
int backend_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
			const char *name);
int backend_fallocate(struct backend *be, const struct be_call *call, struct be_node *node,
		      int mode, uint64_t off, uint64_t len);
int backend_seek(struct backend *be, const struct be_call *call, struct be_node *node, uint64_t off,
		 int whence, uint64_t *out);
ssize_t backend_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
			   uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len);
int backend_lock(struct backend *be, const struct be_call *call, struct be_node *node,
		 const struct be_lock *lk);
int backend_unlock(struct backend *be, const struct be_call *call, struct be_node *node,
		   const struct be_lock *lk);
int backend_lock_test(struct backend *be, const struct be_call *call, struct be_node *node,
		      const struct be_lock *lk, struct be_lock *out);
int backend_reserve(struct backend *be, struct be_node *node, uint64_t off, size_t len);
void backend_unreserve(struct backend *be, struct be_node *node, uint64_t off, size_t len);
ssize_t backend_node_save(struct backend *be, struct be_node *node, void *buf, size_t cap);
int backend_node_restore(struct backend *be, const void *buf, size_t len, struct be_entry *out);

/* Submits and waits: for code that may block. Sets io->done and io->priv itself.
 * Returns io->result. */
ssize_t backend_read_wait(struct backend *be, struct be_io *io);
ssize_t backend_write_wait(struct backend *be, struct be_io *io);
ssize_t backend_commit_wait(struct backend *be, struct be_io *io);

#endif
