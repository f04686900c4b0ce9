/* SPDX-License-Identifier: Apache-2.0 */
#include "fusefs/handle.h"

#include <errno.h>
#include <stdlib.h>

#include "fusefs/filelock.h"
#include "fusefs/session.h"

int handles_init(struct volume *v)
{
	mutex_init(&v->handle_lock, LOCK_handle);
	v->handles = calloc(ARENA_HANDLES, sizeof *v->handles);
	v->handle_next = 1;
	return v->handles ? 0 : -ENOMEM;
}

void handles_done(struct volume *v)
{
	free(v->handles);
	free(v->handle_free);
	mutex_done(&v->handle_lock);
}

static void close_left(struct handle *h)
{
	/* Stands for a request of who opened it. */
	struct request rq = { .v = h->s->v, .s = h->s, .may_block = true, .cred = h->cred };
	struct volume *v = rq.v;

	if (!request_call(&rq, false))
		filelock_release_handle(&rq, h->in, h->fh);
	if (h->dir)
		backend_closedir(v->be, h->dir);
	else
		backend_release(v->be, h->in->node, h->flags);
	inode_closed(h->in, h->s, h->flags);
	handle_free(h);
}

void handles_leave(struct session *s)
{
	struct volume *v = s->v;

	for (uint32_t i = 1; i < v->handle_next; i++) {
		struct handle *h;

		/* Other sessions' handles may go meanwhile; this one's do not. */
		mutex_lock(&v->handle_lock);
		h = handle_of(s, i);
		mutex_unlock(&v->handle_lock);
		if (h)
			close_left(h);
	}
}

struct handle *handle_new(struct session *s, struct inode *in, int flags,
			  const struct be_cred *cred)
{
	struct volume *v = s->v;
	struct handle *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	mutex_lock(&v->handle_lock);
	if (v->nhandle_free)
		h->fh = v->handle_free[--v->nhandle_free];
	else if (v->handle_next < ARENA_HANDLES)
		h->fh = v->handle_next++;
	mutex_unlock(&v->handle_lock);
	if (!h->fh) {
		free(h);
		return NULL;
	}
	h->s = s;
	h->in = in;
	h->flags = flags;
	h->cred = be_cred_get(cred);
	mutex_init(&h->lock, LOCK_handle);
	readahead_init(&h->ra);
	v->nhandles++;
	v->handles[h->fh] = h; /* last: nobody sees half of it */
	return h;
}

struct handle *handle_of(const struct session *s, uint64_t fh)
{
	struct handle *h = fh && fh < ARENA_HANDLES ? s->v->handles[fh] : NULL;

	return h && h->s == s ? h : NULL;
}

void handle_free(struct handle *h)
{
	struct volume *v = h->s->v;

	mutex_lock(&v->handle_lock);
	v->handles[h->fh] = NULL;
	if (v->nhandle_free == v->handle_free_cap) {
		uint32_t cap = v->handle_free_cap ? v->handle_free_cap * 2 : 1024;
		uint32_t *p = realloc(v->handle_free, cap * sizeof *p);

		if (p) {
			v->handle_free = p;
			v->handle_free_cap = cap;
		}
	}
	if (v->nhandle_free < v->handle_free_cap)
		v->handle_free[v->nhandle_free++] = (uint32_t)h->fh;
	mutex_unlock(&v->handle_lock);
	v->nhandles--;
	be_cred_put(h->cred);
	readahead_done(&h->ra);
	mutex_done(&h->lock);
	free(h);
}
