/* SPDX-License-Identifier: Apache-2.0 */
/* fusermount.h - mounting for who may not: fusermount3, set-uid root
 *
 * It opens /dev/fuse as the user, mounts, and sends the descriptor over the socket that _FUSE_COMMFD names. It
 * allows a user his own folders, always without set-uid programs and devices, and allow_other
 * only when /etc/fuse.conf says so. A process without other threads. */
#ifndef FUSEFS_FUSERMOUNT_H
#define FUSEFS_FUSERMOUNT_H

#include <stdbool.h>

#include "common/err.h"
#include "fusefs/options.h"

#define FUSERMOUNT_PROGRAM "fusermount3"
#define FUSERMOUNT_CONF "/etc/fuse.conf"

/* True when this process has to ask for mounts: it has no CAP_SYS_ADMIN. */
bool fusermount_needed(void);
/* -EPERM with a sentence when o wants what fusermount3 will not do. */
int fusermount_check(const struct mount_options *o, const char *conf, struct err *err);
/* Mounts source at dir. The descriptor of /dev/fuse, or -errno with a sentence. */
int fusermount_mount(const struct mount_options *o, const char *source, const char *dir,
		     struct err *err);
/* 0 or -errno. lazy: goes from sight at once, whoever uses it. */
int fusermount_umount(const char *dir, bool lazy);

#endif
