/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - what the driver counts, as Prometheus reads it
 *
 * Any thread; counting costs a few atomic additions. */
#ifndef TOOLS_DRIVER_METRICS_H
#define TOOLS_DRIVER_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/driver/census.h"
#include "tools/driver/volumes.h"

enum op {
	OP_ACTIVATE,
	OP_CAPABILITIES,
	OP_CREATE,
	OP_REMOVE,
	OP_MOUNT,
	OP_UNMOUNT,
	OP_PATH,
	OP_GET,
	OP_LIST,
	OPS,
};

#define METRICS_BUCKETS 10

struct metrics {
	struct {
		_Atomic uint64_t requests, errors, us;
		_Atomic uint64_t
			bucket[METRICS_BUCKETS]; /* not cumulative; slower ones are in none */
	} op[OPS];
};

extern const char *const op_names[OPS];

void metrics_count(struct metrics *m, enum op op, bool failed, uint64_t us);

/* The driver's own, then the daemons': entries[i] is that of infos[i], as census_take() left it. */
void metrics_print(FILE *out, const struct metrics *m, const struct volume_info *infos,
		   const struct census_entry *entries, size_t n);

#endif
