/* SPDX-License-Identifier: Apache-2.0 */
/* exclusive.c - see exclusive.h. There is no call that waits for an exclusive open, so it is tried
 * again and again: what is waited for are a dead process's last requests, rarely more than a second. */
#include "backends/block/exclusive.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

static uint64_t now_ms(void)
{
	return clock_us() / 1000;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	if ((a->st_mode & S_IFMT) != (b->st_mode & S_IFMT))
		return false;
	if (S_ISBLK(a->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int open_flags(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_DIRECT);

	/* tmpfs and others that have nothing below the page cache */
	if (fd < 0 && errno == EINVAL)
		fd = open(path, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* A pipe or a terminal that took the file's place would be disturbed by the open: looked at first, and
 * afterwards, for it may have changed. */
static int try_open(const char *path, unsigned flags)
{
	int mode = flags & BD_OPEN_READONLY ? O_RDONLY : O_RDWR;
	struct stat before, opened, after;
	AUTO_FD int fd = -1;

	if (stat(path, &before))
		return -errno;
	if (!S_ISBLK(before.st_mode) && !S_ISREG(before.st_mode))
		return S_ISDIR(before.st_mode) ? -EISDIR : -ENOTBLK;
	fd = open_flags(path, mode | (S_ISBLK(before.st_mode) ? O_EXCL : O_NONBLOCK));
	if (fd < 0)
		return fd;
	if (fstat(fd, &opened))
		return -errno;
	if (S_ISREG(opened.st_mode) && flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (!is_same(&before, &opened) || stat(path, &after) || !is_same(&opened, &after))
		return -ESTALE;
	return take_fd(&fd);
}

static int complain(const char *path, int rc, uint32_t busy_ms, struct err *err)
{
	switch (rc) {
	case -EBUSY:
		return err_set(err, rc,
			       "device '%.300s' is in use: another process has it open or "
			       "mounted, waited %u ms for it",
			       path, busy_ms);
	case -ESTALE:
		return err_set(err, rc,
			       "device '%.300s' leads somewhere else each time it is opened", path);
	case -ENOTBLK:
	case -EISDIR:
		return err_set(err, -ENOTBLK,
			       "device '%.300s' is neither a block device nor a file", path);
	default:
		return err_set(err, rc, "device '%.300s': %s", path, strerror(-rc));
	}
}

/* The descriptor is to be as who opens a plain file gets it, and O_DIRECT is not to be where it is not wanted. */
static int settle(int fd_take, unsigned flags)
{
	AUTO_FD int fd = fd_take;
	int has = fcntl(fd, F_GETFL);
	int drop = O_NONBLOCK | (flags & BD_OPEN_BUFFERED ? O_DIRECT : 0);

	if (has < 0 || fcntl(fd, F_SETFL, has & ~drop))
		return -errno;
	return take_fd(&fd);
}

int bd_exclusive_open(const char *path, unsigned flags, uint32_t busy_ms, struct err *err)
{
	uint64_t end = now_ms() + busy_ms;
	unsigned stale = 0;
	int rc;

	for (;;) {
		rc = try_open(path, flags);
		if (rc >= 0)
			rc = settle(rc, flags);
		if (rc == -ESTALE && ++stale < BD_STALE_TRIES)
			continue;
		if ((rc != -EBUSY && rc != -ESTALE) || now_ms() >= end)
			break;
		usleep(BD_BUSY_LOOK_MS * 1000);
	}
	return rc < 0 ? complain(path, rc, busy_ms, err) : rc;
}

int bd_exclusive_size(int fd, uint64_t *out)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, out) ? -errno : 0;
	if (!S_ISREG(st.st_mode))
		return -ENOTBLK;
	*out = (uint64_t)st.st_size;
	return 0;
}
