/* SPDX-License-Identifier: Apache-2.0 */
#include "fusefs/handle.h"

#include <errno.h>
#include <stdlib.h>

#include "fusefs/volume.h"

int handles_init(struct volume *v)
{
	mutex_init(&v->handle_lock, LOCK_handle);
	v->handles = calloc(ARENA_HANDLES, sizeof *v->handles);
	v->handle_next = 1;
	return v->handles ? 0 : -ENOMEM;
}

void handles_done(struct volume *v)
{
	for (uint32_t i = 1; v->handles && i < v->handle_next; i++) {
		struct handle *h = v->handles[i];

		if (!h)
			continue;
		if (h->dir)
			backend_closedir(v->be, h->dir);
		else
			backend_release(v->be, h->in->node, h->flags);
		handle_free(v, h);
	}
	free(v->handles);
	free(v->handle_free);
	mutex_done(&v->handle_lock);
}

struct handle *handle_new(struct volume *v, struct inode *in, int flags, const struct be_cred *cred)
{
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
	h->in = in;
	h->flags = flags;
	h->cred = be_cred_get(cred);
	mutex_init(&h->lock, LOCK_handle);
	readahead_init(&h->ra);
	v->nhandles++;
	v->handles[h->fh] = h; /* last: nobody sees half of it */
	return h;
}

struct handle *handle_of(struct volume *v, uint64_t fh)
{
	return fh && fh < ARENA_HANDLES ? v->handles[fh] : NULL;
}

void handle_free(struct volume *v, struct handle *h)
{
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
