/* SPDX-License-Identifier: Apache-2.0 */
/* discovery.h - the file by which the platform finds the driver
 *
 * FOLDER/persifs.json when there is a TCP listener (Volman takes no other, Docker reads it,
 * too), else FOLDER/persifs.spec with the unix socket. */
#ifndef TOOLS_DRIVER_DISCOVERY_H
#define TOOLS_DRIVER_DISCOVERY_H

#include "common/err.h"
#include "tools/driver/config.h"

/* tcp_port: what the first TCP listener got. Makes the folder (0755), writes by rename.
 * 0 with the path (the caller's), NULL when none is configured. */
int discovery_write(const struct config *c, unsigned tcp_port, char **path, struct err *err);
/* Removes it; NULL is fine. */
void discovery_remove(const char *path);

#endif
