/* SPDX-License-Identifier: Apache-2.0 */
/* attach.h - volumes of arrays: mapped before their first mount on this cell, given back after their last
 *
 * A layer of mounts_ops above another. A source "scaleio://ARRAY/...", "onefs://ARRAY/..." or
 * "image:..." names a volume of an array that the configuration knows; anything else passes through.
 * The source alone says which volume; what a broker knows beside it (mount_spec.volume: owner, handle, plan) is handed
 * to the provider. An image has no name of its own, and wants owner and plan.
 *
 *   (unknown) --mount--> taking --mapped, there, formatted if due--> held(1..n points)
 *       ^                  |                                             | last point unmounted
 *       '--- given back <--+---------------- leaving <-------------------'
 *
 * A1 What is mapped, or may be, stands in the state file before the array is asked; it is taken out after
 *    the array has taken the volume back. So whoever dies in between leaves nothing behind unknown.
 * A2 A volume is given back only when it has no point, no session that lives on after a lazy unmount, no
 *    data that a daemon holds, and (block) nobody on this machine has its device mounted or open; then
 *    it is flushed first. Until then it is leaving: a thread tries again, for ever, and a Mount of the
 *    same volume takes it over.
 * A3 A device is formatted only while the provider says that it is fresh, never when it holds a file
 *    system that was mounted; and mounted only after set_used() has succeeded.
 * A4 One thread at a time asks the array about a volume; several names of a volume mount in parallel.
 *
 * Any thread. No lock is held across a call of a provider, a program or the layer below. */
#ifndef TOOLS_DRIVER_ATTACH_H
#define TOOLS_DRIVER_ATTACH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "tools/driver/cell.h"
#include "tools/driver/mounts.h"

#define ATTACH_PROVIDERS_MAX 32
#define ATTACH_VOLUMES_MAX 4096
#define ATTACH_STATE_TAIL ".arrays" /* of the driver's state file, beside it */
#define ATTACH_POLL_MS 1000         /* between two questions to an array */
#define ATTACH_ACCESS_TRIES 8       /* of a mount that a new entry has not reached yet */
#define ATTACH_RETRY_MAX_MS 60000   /* between two tries to give a volume back */
#define ATTACH_QUIET_MIN_MS 1000    /* that an unmount waits for the end of the daemon, at least */

struct attach;

/* Borrowed until attach_free(), providers too. */
struct attach_config {
	const json_t *providers; /* object; NULL: none */
	const char *device_dir;
	const char *mkfs;
	const char *state; /* file of this module alone */
	struct cell_config cell;
	unsigned block_wait_ms; /* for another cell to let go */
	unsigned device_wait_ms;
	unsigned poll_ms; /* ATTACH_POLL_MS */
	bool fence;
	unsigned fence_s; /* without a connection to the array */
	int (*open)(const char *name, const json_t *config, struct provider **out,
		    struct err *err); /* provider_open */
	const struct mounts_ops *below;
	void *below_arg;
};

/* Opens the providers, asks nobody. -EINVAL with a sentence. */
int attach_new(const struct attach_config *c, struct attach **out, struct err *err);
void attach_free(struct attach *a); /* after attach_stop(); NULL is fine */

extern const struct mounts_ops attach_ops; /* arg: struct attach */

/* Prefixes of the sources it serves ("scaleio://gold"), NULL-ended; its own. */
const char *const *attach_sources(const struct attach *a);

/* Reads what an earlier driver held. A file that makes no sense is put aside. Before anybody uses it. */
int attach_restore(struct attach *a, struct err *err);
/* When the layer above has said what is mounted: what is not is given back, by a thread. */
int attach_start(struct attach *a);
/* False: the thread still waits for an array, and nothing may be freed. */
bool attach_stop(struct attach *a, unsigned limit_ms);
/* Gives back what has no point, until deadline_ms (clock_ms()); sources of what is left go to the array left. */
void attach_settle(struct attach *a, uint64_t deadline_ms, json_t *left);

/* "never", or "disconnected:SECONDS". */
int attach_parse_fence(const char *text, bool *fence, unsigned *seconds, struct err *err);

#endif
