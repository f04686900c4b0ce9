/* SPDX-License-Identifier: Apache-2.0 */
/* request.h - one request of the kernel in flight: answered exactly once
 *
 *   TAKEN --op returns 0 or -errno--> answered, free again (the receiver goes on)
 *     |---op returns OP_PUNT---> POOLED: run again by a thread that may block
 *     '---op returns OP_PARKED-> PARKED: a completion answers it and frees it
 *
 * A receiver owns the request it fills. A request that leaves the receiver is
 * registered by `unique`, so that INTERRUPT finds it. The message stays in its
 * slot of the arena until the answer was written; small ones move to a small
 * slot when they leave the receiver. */
#ifndef FUSEFS_REQUEST_H
#define FUSEFS_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "backends/backend.h"
#include "cache/cache.h"
#include "common/list.h"
#include "fusefs/kernel.h"

struct volume;
struct session;
struct inode;

#define OP_PUNT 1   /* would have to wait: run it where that is allowed */
#define OP_PARKED 2 /* somebody else answers */
#define REQUEST_REPLY_IOV 8

struct request {
	struct volume *v;  /* = s->v */
	struct session *s; /* stays for as long as it has requests */
	unsigned slot;
	uint8_t *msg; /* the whole message, in the slot */
	size_t len;
	struct fuse_in_header *hdr; /* = msg */
	bool may_block;
	bool answered;
	atomic_bool interrupted;
	const struct be_cred *cred; /* counted, or NULL before call() */
	struct be_call call;
	struct list link; /* interrupt table or pool queue */
	struct list by_unique;
	/* guarded by v->request_lock */
	bool registered, ended;
	struct list signalled;              /* on v->signalled: see interrupt.h */
	unsigned pins;                      /* INTERRUPT is looking at it */
	bool (*cancel)(struct request *rq); /* ends its wait early: true, nobody else will answer */
	struct handle *handle;              /* of a parked read */
	struct cache_rd rd;
	struct cache_wr wr;
};

/* ---- pool of requests and slots ---- */
int requests_init(struct volume *v);
void requests_done(struct volume *v);
/* A free request with a large slot; waits when all are taken. */
struct request *request_new(struct session *s);
void request_free(struct request *rq);
/* After the answer: ready for the next message. */
void request_reset(struct request *rq);
/* The request leaves its receiver: to a small slot where it fits, into the
 * interrupt table. cancel may be NULL. Harmless when repeated (sets cancel). */
void request_detach(struct request *rq, bool (*cancel)(struct request *rq));
/* A detached request that has not ended, or NULL; it is not freed before it is unpinned. */
struct request *request_pin(const struct session *s, uint64_t unique);
void request_unpin(struct request *rq);

/* Arguments behind the header; NULL when the message is too short. */
const void *request_arg(const struct request *rq, size_t size);
/* A NUL-terminated name at offset off of the arguments; NULL when there is none. */
const char *request_name(const struct request *rq, size_t off);

/* Who asks and how: fills rq->call. -ENOMEM. */
int request_call(struct request *rq, bool idempotent);
/* rc of a backend or cache call: -EAGAIN becomes OP_PUNT on a receiver. */
int request_result(const struct request *rq, int rc);
/* True when an operation that may wait must go to the pool first. */
bool request_must_punt(const struct request *rq);

/* ---- answers: each ends the request; parked ones are freed by request_end() ---- */
void reply_err(struct request *rq, int err); /* err: 0 or -errno */
void reply_buf(struct request *rq, const void *buf, size_t len);
void reply_iov(struct request *rq, struct iovec *iov,
	       unsigned niov); /* iov[0] is left free for the header */
void reply_none(struct request *rq);
/* A detached request is over: out of the table, slot free. */
void request_end(struct request *rq);
/* reply_err() + request_end(), for completions. */
void request_finish(struct request *rq, int err);

#endif
