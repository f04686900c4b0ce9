/* SPDX-License-Identifier: Apache-2.0 */
/* bindopts.h - what parameters mean: sizes, options of a mount, where it lies in the container
 *
 * Parameters have passed the plan's schema. Sentences are for developers. Any thread. */
#ifndef TOOLS_BROKER_BINDOPTS_H
#define TOOLS_BROKER_BINDOPTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "tools/broker/config.h"

#define BINDOPTS_DIR_MAX 1280

/* "size" of the parameters; without it dflt. -EINVAL, also above the plan's max_size. */
int bindopts_size(const struct bplan *plan, const json_t *params, uint64_t dflt, uint64_t *out,
		  struct err *err);
/* Each value alone: ids, paths. */
int bindopts_check(const json_t *params, struct err *err);
/* Options of a mount: the plan's defaults, then the instance's, then those of the bind. A new object; -EINVAL when they do not go
 * together. */
int bindopts_merge(const struct bplan *plan, const json_t *instance, const json_t *bind,
		   json_t **out, struct err *err);
bool bindopts_readonly(const json_t *merged);
/* -EINVAL. */
int bindopts_container_dir(const struct bplan *plan, const char *instance_id,
			   const json_t *instance, const json_t *bind, char out[BINDOPTS_DIR_MAX],
			   struct err *err);

#endif
