/* SPDX-License-Identifier: Apache-2.0 */
/* filelock.h - POSIX record locks and flock locks, kept in the daemon
 *
 * Locks live in lists on the inode; all are guarded by one mutex of the volume.
 * A lock that must wait parks its request on the inode; waiters are served first
 * come first served as locks go. A POSIX wait that would close a circle of
 * owners is refused with -EDEADLK. */
#ifndef FUSEFS_FILELOCK_H
#define FUSEFS_FILELOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "common/lock.h"
#include "fusefs/kernel.h"

#define FILELOCKS_MAX (1u << 20) /* of a volume; more: -ENOLCK */

struct inode;
struct request;

struct filelocks {
	struct mutex lock;
	/* guarded by lock */
	uint32_t count;
	struct list waiters; /* all that wait, on any inode */
};

void filelocks_init(struct filelocks *fl);
void filelocks_done(struct filelocks *fl);
/* GETLK: lk becomes the first lock in the way, or type F_UNLCK. */
void filelock_get(struct inode *in, uint64_t owner, struct fuse_file_lock *lk);
/* SETLK, SETLKW, flock. 0, -EAGAIN, -EDEADLK, -ENOLCK, -ENOMEM, -EINTR, or
 * OP_PARKED: the answer comes when the lock is to be had. */
int filelock_set(struct request *rq, struct inode *in, const struct fuse_lk_in *arg, bool flock,
		 bool wait);
/* All locks of owner on the inode go: at FLUSH (POSIX) or RELEASE (flock). */
void filelock_release(struct inode *in, uint64_t owner, bool flock);
/* All locks set through an open file go with it: locks of open file descriptions
 * (F_OFD_SETLK), of whose owner RELEASE says nothing. */
void filelock_release_handle(struct inode *in, uint64_t fh);

#endif
