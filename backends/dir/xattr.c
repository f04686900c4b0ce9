/* SPDX-License-Identifier: Apache-2.0 */
/* xattr.c - extended attributes, through the magic link in /proc. These calls take no folder:
 * where there is no /proc, its folder of descriptors is the working folder.
 *
 * user.*, trusted.* and security.* are passed on, as the caller: the file
 * system decides who may. Others are -ENOTSUP and not listed. */
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "backends/dir/dir_impl.h"

#define MAGIC_BYTES 32

static bool namespace_passed(const char *name)
{
	static const char *const passed[] = { "user.", "trusted.", "security." };

	for (size_t i = 0; i < ARRAY_LEN(passed); i++)
		if (!strncmp(name, passed[i], strlen(passed[i])))
			return true;
	return false;
}

/* Pins the node as the caller and names it. 0 or -errno. */
static int magic_enter(struct backend *be, const struct be_call *call, struct be_node *node,
		       char magic[MAGIC_BYTES])
{
	int fd = dnode_pin_as(dir_of(be), dnode_of(node), call->cred);

	if (fd < 0)
		return fd;
	snprintf(magic, MAGIC_BYTES, dir_of(be)->proc_is_cwd ? "%d" : "/proc/self/fd/%d", fd);
	return 0;
}

ssize_t dir_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		     const char *name, void *buf, size_t cap)
{
	char magic[MAGIC_BYTES];
	ssize_t rc;

	if (!namespace_passed(name))
		return -ENOTSUP;
	rc = magic_enter(be, call, node, magic);
	if (rc)
		return rc;
	rc = getxattr(magic, name, buf, cap);
	if (rc < 0)
		rc = -errno;
	dnode_unpin(dnode_of(node));
	return rc;
}

int dir_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		 const char *name, const void *value, size_t len, int flags)
{
	char magic[MAGIC_BYTES];
	int rc;

	if (!namespace_passed(name))
		return -ENOTSUP;
	rc = magic_enter(be, call, node, magic);
	if (rc)
		return rc;
	rc = setxattr(magic, name, value, len, flags) ? -errno : 0;
	dnode_unpin(dnode_of(node));
	return rc;
}

int dir_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    const char *name)
{
	char magic[MAGIC_BYTES];
	int rc;

	if (!namespace_passed(name))
		return -ENOTSUP;
	rc = magic_enter(be, call, node, magic);
	if (rc)
		return rc;
	rc = removexattr(magic, name) ? -errno : 0;
	dnode_unpin(dnode_of(node));
	return rc;
}

/* Drops the names that are not passed on. Returns the new length. */
static size_t list_filter(char *list, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0, n; at < len; at += n) {
		n = strlen(list + at) + 1;
		if (!namespace_passed(list + at))
			continue;
		memmove(list + kept, list + at, n);
		kept += n;
	}
	return kept;
}

ssize_t dir_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		      char *buf, size_t cap)
{
	AUTO_FREE char *list = malloc(XATTR_LIST_MAX + 1);
	char magic[MAGIC_BYTES];
	ssize_t rc;

	if (!list)
		return -ENOMEM;
	rc = magic_enter(be, call, node, magic);
	if (rc)
		return rc;
	rc = listxattr(magic, list, XATTR_LIST_MAX);
	if (rc < 0)
		rc = -errno;
	dnode_unpin(dnode_of(node));
	if (rc <= 0)
		return rc;
	rc = (ssize_t)list_filter(list, (size_t)rc);
	if (cap && (size_t)rc > cap)
		return -ERANGE;
	if (cap)
		memcpy(buf, list, (size_t)rc);
	return rc;
}
