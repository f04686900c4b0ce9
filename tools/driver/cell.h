/* SPDX-License-Identifier: Apache-2.0 */
/* cell.h - who this machine is to an array
 *
 * Asked for each time it is needed: what is a file or a program's answer today may come later than
 * the driver. What cannot be found is "", and the provider says what it lacks. Any thread. */
#ifndef TOOLS_DRIVER_CELL_H
#define TOOLS_DRIVER_CELL_H

#include <jansson.h>

#include "backends/providers/provider.h"

#define CELL_HOSTNQN "/etc/nvme/hostnqn"

/* Of the configuration; NULL: to be found. Borrowed. */
struct cell_config {
	const char *sdc_guid, *drv_cfg, *nqn, *address;
	const char *hostnqn; /* file; NULL: CELL_HOSTNQN */
};

struct cell {
	char sdc_guid[64], nqn[256], address[64];
};

/* array: its object of the configuration, whose "url" tells to whom the address is to be good. */
void cell_find(const struct cell_config *c, const json_t *array, struct cell *out);
/* What a provider is told; points into cell. */
struct provider_host cell_host(const struct cell *cell);

#endif
