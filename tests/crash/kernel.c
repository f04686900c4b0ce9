/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c - see kernel.h */
#include "tests/crash/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { LOOP_TRIES = 100, BUSY_TRIES = 1000, BUSY_US = 1000 };

int kernel_prepare(const char *mnt, struct err *err)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return err_set(err, -ENOTSUP, "no mount namespace can be made: %s",
			       strerror(errno));
	if (mkdir(mnt, 0700) && errno != EEXIST)
		return err_set(err, -errno, "cannot make %s: %s", mnt, strerror(errno));
	return 0;
}

int kernel_loop(int file, char *device, size_t cap, struct err *err)
{
	struct loop_config conf = { .fd = (unsigned)file,
				    .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
	AUTO_FD int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (ctl < 0)
		return err_set(err, -ENOTSUP, "no loop devices: /dev/loop-control: %s",
			       strerror(errno));
	/* Between the question for a free one and its use somebody else may take it. */
	for (int i = 0; i < LOOP_TRIES; i++) {
		int n = ioctl(ctl, LOOP_CTL_GET_FREE), fd;

		if (n < 0)
			break;
		snprintf(device, cap, "/dev/loop%d", n);
		fd = open(device, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			break;
		if (!ioctl(fd, LOOP_CONFIGURE, &conf))
			return fd;
		close(fd);
		if (errno != EBUSY)
			break;
	}
	return err_set(err, -ENOTSUP, "no loop device can be set up: %s", strerror(errno));
}

int kernel_mount(int loop, const char *device, const char *mnt, struct err *err)
{
	int tries = 0;

	/* The device is held open, so what it has in memory stays there from the last mount. */
	if (ioctl(loop, BLKFLSBUF, 0))
		return err_set(err, -errno, "cannot drop the buffers of %s: %s", device,
			       strerror(errno));
	if (mount(device, mnt, "ext4", 0, NULL))
		return err_set(err, -errno, "mount: %s", strerror(errno));
	while (umount2(mnt, 0)) {
		if (errno != EBUSY || ++tries == BUSY_TRIES)
			return err_set(err, -errno, "umount: %s", strerror(errno));
		usleep(BUSY_US);
	}
	return 0;
}
