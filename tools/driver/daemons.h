/* SPDX-License-Identifier: Apache-2.0 */
/* daemons.h - what the driver asks the daemons behind mountpoints
 *
 * Each question has a limit, whatever state the daemon is in: one that hangs holds up
 * nobody. A point is a mountpoint, or DAEMON_AT_SOCKET and the path of a control socket.
 * Any thread. Errors as those of ctlsock.h. */
#ifndef TOOLS_DRIVER_DAEMONS_H
#define TOOLS_DRIVER_DAEMONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "tools/driver/mounts.h"

#define DAEMON_AT_SOCKET "unix:"
#define DAEMONS_ASK_MS 1000     /* for one question */
#define DAEMONS_PARALLEL_MAX 16 /* questions at a time */

/* Answers within DAEMONS_ASK_MS. */
int daemon_ping(const char *point, struct err *err);
int daemon_tune(const char *point, const char *option, const char *value, struct err *err);

/* Has it write all that is dirty, for limit_ms; -ETIMEDOUT or -ECANCELED when some is left. */
int daemon_drain(const char *point, unsigned limit_ms, const struct cancel *cancel,
		 struct err *err);

/* Its "stat" object, the caller's; NULL when none came in time. */
json_t *daemon_stat(const char *point);

/* What tells daemons apart: the volume's key, else the worker's pid. */
void daemon_key(const json_t *stat, char *buf, size_t cap);

#endif
