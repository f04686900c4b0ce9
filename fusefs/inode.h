/* SPDX-License-Identifier: Apache-2.0 */
/* inode.h - nodeids: what the kernel knows of the backend's nodes
 *
 * A nodeid is an index into the volume's table, the same in all sessions; 1 is each
 * session's own root. The kernel counts the times it was told of an inode (lookups)
 * and forgets in bulk; the inode keeps the count for each session, and is freed
 * when all counts and the open handles are zero and the cache holds nothing of it. While pages of it are cached it stays, idle: the kernel forgets
 * under pressure of memory, and what it looks up again is still warm. Of
 * IDLE_INODES_MAX idle ones the oldest goes when another comes, once it is clean.
 *
 * Threads: any. An inode that a request names stays for as long as the request. */
#ifndef FUSEFS_INODE_H
#define FUSEFS_INODE_H

#include "cache/cache.h"
#include "common/list.h"
#include "common/lock.h"
#include "fusefs/kernel.h"

#define IDLE_INODES_MAX 32768

struct volume;
struct session;

/* What one session has of an inode; guarded by v->inode_lock. */
struct inode_use {
	uint64_t lookups;
	unsigned slot; /* the session's */
	uint32_t opens, writers;
	bool stale;    /* others changed it since this session last opened it */
	unsigned told; /* BE_CHANGED_*: notifications on their way */
};

struct inode {
	struct volume *v;
	uint64_t nodeid, generation;
	struct be_node *node; /* counted */
	mode_t type;
	struct mutex lock;
	struct cache_file *_Atomic file; /* made at need, under lock; regular files only */
	_Atomic bool gone;               /* its last name was removed */
	bool forsaken; /* guarded by inode_lock: gone, not open, and its unwritten data is dropped */
	_Atomic unsigned opens;
	/* of a directory, guarded by lock: its times at the last opendir, when they were
	 * first seen, and since when the kernel may have kept what it read */
	struct timespec dir_mtime, dir_ctime;
	uint64_t dir_seen_ms, dir_kept_ms;
	/* guarded by v->inode_lock */
	uint64_t lookups;       /* of all sessions, and of threads that look at it */
	struct inode_use use;   /* most inodes are known to one session only */
	struct inode_use *more; /* the other sessions'; owned, NULL until needed */
	unsigned nmore;
	struct list idle_link; /* on v->idle_inodes; else empty */
	/* guarded by v->locks.lock */
	struct list posix_locks, flock_locks, lock_waiters;
	_Atomic unsigned nlocks; /* on the first two */
};

int inodes_init(struct volume *v);
void inodes_done(struct volume *v);

/* The inode for a nodeid, or NULL: the kernel never sends that, but an attacker of it might. */
struct inode *inode_of(const struct session *s, uint64_t nodeid);
/* One more lookup of entry's node, which is taken over. NULL without memory or nodeids. */
struct inode *inode_enter(struct session *s, struct be_entry *entry);
/* The session's kernel forgot so many lookups. */
void inode_forget(struct session *s, uint64_t nodeid, uint64_t nlookup);
/* The inode of a node, kept until inode_unhold(); NULL when there is none. */
struct inode *inode_hold(struct volume *v, struct be_node *node);
void inode_unhold(struct inode *in);
/* The session is over: all its lookups are given back. */
void inodes_leave(struct session *s);

/* Others than session by (NULL: somebody outside, all of them) learn that the inode is not
 * what it was; what: BE_CHANGED_*. No locks held. */
void inode_changed(struct inode *in, const struct session *by, unsigned what);
/* A name in the directory came, went or means something else now: listings are told. Names
 * themselves time out (SHARED_TIMEOUT_MS): to have one forgotten, the kernel waits for the
 * calls of programs in that directory, and who sends that cannot even be killed meanwhile. */
static inline void name_changed(struct inode *dir, const struct session *by)
{
	inode_changed(dir, by, BE_CHANGED_NAMES | BE_CHANGED_ATTR);
}
/* The notifier is about to send what was told of the inode: BE_CHANGED_*. */
unsigned inode_tell_begin(struct session *s, uint64_t nodeid);
/* True when others changed the inode since the session last opened it. */
bool inode_is_stale(struct inode *in, const struct session *s);
/* The same, and it sees the change now. */
bool inode_take_stale(struct inode *in, const struct session *s);
/* The cache's view of the file; size is what the backend said. NULL without memory. */
struct cache_file *inode_file(struct inode *in, uint64_t size);
/* Without making it. */
static inline struct cache_file *inode_file_peek(struct inode *in)
{
	return in->file;
}
/* flags: of open(2). */
/* False: its data was dropped with its last name; nothing is counted. */
bool inode_opened(struct inode *in, struct session *s, int flags);
/* The last close of a removed file drops its dirty data. */
void inode_closed(struct inode *in, struct session *s, int flags);
/* Open in several sessions, and in one of them for writing. */
bool inode_write_shared(struct inode *in);
/* A name of node was removed by the session; gone: the last one. */
void inode_unlinked(struct session *s, struct be_removed *removed);
/* Cache callback: a file that could not be freed is idle. */
void inode_idle(void *arg, uint64_t nodeid);

#endif
