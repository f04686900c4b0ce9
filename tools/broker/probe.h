/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - how a volume and its storage are, asked with a short limit
 *
 * The question runs in a thread of its own, which ends when the storage answers; who asked waits a few
 * seconds at most, and so few run at a time that a storage that hangs holds up nothing. Threads: any. */
#ifndef TOOLS_BROKER_PROBE_H
#define TOOLS_BROKER_PROBE_H

#include <stdbool.h>

#include "tools/broker/config.h"
#include "tools/broker/store.h"

#define PROBE_WAIT_MS 3000
#define PROBES_MAX 8

struct probe_answer {
	bool answered; /* within the limit */
	int volume_rc, health_rc;
	struct provider_volume volume;
	struct err volume_err, health_err;
};

void probe(struct bconfig *c, const struct instance *i, struct probe_answer *out);

#endif
