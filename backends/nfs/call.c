/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - calls: their pool, buffers, and the thread that waits for one */
#include "backends/nfs/rpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct ncall *ncall_make(struct ncall_pool *pool)
{
	struct ncall *call = calloc(1, sizeof *call);

	if (!call)
		return NULL;
	call->pool = pool;
	mutex_init(&call->wait_lock, LOCK_be_rpc);
	cond_init(&call->wait_cond);
	return call;
}

static void ncall_destroy(struct ncall *call)
{
	mutex_done(&call->wait_lock);
	cond_done(&call->wait_cond);
	free(call);
}

int ncall_pool_init(struct ncall_pool *pool, unsigned keep)
{
	mutex_init(&pool->lock, LOCK_be_queue);
	list_init(&pool->free);
	pool->keep = keep;
	for (pool->nfree = 0; pool->nfree < keep; pool->nfree++) {
		struct ncall *call = ncall_make(pool);

		if (!call)
			return -ENOMEM;
		list_push_back(&pool->free, &call->pool_link);
	}
	return 0;
}

void ncall_pool_done(struct ncall_pool *pool)
{
	struct list *l;

	while ((l = list_pop(&pool->free)))
		ncall_destroy(list_entry(l, struct ncall, pool_link));
	mutex_done(&pool->lock);
}

struct ncall *ncall_new(struct ncall_pool *pool)
{
	struct ncall *call;
	struct list *l;

	mutex_lock(&pool->lock);
	l = list_pop(&pool->free);
	if (l)
		pool->nfree--;
	mutex_unlock(&pool->lock);
	call = l ? list_entry(l, struct ncall, pool_link) : ncall_make(pool);
	if (!call)
		return NULL;
	list_init(&call->all_link);
	list_init(&call->send_link);
	list_init(&call->hash_link);
	call->refs = 1;
	call->kind = NCALL_PLAIN;
	call->args = call->args_inline;
	call->args_cap = sizeof call->args_inline;
	call->reply = call->reply_inline;
	call->reply_cap = sizeof call->reply_inline;
	call->args_len = call->payload_len = call->iov_off = 0;
	call->deadline_ms = call->due_ms = 0;
	call->abandoned = false;
	memset(call->scratch, 0, sizeof call->scratch);
	ncall_rearm(call);
	return call;
}

void ncall_rearm(struct ncall *call)
{
	call->error = 0;
	call->reply_len = 0;
	call->sent = 0;
	call->sends = 0;
	call->was_sent = call->resent = call->finished = false;
}

struct ncall *ncall_get(struct ncall *call)
{
	atomic_fetch_add(&call->refs, 1);
	return call;
}

static void ncall_drop_buffers(struct ncall *call)
{
	if (call->args != call->args_inline)
		free(call->args);
	if (call->reply != call->reply_inline)
		free(call->reply);
}

void ncall_put(struct ncall *call)
{
	struct ncall_pool *pool;
	bool keep;

	if (!call || atomic_fetch_sub(&call->refs, 1) != 1)
		return;
	ncall_drop_buffers(call);
	pool = call->pool;
	mutex_lock(&pool->lock);
	keep = pool->nfree < pool->keep;
	if (keep) {
		list_push_front(&pool->free, &call->pool_link);
		pool->nfree++;
	}
	mutex_unlock(&pool->lock);
	if (!keep)
		ncall_destroy(call);
}

int ncall_reserve(struct ncall *call, size_t args_cap, size_t reply_cap)
{
	uint8_t *args = args_cap > call->args_cap ? malloc(args_cap) : NULL;
	uint8_t *reply = reply_cap > call->reply_cap ? malloc(reply_cap) : NULL;

	if ((args_cap > call->args_cap && !args) || (reply_cap > call->reply_cap && !reply)) {
		free(args);
		free(reply);
		return -ENOMEM;
	}
	if (args) {
		call->args = args;
		call->args_cap = args_cap;
	}
	if (reply) {
		if (call->reply != call->reply_inline)
			free(call->reply);
		call->reply = reply;
		call->reply_cap = reply_cap;
	}
	return 0;
}

void ncall_finish(struct ncall *call)
{
	mutex_lock(&call->wait_lock);
	call->finished = true;
	cond_signal(&call->wait_cond);
	mutex_unlock(&call->wait_lock);
	ncall_put(call);
}

bool ncall_wait(struct ncall *call, uint64_t deadline_ms)
{
	bool finished;

	mutex_lock(&call->wait_lock);
	while (!call->finished && cond_wait_until(&call->wait_cond, &call->wait_lock, deadline_ms))
		;
	finished = call->finished;
	mutex_unlock(&call->wait_lock);
	return finished;
}

size_t ncall_record_len(const struct ncall *call)
{
	size_t payload = call->kind == NCALL_WRITE ? call->payload_len : 0;

	return call->args_len + ((payload + 3) & ~(size_t)3);
}

unsigned ncall_payload(const struct ncall *call, size_t from, size_t len, struct iovec *iov,
		       unsigned max, size_t *out_len)
{
	size_t skip = call->iov_off + from;
	unsigned n = 0;

	*out_len = 0;
	for (unsigned i = 0; i < call->niov && n < max && len; i++) {
		const struct iovec *v = &call->iov[i];
		size_t part;

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		part = v->iov_len - skip < len ? v->iov_len - skip : len;
		iov[n++] = (struct iovec){ (char *)v->iov_base + skip, part };
		*out_len += part;
		len -= part;
		skip = 0;
	}
	return n;
}
