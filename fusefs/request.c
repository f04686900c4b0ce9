/* SPDX-License-Identifier: Apache-2.0 */
/* request.c - see request.h */
#include "fusefs/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/stats.h"
#include "common/tsan.h"
#include "fusefs/cred.h"
#include "fusefs/session.h"

#define SLOT_KEEP 32 /* large slots whose memory is kept for the next request */

/* ---- slots ---- */

int requests_init(struct volume *v)
{
	mutex_init(&v->slot_lock, LOCK_slot);
	cond_init(&v->slot_cond);
	mutex_init(&v->request_lock, LOCK_request);
	list_init(&v->free_requests);
	for (int i = 0; i < INTERRUPT_BUCKETS; i++)
		list_init(&v->by_unique[i]);
	v->small_free = malloc(ARENA_SLOTS_SMALL * sizeof *v->small_free);
	v->large_free = malloc(ARENA_SLOTS_LARGE * sizeof *v->large_free);
	if (!v->small_free || !v->large_free)
		return -ENOMEM;
	for (uint32_t i = ARENA_SLOTS_SMALL; i-- > 0;)
		v->small_free[v->nsmall_free++] = i;
	for (uint32_t i = ARENA_SLOTS_LARGE; i-- > 0;)
		v->large_free[v->nlarge_free++] = ARENA_SLOTS_SMALL + i;
	return 0;
}

void requests_done(struct volume *v)
{
	struct list *it;

	while ((it = list_pop(&v->free_requests)))
		free(list_entry(it, struct request, link));
	free(v->small_free);
	free(v->large_free);
	cond_done(&v->slot_cond);
	mutex_done(&v->slot_lock);
	mutex_done(&v->request_lock);
}

static void slot_set(struct request *rq, unsigned slot)
{
	uint8_t *buf = arena_slot_buf(rq->v->arena, slot);

	rq->slot = slot;
	/* WRITE's headers (80 bytes) end where a page begins. */
	rq->msg = slot < ARENA_SLOTS_SMALL ? buf : buf + 4096 - 80;
	rq->hdr = (struct fuse_in_header *)(void *)rq->msg;
}

static void slot_put_locked(struct volume *v, unsigned slot)
{
	v->arena->slots[slot].state = ARENA_SLOT_FREE;
	if (slot < ARENA_SLOTS_SMALL)
		v->small_free[v->nsmall_free++] = slot;
	else
		v->large_free[v->nlarge_free++] = slot;
	cond_signal(&v->slot_cond);
}

/* A slot beyond those in steady use gives its payload's memory back. */
static void slot_trim(struct volume *v, unsigned slot, size_t len)
{
	if (slot >= ARENA_SLOTS_SMALL + SLOT_KEEP && len > 65536)
		madvise(arena_slot_buf(v->arena, slot) + 4096, ARENA_PAYLOAD_MAX, MADV_REMOVE);
}

struct request *request_new(struct session *s)
{
	struct volume *v = s->v;
	struct request *rq = NULL;
	unsigned slot;

	mutex_lock(&v->slot_lock);
	while (!v->nlarge_free)
		cond_wait(&v->slot_cond, &v->slot_lock);
	slot = v->large_free[--v->nlarge_free];
	if (!list_empty(&v->free_requests))
		rq = list_entry(list_pop(&v->free_requests), struct request, link);
	mutex_unlock(&v->slot_lock);
	if (!rq)
		rq = malloc(sizeof *rq);
	if (!rq) {
		mutex_lock(&v->slot_lock);
		slot_put_locked(v, slot);
		mutex_unlock(&v->slot_lock);
		return NULL;
	}
	rq->v = v;
	rq->s = s;
	s->nrequests++;
	rq->cred = NULL;
	slot_set(rq, slot);
	request_reset(rq);
	return rq;
}

void request_reset(struct request *rq)
{
	be_cred_put(rq->cred);
	rq->cred = NULL;
	rq->len = 0;
	rq->may_block = rq->answered = rq->registered = rq->ended = false;
	rq->interrupted = false;
	rq->pins = 0;
	rq->cancel = NULL;
	rq->handle = NULL;
	rq->call.op_id = 0;
	list_init(&rq->link);
	list_init(&rq->by_unique);
	list_init(&rq->signalled);
}

void request_free(struct request *rq)
{
	struct volume *v = rq->v;
	struct session *s = rq->s;

	be_cred_put(rq->cred);
	rq->cred = NULL;
	slot_trim(v, rq->slot, rq->len);
	mutex_lock(&v->slot_lock);
	slot_put_locked(v, rq->slot);
	list_push_front(&v->free_requests, &rq->link);
	mutex_unlock(&v->slot_lock);
	s->nrequests--; /* last: the session may go */
}

/* ---- leaving the receiver ---- */

static struct list *bucket(struct volume *v, uint64_t unique)
{
	return &v->by_unique[hash_u64(unique) % INTERRUPT_BUCKETS];
}

struct request *request_pin(const struct session *s, uint64_t unique)
{
	struct volume *v = s->v;
	struct request *found = NULL;

	mutex_lock(&v->request_lock);
	list_for_each(it, bucket(v, unique)) {
		struct request *rq = list_entry(it, struct request, by_unique);

		if (rq->hdr->unique != unique || rq->s != s)
			continue;
		rq->pins++;
		found = rq;
		break;
	}
	mutex_unlock(&v->request_lock);
	return found;
}

void request_unpin(struct request *rq)
{
	bool last;

	mutex_lock(&rq->v->request_lock);
	last = --rq->pins == 0 && rq->ended;
	mutex_unlock(&rq->v->request_lock);
	if (last)
		request_free(rq);
}

/* Small messages move, so that parked ones do not use up the large slots. */
static void move_to_small(struct request *rq)
{
	struct volume *v = rq->v;
	unsigned large = rq->slot;
	uint8_t *old = rq->msg;

	if (rq->len > ARENA_SLOT_SMALL || large < ARENA_SLOTS_SMALL)
		return;
	mutex_lock(&v->slot_lock);
	if (v->nsmall_free) {
		slot_set(rq, v->small_free[--v->nsmall_free]);
		memcpy(rq->msg, old, rq->len);
		slot_put_locked(v, large);
	}
	mutex_unlock(&v->slot_lock);
}

void request_detach(struct request *rq, bool (*cancel)(struct request *rq))
{
	struct volume *v = rq->v;
	struct arena_slot *slot;

	if (!rq->registered) {
		move_to_small(rq);
		slot = &v->arena->slots[rq->slot];
		slot->len = (uint32_t)rq->len;
		slot->unique = rq->hdr->unique;
		slot->state = ARENA_SLOT_TAKEN;
	}
	mutex_lock(&v->request_lock);
	rq->cancel = cancel;
	if (!rq->registered)
		list_push_back(bucket(v, rq->hdr->unique), &rq->by_unique);
	rq->registered = true;
	mutex_unlock(&v->request_lock);
}

void request_end(struct request *rq)
{
	struct volume *v = rq->v;
	bool last = true;

	mutex_lock(&v->request_lock);
	if (rq->registered)
		list_del(&rq->by_unique);
	list_del(&rq->signalled);
	rq->registered = false;
	rq->ended = true;
	last = rq->pins == 0;
	mutex_unlock(&v->request_lock);
	if (last)
		request_free(rq);
}

/* ---- arguments, caller ---- */

const void *request_arg(const struct request *rq, size_t size)
{
	if (rq->len < sizeof *rq->hdr + size)
		return NULL;
	return rq->msg + sizeof *rq->hdr;
}

const char *request_name(const struct request *rq, size_t off)
{
	size_t at = sizeof *rq->hdr + off;

	if (at >= rq->len || !memchr(rq->msg + at, 0, rq->len - at))
		return NULL;
	return (const char *)rq->msg + at;
}

int request_call(struct request *rq, bool idempotent)
{
	struct volume *v = rq->v;
	const struct session_options *o = &rq->s->opt;

	if (!rq->cred) {
		if (session_mapped(rq->s))
			rq->cred = cred_for(v->creds, (uid_t)o->uid, (gid_t)o->gid, 0, false);
		else
			rq->cred = cred_for(v->creds, rq->hdr->uid, rq->hdr->gid,
					    (pid_t)rq->hdr->pid, v->be->limits.caps & BE_CAP_CRED);
		if (!rq->cred)
			return -ENOMEM;
	}
	rq->call.cred = rq->cred;
	rq->call.flags = rq->may_block ? 0 : BE_NOWAIT;
	rq->call.interrupted = &rq->interrupted;
	if (!idempotent && !rq->call.op_id)
		rq->call.op_id = ++v->next_op_id;
	return 0;
}

int request_result(const struct request *rq, int rc)
{
	return rc == -EAGAIN && !rq->may_block ? OP_PUNT : rc;
}

bool request_must_punt(const struct request *rq)
{
	return !rq->may_block && !rq->v->inline_meta;
}

/* ---- answers ---- */

void reply_iov(struct request *rq, struct iovec *iov, unsigned niov)
{
	struct fuse_out_header out = { .unique = rq->hdr->unique };
	size_t len = sizeof out;
	ssize_t sent;

	for (unsigned i = 1; i < niov; i++)
		len += iov[i].iov_len;
	out.len = (uint32_t)len;
	iov[0] = (struct iovec){ &out, sizeof out };
	rq->answered = true;
	TSAN_RELEASE(&rq->s->fuse_fd); /* the kernel orders what follows from it */
	/* ENOENT: the request was interrupted and forgotten; ENODEV: unmounted. */
	TSAN_PAYLOAD(sent = writev(rq->s->fuse_fd, iov, (int)niov));
	if (sent < 0 && errno != ENOENT && errno != ENODEV && errno != ECONNABORTED) {
		log_warn("fuse: answer to opcode %u refused: %s", rq->hdr->opcode, strerror(errno));
		out.len = sizeof out;
		out.error = -EIO;
		if (write(rq->s->fuse_fd, &out, sizeof out) < 0)
			log_warn("fuse: request %llu cannot be answered",
				 (unsigned long long)rq->hdr->unique);
	}
	iov[0] = (struct iovec){ 0 };
}

void reply_err(struct request *rq, int err)
{
	struct fuse_out_header out = { .len = sizeof out, .error = err, .unique = rq->hdr->unique };

	rq->answered = true;
	TSAN_RELEASE(&rq->s->fuse_fd); /* the kernel orders what follows from it */
	if (write(rq->s->fuse_fd, &out, sizeof out) < 0 && errno != ENOENT && errno != ENODEV &&
	    errno != ECONNABORTED)
		log_warn("fuse: error %d for opcode %u refused: %s", err, rq->hdr->opcode,
			 strerror(errno));
}

void reply_buf(struct request *rq, const void *buf, size_t len)
{
	struct iovec iov[2] = { [1] = { (void *)(uintptr_t)buf, len } };

	reply_iov(rq, iov, 2);
}

void reply_none(struct request *rq)
{
	rq->answered = true;
}

void request_finish(struct request *rq, int err)
{
	if (!rq->answered)
		reply_err(rq, err);
	request_end(rq);
}
