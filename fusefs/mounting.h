/* SPDX-License-Identifier: Apache-2.0 */
/* mounting.h - putting a session's superblock at a folder, and taking mounts away */
#ifndef FUSEFS_MOUNTING_H
#define FUSEFS_MOUNTING_H

#include <sys/types.h>

#include "common/err.h"
#include "fusefs/supervisor.h"

/* *out: /dev/fuse, close-on-exec: opened, or the one that m brings; -1 where fusermount3 will open
 * it when it mounts. 0 or -errno with a sentence. */
int mounting_open(const struct mount_request *m, int *out, struct err *err);
/* True when a superblock that is mounted can be mounted at m->dir once more. */
bool mounting_can_repeat(const struct mount_request *m);
/* A mount that is made, and nowhere to be seen until it is attached: when its maker dies
 * before, nothing stays behind. */
struct mounting {
	int fd; /* owned; -1: it is in its place already */
	unsigned maj, min;
};

/* Makes a mount of what *fuse_fd stands for: a new superblock, or, when it is connected
 * already, one more mount of its; where m brings a mount, only its device is found out.
 * Always nosuid and nodev; ro and noexec are of the mount alone. fusermount3 puts it into
 * its place at once; *fuse_fd: what it has opened then. -errno with a sentence. */
int mounting_make(const struct mount_request *m, int *fuse_fd, mode_t root_type,
		  struct mounting *out, struct err *err);
/* Puts it at m->dir. The mount goes with its descriptor when that fails. */
int mounting_attach(const struct mount_request *m, struct mounting *mnt, struct err *err);
/* Takes away what was made, if it was attached or not; not what m brings. */
void mounting_undo(const struct mount_request *m, struct mounting *mnt);
/* Takes away the mount that was attached at m->dir; not what m brings. */
void mounting_take_back(const struct mount_request *m);
/* Takes away all mounts of the device in this namespace, the latest first; flags as for
 * umount2(2). 0, or the first -errno (it goes on). */
int mounting_umount_all(unsigned maj, unsigned min, int flags);
/* True when a persifs mount is at dir. */
bool mounting_is_at(const char *dir);
/* How many mounts of the device there are in this namespace. */
unsigned mounting_count(unsigned maj, unsigned min);

#endif
