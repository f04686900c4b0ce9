/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - a small file that is either the old one or the new one, never half of each
 *
 * One writer at a time. Also used for discovery files. */
#ifndef TOOLS_DRIVER_STATE_H
#define TOOLS_DRIVER_STATE_H

#include <jansson.h>
#include <sys/types.h>

#include "common/err.h"

#define STATE_TAIL ".new"            /* of the name of the file while it is written */
#define STATE_BAD_TAIL ".bad"        /* of one that could not be read, put aside */
#define STATE_LOCK_TAIL ".lock"      /* of what is locked beside one outside of the root */
#define STATE_BYTES_MAX (256u << 20) /* of a file that is read */

/* Writes path STATE_TAIL, syncs, renames, syncs the folder. -errno: the old one is there still. */
int state_write(const char *path, const char *text, mode_t mode);
/* 0 with *out (the caller's), or NULL there when no such file is. -EINVAL when it is no JSON. */
int state_read(const char *path, json_t **out, struct err *err);

#endif
