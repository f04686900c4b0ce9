/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_discover.h - which subsystems a discovery controller knows of
 *
 * Blocks for as long as the controller takes, at most some seconds for each step. Any thread. */
#ifndef BACKENDS_BLOCK_NVME_DISCOVER_H
#define BACKENDS_BLOCK_NVME_DISCOVER_H

#include "backends/block/device.h"
#include "common/nvme_pdu.h"

#define NVME_FOUND_MAX 256u

struct nvme_found {
	unsigned n;     /* entries that are here */
	uint64_t total; /* that the controller has */
	struct nvme_disc_entry entries[NVME_FOUND_MAX];
};

/* Asks uri's host and port (8009 when none is given), which knows this host by the URI's hostnqn and hostid.
 * -errno with a sentence. The caller frees *out. */
int nvme_discover(const struct uri *uri, const struct bd_env *env, struct nvme_found **out,
		  struct err *err);

#endif
