/* SPDX-License-Identifier: Apache-2.0 */
/* inode.h - nodeids: what the kernel knows of the backend's nodes
 *
 * A nodeid is an index into the volume's table; the root is 1. The kernel counts
 * the times it was told of an inode (lookups) and forgets in bulk; an inode is
 * freed when that count and the open handles are zero and the cache holds
 * nothing of it. While pages of it are cached it stays, idle: the kernel forgets
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

struct inode {
	struct volume *v;
	uint64_t nodeid, generation;
	struct be_node *node; /* counted */
	mode_t type;
	struct mutex lock;
	struct cache_file *_Atomic file; /* made at need, under lock; regular files only */
	_Atomic bool gone;               /* its last name was removed */
	_Atomic unsigned opens;
	/* of a directory, guarded by lock: its times at the last opendir, when they were
	 * first seen, and since when the kernel may have kept what it read */
	struct timespec dir_mtime, dir_ctime;
	uint64_t dir_seen_ms, dir_kept_ms;
	/* guarded by v->inode_lock */
	uint64_t lookups;
	struct list idle_link; /* on v->idle_inodes; else empty */
	/* guarded by v->locks.lock */
	struct list posix_locks, flock_locks, lock_waiters;
	_Atomic unsigned nlocks; /* on the first two */
};

int inodes_init(struct volume *v);
void inodes_done(struct volume *v);

/* The inode for a nodeid, or NULL: the kernel never sends that, but an attacker of it might. */
struct inode *inode_of(struct volume *v, uint64_t nodeid);
/* One more lookup of entry's node, which is taken over. NULL without memory or nodeids. */
struct inode *inode_enter(struct volume *v, struct be_entry *entry);
void inode_forget(struct volume *v, uint64_t nodeid, uint64_t nlookup);
/* The cache's view of the file; size is what the backend said. NULL without memory. */
struct cache_file *inode_file(struct inode *in, uint64_t size);
/* Without making it. */
static inline struct cache_file *inode_file_peek(struct inode *in)
{
	return in->file;
}
void inode_opened(struct inode *in);
/* The last close of a removed file drops its dirty data. */
void inode_closed(struct inode *in);
/* A name of node was removed; gone: the last one. */
void inode_unlinked(struct volume *v, struct be_removed *removed);
/* Cache callback: a file that could not be freed is idle. */
void inode_idle(void *arg, uint64_t nodeid);

#endif
