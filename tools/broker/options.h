/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - what parameters mean: sizes, options of a mount, where it lies in the container
 *
 * Parameters have passed the plan's schema. Sentences are for developers. Any thread. */
#ifndef TOOLS_BROKER_OPTIONS_H
#define TOOLS_BROKER_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "tools/broker/config.h"

#define OPTIONS_DIR_MAX 1280

/* "size" of the parameters; without it dflt. -EINVAL, also above the plan's max_size. */
int options_size(const struct bplan *plan, const json_t *params, uint64_t dflt, uint64_t *out,
		 struct err *err);
/* Each value alone: ids, paths. */
int options_check(const json_t *params, struct err *err);
/* Options of a mount: the plan's defaults, then the instance's, then those of the bind. A new object; -EINVAL when they do not go
 * together. */
int options_merge(const struct bplan *plan, const json_t *instance, const json_t *bind,
		  json_t **out, struct err *err);
bool options_readonly(const json_t *merged);
/* -EINVAL. */
int options_container_dir(const struct bplan *plan, const char *instance_id, const json_t *instance,
			  const json_t *bind, char out[OPTIONS_DIR_MAX], struct err *err);

#endif
