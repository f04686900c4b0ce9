/* SPDX-License-Identifier: Apache-2.0 */
/* device.h - the device (or image file) by which an array shows a volume to this machine
 *
 * A device is named by its stable link, and looked up through it each time: the kernel's names are
 * used again for others. Any thread. */
#ifndef TOOLS_DRIVER_DEVICE_H
#define TOOLS_DRIVER_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/driver/failure.h"
#include "tools/driver/mounts.h"

#define DEVICE_MKFS_MS 120000 /* for the program that makes a file system */

enum device_content {
	DEVICE_BLANK,  /* nothing that we know */
	DEVICE_MADE,   /* an ext4 file system that was never mounted */
	DEVICE_FILLED, /* one that was */
};

/* It can be used: a device or file, of that size (0: any) at least, and nothing of the machine's has it
 * mounted. All sentences are safe. */
int device_check(const char *path, uint64_t size, struct failure *f);

/* Who has it: mounted, behind a loop device, or open in a process. "" nobody, also when it is
 * not there; who cannot look says so. */
void device_users(const char *path, char *who, size_t cap);

int device_content(const char *path, enum device_content *out);

/* Makes a file system by the program, whose root belongs to uid and gid (-1: root), and has it on
 * the device when it returns. */
int device_format(const char *path, const char *mkfs, int64_t uid, int64_t gid,
		  const struct cancel *cancel, struct failure *f);

/* What the kernel has for it is on the device. 0 also when it is not there. */
int device_flush(const char *path);

#endif
