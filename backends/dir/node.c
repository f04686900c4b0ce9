/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - which node stands for which object
 *
 * The table holds each object's node once. A node leaves it when its last
 * reference goes, or when its inode number is found to belong to another
 * object now: then it lives on outside, and whoever uses it meets -ESTALE. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "backends/dir/dir_impl.h"
#include "common/hash.h"

#define BUCKETS_MIN 1024

static dev_t stx_dev(const struct statx *stx)
{
	return makedev(stx->stx_dev_major, stx->stx_dev_minor);
}

static struct timespec stx_time(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

void dir_attr_from(const struct statx *stx, struct be_attr *out)
{
	*out = (struct be_attr){ .ino = stx->stx_ino,
				 .mode = stx->stx_mode,
				 .nlink = stx->stx_nlink,
				 .uid = stx->stx_uid,
				 .gid = stx->stx_gid,
				 .rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
				 .size = stx->stx_size,
				 .blocks = stx->stx_blocks,
				 .atime = stx_time(&stx->stx_atime),
				 .mtime = stx_time(&stx->stx_mtime),
				 .ctime = stx_time(&stx->stx_ctime) };
	if (stx->stx_mask & STATX_BTIME)
		out->btime = stx_time(&stx->stx_btime);
}

int dir_statx_fd(int fd, struct statx *out)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, DIR_STATX_MASK, out) ? -errno : 0;
}

int dir_check_mount(const struct dir *d, const struct statx *stx)
{
	if (d->root_mnt && (stx->stx_mask & STATX_MNT_ID))
		return stx->stx_mnt_id == d->root_mnt ? 0 : -EXDEV;
	return stx_dev(stx) == d->root_dev ? 0 : -EXDEV;
}

/* ---- table ---------------------------------------------------------- */

static struct dnode **bucket_of(struct dnode **buckets, size_t n, dev_t dev, uint64_t ino)
{
	return &buckets[hash_u64(ino ^ (uint64_t)dev << 40) & (n - 1)];
}

/* Grows while it can; without memory the chains get longer. */
static void table_grow_locked(struct dir *d)
{
	size_t n = d->nbuckets ? d->nbuckets * 2 : BUCKETS_MIN;
	struct dnode **to = calloc(n, sizeof(struct dnode *));

	if (!to)
		return;
	for (size_t i = 0; i < d->nbuckets; i++) {
		for (struct dnode *it = d->buckets[i], *next; it; it = next) {
			struct dnode **b = bucket_of(to, n, it->dev, it->node.ino);

			next = it->next;
			it->next = *b;
			*b = it;
		}
	}
	free(d->buckets);
	d->buckets = to;
	d->nbuckets = n;
}

static struct dnode *table_find_locked(struct dir *d, dev_t dev, uint64_t ino)
{
	struct dnode *n = d->nbuckets ? *bucket_of(d->buckets, d->nbuckets, dev, ino) : NULL;

	while (n && (n->node.ino != ino || n->dev != dev))
		n = n->next;
	return n;
}

static void table_remove_locked(struct dir *d, struct dnode *n)
{
	struct dnode **at;

	if (!n->in_table)
		return;
	at = bucket_of(d->buckets, d->nbuckets, n->dev, n->node.ino);
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	n->in_table = false;
	d->count--;
}

static void table_remove(struct dir *d, struct dnode *n)
{
	mutex_lock(&d->table_lock);
	table_remove_locked(d, n);
	mutex_unlock(&d->table_lock);
}

/* A counted node with that number, or NULL. One on its way out makes room. */
static struct dnode *table_get(struct dir *d, dev_t dev, uint64_t ino)
{
	struct dnode *n;

	mutex_lock(&d->table_lock);
	n = table_find_locked(d, dev, ino);
	if (n && !be_node_tryget(&n->node)) {
		table_remove_locked(d, n);
		n = NULL;
	}
	mutex_unlock(&d->table_lock);
	return n;
}

bool dnode_likely_known(struct dir *d, uint64_t ino)
{
	bool found;

	mutex_lock(&d->table_lock);
	found = table_find_locked(d, d->root_dev, ino) != NULL;
	mutex_unlock(&d->table_lock);
	return found;
}

/* Enters n. -EEXIST when another thread was faster, -ENOMEM. */
static int table_add(struct dir *d, struct dnode *n)
{
	struct dnode **b, *other;
	int rc = 0;

	mutex_lock(&d->table_lock);
	if (d->count >= d->nbuckets)
		table_grow_locked(d);
	other = table_find_locked(d, n->dev, n->node.ino);
	if (!d->nbuckets) {
		rc = -ENOMEM;
	} else if (other && atomic_load(&other->node.refs) > 0) {
		rc = -EEXIST;
	} else {
		if (other)
			table_remove_locked(d, other);
		b = bucket_of(d->buckets, d->nbuckets, n->dev, n->node.ino);
		n->next = *b;
		*b = n;
		n->in_table = true;
		d->count++;
	}
	mutex_unlock(&d->table_lock);
	return rc;
}

/* ---- identity ------------------------------------------------------- */

static bool same_birth(const struct dnode *n, const struct statx *stx)
{
	return !(stx->stx_mask & STATX_BTIME) || (n->btime.tv_sec == stx->stx_btime.tv_sec &&
						  n->btime.tv_nsec == stx->stx_btime.tv_nsec);
}

/* An open descriptor keeps the inode, and with it the number. */
static bool number_is_kept_locked(const struct dnode *n)
{
	return n->fd >= 0 || n->data;
}

struct dnode *dnode_known(struct dir *d, const struct statx *stx, bool *maybe)
{
	struct dnode *n = table_get(d, stx_dev(stx), stx->stx_ino);
	bool sure;

	*maybe = n != NULL;
	if (!n)
		return NULL;
	mutex_lock(&n->lock);
	/* The birth time tells objects apart whose number changed hands since stx was read. */
	sure = number_is_kept_locked(n) && n->node.type == (stx->stx_mode & S_IFMT) &&
	       same_birth(n, stx);
	n->fd_used = true;
	mutex_unlock(&n->lock);
	if (sure)
		return n;
	be_node_put(&n->node);
	return NULL;
}

/* Whether the known node n and the object at fd are the same. If n has no
 * descriptor it gets *fd, which becomes -1. */
static bool claim(const struct dir *d, struct dnode *n, int *fd)
{
	struct be_handle handle;
	bool same;

	mutex_lock(&n->lock);
	same = number_is_kept_locked(n);
	if (!same && n->handle.len && dhandle_get(d, *fd, &handle) == 0)
		same = handle.len == n->handle.len && handle.type == n->handle.type &&
		       !memcmp(handle.bytes, n->handle.bytes, handle.len);
	if (same && n->fd < 0)
		n->fd = take_fd(fd);
	n->fd_used = true;
	mutex_unlock(&n->lock);
	return same;
}

static struct dnode *dnode_new_take(struct dir *d, int *fd, const struct statx *stx)
{
	struct dnode *n = calloc(1, sizeof *n);

	if (!n)
		return NULL;
	n->node.be = &d->be;
	atomic_init(&n->node.refs, 1);
	n->node.ino = stx->stx_ino;
	n->node.type = stx->stx_mode & S_IFMT;
	n->dev = stx_dev(stx);
	n->btime = stx->stx_btime;
	n->unlinked = stx->stx_nlink == 0;
	list_init(&n->fd_link);
	mutex_init(&n->lock, LOCK_be_node);
	n->fd = take_fd(fd);
	return n;
}

int dnode_intern_take(struct dir *d, int fd_taken, const struct statx *stx, struct dnode **out)
{
	AUTO_FD int fd = fd_taken;
	struct dnode *n;
	int rc;

	while ((n = table_get(d, stx_dev(stx), stx->stx_ino))) {
		if (claim(d, n, &fd)) {
			if (fd < 0)
				dir_fds_add(d, n);
			*out = n;
			return 0;
		}
		table_remove(d, n);
		be_node_put(&n->node);
	}
	n = dnode_new_take(d, &fd, stx);
	if (!n)
		return -ENOMEM;
	rc = table_add(d, n);
	if (rc == -EEXIST) {
		/* The other has a descriptor of its own or has had one: look at it. */
		mutex_lock(&n->lock);
		fd = take_fd(&n->fd);
		mutex_unlock(&n->lock);
		be_node_put(&n->node);
		return dnode_intern_take(d, take_fd(&fd), stx, out);
	}
	if (rc) {
		be_node_put(&n->node);
		return rc;
	}
	dir_fds_add(d, n);
	*out = n;
	return 0;
}

void dnode_free(struct be_node *node)
{
	struct dnode *n = dnode_of(node);
	struct dir *d = dir_of(node->be);

	table_remove(d, n);
	dir_fds_remove(d, n);
	if (n->fd >= 0)
		close(n->fd);
	dfile_put(n->data);
	mutex_done(&n->lock);
	free(n);
}
