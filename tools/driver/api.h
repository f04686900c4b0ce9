/* SPDX-License-Identifier: Apache-2.0 */
/* api.h - the volume plugin protocol: from a path and a body to an answer
 *
 * Nothing here knows HTTP, so that tests and a fuzzer can ask anything. Any thread. */
#ifndef TOOLS_DRIVER_API_H
#define TOOLS_DRIVER_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "tools/driver/metrics.h"
#include "tools/driver/volumes.h"

struct api {
	struct volumes *volumes;
	struct metrics *metrics;
	const char *scope; /* "local" or "global" */
};

/* What an answer has to be followed by, when the client never got it. */
struct api_undo {
	char *mounted; /* owned: the volume whose Mount was counted; NULL: nothing */
};

bool api_knows(const char *path);
/* False: the answer comes from memory, at once. Also for unknown paths. */
bool api_may_wait(const char *path);

/* The answer, always an object with what the route promises (the caller's), NULL without
 * memory. body may be empty; NULL says that it was too long. gone as in struct caller. */
json_t *api_answer(const struct api *api, const char *path, const char *body, size_t len,
		   bool (*gone)(void *arg), void *gone_arg, struct api_undo *undo);

/* Takes back what the client was not told of, and frees. May wait. */
void api_undo(const struct api *api, struct api_undo *undo);

#endif
