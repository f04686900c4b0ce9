/* SPDX-License-Identifier: Apache-2.0 */
/* filelock.c - see filelock.h. Ranges are [start, end], both included, as the
 * kernel sends them; the locks of one owner on one inode never overlap. */
#include "fusefs/filelock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "fusefs/inode.h"
#include "fusefs/request.h"
#include "fusefs/volume.h"

struct lk {
	struct list link;
	uint64_t owner, start, end;
	uint64_t fh; /* it was set through */
	struct inode *in;
	uint32_t type, pid;
};

struct lk_wait {
	struct list link; /* on in->lock_waiters */
	struct list all;  /* on the volume's list of waiters */
	struct lk want;
	struct lk *spare[2];
	struct inode *in;
	struct request *rq;
	bool flock;
	int result;
};

void filelocks_init(struct filelocks *fl)
{
	mutex_init(&fl->lock, LOCK_filelock);
	fl->count = 0;
	list_init(&fl->waiters);
}

void filelocks_done(struct filelocks *fl)
{
	mutex_done(&fl->lock);
}

static struct list *lock_list(struct inode *in, bool flock)
{
	return flock ? &in->flock_locks : &in->posix_locks;
}

/* The first lock of another owner that excludes want. */
static struct lk *conflict_locked(struct list *locks, const struct lk *want)
{
	if (want->type == F_UNLCK)
		return NULL;
	list_for_each(it, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (l->owner != want->owner && l->start <= want->end && want->start <= l->end &&
		    (l->type == F_WRLCK || want->type == F_WRLCK))
			return l;
	}
	return NULL;
}

static void lk_drop_locked(struct filelocks *fl, struct lk *l)
{
	list_del(&l->link);
	fl->count--;
	l->in->nlocks--;
	free(l);
}

/* Cuts want's range out of l; a hole in its middle uses a spare. */
static void lk_cut_locked(struct filelocks *fl, struct list *locks, struct lk *l,
			  const struct lk *want, struct lk **spare)
{
	if (l->start < want->start && l->end > want->end) {
		struct lk *tail = take_ptr(spare);

		*tail = *l;
		tail->start = want->end + 1;
		l->end = want->start - 1;
		list_push_back(locks, &tail->link);
		fl->count++;
		l->in->nlocks++;
	} else if (l->start < want->start) {
		l->end = want->start - 1;
	} else if (l->end > want->end) {
		l->start = want->end + 1;
	} else {
		lk_drop_locked(fl, l);
	}
}

/* Nothing is in the way. spare[2]: memory taken beforehand, as it cannot fail here. */
static void lk_apply_locked(struct filelocks *fl, struct list *locks, const struct lk *want,
			    struct lk **spare)
{
	list_for_each_safe(it, tmp, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (l->owner == want->owner && l->start <= want->end && want->start <= l->end)
			lk_cut_locked(fl, locks, l, want, &spare[0]);
	}
	if (want->type == F_UNLCK)
		return;
	*spare[1] = *want;
	list_push_back(locks, &spare[1]->link);
	spare[1] = NULL;
	fl->count++;
	want->in->nlocks++;
}

void filelock_get(struct inode *in, uint64_t owner, struct fuse_file_lock *lk)
{
	struct filelocks *fl = &in->v->locks;
	struct lk want = { .owner = owner, .start = lk->start, .end = lk->end, .type = lk->type };
	struct lk *l;

	mutex_lock(&fl->lock);
	l = conflict_locked(&in->posix_locks, &want);
	if (l)
		*lk = (struct fuse_file_lock){ l->start, l->end, l->type, l->pid };
	else
		lk->type = F_UNLCK;
	mutex_unlock(&fl->lock);
}

/* What owner waits for, if it waits on this volume. */
static struct lk_wait *wait_of_locked(struct filelocks *fl, uint64_t owner)
{
	list_for_each(it, &fl->waiters) {
		struct lk_wait *w = list_entry(it, struct lk_wait, all);

		if (w->want.owner == owner && !w->flock)
			return w;
	}
	return NULL;
}

static bool deadlock_locked(struct volume *v, struct inode *in, const struct lk *want)
{
	struct lk *l = conflict_locked(&in->posix_locks, want);

	/* Each step follows one holder; longer chains than this are not followed. */
	for (int depth = 0; l && depth < 32; depth++) {
		struct lk_wait *w = wait_of_locked(&v->locks, l->owner);

		if (!w)
			return false;
		l = conflict_locked(&w->in->posix_locks, &w->want);
		if (l && l->owner == want->owner)
			return true;
	}
	return false;
}

/* Serves waiters of the inode as far as possible; the served move to out. */
static void serve_locked(struct inode *in, struct list *out)
{
	list_for_each_safe(it, tmp, &in->lock_waiters) {
		struct lk_wait *w = list_entry(it, struct lk_wait, link);
		struct list *locks = lock_list(in, w->flock);

		if (conflict_locked(locks, &w->want))
			continue;
		lk_apply_locked(&in->v->locks, locks, &w->want, w->spare);
		w->result = 0;
		list_del(it);
		list_del(&w->all);
		list_push_back(out, it);
	}
}

static void wait_free(struct lk_wait *w)
{
	free(w->spare[0]);
	free(w->spare[1]);
	free(w);
}

static void answer(struct list *served)
{
	struct list *it;

	while ((it = list_pop(served))) {
		struct lk_wait *w = list_entry(it, struct lk_wait, link);
		struct request *rq = w->rq;
		int result = w->result;

		wait_free(w);
		request_finish(rq, result);
	}
}

/* INTERRUPT: the wait ends, unless the lock was granted just now. */
static bool cancel_wait(struct request *rq)
{
	struct volume *v = rq->v;
	struct inode *in = inode_of(v, rq->hdr->nodeid);
	struct lk_wait *w = NULL;

	mutex_lock(&v->locks.lock);
	list_for_each(it, &in->lock_waiters) {
		if (list_entry(it, struct lk_wait, link)->rq != rq)
			continue;
		w = list_entry(it, struct lk_wait, link);
		list_del(it);
		list_del(&w->all);
		break;
	}
	mutex_unlock(&v->locks.lock);
	if (w)
		wait_free(w);
	return w != NULL;
}

static int park(struct request *rq, struct lk_wait *w)
{
	struct volume *v = rq->v;
	struct inode *in = w->in;

	request_detach(rq, cancel_wait);
	list_push_back(&in->lock_waiters, &w->link);
	list_push_back(&v->locks.waiters, &w->all);
	mutex_unlock(&v->locks.lock);
	return OP_PARKED;
}

int filelock_set(struct request *rq, struct inode *in, const struct fuse_lk_in *arg, bool flock,
		 bool wait)
{
	const struct fuse_file_lock *lk = &arg->lk;
	struct filelocks *fl = &in->v->locks;
	struct lk_wait *w = calloc(1, sizeof *w);
	struct list served = LIST_INIT(served);
	int rc = 0;

	if (w) {
		w->spare[0] = malloc(sizeof(struct lk));
		w->spare[1] = malloc(sizeof(struct lk));
	}
	if (!w || !w->spare[0] || !w->spare[1])
		goto nomem;
	w->want = (struct lk){ .owner = arg->owner,
			       .start = lk->start,
			       .end = lk->end,
			       .type = lk->type,
			       .pid = lk->pid,
			       .fh = arg->fh,
			       .in = in };
	w->in = in;
	w->rq = rq;
	w->flock = flock;
	mutex_lock(&fl->lock);
	if (fl->count >= FILELOCKS_MAX && lk->type != F_UNLCK) {
		rc = -ENOLCK;
	} else if (!conflict_locked(lock_list(in, flock), &w->want)) {
		lk_apply_locked(fl, lock_list(in, flock), &w->want, w->spare);
		serve_locked(in, &served);
	} else if (!wait) {
		rc = -EAGAIN;
	} else if (!flock && deadlock_locked(in->v, in, &w->want)) {
		rc = -EDEADLK;
	} else {
		return park(rq, w);
	}
	mutex_unlock(&fl->lock);
	wait_free(w);
	answer(&served);
	return rc;
nomem:
	if (w)
		wait_free(w);
	return -ENOMEM;
}

/* Drops the locks of the list that are owner's, or were set through fh (if not 0). */
static void drop_matching(struct inode *in, struct list *locks, uint64_t owner, uint64_t fh)
{
	struct filelocks *fl = &in->v->locks;
	struct list served = LIST_INIT(served);
	bool dropped = false;

	/* Most files are never locked; who could lock at this moment comes later. */
	if (!in->nlocks)
		return;
	mutex_lock(&fl->lock);
	list_for_each_safe(it, tmp, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (fh ? l->fh != fh : l->owner != owner)
			continue;
		lk_drop_locked(fl, l);
		dropped = true;
	}
	if (dropped)
		serve_locked(in, &served);
	mutex_unlock(&fl->lock);
	answer(&served);
}

void filelock_release(struct inode *in, uint64_t owner, bool flock)
{
	drop_matching(in, lock_list(in, flock), owner, 0);
}

void filelock_release_handle(struct inode *in, uint64_t fh)
{
	drop_matching(in, &in->posix_locks, 0, fh);
	drop_matching(in, &in->flock_locks, 0, fh);
}
