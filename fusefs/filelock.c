/* SPDX-License-Identifier: Apache-2.0 */
/* filelock.c - see filelock.h. Ranges are [start, end], both included, as the
 * kernel sends them; the locks of one owner on one inode never overlap. Nor do
 * questions to the backend of one owner: who would overlap waits for the answer. */
#include "fusefs/filelock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/stats.h"
#include "fusefs/inode.h"
#include "fusefs/request.h"
#include "fusefs/session.h"

#define POLL_MIN_MS 50
#define POLL_MAX_MS 1000
#define MOMENT_MS 100

struct lk {
	uint64_t owner, start, end;
	struct list link;
	uint64_t fh; /* it was set through */
	struct inode *in;
	uint32_t type, pid;
	bool going; /* its release is under way */
};

/* A lock that is wanted: waits on an inode, or is a claim. */
struct lk_wait {
	struct list link; /* on in->lock_waiters, or fl->claims */
	struct list all;  /* on the volume's list of waiters; not as a claim */
	struct lk want;
	struct lk *spare[2];
	struct inode *in;
	struct request *rq;
	bool flock;
	int result;
	/* a claim */
	bool wait, busy; /* busy: the backend is being asked */
	bool parked;     /* the poller's, while not busy */
	uint64_t due_ms, pause_ms;
};

void filelocks_init(struct filelocks *fl)
{
	mutex_init(&fl->lock, LOCK_filelock);
	fl->count = 0;
	list_init(&fl->waiters);
	list_init(&fl->claims);
	cond_init(&fl->changed);
	cond_init(&fl->due);
	fl->polls = fl->stop = false;
}

void filelocks_done(struct filelocks *fl)
{
	cond_done(&fl->changed);
	cond_done(&fl->due);
	mutex_done(&fl->lock);
}

static bool asks_backend(const struct volume *v)
{
	return v->be->limits.caps & BE_CAP_LOCKS;
}

static struct list *lock_list(struct inode *in, bool flock)
{
	return flock ? &in->flock_locks : &in->posix_locks;
}

static bool overlap(const struct lk *a, const struct lk *b)
{
	return a->start <= b->end && b->start <= a->end;
}

static bool excludes(const struct lk *l, const struct lk *want)
{
	return l->owner != want->owner && overlap(l, want) && l->type != F_UNLCK &&
	       (l->type == F_WRLCK || want->type == F_WRLCK);
}

/* The first lock of another owner that excludes want. */
static struct lk *conflict_locked(struct list *locks, const struct lk *want)
{
	if (want->type == F_UNLCK)
		return NULL;
	list_for_each(it, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (excludes(l, want))
			return l;
	}
	return NULL;
}

/* The same among claims. */
static struct lk *claimed_locked(struct inode *in, bool flock, const struct lk *want)
{
	if (want->type == F_UNLCK)
		return NULL;
	list_for_each(it, &in->v->locks.claims) {
		struct lk_wait *c = list_entry(it, struct lk_wait, link);

		if (c->in == in && c->flock == flock && excludes(&c->want, want))
			return &c->want;
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
	assert(locks->next); /* made with its inode */
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

/* What another machine has in the way. */
static int get_from_backend(struct request *rq, struct inode *in, uint64_t owner,
			    struct fuse_file_lock *lk)
{
	struct be_lock want = {
		.owner = owner, .exclusive = lk->type == F_WRLCK, .start = lk->start, .end = lk->end
	};
	struct be_lock held = want;
	int rc = request_call(rq, true);

	if (!rc)
		rc = backend_lock_test(in->v->be, &rq->call, in->node, &want, &held);
	if (rc > 0)
		*lk = (struct fuse_file_lock){ held.start, held.end,
					       held.exclusive ? F_WRLCK : F_RDLCK, 0 };
	else if (!rc)
		lk->type = F_UNLCK;
	return rc > 0 ? 0 : rc;
}

int filelock_get(struct request *rq, struct inode *in, uint64_t owner, struct fuse_file_lock *lk)
{
	struct filelocks *fl = &in->v->locks;
	struct lk want = { .owner = owner, .start = lk->start, .end = lk->end, .type = lk->type };
	struct lk *l;

	mutex_lock(&fl->lock);
	l = conflict_locked(&in->posix_locks, &want);
	if (l)
		*lk = (struct fuse_file_lock){ l->start, l->end, l->type, l->pid };
	mutex_unlock(&fl->lock);
	if (l)
		return 0;
	if (asks_backend(in->v))
		return rq->may_block ? get_from_backend(rq, in, owner, lk) : OP_PUNT;
	lk->type = F_UNLCK;
	return 0;
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

/* The poller's from now on. */
static void claim_later_locked(struct filelocks *fl, struct lk_wait *w)
{
	w->due_ms = clock_ms() + w->pause_ms;
	w->pause_ms = !w->pause_ms                  ? POLL_MIN_MS :
		      w->pause_ms * 2 < POLL_MAX_MS ? w->pause_ms * 2 :
						      POLL_MAX_MS;
	w->parked = true;
	w->busy = false;
	cond_signal(&fl->due);
}

/* Serves waiters of the inode as far as possible; the served move to out, or
 * become claims where the backend has a say. */
static void serve_locked(struct inode *in, struct list *out)
{
	struct filelocks *fl = &in->v->locks;

	list_for_each_safe(it, tmp, &in->lock_waiters) {
		struct lk_wait *w = list_entry(it, struct lk_wait, link);
		struct list *locks = lock_list(in, w->flock);

		if (conflict_locked(locks, &w->want) || claimed_locked(in, w->flock, &w->want))
			continue;
		list_del(it);
		list_del(&w->all);
		if (asks_backend(in->v)) {
			list_push_back(&fl->claims, it);
			claim_later_locked(fl, w);
			continue;
		}
		lk_apply_locked(fl, locks, &w->want, w->spare);
		w->result = 0;
		list_push_back(out, it);
	}
}

static void wait_free(struct lk_wait *w)
{
	free(w->spare[0]);
	free(w->spare[1]);
	free(w);
}

/* A lock is had: what other sessions wrote under theirs is to be seen. OP_PUNT, or 0. */
static int see_other_sessions(struct request *rq, struct inode *in)
{
	if (!inode_is_stale(in, rq->s))
		return 0;
	if (!rq->may_block)
		return OP_PUNT;
	if (inode_take_stale(in, rq->s))
		session_drop_pages(rq->s, in);
	return 0;
}

static void answer(struct list *served)
{
	struct list *it;

	while ((it = list_pop(served))) {
		struct lk_wait *w = list_entry(it, struct lk_wait, link);
		struct request *rq = w->rq;
		int result = w->result;
		bool look = !result && inode_is_stale(w->in, rq->s);

		wait_free(w);
		/* The pool asks again for what is granted, and looks before it answers. */
		if (look)
			offload_submit(rq);
		else
			request_finish(rq, result);
	}
}

static struct lk_wait *wait_on_locked(struct list *list, const struct request *rq)
{
	list_for_each(it, list)
		if (list_entry(it, struct lk_wait, link)->rq == rq)
			return list_entry(it, struct lk_wait, link);
	return NULL;
}

/* A claim is over: who waited for it goes on. */
static void claim_end_locked(struct lk_wait *c)
{
	struct list none = LIST_INIT(none);

	list_del(&c->link);
	serve_locked(c->in, &none); /* nobody is served without the backend */
	cond_broadcast(&c->in->v->locks.changed);
}

/* INTERRUPT: the wait ends, unless the lock was granted just now, or the backend
 * is being asked, which sees rq->interrupted. */
static bool cancel_wait(struct request *rq)
{
	struct volume *v = rq->v;
	struct inode *in = inode_of(rq->s, rq->hdr->nodeid);
	struct lk_wait *w;

	mutex_lock(&v->locks.lock);
	w = wait_on_locked(&in->lock_waiters, rq);
	if (w) {
		list_del(&w->link);
		list_del(&w->all);
	} else {
		w = wait_on_locked(&v->locks.claims, rq);
		if (w && w->busy)
			w = NULL;
		if (w)
			claim_end_locked(w);
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

static struct lk_wait *wait_new(struct request *rq, struct inode *in, const struct fuse_lk_in *arg,
				bool flock)
{
	const struct fuse_file_lock *lk = &arg->lk;
	struct lk_wait *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->spare[0] = malloc(sizeof(struct lk));
	w->spare[1] = malloc(sizeof(struct lk));
	if (!w->spare[0] || !w->spare[1]) {
		wait_free(w);
		return NULL;
	}
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
	return w;
}

/* ---- with a backend that keeps locks ---------------------------------- */

/* Two changes within one tick of the server's clock look like none, so whatever
 * the attributes say, nothing read before the lock is good enough. */
static void see_others_changes(struct request *rq, struct inode *in)
{
	struct cache_file *f = inode_file_peek(in);
	struct be_attr attr;
	uint64_t seq;

	if (!f)
		return;
	seq = cache_change_seq(f);
	rq->call.flags |= BE_REVALIDATE;
	if (!backend_getattr(in->v->be, &rq->call, in->node, &attr))
		cache_revalidate(f, &attr, seq);
	rq->call.flags &= ~BE_REVALIDATE;
	cache_invalidate(f);
	session_drop_pages(rq->s, in);
	inode_changed(in, rq->s, BE_CHANGED_DATA);
}

/* A failure stays with the file, for fsync and close. */
static void show_others_changes(struct request *rq, struct inode *in)
{
	struct cache_file *f = inode_file_peek(in);

	if (f && cache_file_owes(f))
		(void)cache_fsync(f, true, rq->cred, false);
}

/* Asks the backend for a busy claim. */
static int claim_ask(struct lk_wait *c)
{
	struct request *rq = c->rq;
	struct volume *v = c->in->v;
	struct be_lock lk = { .owner = c->want.owner,
			      .flock = c->flock,
			      .exclusive = c->want.type == F_WRLCK,
			      .start = c->want.start,
			      .end = c->want.end };
	int rc = request_call(rq, true);

	if (rc)
		return rc;
	if (c->want.type != F_WRLCK)
		show_others_changes(rq, c->in);
	if (c->want.type == F_UNLCK) {
		(void)backend_unlock(v->be, &rq->call, c->in->node, &lk);
		return 0; /* it goes in any case, if need be without its program */
	}
	rc = backend_lock(v->be, &rq->call, c->in->node, &lk);
	if (!rc)
		see_others_changes(rq, c->in);
	return rc;
}

/* The backend has answered. OP_PARKED: asked again later; else c is gone. */
static int claim_conclude(struct lk_wait *c, int rc)
{
	struct filelocks *fl = &c->in->v->locks;

	mutex_lock(&fl->lock);
	if (rc == -EAGAIN && c->wait && !fl->stop) {
		request_detach(c->rq, cancel_wait);
		if (!c->rq->interrupted) {
			claim_later_locked(fl, c);
			cond_broadcast(&fl->changed);
			mutex_unlock(&fl->lock);
			return OP_PARKED;
		}
		rc = -EINTR;
	}
	if (!rc)
		lk_apply_locked(fl, lock_list(c->in, c->flock), &c->want, c->spare);
	claim_end_locked(c);
	mutex_unlock(&fl->lock);
	wait_free(c);
	return rc;
}

/* True while the backend is asked something for the same owner there. */
static bool owner_busy_locked(const struct lk_wait *w)
{
	list_for_each(it, &w->in->v->locks.claims) {
		struct lk_wait *c = list_entry(it, struct lk_wait, link);

		if (c != w && c->busy && c->in == w->in && c->flock == w->flock &&
		    c->want.owner == w->want.owner && overlap(&c->want, &w->want))
			return true;
	}
	return false;
}

static struct lk_wait *due_locked(struct filelocks *fl, uint64_t *next_ms)
{
	uint64_t now = clock_ms();

	*next_ms = UINT64_MAX;
	list_for_each(it, &fl->claims) {
		struct lk_wait *c = list_entry(it, struct lk_wait, link);

		if (!c->parked || c->busy)
			continue;
		if (c->due_ms <= now && owner_busy_locked(c))
			c->due_ms = now + POLL_MIN_MS;
		if (c->due_ms <= now)
			return c;
		if (c->due_ms < *next_ms)
			*next_ms = c->due_ms;
	}
	return NULL;
}

static void *poller_main(void *arg)
{
	struct filelocks *fl = arg;
	uint64_t next_ms;

	prctl(PR_SET_NAME, "lock-poller");
	mutex_lock(&fl->lock);
	while (!fl->stop) {
		struct lk_wait *c = due_locked(fl, &next_ms);
		struct request *rq;
		int rc;

		if (!c && next_ms == UINT64_MAX)
			cond_wait(&fl->due, &fl->lock);
		else if (!c)
			cond_wait_until(&fl->due, &fl->lock, next_ms);
		if (!c)
			continue;
		c->busy = true;
		rq = c->rq;
		mutex_unlock(&fl->lock);
		rc = claim_conclude(c, rq->interrupted ? -EINTR : claim_ask(c));
		if (rc != OP_PARKED)
			request_finish(rq, rc);
		mutex_lock(&fl->lock);
	}
	mutex_unlock(&fl->lock);
	return NULL;
}

static int poller_start_locked(struct filelocks *fl)
{
	if (!fl->polls && pthread_create(&fl->poller, NULL, poller_main, fl))
		return -ENOLCK;
	fl->polls = true;
	return 0;
}

void filelocks_stop(struct filelocks *fl)
{
	struct list left = LIST_INIT(left);

	mutex_lock(&fl->lock);
	fl->stop = true;
	list_for_each(it, &fl->claims)
		list_entry(it, struct lk_wait, link)->rq->interrupted = true;
	cond_broadcast(&fl->due);
	mutex_unlock(&fl->lock);
	if (fl->polls)
		pthread_join(fl->poller, NULL);
	mutex_lock(&fl->lock);
	list_for_each_safe(it, tmp, &fl->claims) {
		list_del(it);
		list_entry(it, struct lk_wait, link)->result = -EINTR;
		list_push_back(&left, it);
	}
	mutex_unlock(&fl->lock);
	answer(&left);
}

static bool owns_locked(const struct lk_wait *w)
{
	list_for_each(it, lock_list(w->in, w->flock)) {
		struct lk *l = list_entry(it, struct lk, link);

		if (l->owner == w->want.owner && overlap(l, &w->want))
			return true;
	}
	return false;
}

/* What stands in the way on this mount. Waits for what is gone in a moment. */
static int settle_here_locked(struct lk_wait *w, struct lk **in_way)
{
	struct filelocks *fl = &w->in->v->locks;

	for (;;) {
		*in_way = conflict_locked(lock_list(w->in, w->flock), &w->want);
		if (!(*in_way && (*in_way)->going) && !owner_busy_locked(w))
			break;
		if (w->rq->interrupted && w->want.type != F_UNLCK)
			return -EINTR;
		cond_wait_until(&fl->changed, &fl->lock, clock_ms() + MOMENT_MS);
	}
	if (!*in_way)
		*in_way = claimed_locked(w->in, w->flock, &w->want);
	return 0;
}

/* The same as filelock_set(), when the backend has a say. Owns w. */
static int set_there(struct lk_wait *w)
{
	struct filelocks *fl = &w->in->v->locks;
	struct lk *in_way = NULL;
	int rc;

	mutex_lock(&fl->lock);
	rc = settle_here_locked(w, &in_way);
	if (!rc && fl->count >= FILELOCKS_MAX && w->want.type != F_UNLCK)
		rc = -ENOLCK;
	if (!rc && w->wait)
		rc = poller_start_locked(fl);
	if (!rc && in_way && !w->wait)
		rc = -EAGAIN;
	if (!rc && in_way && !w->flock && deadlock_locked(w->in->v, w->in, &w->want))
		rc = -EDEADLK;
	if (!rc && in_way) {
		/* An INTERRUPT of before had nobody to call. */
		request_detach(w->rq, cancel_wait);
		if (!w->rq->interrupted)
			return park(w->rq, w);
		rc = -EINTR;
	}
	if (rc || (w->want.type == F_UNLCK && !owns_locked(w))) {
		mutex_unlock(&fl->lock);
		wait_free(w);
		return rc;
	}
	w->busy = true;
	w->pause_ms = POLL_MIN_MS;
	list_push_back(&fl->claims, &w->link);
	mutex_unlock(&fl->lock);
	return claim_conclude(w, claim_ask(w));
}

/* ---- set -------------------------------------------------------------- */

int filelock_set(struct request *rq, struct inode *in, const struct fuse_lk_in *arg, bool flock,
		 bool wait)
{
	struct filelocks *fl = &in->v->locks;
	struct list served = LIST_INIT(served);
	struct lk_wait *w;
	int rc = 0;

	if (asks_backend(in->v) && !rq->may_block)
		return OP_PUNT;
	w = wait_new(rq, in, arg, flock);
	if (!w)
		return -ENOMEM;
	w->wait = wait;
	if (asks_backend(in->v))
		return set_there(w);
	mutex_lock(&fl->lock);
	if (fl->count >= FILELOCKS_MAX && w->want.type != F_UNLCK) {
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
	return rc || arg->lk.type == F_UNLCK ? rc : see_other_sessions(rq, in);
}

/* ---- release ----------------------------------------------------------- */

/* owner's, or set through fh (if not 0)? */
static bool matches(const struct lk *l, uint64_t owner, uint64_t fh)
{
	return fh ? l->fh == fh : l->owner == owner;
}

/* Drops the locks of the list that match. */
static void drop_matching(struct inode *in, struct list *locks, uint64_t owner, uint64_t fh)
{
	struct filelocks *fl = &in->v->locks;
	struct list served = LIST_INIT(served);
	bool dropped = false;

	mutex_lock(&fl->lock);
	list_for_each_safe(it, tmp, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (!matches(l, owner, fh))
			continue;
		lk_drop_locked(fl, l);
		dropped = true;
	}
	if (dropped)
		serve_locked(in, &served);
	mutex_unlock(&fl->lock);
	answer(&served);
}

/* The matching locks are going; true when there are any. */
static bool mark_matching(struct inode *in, struct list *locks, uint64_t owner, uint64_t fh)
{
	struct filelocks *fl = &in->v->locks;
	bool any = false;

	mutex_lock(&fl->lock);
	list_for_each(it, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (matches(l, owner, fh))
			l->going = any = true;
	}
	mutex_unlock(&fl->lock);
	return any;
}

/* Makes c a busy claim that unlocks the next matching lock; false: there is none. */
static bool claim_matching(struct lk_wait *c, struct list *locks, uint64_t owner, uint64_t fh)
{
	struct filelocks *fl = &c->in->v->locks;
	bool found = false;

	mutex_lock(&fl->lock);
	list_for_each(it, locks) {
		struct lk *l = list_entry(it, struct lk, link);

		if (!matches(l, owner, fh))
			continue;
		c->want = *l;
		c->want.type = F_UNLCK;
		found = true;
		break;
	}
	while (found && owner_busy_locked(c))
		cond_wait_until(&fl->changed, &fl->lock, clock_ms() + MOMENT_MS);
	c->busy = found;
	if (found)
		list_push_back(&fl->claims, &c->link);
	mutex_unlock(&fl->lock);
	return found;
}

/* Piece by piece, at the backend and here. */
static int release_there(struct request *rq, struct inode *in, bool flock, uint64_t owner,
			 uint64_t fh)
{
	struct filelocks *fl = &in->v->locks;
	struct lk_wait c = { .in = in, .rq = rq, .flock = flock };
	struct list *locks = lock_list(in, flock);

	if (!mark_matching(in, locks, owner, fh))
		return 0;
	if (!rq->may_block)
		return OP_PUNT;
	while (claim_matching(&c, locks, owner, fh)) {
		(void)claim_ask(&c);
		mutex_lock(&fl->lock);
		lk_apply_locked(fl, locks, &c.want, c.spare);
		claim_end_locked(&c);
		mutex_unlock(&fl->lock);
	}
	return 0;
}

static int release(struct request *rq, struct inode *in, bool flock, uint64_t owner, uint64_t fh)
{
	/* Most files are never locked; who could lock at this moment comes later. */
	if (!in->nlocks)
		return 0;
	if (asks_backend(in->v))
		return release_there(rq, in, flock, owner, fh);
	drop_matching(in, lock_list(in, flock), owner, fh);
	return 0;
}

int filelock_release(struct request *rq, struct inode *in, uint64_t owner, bool flock)
{
	return release(rq, in, flock, owner, 0);
}

int filelock_release_handle(struct request *rq, struct inode *in, uint64_t fh)
{
	int rc = release(rq, in, false, 0, fh);

	return rc ? rc : release(rq, in, true, 0, fh);
}
