/* SPDX-License-Identifier: Apache-2.0 */
/* census.h - asks many mounts for what their daemons say, each daemon once
 *
 * Any thread. */
#ifndef TOOLS_DRIVER_CENSUS_H
#define TOOLS_DRIVER_CENSUS_H

#include <jansson.h>
#include <stddef.h>

#define CENSUS_PARALLEL_MAX 16 /* questions at a time */

struct census_entry {
	const char *point; /* as in daemons.h, free of symbolic links; the caller's */
	char device[24]; /* "MAJOR:MINOR" of what is mounted there, as in a stat's "sessions"; "" */
	json_t *stat;    /* as of daemon_stat(); owned, shared by the mounts of a daemon */
};

/* Fills device and stat. All of it ends in about DAEMONS_ASK_MS for each
 * CENSUS_PARALLEL_MAX daemons that hang. */
void census_take(struct census_entry *all, size_t n);
void census_drop(struct census_entry *all, size_t n);

#endif
