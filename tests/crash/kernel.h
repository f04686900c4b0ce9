/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - the kernel's ext4 as a judge: a loop device over a file in memory, mounted and unmounted */
#ifndef TESTS_CRASH_KERNEL_H
#define TESTS_CRASH_KERNEL_H

#include <stddef.h>

#include "common/err.h"

/* A mount namespace of the process's own, and the empty folder mnt. -ENOTSUP with a reason. */
int kernel_prepare(const char *mnt, struct err *err);
/* A loop device over file, which goes when the descriptor is closed; its path in device. -ENOTSUP with a reason. */
int kernel_loop(int file, char *device, size_t cap, struct err *err);
/* Mounts, which replays the log, and unmounts. The file may have changed in between calls. */
int kernel_mount(int loop, const char *device, const char *mnt, struct err *err);

#endif
