/* SPDX-License-Identifier: Apache-2.0 */
/* nlm.c - LOCK, UNLOCK and TEST, see nlm.h
 *
 * A call that nobody has answered in NLM_TRY_MS is made again: repeating any of
 * them changes nothing. An operation that gives up after it asked leaves a doubt
 * behind, which the keeper settles (nlm_keep.c). */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/nlm_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum { GRACE_PAUSE_MS = 1000, PAUSE_SLICE_MS = 100 };

/* One operation. */
struct op {
	struct nlm *n;
	const struct be_lock *lk;
	struct be_node *node;
	const struct be_cred *cred;
	const atomic_bool *interrupted;
	struct nlm_owner *owner; /* counted */
	struct nlm_doubt *doubt; /* memory for it; NULL: not needed */
	struct nlm_spares spares;
	uint64_t deadline_ms;
	bool asked; /* the server may have done it */
	struct nlm_reply reply;
};

/* ---- one call -------------------------------------------------------- */

void nlm_args_init(const struct nlm *n, struct nlm_args *args, const struct nlm_owner *owner,
		   const struct be_node *node, uint64_t start, uint64_t end)
{
	const struct nfs_node *nn = CONTAINER_OF(node, struct nfs_node, base);

	*args = (struct nlm_args){
		.caller = n->caller, .fh = &nn->fh, .svid = owner->svid, .start = start, .end = end
	};
	memcpy(args->oh, n->instance, sizeof n->instance);
	memcpy(args->oh + sizeof n->instance, &owner->id, sizeof owner->id);
	args->oh[NLM_OH_BYTES - 1] = owner->flock;
}

/* The end of one try, inside that of the operation. */
static uint64_t try_end(uint64_t deadline_ms)
{
	uint64_t end = clock_ms() + NLM_TRY_MS;

	return deadline_ms && deadline_ms < end ? deadline_ms : end;
}

int nlm_call(struct nlm *n, enum nlm_proc proc, struct nlm_args *args, const struct be_cred *cred,
	     const atomic_bool *interrupted, uint64_t deadline_ms, struct nlm_reply *out)
{
	struct nfs_proc p = { NLM_PROG, NLM_VERS, proc };
	struct nrpc r;
	int rc;

	args->cookie = ++n->cookies;
	nrpc_begin_on(&r, n->b, n->conn, &p);
	if (!r.rc) {
		/* The server may look at the caller's rights: not as who we are. */
		enc_init(&r.enc, r.call->args, r.call->args_cap);
		enc_call(&r.enc, &p, cred, n->b->machine);
	}
	r.interrupted = interrupted;
	r.deadline_ms = try_end(deadline_ms);
	enc_nlm(&r.enc, proc, args);
	rc = nrpc_run(&r);
	if (!rc)
		dec_nlm(&r.dec, proc, r.status, args->cookie, out);
	if (!rc && r.dec.bad)
		rc = -EIO;
	nrpc_end(&r);
	return rc;
}

int nlm_call_lock(struct nlm *n, struct nlm_args *args, const struct be_cred *cred,
		  const atomic_bool *interrupted, uint64_t deadline_ms, struct nlm_reply *out)
{
	int rc;

	if (!n->no_nm_lock) {
		rc = nlm_call(n, NLM_NM_LOCK, args, cred, interrupted, deadline_ms, out);
		if (rc != -ENOTSUP)
			return rc;
		n->no_nm_lock = true;
	}
	return nlm_call(n, NLM_LOCK, args, cred, interrupted, deadline_ms, out);
}

/* ---- one operation --------------------------------------------------- */

static int op_begin(struct op *o, struct backend *be, const struct be_call *call,
		    struct be_node *node, const struct be_lock *lk)
{
	struct nfs_backend *b = be_nfs(be);

	*o = (struct op){ .n = b->nlm, .lk = lk, .node = node, .cred = call->cred };
	if (!b->nlm)
		return -ENOTSUP;
	if (b->sync_limit_ms)
		o->deadline_ms = clock_ms() + b->sync_limit_ms;
	o->doubt = calloc(1, sizeof *o->doubt);
	if (!o->doubt || nlm_spares_get(&o->spares)) {
		free(o->doubt);
		return -ENOMEM;
	}
	mutex_lock(&o->n->lock);
	o->owner = nlm_owner_get(&o->n->table, lk);
	mutex_unlock(&o->n->lock);
	if (o->owner)
		return 0;
	nlm_spares_put(&o->spares);
	free(o->doubt);
	return -ENOMEM;
}

static void op_end(struct op *o)
{
	mutex_lock(&o->n->lock);
	nlm_owner_put(&o->n->table, o->owner);
	mutex_unlock(&o->n->lock);
	nlm_spares_put(&o->spares);
	free(o->doubt);
}

/* We do not know what the server has in the range: the keeper will find out. */
static void op_doubt(struct op *o, bool drop)
{
	struct nlm_doubt *d = o->doubt;

	*d = (struct nlm_doubt){ .owner = o->owner,
				 .node = be_node_get(o->node),
				 .cred = be_cred_get(o->cred),
				 .start = o->lk->start,
				 .end = o->lk->end,
				 .drop = drop };
	o->doubt = NULL;
	mutex_lock(&o->n->lock);
	o->owner->refs++;
	list_push_back(&o->n->doubts, &d->link);
	cond_broadcast(&o->n->changed);
	mutex_unlock(&o->n->lock);
	nlm_kick(o->n);
}

void nlm_doubt_free(struct nlm *n, struct nlm_doubt *d)
{
	mutex_lock(&n->lock);
	nlm_owner_put(&n->table, d->owner);
	mutex_unlock(&n->lock);
	be_node_put(d->node);
	be_cred_put(d->cred);
	free(d);
}

static void op_record(struct op *o, enum nlm_kind kind)
{
	struct list freed = LIST_INIT(freed);

	mutex_lock(&o->n->lock);
	nlm_table_set(&o->n->table, o->node, o->cred, o->owner, o->lk->start, o->lk->end, kind,
		      &o->spares, &freed);
	mutex_unlock(&o->n->lock);
	nlm_held_free(&freed);
}

static bool op_late(const struct op *o)
{
	return o->deadline_ms && clock_ms() >= o->deadline_ms;
}

static int op_pause(const struct op *o, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end) {
		if (o->interrupted && atomic_load(o->interrupted))
			return -EINTR;
		if (op_late(o))
			return -ETIMEDOUT;
		poll(NULL, 0, PAUSE_SLICE_MS);
	}
	return 0;
}

/* One try. A granted lock is in the table when it returns. */
static int op_try(struct op *o, enum nlm_proc proc)
{
	struct nlm *n = o->n;
	struct nlm_args args;
	int rc = nlm_enter(n, o->interrupted, o->deadline_ms);

	if (rc)
		return rc;
	o->asked = true;
	nlm_args_init(n, &args, o->owner, o->node, o->lk->start, o->lk->end);
	args.exclusive = o->lk->exclusive;
	if (proc == NLM_LOCK)
		rc = nlm_call_lock(n, &args, o->cred, o->interrupted, o->deadline_ms, &o->reply);
	else
		rc = nlm_call(n, proc, &args, o->cred, o->interrupted, o->deadline_ms, &o->reply);
	if (!rc && o->reply.status == NLM_GRANTED && proc == NLM_LOCK)
		op_record(o, o->lk->exclusive ? NLM_EXCLUSIVE : NLM_SHARED);
	else if (!rc && proc == NLM_UNLOCK && o->reply.status != NLM_DENIED_GRACE)
		op_record(o, NLM_NOTHING);
	nlm_leave(n);
	return rc;
}

/* Until the server has said something that is an answer. */
static int op_run(struct op *o, enum nlm_proc proc)
{
	for (;;) {
		int rc = op_try(o, proc);

		if (rc == -ETIMEDOUT && !op_late(o))
			continue;
		if (!rc && o->reply.status == NLM_DENIED_GRACE) {
			rc = op_pause(o, GRACE_PAUSE_MS);
			if (!rc)
				continue;
		}
		return rc;
	}
}

int be_nfs_lock(struct backend *be, const struct be_call *call, struct be_node *node,
		const struct be_lock *lk)
{
	struct op o;
	int rc = op_begin(&o, be, call, node, lk);

	if (rc)
		return rc;
	o.interrupted = call->interrupted;
	rc = op_run(&o, NLM_LOCK);
	if (rc && o.asked)
		op_doubt(&o, false);
	if (!rc)
		rc = nlm_errno(o.reply.status);
	op_end(&o);
	return rc;
}

int be_nfs_unlock(struct backend *be, const struct be_call *call, struct be_node *node,
		  const struct be_lock *lk)
{
	struct op o;
	int rc = op_begin(&o, be, call, node, lk);

	if (rc)
		return rc;
	o.interrupted = call->interrupted;
	rc = op_run(&o, NLM_UNLOCK);
	if (rc) {
		log_warn("nlm: unlock of file %llu: %s; will be tried again",
			 (unsigned long long)node->ino, strerror(-rc));
		op_doubt(&o, true);
	} else {
		rc = nlm_errno(o.reply.status);
	}
	op_end(&o);
	return rc;
}

int be_nfs_lock_test(struct backend *be, const struct be_call *call, struct be_node *node,
		     const struct be_lock *lk, struct be_lock *out)
{
	struct op o;
	int rc = op_begin(&o, be, call, node, lk);

	if (rc)
		return rc;
	o.interrupted = call->interrupted;
	rc = op_run(&o, NLM_TEST);
	if (!rc && o.reply.status == NLM_DENIED) {
		*out = (struct be_lock){ .exclusive = o.reply.exclusive,
					 .start = o.reply.start,
					 .end = o.reply.end };
		rc = 1;
	} else if (!rc) {
		rc = nlm_errno(o.reply.status);
	}
	op_end(&o);
	return rc;
}

bool be_nfs_nlm_lost(struct nlm *n, const struct be_node *node)
{
	bool lost;

	if (!n || !n->table.nlost)
		return false;
	mutex_lock(&n->lock);
	lost = nlm_table_lost(&n->table, node);
	mutex_unlock(&n->lock);
	return lost;
}
