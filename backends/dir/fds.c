/* SPDX-License-Identifier: Apache-2.0 */
/* fds.c - descriptors of nodes and of their data
 *
 * Nodes may be many more than descriptors. Where file handles work, d->fds
 * queues the nodes with an O_PATH descriptor, and beyond fds_max the hand goes
 * round: a node used since its last visit gets another turn, one in use or
 * without a name stays, the others' descriptors are closed and opened again by
 * handle when needed. Where handles do not work all descriptors stay. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/dir/dir_impl.h"

#define VISITS_MAX 64   /* nodes looked at for one new descriptor */
#define SHRINK_COUNT 64 /* descriptors closed when they ran out */

union handle_buf {
	struct file_handle fh;
	char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

int dhandle_get(const struct dir *d, int fd, struct be_handle *out)
{
	union handle_buf u;
	int mount;

	if (d->handle_get)
		return d->handle_get(d->helper_arg, fd, out);
	u.fh.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", &u.fh, &mount, AT_EMPTY_PATH))
		return -errno;
	if (u.fh.handle_bytes == 0 || u.fh.handle_bytes > BE_HANDLE_MAX)
		return -EOVERFLOW;
	out->type = u.fh.handle_type;
	out->len = u.fh.handle_bytes;
	memcpy(out->bytes, u.fh.f_handle, out->len);
	return 0;
}

int dhandle_open(const struct dir *d, const struct be_handle *h)
{
	union handle_buf u;
	int fd;

	if (d->handle_open)
		return d->handle_open(d->helper_arg, h);
	u.fh.handle_type = h->type;
	u.fh.handle_bytes = h->len;
	memcpy(u.fh.f_handle, h->bytes, h->len);
	who_become_daemon();
	fd = open_by_handle_at(d->root_fd, &u.fh, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- the hand -------------------------------------------------------- */

/* Closes the node's descriptor unless it is wanted. */
static bool fd_close_if_idle(const struct dir *d, struct dnode *n)
{
	bool closed = false;

	mutex_lock(&n->lock);
	if (n->fd_used)
		n->fd_used = false;
	else if (!n->fd_users && !n->unlinked && n->fd >= 0)
		closed = n->handle.len || dhandle_get(d, n->fd, &n->handle) == 0;
	if (closed) {
		close(n->fd);
		n->fd = -1;
	}
	mutex_unlock(&n->lock);
	return closed;
}

static size_t fds_close_locked(struct dir *d, size_t want)
{
	size_t closed = 0;

	for (size_t i = 0; i < VISITS_MAX * want && closed < want && !list_empty(&d->fds); i++) {
		struct dnode *n = list_entry(list_pop(&d->fds), struct dnode, fd_link);

		if (fd_close_if_idle(d, n)) {
			d->nfds--;
			closed++;
		} else {
			list_push_back(&d->fds, &n->fd_link);
		}
	}
	return closed;
}

void dir_fds_add(struct dir *d, struct dnode *n)
{
	if (!d->handles)
		return;
	mutex_lock(&d->fds_lock);
	if (list_empty(&n->fd_link)) {
		list_push_back(&d->fds, &n->fd_link);
		if (++d->nfds > d->fds_max)
			fds_close_locked(d, 1);
	}
	mutex_unlock(&d->fds_lock);
}

void dir_fds_remove(struct dir *d, struct dnode *n)
{
	if (!d->handles)
		return;
	mutex_lock(&d->fds_lock);
	if (!list_empty(&n->fd_link)) {
		list_del(&n->fd_link);
		d->nfds--;
	}
	mutex_unlock(&d->fds_lock);
}

bool dir_fds_shrink(struct dir *d, int error)
{
	size_t closed;

	if (!d->handles || (error != -EMFILE && error != -ENFILE))
		return false;
	mutex_lock(&d->fds_lock);
	closed = fds_close_locked(d, SHRINK_COUNT);
	mutex_unlock(&d->fds_lock);
	return closed > 0;
}

static int fd_ready_locked(struct dir *d, struct dnode *n)
{
	int fd;

	if (n->fd >= 0)
		return 0;
	fd = dhandle_open(d, &n->handle);
	if (fd < 0)
		return fd;
	n->fd = fd;
	return 1;
}

int dnode_pin(struct dir *d, struct dnode *n)
{
	int rc, fd = -1;

	do {
		mutex_lock(&n->lock);
		rc = fd_ready_locked(d, n);
		if (rc >= 0) {
			n->fd_users++;
			n->fd_used = true;
			fd = n->fd;
		}
		mutex_unlock(&n->lock);
	} while (rc < 0 && dir_fds_shrink(d, rc));
	if (rc < 0)
		return rc;
	if (rc == 1)
		dir_fds_add(d, n);
	return fd;
}

int dnode_pin_as(struct dir *d, struct dnode *n, const struct be_cred *cred)
{
	int fd = dnode_pin(d, n), rc;

	if (fd < 0)
		return fd;
	rc = who_become(cred);
	if (!rc)
		return fd;
	dnode_unpin(n);
	return rc;
}

void dnode_unpin(struct dnode *n)
{
	mutex_lock(&n->lock);
	assert(n->fd_users > 0);
	n->fd_users--;
	mutex_unlock(&n->lock);
}

/* ---- data ------------------------------------------------------------ */

int dir_reopen(const struct dir *d, int fd, int oflags)
{
	char name[16];
	int out;

	snprintf(name, sizeof name, "%d", fd);
	out = openat(d->proc_fd, name, oflags | O_CLOEXEC | O_NOCTTY);
	return out < 0 ? -errno : out;
}

struct dfile *dfile_new_take(int fd, bool writable)
{
	struct dfile *file = malloc(sizeof *file);

	if (!file) {
		close(fd);
		return NULL;
	}
	atomic_init(&file->refs, 1);
	file->fd = fd;
	file->writable = writable;
	return file;
}

void dfile_put(struct dfile *file)
{
	if (!file || atomic_fetch_sub(&file->refs, 1) > 1)
		return;
	close(file->fd);
	free(file);
}

struct dfile *dfile_of_node(struct dnode *n, bool writing)
{
	struct dfile *file = NULL;

	mutex_lock(&n->lock);
	if (n->data && (n->data->writable || !writing)) {
		file = n->data;
		atomic_fetch_add(&file->refs, 1);
	}
	mutex_unlock(&n->lock);
	return file;
}

int dfile_get(struct dir *d, struct dnode *n, bool writing, struct dfile **out)
{
	int path_fd, fd;

	*out = dfile_of_node(n, writing);
	if (*out)
		return 0;
	path_fd = dnode_pin(d, n);
	if (path_fd < 0)
		return path_fd;
	who_become_daemon();
	fd = dir_reopen(d, path_fd, writing ? O_RDWR : O_RDONLY);
	dnode_unpin(n);
	if (fd < 0)
		return fd;
	*out = dfile_new_take(fd, writing);
	return *out ? 0 : -ENOMEM;
}

void dnode_opened_take(struct dnode *n, struct dfile *file)
{
	struct dfile *old = file;

	mutex_lock(&n->lock);
	n->opens++;
	if (file && (!n->data || (file->writable && !n->data->writable))) {
		old = n->data;
		n->data = file;
	}
	mutex_unlock(&n->lock);
	dfile_put(old);
}

void dir_release(struct backend *be, struct be_node *node, int oflags)
{
	struct dnode *n = dnode_of(node);
	struct dfile *old = NULL;

	(void)be;
	(void)oflags;
	mutex_lock(&n->lock);
	assert(n->opens > 0);
	if (--n->opens == 0) {
		old = n->data;
		n->data = NULL;
	}
	mutex_unlock(&n->lock);
	dfile_put(old);
}
