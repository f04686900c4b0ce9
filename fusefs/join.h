/* SPDX-License-Identifier: Apache-2.0 */
/* join.h - a mount of a volume that has a daemon already
 *
 *   joiner                              daemon (control_join.c)
 *   {"cmd":"join", uri, options} -----> do the options agree with the volume's?
 *   <--- {"ok":true} + descriptor ----- a session of the same options: mount that once more
 *   <--- {"ok":true,"root_type":N} ---- none: the joiner makes one
 *   opens /dev/fuse, makes a mount
 *   {"cmd":"mounted", uri, options,
 *    major, minor} + descriptor ------> a session; INIT
 *   <--- {"ok":true} ------------------
 *   attaches the mount: who dies before leaves nothing
 *
 * The options travel as one -o text. */
#ifndef FUSEFS_JOIN_H
#define FUSEFS_JOIN_H

#include "common/err.h"
#include "fusefs/supervisor.h"

/* Mounts m by the daemon of the volume. 0: done.
 * -ECONNREFUSED: nobody there; -ESHUTDOWN: it, or its session, is ending. Other -errno with a sentence. */
int join_volume(const struct mount_request *m, const char *key, struct err *err);

#endif
