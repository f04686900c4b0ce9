/* SPDX-License-Identifier: Apache-2.0 */
/* sdc.h - ScaleIO's kernel module on this machine: who it is, what it has, where its devices lie
 *
 * The module shows each volume that is mapped to this host as a block device, whose name (/dev/scinia, ...) is
 * used again for others, and by a stable link below /dev/disk/by-id. It is asked by the program drv_cfg, or by
 * ioctls on its node /dev/scini, which is all that a container may have; both only where they exist.
 *
 * The sdc_*_of_*() functions are pure: any text, any bytes. Any thread. */
#ifndef COMMON_SDC_H
#define COMMON_SDC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cancel.h"
#include "common/err.h"

#define SDC_BY_ID "/dev/disk/by-id"
#define SDC_DRV_CFG "/opt/emc/scaleio/sdc/bin/drv_cfg"
#define SDC_NODE "/dev/scini"
#define SDC_PROGRAM_MS 5000        /* for drv_cfg's answer */
#define SDC_ANSWER_MAX (512 << 10) /* bytes of it: a host has at most 8,192 volumes */
#define SDC_VOLUMES_MAX 8192
#define SDC_IOCTL_BYTES 256       /* room for the answer of an ioctl; those known take 32 */
#define SDC_RESCAN_FIRST_MS 2000  /* a device that was not there so long is asked for, */
#define SDC_RESCAN_EVERY_MS 10000 /* and again */

#define SDC_GUID_LEN 36
#define SDC_ID_LEN 16

/* Whom to ask, and when for a device that does not come. NULL, 0: as above. Borrowed. */
struct sdc_host {
	const char *drv_cfg, *node;
	unsigned rescan_ms;
};

struct sdc_volume {
	char system[SDC_ID_LEN + 1], volume[SDC_ID_LEN + 1]; /* lower case */
};

/* ---- what they answer -------------------------------------------------- */

/* The first GUID that stands by itself in text, as it is written there; out has SDC_GUID_LEN + 1 bytes. */
bool sdc_guid_of_text(const char *text, char *out);
/* The answer to the ioctl that asks for it. */
bool sdc_guid_of_bytes(const void *bytes, size_t len, char *out);
/* Whether an ioctl's answer, of whatever kind, says that it was done. */
bool sdc_done_of_bytes(const void *bytes, size_t len);
/* Each "VOL-ID volume MDM-ID system" of text, up to cap; how many were written. What is cut or not
 * of SDC_ID_LEN hexadecimal digits is left out. */
size_t sdc_volumes_of_text(const char *text, struct sdc_volume *out, size_t cap);
/* Both are ids, in any case. */
bool sdc_volume_make(const char *system, const char *volume, struct sdc_volume *out);

/* ---- where devices lie ------------------------------------------------- */

/* Below dir in place of /dev/disk/by-id, or name itself when it is another absolute path. -ENAMETOOLONG. */
int sdc_path(const char *dir, const char *name, char *buf, size_t cap);
/* The link of a volume below dir (NULL: /dev/disk/by-id). -ENAMETOOLONG. */
int sdc_link(const char *dir, const struct sdc_volume *v, char *buf, size_t cap);

/* ---- asking ------------------------------------------------------------ */

/* 0; -ENOENT when there is no SDC here to be asked; else an error of asking, or -EPROTO for an answer without one. */
int sdc_guid(const struct sdc_host *h, const struct cancel *cancel, char *out, struct err *err);
/* Has it look for volumes that are new. The same errors. */
int sdc_rescan(const struct sdc_host *h, const struct cancel *cancel, struct err *err);
/* Whether it has the volume: 1, 0, or as above; drv_cfg alone can tell. */
int sdc_has_volume(const struct sdc_host *h, const struct sdc_volume *v,
		   const struct cancel *cancel, struct err *err);

/* Waits for the device behind the link, and has the SDC look for it when it takes long. Says in the log what it
 * waits for. 0, -ETIMEDOUT, -ECANCELED. */
int sdc_wait(const struct sdc_host *h, const char *link, unsigned limit_ms,
	     const struct cancel *cancel);

#endif
