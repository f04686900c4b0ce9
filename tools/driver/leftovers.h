/* SPDX-License-Identifier: Apache-2.0 */
/* leftovers.h - daemons that run on after their last unmount
 *
 * An unmount is lazy: a daemon stays for files that are open, and for data that its store did not
 * take in time. Its memory counts, and at shutdown its data does. The kernel and the runtime folder tell, so
 * that leftovers of an earlier driver, or of a mount by hand, are found, too. Any thread. */
#ifndef TOOLS_DRIVER_LEFTOVERS_H
#define TOOLS_DRIVER_LEFTOVERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LEFTOVER_KEY_MAX 256
#define LEFTOVER_AT_MAX 128  /* "unix:" and a socket address */
#define LEFTOVERS_MAX 1024   /* looked at */
#define LEFTOVER_LOOK_MS 100 /* for the question whether one is dirty, when time is over */

struct leftover {
	char key[LEFTOVER_KEY_MAX]; /* of its volume */
	char at[LEFTOVER_AT_MAX];   /* for daemons.h */
	bool had_session;           /* else it may be about to begin */
};

/* Those there are now, in *out (the caller's to free()); the number or -errno. One that is dead is among them. */
ssize_t leftovers_find(struct leftover **out);
/* Has them write what they hold, until deadline_ms (clock_ms()); keys of those that still do go to dirty. */
void leftovers_drain(const struct leftover *all, size_t n, uint64_t deadline_ms, json_t *dirty);

#endif
