/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.h - comparing what the storage has with what the store remembers
 *
 * Volumes are listed first and rows read afterwards: a row is written before its volume is made, so a
 * listed volume without a row is nobody's: an orphan. (What comes from a worker that lost its lease is
 * taken back by that worker; grace_s leaves it the time.) Several brokers that share an array and not a store need
 * name_prefixes of their own, or each takes the other's volumes for orphans.
 * Any number of brokers may run meanwhile. */
#ifndef TOOLS_BROKER_SWEEP_H
#define TOOLS_BROKER_SWEEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/broker/config.h"
#include "tools/broker/store.h"

#define SWEEP_GRACE_S 3600
#define SWEEP_PAGE 500 /* rows of the store at a time */

struct sweep_options {
	bool fix; /* orphans are removed */
	uint64_t grace_s; /* younger ones are left alone, and so are those of unknown age when it is not 0 */
};

/* *found: an array of {kind, provider, name, instance, detail, fixed}; the caller's. kind: orphan, missing, size,
 * mapped, unreachable (the storage did not answer; nothing is known of it). Errors are the store's. */
int sweep(const struct bconfig *c, struct store *s, const struct sweep_options *o, json_t **found,
	  struct err *err);
void sweep_print(FILE *out, const json_t *found);
/* Nothing is left to do. */
bool sweep_is_clean(const json_t *found);

#endif
