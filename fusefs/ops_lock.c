/* SPDX-License-Identifier: Apache-2.0 */
/* ops_lock.c - GETLK, SETLK, SETLKW and flock, answered from filelock.c; and INTERRUPT. */
#include <errno.h>

#include "fusefs/interrupt.h"
#include "fusefs/ops.h"

int op_getlk(struct request *rq, uint64_t owner, const struct fuse_file_lock *lk)
{
	struct inode *in = request_inode(rq);
	struct fuse_lk_out out = { .lk = *lk };

	int rc = in ? filelock_get(rq, in, session_lock_owner(rq->s, owner), &out.lk) : -ESTALE;

	if (!rc)
		reply_buf(rq, &out, sizeof out);
	return rc;
}

int op_setlk(struct request *rq, const struct fuse_lk_in *arg, bool flock, bool wait)
{
	struct inode *in = request_inode(rq);
	struct fuse_lk_in want = *arg;
	int rc;

	want.owner = session_lock_owner(rq->s, arg->owner);
	rc = in ? filelock_set(rq, in, &want, flock, wait) : -ESTALE;

	if (!rc)
		reply_err(rq, 0);
	return rc;
}

int op_interrupt(struct request *rq)
{
	const struct fuse_interrupt_in *arg = request_arg(rq, sizeof *arg);

	if (!arg)
		return -EINVAL;
	/* Not registered: another receiver is at it, or it is over. The kernel asks
	 * again in the first case. */
	if (!interrupt_request(rq->s, arg->unique))
		return -EAGAIN;
	reply_none(rq);
	return 0;
}
