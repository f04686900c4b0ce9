/* SPDX-License-Identifier: Apache-2.0 */
/* xattr.c - extended attributes: a short list at each node
 *
 * Kept are user.*, trusted.* and security.*; who may use which is the kernel's
 * affair. Others, POSIX access lists among them, would be promises that nobody
 * here keeps: -ENOTSUP. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "backends/memory/memory_impl.h"
#include "common/clock.h"

static bool namespace_known(const char *name)
{
	static const char *const known[] = { "user.", "trusted.", "security." };

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t len = strlen(known[i]);

		if (!strncmp(name, known[i], len) && name[len])
			return true;
	}
	return false;
}

static bool named(const struct mem_xattr *x, const char *name, size_t len)
{
	return x->name_len == len && !memcmp(x->data, name, len);
}

/* The pointer that leads to the attribute, or to the list's end. */
static struct mem_xattr **find_locked(struct mem_node *n, const char *name)
{
	struct mem_xattr **at = &n->xattrs;
	size_t len = strlen(name);

	mutex_assert_held(&n->lock);
	while (*at && !named(*at, name, len))
		at = &(*at)->next;
	return at;
}

static uint32_t xattr_bytes(const struct mem_xattr *x)
{
	return x ? x->name_len + x->value_len : 0;
}

/* Copies len bytes out if asked for more than their number. */
static ssize_t give(const void *from, size_t len, void *buf, size_t cap)
{
	if (cap == 0)
		return (ssize_t)len;
	if (len > cap)
		return -ERANGE;
	memcpy(buf, from, len);
	return (ssize_t)len;
}

ssize_t mem_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		     const char *name, void *buf, size_t cap)
{
	struct mem_node *n = mem_node_of(node);
	struct mem_xattr *x;
	ssize_t rc = -ENODATA;

	(void)be;
	(void)call;
	if (!namespace_known(name))
		return -ENOTSUP;
	mutex_lock(&n->lock);
	x = *find_locked(n, name);
	if (x)
		rc = give(x->data + x->name_len, x->value_len, buf, cap);
	mutex_unlock(&n->lock);
	return rc;
}

static struct mem_xattr *xattr_new(const char *name, const void *value, size_t len)
{
	size_t name_len = strlen(name);
	struct mem_xattr *x = malloc(sizeof *x + name_len + len);

	if (!x)
		return NULL;
	x->name_len = (uint8_t)name_len;
	x->value_len = (uint32_t)len;
	memcpy(x->data, name, name_len);
	if (len)
		memcpy(x->data + name_len, value, len);
	return x;
}

/* Puts x where its name belongs. On success *old is what it replaced, or NULL. */
static int set_locked(struct mem_node *n, const char *name, struct mem_xattr *x, int flags,
		      struct mem_xattr **old)
{
	struct mem_xattr **at = find_locked(n, name);
	uint32_t bytes = n->xattr_bytes - xattr_bytes(*at) + xattr_bytes(x);

	if (*at && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!*at && (flags & XATTR_REPLACE))
		return -ENODATA;
	if (bytes > MEM_XATTRS_MAX)
		return -ENOSPC;
	*old = *at;
	x->next = *at ? (*at)->next : NULL;
	*at = x;
	n->xattr_bytes = bytes;
	n->attr.ctime = clock_wall();
	return 0;
}

int mem_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		 const char *name, const void *value, size_t len, int flags)
{
	struct mem_node *n = mem_node_of(node);
	struct mem_xattr *x, *old = NULL;
	int rc;

	(void)be;
	(void)call;
	if (!namespace_known(name))
		return -ENOTSUP;
	x = xattr_new(name, value, len);
	if (!x)
		return -ENOMEM;
	mutex_lock(&n->lock);
	rc = set_locked(n, name, x, flags, &old);
	mutex_unlock(&n->lock);
	free(rc ? x : old);
	return rc;
}

static size_t list_bytes_locked(const struct mem_node *n)
{
	size_t len = 0;

	for (const struct mem_xattr *x = n->xattrs; x; x = x->next)
		len += x->name_len + 1u;
	return len;
}

ssize_t mem_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		      char *buf, size_t cap)
{
	struct mem_node *n = mem_node_of(node);
	size_t len;

	(void)be;
	(void)call;
	mutex_lock(&n->lock);
	len = list_bytes_locked(n);
	for (struct mem_xattr *x = len <= cap ? n->xattrs : NULL; x; x = x->next) {
		memcpy(buf, x->data, x->name_len);
		buf[x->name_len] = '\0';
		buf += x->name_len + 1u;
	}
	mutex_unlock(&n->lock);
	return cap && len > cap ? -ERANGE : (ssize_t)len;
}

int mem_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    const char *name)
{
	struct mem_node *n = mem_node_of(node);
	struct mem_xattr **at, *x;

	(void)be;
	(void)call;
	if (!namespace_known(name))
		return -ENOTSUP;
	mutex_lock(&n->lock);
	at = find_locked(n, name);
	x = *at;
	if (x) {
		*at = x->next;
		n->xattr_bytes -= xattr_bytes(x);
		n->attr.ctime = clock_wall();
	}
	mutex_unlock(&n->lock);
	free(x);
	return x ? 0 : -ENODATA;
}

void mem_xattrs_free(struct mem_node *n)
{
	while (n->xattrs) {
		struct mem_xattr *x = n->xattrs;

		n->xattrs = x->next;
		free(x);
	}
}
