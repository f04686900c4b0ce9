/* SPDX-License-Identifier: Apache-2.0 */
/* sdc.h - a device that is named by its ScaleIO volume: "scaleio:SYSTEM/VOLUME"
 *
 *   found    its stable link appears (sdc_wait()), where the SDC has to be asked for it now and then
 *   opened   exclusively, through the link, which leads to the same device afterwards (exclusive.h): the
 *            kernel's names (/dev/scinia) are given to others when a volume goes
 *   checked  not smaller than the array says: a device of that name that is smaller is another volume, or the
 *            SDC has not heard of its growth
 *
 * From there on it is the file transport's. What lies on it, partitions or a file system, is looked at by nobody
 * here.
 *
 * A process that opens nothing has it opened by number (bd_env.open_device): then bd_sdc_find() is for who
 * configures the opener, before.
 *
 * Threads: any. */
#ifndef BACKENDS_BLOCK_SDC_H
#define BACKENDS_BLOCK_SDC_H

#include <stddef.h>
#include <stdint.h>

#include "backends/block/device.h"
#include "common/sdc.h"
#include "common/uri.h"

#define BD_SDC_WAIT_S 30u /* for the device to appear, where nobody says how long */
#define BD_SDC_WAIT_MAX_S 3600u

struct bd_sdc {
	struct sdc_volume id;
	const char *dir;  /* of links, borrowed from the URI; NULL: /dev/disk/by-id */
	uint64_t size;    /* bytes at the least, as the array says; 0: any */
	uint32_t wait_ms; /* for the device to appear */
	struct sdc_host host;
};

/* "scaleio:SYSTEM/VOLUME?size=BYTES&dir=PATH&wait=SECONDS&drv_cfg=PATH"; other parameters are the file
 * transport's, and not looked at. -EINVAL with a sentence. uri lives as long as out. */
int bd_sdc_parse(const struct uri *uri, struct bd_sdc *out, struct err *err);

/* Waits for the device, and writes the path of its link. -ETIMEDOUT with a sentence that says what is missing, -ECANCELED,
 * -ENAMETOOLONG. */
int bd_sdc_find(const struct bd_sdc *v, const struct cancel *cancel, char *link, size_t cap,
		struct err *err);

extern const struct bd_transport bd_scaleio;

#endif
