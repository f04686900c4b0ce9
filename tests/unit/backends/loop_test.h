/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.h - a block device for tests */
#ifndef TESTS_UNIT_LOOP_TEST_H
#define TESTS_UNIT_LOOP_TEST_H

#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A loop device over the file path, opened in *loop; it goes with its last descriptor. False: none is to be had. */
static inline bool loop_up(const char *path, int *loop, char *name, size_t cap)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int file = open(path, O_RDWR | O_CLOEXEC);
	struct loop_config conf = { .fd = (unsigned)file };
	bool ok = false;

	/* Another may take the free one first. */
	for (unsigned tries = 0; control >= 0 && !ok && tries < 20; tries++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		if (n < 0)
			break;
		snprintf(name, cap, "/dev/loop%d", n);
		*loop = open(name, O_RDWR | O_CLOEXEC);
		if (*loop < 0)
			break;
		conf.info.lo_flags = LO_FLAGS_AUTOCLEAR;
		ok = ioctl(*loop, LOOP_CONFIGURE, &conf) == 0;
		if (!ok)
			close(*loop);
	}
	if (control >= 0)
		close(control);
	close(file);
	return ok;
}

#endif
