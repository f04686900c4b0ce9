/* SPDX-License-Identifier: Apache-2.0 */
/* filelock.h - POSIX record locks and flock locks
 *
 * Locks live in lists on the inode; all are guarded by one mutex of the volume.
 * A lock that must wait parks its request on the inode; waiters are served first
 * come first served as locks go. A POSIX wait that would close a circle of
 * owners is refused with -EDEADLK.
 *
 * With a backend that keeps locks (BE_CAP_LOCKS) it is asked too:
 *
 *   local conflict --wait--> on the inode --holder gone--.
 *        | none                                           v
 *        v                     granted                  claim <--pause over-- parked
 *      claim: asks the backend --------> in the list      '--held elsewhere-----^
 *
 * A claim excludes others like the lock it asks for, and changes nothing of what its
 * owner has before the backend has agreed: what is here, is there. An unlock
 * happens there first. Who waits for another machine is parked, and a thread of
 * its own, "lock-poller", asks again with growing pauses. Data of before a
 * grant is dropped, here and in the kernel, before the program hears of the
 * grant; what was written is committed before the lock goes. */
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
	struct list waiters; /* all that wait on inodes for owners of this mount */
	struct list claims;  /* what the backend is, or will be, asked for */
	struct cond changed; /* claims, locks that are going */
	struct cond due;     /* for the poller */
	bool polls, stop;    /* the poller runs; is to end */
	pthread_t poller;
};

void filelocks_init(struct filelocks *fl);
/* Ends the poller; what it asks for is answered with -EINTR. The backend is still open. */
void filelocks_stop(struct filelocks *fl);
void filelocks_done(struct filelocks *fl);
/* GETLK: lk becomes the first lock in the way, or type F_UNLCK. 0, -errno of the
 * backend, or OP_PUNT. */
int filelock_get(struct request *rq, struct inode *in, uint64_t owner, struct fuse_file_lock *lk);
/* SETLK, SETLKW, flock. 0, -EAGAIN, -EDEADLK, -ENOLCK, -ENOMEM, -EINTR, -errno of
 * the backend, OP_PUNT, or OP_PARKED: the answer comes when the lock is to be had. */
int filelock_set(struct request *rq, struct inode *in, const struct fuse_lk_in *arg, bool flock,
		 bool wait);
/* All locks of owner on the inode go: at FLUSH (POSIX) or RELEASE (flock). 0, or
 * OP_PUNT: until it is called again nobody is refused for them. */
int filelock_release(struct request *rq, struct inode *in, uint64_t owner, bool flock);
/* All locks set through an open file go with it: locks of open file descriptions
 * (F_OFD_SETLK), of whose owner RELEASE says nothing. 0 or OP_PUNT. */
int filelock_release_handle(struct request *rq, struct inode *in, uint64_t fh);

#endif
