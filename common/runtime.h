/* SPDX-License-Identifier: Apache-2.0 */
/* runtime.h - where a mount's control socket lies, and which mount a folder is
 *
 * A mount is known by the device number that the kernel gave it; its socket is
 * RUNTIME/MAJOR-MINOR.sock. Finding the number never asks the mounted file
 * system, which may hang: only the folder's parent is resolved. Any thread. */
#ifndef COMMON_RUNTIME_H
#define COMMON_RUNTIME_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

#define RUNTIME_FSTYPE "fuse.persifs"

/* PERSIFS_RUNTIME_DIR, else /run/persifs for root, else XDG_RUNTIME_DIR/persifs;
 * made when missing. -EPERM when it belongs to somebody else or others may
 * write to it: whoever can put a socket there answers for the daemon. */
int runtime_dir(char *buf, size_t cap, struct err *err);

/* Device number and source text of the topmost mount at dir. -EINVAL when dir is
 * no mount point or one of another file system; source may be NULL. */
int runtime_mount_dev(const char *dir, unsigned *maj, unsigned *min, char *source, size_t cap,
		      struct err *err);

/* -ENAMETOOLONG when the path does not fit a socket address. */
int runtime_socket_path(unsigned maj, unsigned min, char *buf, size_t cap, struct err *err);

/* A line of mountinfo(5), as far as it matters here. */
struct mount_entry {
	uint64_t id, parent_id;
	unsigned maj, min;
	char point[PATH_MAX];
	char fstype[64];
	char source[PATH_MAX];
};

/* Parses one line, undoing octal escapes; -EINVAL when it is not one. */
int mount_entry_parse(const char *line, struct mount_entry *out);
/* Follows the stack of mounts at path, upwards from the mount parent_id that
 * holds the folder itself (0: unknown, then the last line wins).
 * -ENOENT when nothing is mounted there. */
int mount_entry_top(FILE *mountinfo, const char *path, uint64_t parent_id, struct mount_entry *out);

#endif
