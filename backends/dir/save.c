/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - a node as bytes, for a later process
 *
 *   0  1  version        1  1  length of the handle
 *   4  4  handle type    8  8  inode number    16  the handle
 *
 * A handle leads to any object of the file system, so what is restored must be
 * on the folder's mount and have the number and kind that were saved. */
#include <errno.h>
#include <string.h>

#include "backends/dir/dir_impl.h"

#define SAVE_VERSION 1

struct saved {
	uint8_t version, len, spare[2];
	int32_t type;
	uint64_t ino;
	unsigned char bytes[BE_HANDLE_MAX];
};
#define SAVED_HEAD offsetof(struct saved, bytes)

_Static_assert(offsetof(struct saved, bytes) == 16, "layout");
_Static_assert(sizeof(struct saved) <= BE_NODE_SAVE_MAX, "fits");

ssize_t dir_node_save(struct backend *be, struct be_node *node, void *buf, size_t cap)
{
	struct saved s = { .version = SAVE_VERSION, .ino = node->ino };
	struct dnode *n = dnode_of(node);
	struct be_handle h = { .len = 0 };
	int fd, rc;

	if (!dir_of(be)->handles)
		return -ENOTSUP;
	fd = dnode_pin(dir_of(be), n);
	if (fd < 0)
		return fd;
	rc = dhandle_get(dir_of(be), fd, &h);
	dnode_unpin(n);
	if (rc)
		return rc;
	if (SAVED_HEAD + h.len > cap)
		return -ERANGE;
	s.len = (uint8_t)h.len;
	s.type = h.type;
	memcpy(s.bytes, h.bytes, h.len);
	memcpy(buf, &s, SAVED_HEAD + h.len);
	return (ssize_t)(SAVED_HEAD + h.len);
}

static int saved_check(const void *buf, size_t len, struct saved *out)
{
	if (len < SAVED_HEAD || len > sizeof *out)
		return -EINVAL;
	memset(out, 0, sizeof *out);
	memcpy(out, buf, len);
	if (out->version != SAVE_VERSION || out->len == 0 || SAVED_HEAD + out->len != len)
		return -EINVAL;
	return 0;
}

int dir_node_restore(struct backend *be, const void *buf, size_t len, struct be_entry *out)
{
	struct dir *d = dir_of(be);
	struct be_handle h;
	struct dnode *n;
	struct saved s;
	struct statx stx;
	AUTO_FD int fd = -1;
	int rc;

	if (!d->handles)
		return -ENOTSUP;
	rc = saved_check(buf, len, &s);
	if (rc)
		return rc;
	h.type = s.type;
	h.len = s.len;
	memcpy(h.bytes, s.bytes, s.len);
	fd = dhandle_open(d, &h);
	if (fd < 0)
		return fd;
	rc = dir_statx_fd(fd, &stx);
	if (!rc && (dir_check_mount(d, &stx) || stx.stx_ino != s.ino))
		rc = -ESTALE;
	if (!rc)
		rc = dnode_intern_take(d, take_fd(&fd), &stx, &n);
	if (rc)
		return rc;
	out->node = &n->node;
	dir_attr_from(&stx, &out->attr);
	return 0;
}
