/* SPDX-License-Identifier: Apache-2.0 */
/* safefd.c - see safefd.h. The mount is one that is nowhere, and goes with the last descriptor. */
#include "common/safefd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/cleanup.h"

#define LINK_BYTES sizeof "/proc/self/fd/-2147483648"

static const char *link_of(int fd, char *buf)
{
	snprintf(buf, LINK_BYTES, "/proc/self/fd/%d", fd);
	return buf;
}

int safefd_open(int fd, int oflags)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	char path[LINK_BYTES];
	AUTO_FD int tree =
		open_tree(AT_FDCWD, link_of(fd, path), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	int out;

	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr))
		return -errno;
	out = open(link_of(tree, path), oflags | O_CLOEXEC | O_NOCTTY);
	return out < 0 ? -errno : out;
}

void safefd_replace(int *fd, int oflags)
{
	int fresh = safefd_open(*fd, oflags);

	if (fresh < 0)
		return;
	close(*fd);
	*fd = fresh;
}
