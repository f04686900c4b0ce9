/* SPDX-License-Identifier: Apache-2.0 */
/* admin.h - /ping, /health, /metrics and /evacuate, for operators and drain scripts
 *
 * GET or POST; HEAD where nothing is done. Any thread. */
#ifndef TOOLS_DRIVER_ADMIN_H
#define TOOLS_DRIVER_ADMIN_H

#include <stdbool.h>

#include "tools/driver/attach.h"
#include "tools/driver/metrics.h"
#include "tools/driver/volumes.h"

struct admin {
	struct volumes *volumes;
	struct metrics *metrics;
	struct attach *attach;    /* NULL: no arrays are configured */
	const char *root, *state; /* folder of the mountpoints; state file */
	unsigned evacuate_ms;
	_Atomic bool evacuating;
};

struct admin_reply {
	unsigned status;
	char *text;       /* the caller's; NULL without memory */
	const char *type; /* static */
	bool ends;        /* the process may end when this was sent */
};

bool admin_may_wait(const char *path);
void admin_answer(struct admin *a, const char *method, const char *path, struct admin_reply *out);

#endif
