/* SPDX-License-Identifier: Apache-2.0 */
/* mounts.h - what the table of volumes needs from the machine: mounting and unmounting
 *
 * A table of functions, so that tests run the driver's rules on a fake. Any thread, and
 * several at once, but only one for each path. */
#ifndef TOOLS_DRIVER_MOUNTS_H
#define TOOLS_DRIVER_MOUNTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cancel.h"
#include "tools/driver/failure.h"

#define MOUNTS_USAGE 1 /* exit status of persifs mount: an option is wrong */

struct mount_spec {
	const char *uri, *options; /* of persifs mount */
	const char *point;         /* absolute */
	const json_t *volume;      /* of mountopts.h; NULL: none */
};

struct mounts_ops {
	/* Makes the folder and mounts on it. A failure, also one by time or cancel, leaves
	 * neither mount nor folder. -EEXIST when something is in the way. */
	int (*mount)(void *arg, const struct mount_spec *m, const struct cancel *cancel,
		     struct failure *f);
	/* Has the daemon write what is dirty, for drain_ms at most, then takes mount and
	 * folder away. 0 also when data is left to be written (*dirty, if it is wanted; set also
	 * where drain_ms is 0 and nobody can tell); -ENOENT when nothing was mounted: then the
	 * folder goes, too. */
	int (*unmount)(void *arg, const char *point, unsigned drain_ms, const struct cancel *cancel,
		       bool *dirty, struct failure *f);
	/* A persifs mount is there, by mountinfo alone. */
	bool (*is_mounted)(void *arg, const char *point);
	/* It is, and its daemon answers; one that is slow to answer counts as alive. */
	bool (*is_alive)(void *arg, const char *point);
	/* Calls found() with the last component of each persifs mount directly below root: one look for
	 * all, where mountinfo is long. */
	int (*below)(void *arg, const char *root, void (*found)(void *arg, const char *name),
		     void *found_arg);
};

/* --- the real ones --------------------------------------------------------- */

struct mounts {
	const char *persifs; /* program: a path, or a name for PATH; borrowed */
	unsigned mount_timeout_ms;
};

extern const struct mounts_ops mounts_real; /* arg: struct mounts */

/* Removes empty folders directly below root on which nothing is mounted. */
void mounts_sweep(const char *root);

#endif
